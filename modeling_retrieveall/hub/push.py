"""Pushes an adapter or a model to the Hub in one commit, after checks, and adds it to a collection.

>>> push_adapter("runs/sw", "someone/retrieveall-sw", collection="someone/African languages")
PushResult(repository='someone/retrieveall-sw', commit='0f1c...', url='https://...', collection='someone/african-...')
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
from transformers.utils import CONFIG_NAME
from yaml import YAMLError

from ..model.compatibility import check_hidden_size, check_lora_fits
from ..model.configuration_retrieveall import RetrieveAllConfig
from ..model.embedded_llm import EMBEDDED_BASE, resolve_base
from ..model.errors import AdapterError, InputError
from ..model.hub_files import Hub, HubError, HubUnreachableError, Snapshot, is_repository, translate_hub_errors
from ..model.language_adapter import CARD, INDEX_FILES, PLOT, WEIGHT_FILES, LanguageAdapter
from ..model.manifest import MANIFEST
from ..model.modeling_retrieveall import RetrieveAllModel
from ..model.untrusted_files import LIMITS
from .cards import adapter_card, edited_card, model_card
from .collections import add_to_collection, check_collection_name, open_collection


@dataclass(frozen=True)
class PushResult:
    """The result of a push.

    Attributes:
        repository: ``"owner/name"``.
        commit: The commit hash.
        url: The web page of the commit, or of the pull request.
        collection: The slug of the collection, if one was given.
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
) -> PushResult:
    """Pushes a language adapter to its own repository, in one commit.

    After an error the repository is unchanged; if it was created by this call, it is empty. A card that has been edited, in the
    folder or on the Hub, is kept. A generated card is replaced by one with the name of the repository.

    Args:
        adapter: The adapter or its folder.
        repo_id: ``"owner/name"``. The repository is created if it does not exist.
        collection: Slug of the collection to add the adapter to, or ``"owner/Title"``; with a title the collection is created if
            it does not exist.
        model_repo: The repository of a model, for the code on the card that adds the adapter to a model.
        private: Whether a new repository is private. With true, an existing repository must be private already.
        create_pr: Whether to open a pull request instead of pushing to the main branch.
        commit_message: The title of the commit.
        token: An access token; by default the saved one.

    Returns:
        The repository, the commit and its URL.

    Raises:
        AdapterError: The adapter cannot be loaded.
        InputError: The Hub does not accept the card's metadata, the repository is public although ``private`` is set, or two
            arguments cannot be combined.
        HubError: The Hub rejects the request or cannot be reached.
    """
    if collection:
        check_collection_name(collection)
    if collection and create_pr:
        raise InputError("`collection` and `create_pr` cannot be combined, because a pull request is not merged yet.")
    hub = Hub(token)
    _check_privacy(repo_id, private, hub)
    adapter = LanguageAdapter.load(adapter) if isinstance(adapter, str | Path) else adapter
    check_loads(adapter, hub)
    card = _kept_or_new_card(adapter, repo_id, model_repo, hub)
    names = [*INDEX_FILES, *WEIGHT_FILES, *([PLOT] if (adapter.path / PLOT).is_file() else [])]
    message = commit_message or f"Add the RetrieveAll adapter of {adapter.language}"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, adapter.copy_to(Path(folder), adapter.language))  # has the whole LoRA
        commit = _Commit(repo_id, {name: copy / name for name in names}, card, message).push(hub.api, private, create_pr)
    slug = _add_to_collection(repo_id, commit.oid, collection, private, hub) if collection else None
    return _result(repo_id, commit, slug)


def push_model(
    model: RetrieveAllModel,
    repo_id: str,
    *,
    collection: str | None = None,
    private: bool | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    token: str | bool | None = None,
) -> PushResult:
    """Pushes a model's configuration, code and card to a model repository, in one commit. The base LLM is not pushed.

    The configuration pins adapters that are on the Hub by their commits. Adapters in local folders are pushed with the model.

    Args:
        model: The model.
        repo_id: ``"owner/name"``. The repository is created if it does not exist.
        collection: The Hub collection from which the model loads further languages: its slug, or ``"owner/Title"``; with a title
            the collection is created if it does not exist.
        private: Whether a new repository is private. With true, an existing repository must be private already.
        create_pr: Whether to open a pull request instead of pushing to the main branch.
        commit_message: The title of the commit.
        token: An access token; by default the saved one.

    Returns:
        The repository, the commit and its URL.

    Raises:
        InputError: The model has no languages, the Hub does not accept the card's metadata, or the repository is public although
            ``private`` is set.
        HubError: The Hub rejects the request or cannot be reached.
    """
    if not model.adapters:
        raise InputError("The model has no languages, so there is nothing to push. Add an adapter first.")
    hub = Hub(token)
    _check_privacy(repo_id, private, hub)
    slug = open_collection(collection, hub.api, private=private) if collection else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save_pretrained(folder, collection=slug)
        config = RetrieveAllConfig.from_pretrained(folder)
        manifests = {language: adapter.manifest for language, adapter in model.adapters.items()}
        card = _edited_card_on_hub(repo_id, hub) or model_card(config, manifests, config.adapters, repo_id)
        files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
        message = commit_message or "Update the RetrieveAll model"
        loaded_commit = model.home.commit if model.home and model.home.repository == repo_id else None
        commit = _Commit(repo_id, files, card, message, loaded_commit).push(hub.api, private, create_pr)
    if not create_pr:
        model.home = Snapshot(hub, repo_id, commit.oid)
    return _result(repo_id, commit)


def check_loads(adapter: LanguageAdapter, hub: Hub) -> None:
    """Checks that other users will be able to load an adapter: its weights are finite and fit the base LLM.

    Args:
        adapter: The adapter.
        hub: The Hub, from which the configuration of the base LLM is read.

    Raises:
        AdapterError: The adapter cannot be loaded.
    """
    adapter.lora_weights(torch.float32)
    base_model, revision = adapter.manifest.base_model, adapter.manifest.base_revision
    if base_model != EMBEDDED_BASE and Path(base_model).exists():
        warnings.warn(
            f"The base LLM is the local folder {base_model}, so other users cannot load the adapter. Train with a base LLM from "
            "the Hub.",
            stacklevel=3,
        )
    arguments: dict[str, Any] = {"token": hub.token, "trust_remote_code": False}
    if base_model != EMBEDDED_BASE and revision:
        arguments["revision"] = revision
    try:
        config = AutoConfig.from_pretrained(resolve_base(base_model), **arguments)
    except (OSError, ValueError) as error:
        raise AdapterError(
            f"{adapter.source}: its base LLM {base_model!r} cannot be found, so other users could not load the adapter. Train "
            "with a base LLM from the Hub."
        ) from error
    with torch.device("meta"):  # only names and shapes, without memory for weights
        base = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    check_hidden_size(adapter, base)
    check_lora_fits(adapter, base, RetrieveAllConfig().max_rank)


def _check_privacy(repo_id: str, private: bool | None, hub: Hub) -> None:
    """Rejects an existing public repository if ``private`` is set."""
    if not private or not is_repository(repo_id):
        return
    with translate_hub_errors(repo_id):
        if hub.api.repo_exists(repo_id) and not hub.api.model_info(repo_id).private:
            raise InputError(
                f"{repo_id} already exists and is public. Make it private in its settings, push without `private`, or choose "
                "another repository."
            )


def _kept_or_new_card(adapter: LanguageAdapter, repo_id: str, model_repo: str | None, hub: Hub) -> ModelCard:
    """The card in the adapter's folder or on the Hub if it has been edited, else a new one for the repository."""
    if (text := edited_card(adapter.path)) is not None:
        return _read_card(text, str(adapter.path / CARD))
    return _edited_card_on_hub(repo_id, hub) or adapter_card(adapter, repo_id, model_repo)


def _edited_card_on_hub(repo_id: str, hub: Hub) -> ModelCard | None:
    """The card of the repository if it has been edited, else ``None``."""
    if not is_repository(repo_id):
        return None
    try:
        folder = hub.fetch(repo_id, hub.resolve(repo_id), {CARD: LIMITS.card_bytes})
    except HubUnreachableError:
        raise
    except HubError:
        return None  # the repository does not exist, or has no card
    text = edited_card(folder)
    return None if text is None else _read_card(text, f"the card of {repo_id}")


def _read_card(text: str, name: str) -> ModelCard:
    with _card_errors(name):
        return ModelCard(text, ignore_metadata_errors=False)


@contextmanager
def _card_errors(name: str) -> Iterator[None]:
    """Names the card in an error about metadata that the client, the YAML parser or the Hub does not accept."""
    try:
        yield
    except (ValueError, YAMLError) as error:
        raise InputError(f"{name} has metadata that the Hub does not accept: {error}") from error


@dataclass(frozen=True)
class _Commit:
    """The content of one commit.

    Attributes:
        repo_id: ``"owner/name"``.
        files: Name in the repository to file, without the card.
        card: The card.
        message: The title of the commit.
        expected_parent: The commit on which the changes are based. If there is a newer one, the push fails, so that nothing of it
            is lost.
    """

    repo_id: str
    files: dict[str, Path]
    card: ModelCard
    message: str
    expected_parent: str | None = None

    def push(self, api: HfApi, private: bool | None, create_pr: bool) -> CommitInfo:
        """Checks the card and the repository, creates the repository if it does not exist, and commits."""
        if not is_repository(self.repo_id):
            raise InputError(f"{self.repo_id!r} is not a repository. A repository has the form 'owner/name'.")
        with translate_hub_errors(f"the card of {self.repo_id}"), _card_errors(f"the card of {self.repo_id}"):
            self.card.validate()
        with translate_hub_errors(self.repo_id):
            self._check_kind(api)
            api.create_repo(self.repo_id, private=private, exist_ok=True)
            operations = [*self._additions(), *self._removals(api)]
            with warnings.catch_warnings():
                # The client warns about parquet files in a model repository.
                warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")
                return api.create_commit(
                    self.repo_id, operations, commit_message=self.message, create_pr=create_pr, parent_commit=self.expected_parent
                )

    def _check_kind(self, api: HfApi) -> None:
        """Rejects an adapter for the repository of a model and vice versa, because neither could be loaded afterwards."""
        if not api.repo_exists(self.repo_id):
            return
        names = set(api.list_repo_files(self.repo_id))
        for file, kind in ((CONFIG_NAME, "a model"), (MANIFEST, "a language adapter")):
            if file in names and file not in self.files:
                raise InputError(f"{self.repo_id} already holds {kind}, because it has a {file}. Choose another repository.")

    def _additions(self) -> Iterator[CommitOperationAdd | CommitOperationDelete]:
        yield CommitOperationAdd(CARD, str(self.card).encode("utf-8"))
        for name, file in self.files.items():
            if name != CARD:
                yield CommitOperationAdd(name, file)

    def _removals(self, api: HfApi) -> Iterator[CommitOperationAdd | CommitOperationDelete]:
        """Deletes adapters in the repository of a model that the model does not have any more."""
        for name in api.list_repo_files(self.repo_id):
            if name.startswith("adapters/") and name not in self.files:
                yield CommitOperationDelete(name)


def _result(repo_id: str, commit: CommitInfo, slug: str | None = None) -> PushResult:
    return PushResult(repo_id, commit.oid, commit.pr_url or commit.commit_url, slug)


def _add_to_collection(repo_id: str, commit: str, collection: str, private: bool | None, hub: Hub) -> str:
    try:
        slug = open_collection(collection, hub.api, private=private)
        add_to_collection(slug, repo_id, hub)
    except (HubError, ValueError) as error:
        raise type(error)(
            f"{repo_id} was pushed (commit {commit}), but could not be added to the collection: {error} Then push again, or add "
            "it with `retrieveall collection add`."
        ) from error
    return slug
