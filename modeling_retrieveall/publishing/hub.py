"""How an adapter or a model reaches the Hub: one commit each, checked before, listed in a collection afterwards.

>>> push_adapter("runs/sw", "someone/retrieveall-sw", collection="someone/African languages")
Pushed(repository='someone/retrieveall-sw', commit='0f1c...', url='https://huggingface.co/...', collection='someone/african-...')
"""

import re
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard
from transformers import AutoConfig, AutoModelForCausalLM

from ..collection import Refusals, read_items, read_manifest_of
from ..compatibility import check_hidden_size, check_weights
from ..configuration_retrieveall import RetrieveAllConfig
from ..embedded import EMBEDDED_BASE, resolve_base
from ..hub_files import Hub, HubError, HubUnreachableError, Snapshot, explained, is_collection, is_repository
from ..language_adapter import KNOWLEDGE_FILES, WEIGHT_FILES, LanguageAdapter
from ..lora_files import AdapterError
from ..manifest import MANIFEST
from ..modeling_retrieveall import RetrieveAllModel
from .cards import PLOT, adapter_card, is_generated, model_card

CARD, _MODEL_CONFIG = "README.md", "config.json"
_MOST_CARD_BYTES = 1 << 20


@dataclass(frozen=True)
class Pushed:
    """What has reached the Hub.

    Attributes:
        repository: ``"owner/name"``.
        commit: The hash of the commit.
        url: The page of the commit, or of the pull request.
        collection: The slug of the collection that lists it, if one was asked for.
    """

    repository: str
    commit: str
    url: str
    collection: str | None = None


def push_adapter(
    adapter: LanguageAdapter | str | Path,
    repo_id: str,
    *,
    collection: str | None = None,
    model_repo: str | None = None,
    private: bool | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    token: str | bool | None = None,
) -> Pushed:
    """Pushes a language adapter to a repository of its own, in one commit.

    A failure leaves the repository as it was; one that was just created stays behind without files. A card that was edited by
    hand is pushed as it is; the one that training wrote is filled in with the repository's name.

    Args:
        adapter: The adapter or its folder.
        repo_id: ``"owner/name"``; created if missing.
        collection: Slug of a collection to list it in, or ``"owner/Title"`` of one that is created if missing.
        model_repo: The model repository that the card's example loads it into.
        private: Whether a repository that is created is private.
        create_pr: Open a pull request instead of changing the main branch.
        commit_message: The commit's title.
        token: An access token, instead of the saved one.

    Returns:
        What was pushed.

    Raises:
        AdapterError: It does not load, so it is not pushed.
        ValueError: The Hub does not accept the card's metadata, or two arguments exclude one another.
        HubError: The Hub refuses it or cannot be reached.
    """
    hub = Hub(token)
    adapter = LanguageAdapter.load(adapter) if isinstance(adapter, str | Path) else adapter
    check_loads(adapter, hub)
    card = _card(adapter, repo_id, model_repo, hub)
    names = [*KNOWLEDGE_FILES, *WEIGHT_FILES, *([PLOT] if (adapter.path / PLOT).is_file() else [])]
    files = {name: adapter.path / name for name in names}
    message = commit_message or f"Add the RetrieveAll adapter of {adapter.language}"
    return _push(repo_id, files, card, message, collection, private, create_pr, hub)


def push_model(
    model: RetrieveAllModel,
    repo_id: str,
    *,
    collection: str | None = None,
    private: bool | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    token: str | bool | None = None,
) -> Pushed:
    """Pushes a model's configuration, code, pins and card to a model repository, in one commit; never the base weights.

    Adapters of the Hub are pinned by their commits; adapters of folders travel inside the repository.

    Args:
        model: The model.
        repo_id: ``"owner/name"``; created if missing.
        collection: The Hub collection from which the model takes further languages at every load: its slug, or ``"owner/Title"``
            of one that is created if missing.
        private: Whether a repository that is created is private.
        create_pr: Open a pull request instead of changing the main branch.
        commit_message: The commit's title.
        token: An access token, instead of the saved one.

    Returns:
        What was pushed.

    Raises:
        ValueError: The Hub does not accept the card's metadata.
        HubError: The Hub refuses it or cannot be reached.
    """
    if not model.adapters:
        raise ValueError("The model has no language to push. Add one: model.add_language(FOLDER).")
    hub = Hub(token)
    slug = open_collection(collection, hub.api, private=private) if collection else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save_pretrained(folder, slug)
        config = RetrieveAllConfig.from_pretrained(folder)
        manifests = {language: adapter.manifest for language, adapter in model.adapters.items()}
        card = _edited_card(repo_id, hub) or model_card(config, manifests, config.adapters, repo_id)
        files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
        message = commit_message or "Update the RetrieveAll model"
        # Who has pushed to the repository since the model was loaded from it would otherwise lose what they added.
        seen = model.home.commit if model.home and model.home.repository == repo_id else None
        done = _push(repo_id, files, card, message, None, private, create_pr, hub, seen)
    if not create_pr:
        model.home = Snapshot(hub, repo_id, done.commit)
    return done


def check_loads(adapter: LanguageAdapter, hub: Hub) -> None:
    """Makes sure that whoever fetches an adapter can load it: its weights are finite and fit its base.

    Args:
        adapter: The adapter.
        hub: How its base is reached.

    Raises:
        AdapterError: It cannot be loaded.
    """
    adapter.lora_weights(torch.float32)
    base_model, revision = adapter.manifest.base_model, adapter.manifest.base_revision
    if base_model != EMBEDDED_BASE and Path(base_model).exists():
        warnings.warn(
            f"The base LLM is the folder {base_model}, which others do not have. Train on a base of the Hub.", stacklevel=3
        )
    shared: dict[str, Any] = {"token": hub.token, "trust_remote_code": False}
    if base_model != EMBEDDED_BASE and revision:
        shared["revision"] = revision
    try:
        config = AutoConfig.from_pretrained(resolve_base(base_model), **shared)
    except (OSError, ValueError) as error:
        raise AdapterError(
            f"{adapter.source}: its base LLM {base_model!r} cannot be found, so whether it fits cannot be checked. "
            "Others will not find it either; train on a base of the Hub."
        ) from error
    with torch.device("meta"):  # names and shapes alone, in no time
        base = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    check_hidden_size(adapter, base)
    check_weights(adapter, base, RetrieveAllConfig().max_rank)


def open_collection(name: str, api: HfApi, *, private: bool | None = None, description: str | None = None) -> str:
    """The slug of a collection, which is created if it is named ``"owner/Title"`` and missing.

    Args:
        name: Its slug, or ``"owner/Title"``.
        api: The client.
        private: Whether one that is created is private.
        description: What one that is created says of itself.

    Raises:
        ValueError: The name is neither.
        HubError: The Hub refuses it or cannot be reached.
    """
    _check_collection(name)
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
        ValueError: The collection has another adapter of the language, and with two of them it would not load.
        AdapterError: The repository holds no language adapter.
        HubError: The Hub refuses it or cannot be reached.
    """
    language = read_manifest_of(Snapshot(hub, repository, hub.resolve(repository))).language
    for snapshot, manifest in read_items(slug, hub, Refusals()).items():
        if manifest.language == language and snapshot.repository != repository:
            raise ValueError(
                f"The collection {slug} has an adapter of {language!r}, {snapshot.repository}; with two it would not load. "
                f"To put {repository} in its place, first run: retrieveall collection remove {slug} {snapshot.repository}"
            )
    api = hub.api
    with explained(f"collection {slug}"):
        api.add_collection_item(slug, repository, "model", note=note, exists_ok=True)


def remove_from_collection(slug: str, repository: str, api: HfApi) -> None:
    """Takes a repository off a collection; the repository itself stays.

    Raises:
        ValueError: The collection does not list it.
        HubError: The Hub refuses it or cannot be reached.
    """
    with explained(f"collection {slug}"):
        items = api.get_collection(slug).items
        found = [item for item in items if (item.item_type, item.item_id) == ("model", repository)]
        if found:
            api.delete_collection_item(slug, found[0].item_object_id)
    if not found:
        listed = ", ".join(item.item_id for item in items) or "nothing"
        raise ValueError(f"The collection {slug} does not list {repository}. It lists {listed}.")


def _check_collection(name: str) -> None:
    owner, _, title = name.partition("/")
    shortened = re.search(r"-[0-9a-f]{6,}(…|\.\.\.)?$", title) and not is_collection(name)
    if not owner or not title.strip() or shortened or "…" in title:
        raise ValueError(f"{name!r} is no collection; give its whole slug, or 'owner/Title' of one to create.")


def _card(adapter: LanguageAdapter, repo_id: str, model_repo: str | None, hub: Hub) -> ModelCard:
    """The card that somebody has edited, in the adapter's folder or on the Hub; else a new one that knows its repository."""
    file = adapter.path / CARD
    if file.is_file() and not is_generated(text := file.read_text(encoding="utf-8")):
        return ModelCard(text, ignore_metadata_errors=False)
    return _edited_card(repo_id, hub) or adapter_card(adapter, repo_id, model_repo)


def _edited_card(repo_id: str, hub: Hub) -> ModelCard | None:
    """The card of the repository, if somebody has edited it there."""
    if not is_repository(repo_id):
        return None
    try:
        folder = hub.fetch(repo_id, hub.resolve(repo_id), {CARD: _MOST_CARD_BYTES})
    except HubUnreachableError:
        raise
    except HubError:
        return None  # no such repository yet, or no card in it
    text = (folder / CARD).read_text(encoding="utf-8")
    return None if is_generated(text) else ModelCard(text, ignore_metadata_errors=False)


def _push(
    repo_id: str,
    files: dict[str, Path],
    card: ModelCard,
    message: str,
    collection: str | None,
    private: bool | None,
    create_pr: bool,
    hub: Hub,
    seen: str | None = None,
) -> Pushed:
    api = hub.api
    if not is_repository(repo_id):
        raise ValueError(f"{repo_id!r} is no repository; write it like 'someone/retrieveall-sw'.")
    if collection:
        _check_collection(collection)
    if collection and create_pr:
        raise ValueError("A pull request changes nothing yet that a collection could list. Give collection or create_pr.")
    with explained(f"the card of {repo_id}"):
        card.validate()
    with explained(repo_id):
        _check_kind(repo_id, files, api)
        api.create_repo(repo_id, private=private, exist_ok=True)
        with warnings.catch_warnings():
            # The client takes a table in a model repository for a mistake.
            warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")
            operations: list[Any] = [*_operations(files, card), *_removals(repo_id, files, api)]
            done = api.create_commit(repo_id, operations, commit_message=message, create_pr=create_pr, parent_commit=seen)
    slug = _listed(done, repo_id, collection, private, hub) if collection else None
    return Pushed(repo_id, done.oid, done.pr_url or done.commit_url, slug)


def _check_kind(repo_id: str, files: dict[str, Path], api: HfApi) -> None:
    """Refuses to put an adapter on top of a model or the other way: neither would load afterwards."""
    if not api.repo_exists(repo_id):
        return
    there = set(api.list_repo_files(repo_id))
    for mark, kind in ((_MODEL_CONFIG, "a model"), (MANIFEST, "a language adapter")):
        if mark in there and mark not in files:
            raise ValueError(f"{repo_id} holds {kind} already, as its {mark} says. Give a repository of its own.")


def _operations(files: dict[str, Path], card: ModelCard) -> Iterable[CommitOperationAdd]:
    yield CommitOperationAdd(CARD, str(card).encode("utf-8"))
    for name, file in files.items():
        if name != CARD:
            yield CommitOperationAdd(name, file)


def _removals(repo_id: str, files: dict[str, Path], api: HfApi) -> Iterable[CommitOperationDelete]:
    """Adapters inside a model's repository that the model has no longer."""
    for name in api.list_repo_files(repo_id):
        if name.startswith("adapters/") and name not in files:
            yield CommitOperationDelete(name)


def _listed(done: CommitInfo, repo_id: str, collection: str, private: bool | None, hub: Hub) -> str:
    try:
        slug = open_collection(collection, hub.api, private=private)
        add_to_collection(slug, repo_id, hub)
    except (HubError, ValueError) as error:
        raise type(error)(
            f"{repo_id} is pushed (commit {done.oid}), but the collection does not list it: {error} "
            "Then push again, or run `retrieveall collection add`."
        ) from error
    return slug
