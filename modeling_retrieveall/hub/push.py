"""How an adapter or a model reaches the Hub: one commit each, checked before, listed in a collection afterwards.

>>> push_adapter("runs/sw", "someone/retrieveall-sw", collection="someone/African languages")
Pushed(repository='someone/retrieveall-sw', commit='0f1c...', url='https://huggingface.co/...', collection='someone/african-...')
"""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard
from transformers import AutoConfig, AutoModelForCausalLM
from yaml import YAMLError

from ..model.compatibility import check_hidden_size, check_weights
from ..model.configuration_retrieveall import RetrieveAllConfig
from ..model.embedded_llm import EMBEDDED_BASE, resolve_base
from ..model.errors import InputError
from ..model.hub_files import Hub, HubError, HubUnreachableError, Snapshot, explained, is_repository
from ..model.language_adapter import KNOWLEDGE_FILES, WEIGHT_FILES, LanguageAdapter
from ..model.lora_files import AdapterError
from ..model.manifest import MANIFEST
from ..model.modeling_retrieveall import RetrieveAllModel
from .cards import PLOT, adapter_card, is_generated, model_card
from .collections import add_to_collection, check_collection, open_collection

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
        private: Whether a repository that is created is private; one that is there must be already.
        create_pr: Open a pull request instead of changing the main branch.
        commit_message: The commit's title.
        token: An access token, instead of the saved one.

    Returns:
        What was pushed.

    Raises:
        AdapterError: It does not load, so it is not pushed.
        InputError: The Hub does not accept the card's metadata, the repository is public and was meant to be private, or two
            arguments exclude one another.
        HubError: The Hub refuses it or cannot be reached.
    """
    if collection:
        check_collection(collection)
    if collection and create_pr:
        raise InputError("A pull request changes nothing yet that a collection could list. Give collection or create_pr.")
    hub = Hub(token)
    _check_privacy(repo_id, private, hub)
    adapter = LanguageAdapter.load(adapter) if isinstance(adapter, str | Path) else adapter
    check_loads(adapter, hub)
    card = _card(adapter, repo_id, model_repo, hub)
    names = [*KNOWLEDGE_FILES, *WEIGHT_FILES, *([PLOT] if (adapter.path / PLOT).is_file() else [])]
    files = {name: adapter.path / name for name in names}
    message = commit_message or f"Add the RetrieveAll adapter of {adapter.language}"
    done = _Commit(repo_id, files, card, message).push(hub.api, private, create_pr)
    return _pushed(repo_id, done, _listed(repo_id, done.oid, collection, private, hub) if collection else None)


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
        private: Whether a repository that is created is private; one that is there must be already.
        create_pr: Open a pull request instead of changing the main branch.
        commit_message: The commit's title.
        token: An access token, instead of the saved one.

    Returns:
        What was pushed.

    Raises:
        InputError: The Hub does not accept the card's metadata, or the repository is public and was meant to be private.
        HubError: The Hub refuses it or cannot be reached.
    """
    if not model.adapters:
        raise InputError("The model has no language to push. Add one: model.add_language(FOLDER).")
    hub = Hub(token)
    _check_privacy(repo_id, private, hub)
    slug = open_collection(collection, hub.api, private=private) if collection else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save_pretrained(folder, collection=slug)
        config = RetrieveAllConfig.from_pretrained(folder)
        manifests = {language: adapter.manifest for language, adapter in model.adapters.items()}
        card = _edited_card(repo_id, hub) or model_card(config, manifests, config.adapters, repo_id)
        files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
        message = commit_message or "Update the RetrieveAll model"
        seen = model.home.commit if model.home and model.home.repository == repo_id else None
        done = _Commit(repo_id, files, card, message, seen).push(hub.api, private, create_pr)
    if not create_pr:
        model.home = Snapshot(hub, repo_id, done.oid)
    return _pushed(repo_id, done)


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


def _check_privacy(repo_id: str, private: bool | None, hub: Hub) -> None:
    """Refuses a repository that is there and public, where a private one is meant."""
    if not private or not is_repository(repo_id):
        return
    with explained(repo_id):
        if hub.api.repo_exists(repo_id) and not hub.api.model_info(repo_id).private:
            raise InputError(
                f"{repo_id} is there already, and public: everybody could read what is pushed. Make it private in its settings, "
                "push without private, or give another repository."
            )


def _card(adapter: LanguageAdapter, repo_id: str, model_repo: str | None, hub: Hub) -> ModelCard:
    """The card that somebody has edited, in the adapter's folder or on the Hub; else a new one that knows its repository."""
    file = adapter.path / CARD
    if file.is_file() and not is_generated(text := file.read_text(encoding="utf-8")):
        return _read_card(text, str(file))
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
    return None if is_generated(text) else _read_card(text, f"the card of {repo_id}")


def _read_card(text: str, name: str) -> ModelCard:
    with _card_errors(name):
        return ModelCard(text, ignore_metadata_errors=False)


@contextmanager
def _card_errors(name: str) -> Iterator[None]:
    """Names the card whose metadata the client, its YAML parser or the Hub do not accept."""
    try:
        yield
    except (ValueError, YAMLError) as error:
        raise InputError(f"{name} has metadata that the Hub does not accept: {error}") from error


@dataclass(frozen=True)
class _Commit:
    """Everything that goes to a repository at once.

    Attributes:
        repo_id: ``"owner/name"``.
        files: The files by their names in the repository; the card is not among them.
        card: The card.
        message: The commit's title.
        seen: The commit that the caller started from: whoever has pushed since would lose what they added.
    """

    repo_id: str
    files: dict[str, Path]
    card: ModelCard
    message: str
    seen: str | None = None

    def push(self, api: HfApi, private: bool | None, create_pr: bool) -> CommitInfo:
        """Checks it, creates the repository if it is missing, and commits."""
        if not is_repository(self.repo_id):
            raise InputError(f"{self.repo_id!r} is no repository; write it like 'someone/retrieveall-sw'.")
        with explained(f"the card of {self.repo_id}"), _card_errors(f"the card of {self.repo_id}"):
            self.card.validate()
        with explained(self.repo_id):
            self._check_kind(api)
            api.create_repo(self.repo_id, private=private, exist_ok=True)
            operations = [*self._additions(), *self._removals(api)]
            with warnings.catch_warnings():
                # The client takes a table in a model repository for a mistake.
                warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")
                return api.create_commit(
                    self.repo_id, operations, commit_message=self.message, create_pr=create_pr, parent_commit=self.seen
                )

    def _check_kind(self, api: HfApi) -> None:
        """Refuses to put an adapter on top of a model or the other way: neither would load afterwards."""
        if not api.repo_exists(self.repo_id):
            return
        there = set(api.list_repo_files(self.repo_id))
        for mark, kind in ((_MODEL_CONFIG, "a model"), (MANIFEST, "a language adapter")):
            if mark in there and mark not in self.files:
                raise InputError(f"{self.repo_id} holds {kind} already, as its {mark} says. Give a repository of its own.")

    def _additions(self) -> Iterator[CommitOperationAdd | CommitOperationDelete]:
        yield CommitOperationAdd(CARD, str(self.card).encode("utf-8"))
        for name, file in self.files.items():
            if name != CARD:
                yield CommitOperationAdd(name, file)

    def _removals(self, api: HfApi) -> Iterator[CommitOperationAdd | CommitOperationDelete]:
        """Adapters inside a model's repository that the model has no longer."""
        for name in api.list_repo_files(self.repo_id):
            if name.startswith("adapters/") and name not in self.files:
                yield CommitOperationDelete(name)


def _pushed(repo_id: str, done: CommitInfo, slug: str | None = None) -> Pushed:
    return Pushed(repo_id, done.oid, done.pr_url or done.commit_url, slug)


def _listed(repo_id: str, commit: str, collection: str, private: bool | None, hub: Hub) -> str:
    try:
        slug = open_collection(collection, hub.api, private=private)
        add_to_collection(slug, repo_id, hub)
    except (HubError, ValueError) as error:
        raise type(error)(
            f"{repo_id} is pushed (commit {commit}), but the collection does not list it: {error} "
            "Then push again, or run `retrieveall collection add`."
        ) from error
    return slug
