"""Which adapters belong to a model, and where they lie: in folders, or on the Hub, each at one commit.

>>> resolve(SHIPPED).adapters
{'bg': PosixPath('.../adapter_cards/bg'), 'de': PosixPath('.../adapter_cards/de'), ...}
>>> str(resolve("someone/retrieveall-panx").adapters["de"])
'someone/retrieveall-de@0f1c2d3e4b5a69788796a5b4c3d2e1f001122334'
"""

import json
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm.auto import tqdm

from .compatibility import check_manifest
from .configuration_retrieveall import RetrieveAllConfig
from .hub_files import (
    Hub,
    HubError,
    HubFileMissingError,
    HubNotCachedError,
    HubUnreachableError,
    Snapshot,
    is_collection,
    is_commit,
    is_repository,
)
from .language_adapter import KNOWLEDGE_FILES, LanguageAdapter, called
from .lora_files import AdapterError
from .manifest import MANIFEST, Manifest, read_manifest

SHIPPED = "shipped"
"""The name of the model that comes with the package: the embedded base LLM and the adapters of ``adapter_cards/``."""

_CONFIG = "config.json"
_REQUESTS = 8  # at a time, as huggingface_hub does

Source = Path | Snapshot
"""Where an adapter lies."""


@dataclass(frozen=True)
class Collection:
    """A configuration, where each of its adapters lies, by language, and the model's own repository, if it is from one."""

    config: RetrieveAllConfig
    adapters: dict[str, Source]
    home: Snapshot | None = None


class Refusals:
    """Adapters that a model does without, and why.

    Args:
        strict: Whether to raise the reason instead.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.reasons: list[str] = []

    def add(self, source: object, error: Exception) -> None:
        """Takes note of one adapter, and raises what may be mended by trying again."""
        if self.strict or (isinstance(error, HubUnreachableError) and not isinstance(error, HubNotCachedError)):
            raise error
        reason = str(error)
        self.reasons.append(reason if str(source).partition("@")[0] in reason else f"{source}: {reason}")

    def warn(self) -> None:
        """One warning that names each of them."""
        if self.reasons:
            listed = "\n".join(f"  {reason}" for reason in self.reasons)
            warnings.warn(f"Skipped {len(self.reasons)} of the model's adapters:\n{listed}", stacklevel=3)


def shipped_adapters() -> Path:
    """The folder of the shipped adapters: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "adapter_cards"
    return inside if inside.is_dir() else package.parent / "adapter_cards"


def resolve(
    source: str | Path, hub: Hub | None = None, revision: str | None = None, refusals: Refusals | None = None
) -> Collection:
    """Finds the configuration of a model, and its own adapters: those in its folder and those it pins.

    Args:
        source: ``"shipped"``; or a folder that ``save_pretrained`` wrote; or the folder of one adapter; or a folder of such
            folders; or the repository of a model or of one adapter on the Hub.
        hub: How the Hub is reached.
        revision: Branch, tag or commit hash of the repository.
        refusals: Takes note of pins that lead nowhere.

    Raises:
        FileNotFoundError: There is nothing of the kind.
        HubError: The repository cannot be read.
        AdapterError: Two adapters are of one language, or were trained on different base LLMs.
    """
    hub, refusals = hub or Hub(), refusals or Refusals()
    path = shipped_adapters() if source == SHIPPED else Path(source).expanduser()
    if path.is_dir():
        return _of_folder(path, hub, refusals)
    if source != SHIPPED and not path.exists() and is_repository(str(source)):
        return _of_repository(str(source), revision, hub, refusals)
    raise FileNotFoundError(
        f"There is no model at {str(source)!r}. "
        f"Give '{SHIPPED}', a folder written by `save_pretrained` or `retrieveall train`, or a repository on the Hub."
    )


def find(source: str | Path | None, hub: Hub, revision: str | None, refusals: Refusals, changes: Mapping[str, Any]) -> Collection:
    """All that makes up a model: what :func:`resolve` finds, with the caller's changes, and the items of its collection.

    Args:
        source: As :func:`resolve` takes it, or the slug of a collection; ``None`` is the collection among the changes alone, or
            else the shipped model.
        hub: How the Hub is reached.
        revision: Branch, tag or commit hash of the model's repository; at a commit hash the collection that the model names
            is left alone, and only its pins are loaded.
        refusals: Takes note of adapters that cannot be used.
        changes: Fields of the configuration to replace.
    """
    if isinstance(source, str) and is_collection(source) and not Path(source).exists():
        source, changes = None, {**changes, "collection": source}
    slug = changes.get("collection")
    if source is None and slug:
        found = with_items(None, slug, hub, refusals)
        found.config.change(changes)
        return found
    found = resolve(source or SHIPPED, hub, revision, refusals)
    own = found.config.collection
    found.config.change(changes)
    slug = found.config.collection
    # Who pins a model by its commit hash means the languages that it pins, not those that its collection has by now.
    pinned = is_commit(revision) and found.adapters and slug == own
    return found if pinned or not slug else with_items(found, slug, hub, refusals)


def locate(source: str | Path, hub: Hub, revision: str | None = None) -> Source:
    """Where one adapter lies: the folder that ``source`` names, or else the repository, at a commit.

    Args:
        source: A folder, ``"owner/name"`` or ``"owner/name@revision"``.
        hub: How the Hub is reached.
        revision: Branch, tag or commit hash of the repository.

    Raises:
        HubError: There is no such repository or revision.
    """
    path = Path(source).expanduser()
    repository, _, pinned = str(source).partition("@")
    if path.exists() or not is_repository(repository):
        return path
    return Snapshot(hub, repository, hub.resolve(repository, revision or pinned or None))


def with_items(found: Collection | None, slug: str, hub: Hub, refusals: Refusals) -> Collection:
    """Adds the adapters of a Hub collection to a model.

    Args:
        found: The model; without one, a model of the collection's adapters alone.
        slug: The collection's slug, ``"owner/title-64f9a55bb3115b4f513ec026"``.
        hub: How the Hub is reached.
        refusals: Takes note of items that are no adapters, or of another schema or base; without a model, the base of most.

    Raises:
        HubError: The collection cannot be read.
        AdapterError: Two items are of one language that the model does not pin.
    """
    manifests = read_items(slug, hub, refusals)
    if found is None:
        if not manifests:
            raise AdapterError(f"The collection {slug} holds no language adapter. Add one: retrieveall push FOLDER REPOSITORY.")
        # What most of them are of; a stranger's change to one of them must not stop the others.
        base = Counter(map(_base_of, manifests.values())).most_common(1)[0][0]
        found = Collection(_config_of(next(manifest for manifest in manifests.values() if _base_of(manifest) == base)), {})
    adapters: dict[str, Source] = {}
    for snapshot, manifest in manifests.items():
        try:
            check_manifest(str(snapshot), manifest, found.config, base_loaded=False)
        except AdapterError as error:
            refusals.add(snapshot, error)
            continue
        language = manifest.language
        if language in adapters and language not in found.adapters:
            raise AdapterError(
                f"{adapters[language]} and {snapshot} of the collection {slug} are both of {language!r}. "
                f"Pin one of them in the model's config.json, or run: retrieveall collection remove {slug} {snapshot.repository}"
            )
        adapters[language] = snapshot
    return Collection(found.config, adapters | found.adapters, found.home)


def load_adapters(sources: Mapping[str, Source], refusals: Refusals) -> dict[str, LanguageAdapter]:
    """Fetches and reads manifests and indices, several at a time.

    Args:
        sources: Where the adapter of each language lies.
        refusals: Takes note of adapters on the Hub that cannot be read; one in a folder is an error.

    Raises:
        AdapterError: The folder of an adapter cannot be read.
        HubUnreachableError: An adapter could not be fetched.
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
                refusals.add(sources[language], error)
    return adapters


def _load(language: str, source: Source) -> LanguageAdapter:
    adapter = LanguageAdapter.load(source)
    if adapter.language != language:
        raise AdapterError(f"{source} stands for {language!r}, but its retrieveall.json says {adapter.language!r}.")
    return adapter


def _of_folder(path: Path, hub: Hub, refusals: Refusals) -> Collection:
    if (path / _CONFIG).is_file():
        config = _read_config(path / _CONFIG)
        return Collection(config, _pinned(config, path, hub, refusals))
    folders = [path] if (path / MANIFEST).is_file() else sorted(f.parent for f in path.glob(f"[!.]*/{MANIFEST}"))
    if not folders:
        raise FileNotFoundError(
            f"{path} holds no model: neither {_CONFIG} nor {MANIFEST}, nor a folder with one. "
            "Train an adapter with `retrieveall train`, or save a model with `model.save_pretrained`."
        )
    return _from_folders(folders)


def _of_repository(repository: str, revision: str | None, hub: Hub, refusals: Refusals) -> Collection:
    home = Snapshot(hub, repository, hub.resolve(repository, revision))
    limits = {_CONFIG: KNOWLEDGE_FILES[MANIFEST]}
    try:
        path = home.fetch(limits)
    except HubFileMissingError:
        manifest = read_manifest_of(home)
        return Collection(_config_of(manifest), {manifest.language: home})
    with called(path, home):
        config = _read_config(path / _CONFIG)
    return Collection(config, _pinned(config, home, hub, refusals), home)


def _pinned(config: RetrieveAllConfig, home: Source, hub: Hub, refusals: Refusals) -> dict[str, Source]:
    """The adapters that a configuration names: ``"owner/name@revision"``, or a folder inside the model's own."""
    adapters: dict[str, Source] = {}
    for language, reference in config.adapters.items():
        repository, at, revision = reference.partition("@")
        try:
            if at and is_repository(repository):
                adapters[language] = Snapshot(hub, repository, hub.resolve(repository, revision))
            else:
                adapters[language] = _inside(home, reference, language)
        except HubError as error:
            refusals.add(repository, error)
        except _StrangeNameError as error:
            refusals.add(home, error)
    return adapters


class _StrangeNameError(AdapterError):
    """A name of a folder that cannot be one of ours."""


def _inside(home: Source, reference: str, language: str) -> Source:
    folder = PurePosixPath(reference)
    told = (
        f"{home}: {_CONFIG} names {reference!r} for {language!r}. Name 'owner/name@commit', or a folder inside the model's own."
    )
    if folder.is_absolute() or ".." in folder.parts or not folder.parts:
        raise AdapterError(told)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", reference):
        raise _StrangeNameError(told)
    return home / folder if isinstance(home, Path) else replace(home, folder=reference)


def read_items(slug: str, hub: Hub, refusals: Refusals) -> dict[Snapshot, Manifest]:
    """The manifests of a collection's adapters, in its order, each at its newest commit.

    Args:
        slug: The collection's slug.
        hub: How the Hub is reached.
        refusals: Takes note of items that are no adapters.

    Raises:
        HubError: The collection cannot be read.
    """
    manifests = {}
    with ThreadPoolExecutor(_REQUESTS) as pool:
        reading = {item: pool.submit(_read_item, *item, hub) for item in hub.collection(slug)}
        for (_, repository), future in reading.items():
            try:
                snapshot, manifest = future.result()
                manifests[snapshot] = manifest
            except HubFileMissingError:
                refusals.add(repository, AdapterError(f"{repository} is no language adapter: it has no {MANIFEST}."))
            except (AdapterError, HubError) as error:
                refusals.add(repository, error)
    return manifests


def _read_item(kind: str, repository: str, hub: Hub) -> tuple[Snapshot, Manifest]:
    if kind != "model":
        raise AdapterError(f"the {kind} {repository} is no language adapter.")
    snapshot = Snapshot(hub, repository, hub.resolve(repository))
    return snapshot, read_manifest_of(snapshot)


def read_manifest_of(snapshot: Snapshot) -> Manifest:
    """The manifest of an adapter on the Hub.

    Raises:
        AdapterError: It is damaged, or of a newer schema.
        HubFileMissingError: The repository holds no adapter.
    """
    path = snapshot.fetch({MANIFEST: KNOWLEDGE_FILES[MANIFEST]})
    with called(path, snapshot):
        return read_manifest(path)


def _from_folders(folders: list[Path]) -> Collection:
    manifests = {folder: read_manifest(folder) for folder in folders}
    adapters: dict[str, Source] = {}
    for folder, manifest in manifests.items():
        if manifest.language in adapters:
            raise AdapterError(
                f"{folder} and {adapters[manifest.language]} are both of {manifest.language!r}. Remove one of them."
            )
        adapters[manifest.language] = folder
    if len(bases := set(map(_base_of, manifests.values()))) > 1:
        raise AdapterError(
            f"The adapters of {folders[0].parent} are of different base LLMs or encoder layers: {sorted(map(str, bases))}."
        )
    return Collection(_config_of(manifests[folders[0]]), adapters)


def _base_of(manifest: Manifest) -> tuple[str, str | None, int]:
    return manifest.base_model, manifest.base_revision, manifest.encoder_layer


def _config_of(manifest: Manifest) -> RetrieveAllConfig:
    """The configuration of a model that has none: what its adapters were trained on."""
    return RetrieveAllConfig(manifest.base_model, manifest.base_revision, encoder_layer=manifest.encoder_layer)


def _read_config(file: Path) -> RetrieveAllConfig:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"{file} is damaged: {error}. Save or download the model again.") from error
    if not isinstance(data, dict):
        raise AdapterError(f"{file} is damaged: it holds {data!r}. Save or download the model again.")
    if data.get("model_type") != RetrieveAllConfig.model_type:
        raise AdapterError(
            f"{file.parent} holds a model of type {data.get('model_type')!r}, not '{RetrieveAllConfig.model_type}'. "
            "To use it as the base LLM, give it as base_model."
        )
    # Of what transformers would make of other fields, such as a million labels, a model repository decides nothing.
    own = {name: value for name, value in data.items() if name in RetrieveAllConfig.own_fields()}
    try:
        config: RetrieveAllConfig = RetrieveAllConfig.from_dict(own)
    except (ValueError, TypeError, AttributeError) as error:
        raise AdapterError(f"{file} is damaged: {error}. Save or download the model again.") from error
    return config
