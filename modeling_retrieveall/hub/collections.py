"""Collections on the Hub: finding or creating one, adding a repository and removing one.

>>> slug = open_collection("someone/African languages", HfApi())
>>> add_to_collection(slug, "other/retrieveall-sw", Hub())
"""

import re

from huggingface_hub import HfApi

from ..model.errors import InputError
from ..model.hub_files import Hub, Snapshot, is_collection, translate_hub_errors
from ..model.model_source import SkippedAdapters, fetch_manifest, read_collection


def open_collection(name: str, api: HfApi, *, private: bool | None = None, description: str | None = None) -> str:
    """Finds a collection. A collection that is named ``"owner/Title"`` is created if it does not exist.

    Args:
        name: The slug of the collection, or ``"owner/Title"``.
        api: The client.
        private: Whether a new collection is private.
        description: The description of a new collection.

    Returns:
        The slug of the collection.

    Raises:
        InputError: The name is neither a slug nor ``"owner/Title"``.
        HubError: The Hub rejects the request or cannot be reached.
    """
    check_collection_name(name)
    if is_collection(name):
        return name
    owner, _, title = name.partition("/")
    with translate_hub_errors(f"collection {name}"):
        created = api.create_collection(title, namespace=owner, description=description, private=bool(private), exists_ok=True)
    return str(created.slug)


def add_to_collection(slug: str, repository: str, hub: Hub, note: str | None = None) -> None:
    """Adds the repository of an adapter to a collection, unless it is in the collection already.

    Args:
        slug: The slug of the collection.
        repository: ``"owner/name"``.
        hub: The Hub.
        note: A note for the entry.

    Raises:
        InputError: The collection has another adapter of the same language. A collection with two could not be loaded.
        AdapterError: The repository does not hold a language adapter.
        HubError: The Hub rejects the request or cannot be reached.
    """
    language = fetch_manifest(Snapshot(hub, repository, hub.resolve(repository))).language
    for snapshot, manifest in read_collection(slug, hub, SkippedAdapters()).items():
        if manifest.language == language and snapshot.repository != repository:
            raise InputError(
                f"The collection {slug} already has an adapter for {language!r}, {snapshot.repository}, and it can have only one "
                f"per language. To replace it with {repository}, remove {snapshot.repository} from the collection first."
            )
    api = hub.api
    with translate_hub_errors(f"collection {slug}"):
        api.add_collection_item(slug, repository, "model", note=note, exists_ok=True)


def remove_from_collection(slug: str, repository: str, api: HfApi) -> None:
    """Removes a repository from a collection. The repository itself is not changed.

    Raises:
        InputError: The collection does not contain the repository.
        HubError: The Hub rejects the request or cannot be reached.
    """
    with translate_hub_errors(f"collection {slug}"):
        items = api.get_collection(slug).items
        found = [item for item in items if (item.item_type, item.item_id) == ("model", repository)]
        if found:
            api.delete_collection_item(slug, found[0].item_object_id)
    if not found:
        contents = ", ".join(item.item_id for item in items) or "no repository"
        raise InputError(f"The collection {slug} does not contain {repository}. It contains {contents}.")


def check_collection_name(name: str) -> None:
    """Checks that a name is a slug or ``"owner/Title"``, and not a slug that a terminal has shortened.

    Raises:
        InputError: The name is neither.
    """
    owner, _, title = name.partition("/")
    shortened = re.search(r"-[0-9a-f]{6,}(…|\.\.\.)?$", title) and not is_collection(name)
    if not owner or not title.strip() or shortened or "…" in title:
        raise InputError(f"{name!r} is not a collection. Give its complete slug, or 'owner/Title' to create one.")
