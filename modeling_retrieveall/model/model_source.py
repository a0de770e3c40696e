"""Resolves the source of a model: its configuration, and where each of its adapters is, in a folder or on the Hub at one commit.

>>> resolve_model(SHIPPED).adapters
{'bg': PosixPath('.../adapter_cards/bg'), 'de': PosixPath('.../adapter_cards/de'), ...}
>>> str(resolve_model("someone/retrieveall-panx").adapters["de"])
'someone/retrieveall-de@0f1c2d3e4b5a69788796a5b4c3d2e1f001122334'
"""

import reprlib
import warnings
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm.auto import tqdm
from transformers.utils import CONFIG_NAME

from .compatibility import check_manifest_fits
from .configuration_retrieveall import RetrieveAllConfig
from .errors import AdapterError
from .hub_files import (
    Hub,
    HubError,
    HubFileMissingError,
    HubNotCachedError,
    HubUnreachableError,
    Snapshot,
    errors_name_repository,
    is_collection,
    is_commit,
    is_repository,
)
from .language_adapter import INDEX_FILES, LanguageAdapter
from .manifest import MANIFEST, Manifest, read_manifest
from .untrusted_files import LIMITS, errors_name_file, is_folder_reference, read_json

SHIPPED = "shipped"
"""The name of the model that is bundled with the package: the embedded base LLM and the adapters in ``adapter_cards/``."""

_REQUESTS = 8  # concurrent requests, as in huggingface_hub

AdapterLocation = Path | Snapshot
"""A folder, or a repository on the Hub at one commit."""


@dataclass(frozen=True)
class ResolvedModel:
    """The parts of a model, before they are loaded.

    Attributes:
        config: The configuration.
        adapters: Where the adapter of each language is.
        snapshot: The model's own repository, if it was loaded from one.
    """

    config: RetrieveAllConfig
    adapters: dict[str, AdapterLocation]
    snapshot: Snapshot | None = None


class SkippedAdapters:
    """The adapters that a model is loaded without, and the reasons.

    Args:
        strict: Raise the error instead of skipping the adapter.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.reasons: list[str] = []

    def skip(self, source: object, error: Exception) -> None:
        """Records why an adapter is skipped.

        Raises:
            Exception: ``error`` itself, if ``strict`` is set, or if the Hub was unreachable, because a retry may then succeed.
        """
        if self.strict or (isinstance(error, HubUnreachableError) and not isinstance(error, HubNotCachedError)):
            raise error
        reason = str(error)
        self.reasons.append(reason if str(source).partition("@")[0] in reason else f"{source}: {reason}")

    def warn(self) -> None:
        """Warns once about all skipped adapters."""
        if self.reasons:
            listed = "\n".join(f"  {reason}" for reason in self.reasons)
            warnings.warn(f"Skipped {len(self.reasons)} of the model's adapters:\n{listed}", stacklevel=3)


def shipped_adapters() -> Path:
    """The folder of the shipped adapters: inside the installed package, or next to it in a checkout of the repository."""
    package = Path(__file__).parent.parent
    inside = package / "adapter_cards"
    return inside if inside.is_dir() else package.parent / "adapter_cards"


def resolve_model(
    source: str | Path | None = None,
    hub: Hub | None = None,
    revision: str | None = None,
    skipped: SkippedAdapters | None = None,
    changes: Mapping[str, Any] | None = None,
) -> ResolvedModel:
    """Finds the configuration and the adapters of a model. Only manifests and configurations are downloaded.

    Args:
        source: ``"shipped"``; a folder written by ``save_pretrained``; the folder of one adapter; a folder of such folders; the
            repository of a model or of one adapter on the Hub; or the slug of a Hub collection. ``None`` is the collection in
            ``changes``, if there is one, and else the shipped model.
        hub: The connection to the Hub.
        revision: Branch, tag or commit hash of the repository. At a commit hash, a model consists of the adapters that its
            configuration pins, and its collection is ignored.
        skipped: Records the adapters that cannot be used.
        changes: Fields of the configuration to replace.

    Raises:
        FileNotFoundError: There is no model at ``source``.
        HubError: The repository or the collection cannot be read.
        AdapterError: Two adapters have the same language, or their base LLMs differ.
    """
    hub, skipped, changes = hub or Hub(), skipped or SkippedAdapters(), changes or {}
    if isinstance(source, str) and is_collection(source) and not Path(source).exists():
        source, changes = None, {**changes, "collection": source}
    if source is None and changes.get("collection"):
        resolved = _with_collection(None, changes["collection"], hub, skipped)
        resolved.config.change(changes)
        return resolved
    resolved = _without_collection(source or SHIPPED, hub, revision, skipped)
    own = resolved.config.collection
    resolved.config.change(changes)
    slug = resolved.config.collection
    # The collection may have other adapters by now than at that commit.
    pinned = is_commit(revision) and resolved.adapters and slug == own
    return resolved if pinned or not slug else _with_collection(resolved, slug, hub, skipped)


def resolve_adapter(source: str | Path, hub: Hub, revision: str | None = None) -> AdapterLocation:
    """Finds one adapter.

    Args:
        source: A folder, ``"owner/name"`` or ``"owner/name@revision"``.
        hub: The connection to the Hub.
        revision: Branch, tag or commit hash of the repository.

    Returns:
        The folder, or if there is none, the repository at a commit.

    Raises:
        HubError: There is no such repository or revision.
    """
    path = Path(source).expanduser()
    repository, _, pinned = str(source).partition("@")
    if path.exists() or not is_repository(repository):
        return path
    return Snapshot(hub, repository, hub.resolve(repository, revision or pinned or None))


def load_adapters(sources: Mapping[str, AdapterLocation], skipped: SkippedAdapters) -> dict[str, LanguageAdapter]:
    """Downloads and reads the manifests and indices of adapters, several at a time.

    Args:
        sources: Where the adapter of each language is.
        skipped: Records the adapters on the Hub that cannot be read. An adapter in a folder raises an error instead.

    Raises:
        AdapterError: The folder of an adapter cannot be read.
        HubUnreachableError: An adapter cannot be downloaded now.
    """
    adapters = {}
    with ThreadPoolExecutor(_REQUESTS) as pool:
        loading = {language: pool.submit(_load, language, source) for language, source in sources.items()}
        for language, future in tqdm(loading.items(), desc="Loading adapters", unit="language", disable=None, leave=False):
            try:
                adapters[language] = future.result()
            except (AdapterError, HubError) as error:
                if isinstance(sources[language], Path):
                    raise
                skipped.skip(sources[language], error)
    return adapters


def read_collection(slug: str, hub: Hub, skipped: SkippedAdapters) -> dict[Snapshot, Manifest]:
    """Reads the manifests of the adapters in a Hub collection, each at its newest commit.

    Args:
        slug: The slug of the collection.
        hub: The connection to the Hub.
        skipped: Records the items that are not adapters.

    Returns:
        The manifests, in the order of the collection.

    Raises:
        HubError: The collection cannot be read.
    """
    manifests = {}
    with ThreadPoolExecutor(_REQUESTS) as pool:
        reading = {item: pool.submit(_read_item, *item, hub) for item in hub.collection_items(slug)}
        for (_, repository), future in reading.items():
            try:
                snapshot, manifest = future.result()
                manifests[snapshot] = manifest
            except HubFileMissingError:
                skipped.skip(repository, AdapterError(f"{repository} is not a language adapter: it has no {MANIFEST}."))
            except (AdapterError, HubError) as error:
                skipped.skip(repository, error)
    return manifests


def fetch_manifest(snapshot: Snapshot) -> Manifest:
    """Downloads and reads the manifest of an adapter on the Hub.

    Raises:
        AdapterError: The manifest is damaged, or a newer release wrote it.
        HubFileMissingError: The repository does not hold an adapter.
    """
    path = snapshot.fetch({MANIFEST: INDEX_FILES[MANIFEST]})
    with errors_name_repository(path, snapshot):
        return read_manifest(path)


def _load(language: str, source: AdapterLocation) -> LanguageAdapter:
    adapter = LanguageAdapter.load(source)
    if adapter.language != language:
        raise AdapterError(f"{source} is listed as the adapter for {language!r}, but its {MANIFEST} says {adapter.language!r}.")
    return adapter


def _read_item(kind: str, repository: str, hub: Hub) -> tuple[Snapshot, Manifest]:
    if kind != "model":
        raise AdapterError(f"the {kind} {repository} is not a language adapter.")
    snapshot = Snapshot(hub, repository, hub.resolve(repository))
    return snapshot, fetch_manifest(snapshot)


def _with_collection(resolved: ResolvedModel | None, slug: str, hub: Hub, skipped: SkippedAdapters) -> ResolvedModel:
    """Adds the adapters of a Hub collection to a model.

    Args:
        resolved: The model. Its own adapters take precedence. ``None`` makes a model for the base LLM of most of the adapters.
        slug: The slug of the collection.
        hub: The connection to the Hub.
        skipped: Records the items that are not adapters, or do not fit the model.
    """
    manifests = read_collection(slug, hub, skipped)
    if resolved is None:
        if not manifests:
            raise AdapterError(f"The collection {slug} has no language adapter. Add one: retrieveall push FOLDER REPOSITORY.")
        # The most frequent base LLM, so that one changed item does not make all others useless.
        base = Counter(map(_base_of, manifests.values())).most_common(1)[0][0]
        resolved = ResolvedModel(_config_of(next(manifest for manifest in manifests.values() if _base_of(manifest) == base)), {})
    adapters: dict[str, AdapterLocation] = {}
    for snapshot, manifest in manifests.items():
        try:
            check_manifest_fits(str(snapshot), manifest, resolved.config, base_loaded=False)
        except AdapterError as error:
            skipped.skip(snapshot, error)
            continue
        language = manifest.language
        if language in adapters and language not in resolved.adapters:
            raise AdapterError(
                f"{adapters[language]} and {snapshot} in the collection {slug} both have the language {language!r}. "
                f"Pin one of them in the model's config.json, or run: retrieveall collection remove {slug} {snapshot.repository}"
            )
        adapters[language] = snapshot
    return replace(resolved, adapters=adapters | resolved.adapters)


def _without_collection(source: str | Path, hub: Hub, revision: str | None, skipped: SkippedAdapters) -> ResolvedModel:
    path = shipped_adapters() if source == SHIPPED else Path(source).expanduser()
    if path.is_dir():
        return _resolve_folder(path, hub, skipped)
    if source != SHIPPED and not path.exists() and is_repository(str(source)):
        return _resolve_repository(str(source), revision, hub, skipped)
    raise FileNotFoundError(
        f"There is no model at {str(source)!r}. "
        f"Give '{SHIPPED}', a folder written by `save_pretrained` or `retrieveall train`, or a repository on the Hub."
    )


def _resolve_folder(path: Path, hub: Hub, skipped: SkippedAdapters) -> ResolvedModel:
    if (path / CONFIG_NAME).is_file():
        config = _read_config(path / CONFIG_NAME)
        return ResolvedModel(config, _own_adapters(config, path, hub, skipped))
    folders = [path] if (path / MANIFEST).is_file() else sorted(f.parent for f in path.glob(f"[!.]*/{MANIFEST}"))
    if not folders:
        raise FileNotFoundError(
            f"{path} does not hold a model: there is neither {CONFIG_NAME} nor {MANIFEST} in it or in one of its subfolders. "
            "Train an adapter with `retrieveall train`, or save a model with `model.save_pretrained`."
        )
    return _from_adapter_folders(folders)


def _resolve_repository(repository: str, revision: str | None, hub: Hub, skipped: SkippedAdapters) -> ResolvedModel:
    snapshot = Snapshot(hub, repository, hub.resolve(repository, revision))
    try:
        path = snapshot.fetch({CONFIG_NAME: LIMITS.json_bytes})
    except HubFileMissingError:
        manifest = fetch_manifest(snapshot)
        return ResolvedModel(_config_of(manifest), {manifest.language: snapshot})
    with errors_name_repository(path, snapshot):
        config = _read_config(path / CONFIG_NAME)
    return ResolvedModel(config, _own_adapters(config, snapshot, hub, skipped), snapshot)


def _own_adapters(
    config: RetrieveAllConfig, home: AdapterLocation, hub: Hub, skipped: SkippedAdapters
) -> dict[str, AdapterLocation]:
    """Locates the adapters that a configuration names: ``"owner/name@revision"``, or a folder inside that of the model."""
    adapters: dict[str, AdapterLocation] = {}
    for language, reference in config.adapters.items():
        repository, at, revision = reference.partition("@")
        try:
            if at and is_repository(repository):
                adapters[language] = Snapshot(hub, repository, hub.resolve(repository, revision))
            else:
                adapters[language] = _inside(home, reference, language)
        except HubError as error:
            skipped.skip(repository, error)
        except _FolderNameError as error:
            skipped.skip(home, error)
    return adapters


class _FolderNameError(AdapterError):
    """A reference that stays inside the model's folder, but is not the name of a folder."""


def _inside(home: AdapterLocation, reference: str, language: str) -> AdapterLocation:
    folder = PurePosixPath(reference)
    message = (
        f"{home}: {CONFIG_NAME} names {reference!r} for {language!r}. "
        "It must name 'owner/name@commit', or a folder inside that of the model."
    )
    if folder.is_absolute() or ".." in folder.parts or not folder.parts:
        raise AdapterError(message)
    if not is_folder_reference(reference):
        raise _FolderNameError(message)
    return home / folder if isinstance(home, Path) else replace(home, folder=reference)


def _from_adapter_folders(folders: list[Path]) -> ResolvedModel:
    manifests = {folder: read_manifest(folder) for folder in folders}
    adapters: dict[str, AdapterLocation] = {}
    for folder, manifest in manifests.items():
        if manifest.language in adapters:
            raise AdapterError(
                f"{folder} and {adapters[manifest.language]} both have the language {manifest.language!r}. Remove one of them."
            )
        adapters[manifest.language] = folder
    if len(bases := set(map(_base_of, manifests.values()))) > 1:
        raise AdapterError(
            f"The adapters in {folders[0].parent} have different base LLMs or encoder layers: {sorted(map(str, bases))}."
        )
    return ResolvedModel(_config_of(manifests[folders[0]]), adapters)


def _base_of(manifest: Manifest) -> tuple[str, str | None, int]:
    return manifest.base_model, manifest.base_revision, manifest.encoder_layer


def _config_of(manifest: Manifest) -> RetrieveAllConfig:
    """The default configuration for the base LLM that an adapter was trained on."""
    return RetrieveAllConfig(
        base_model=manifest.base_model, base_revision=manifest.base_revision, encoder_layer=manifest.encoder_layer
    )


def _read_config(file: Path) -> RetrieveAllConfig:
    with errors_name_file(file):
        data = read_json(file)
        if data.get("model_type") != RetrieveAllConfig.model_type:
            raise AdapterError(
                f"{file.parent} holds a model of type {reprlib.repr(data.get('model_type'))}, not "
                f"'{RetrieveAllConfig.model_type}'. To use it as the base LLM, give it as `base_model`."
            )
        # Other fields are ignored, because transformers acts on some of them: num_labels allocates a name for each label.
        own = {name: value for name, value in data.items() if name in RetrieveAllConfig.file_keys()}
        config: RetrieveAllConfig = RetrieveAllConfig.from_dict(own)
    return config
