"""Collections on the Hub: opened by slug or title, and what is put into them and taken out.

>>> slug = open_collection("someone/African languages", HfApi())
>>> add_to_collection(slug, "other/retrieveall-sw", Hub())
"""

import re

from huggingface_hub import HfApi

from ..model.errors import InputError
from ..model.hub_files import Hub, Snapshot, explained, is_collection
from ..model.model_source import Refusals, read_items, read_manifest_of


def open_collection(name: str, api: HfApi, *, private: bool | None = None, description: str | None = None) -> str:
    """The slug of a collection, which is created if it is named ``"owner/Title"`` and missing.

    Args:
        name: Its slug, or ``"owner/Title"``.
        api: The client.
        private: Whether one that is created is private.
        description: What one that is created says of itself.

    Raises:
        InputError: The name is neither.
        HubError: The Hub refuses it or cannot be reached.
    """
    check_collection(name)
    if is_collection(name):
        return name
    owner, _, title = name.partition("/")
    with explained(f"collection {name}"):
        created = api.create_collection(title, namespace=owner, description=description, private=bool(private), exists_ok=True)
    return str(created.slug)


def add_to_collection(slug: str, repository: str, hub: Hub, note: str | None = None) -> None:
    """Lists an adapter's repository in a collection; nothing happens when it is listed already.

    Args:
        slug: The collection's slug.
        repository: ``"owner/name"``.
        hub: How the Hub is reached.
        note: A note beside it.

    Raises:
        InputError: The collection has another adapter of the language, and with two of them it would not load.
        AdapterError: The repository holds no language adapter.
        HubError: The Hub refuses it or cannot be reached.
    """
    language = read_manifest_of(Snapshot(hub, repository, hub.resolve(repository))).language
    for snapshot, manifest in read_items(slug, hub, Refusals()).items():
        if manifest.language == language and snapshot.repository != repository:
            raise InputError(
                f"The collection {slug} has an adapter of {language!r}, {snapshot.repository}; with two it would not load. "
                f"To put {repository} in its place, first run: retrieveall collection remove {slug} {snapshot.repository}"
            )
    api = hub.api
    with explained(f"collection {slug}"):
        api.add_collection_item(slug, repository, "model", note=note, exists_ok=True)


def remove_from_collection(slug: str, repository: str, api: HfApi) -> None:
    """Takes a repository off a collection; the repository itself stays.

    Raises:
        InputError: The collection does not list it.
        HubError: The Hub refuses it or cannot be reached.
    """
    with explained(f"collection {slug}"):
        items = api.get_collection(slug).items
        found = [item for item in items if (item.item_type, item.item_id) == ("model", repository)]
        if found:
            api.delete_collection_item(slug, found[0].item_object_id)
    if not found:
        listed = ", ".join(item.item_id for item in items) or "nothing"
        raise InputError(f"The collection {slug} does not list {repository}. It lists {listed}.")


def check_collection(name: str) -> None:
    """Makes sure that a name is a slug, or ``"owner/Title"``; a slug that a terminal has shortened is neither.

    Raises:
        InputError: It is not.
    """
    owner, _, title = name.partition("/")
    shortened = re.search(r"-[0-9a-f]{6,}(…|\.\.\.)?$", title) and not is_collection(name)
    if not owner or not title.strip() or shortened or "…" in title:
        raise InputError(f"{name!r} is no collection; give its whole slug, or 'owner/Title' of one to create.")
