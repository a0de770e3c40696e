"""Downloads a model with all its languages from the Hub, into the cache for offline use or into folders.

>>> [adapter.language for adapter in pull("someone/retrieveall-panx")]
['de', 'en', 'mul']
"""

from contextlib import suppress
from pathlib import Path

import torch

from ..model.atomic import creating
from ..model.base_llm import load_base, pinned_revision
from ..model.errors import AdapterError, InputError
from ..model.hub_files import Hub, HubFileMissingError, Snapshot, is_collection, is_repository, translate_hub_errors
from ..model.language_adapter import CARD, CARD_FILES, LanguageAdapter
from ..model.model_source import SkippedAdapters, load_adapters, resolve_model
from ..model.untrusted_files import LIMITS


def pull(source: str, output: Path | None = None, revision: str | None = None, hub: Hub | None = None) -> list[LanguageAdapter]:
    """Downloads a model with all its languages. An adapter that cannot be used is skipped with a warning.

    Args:
        source: Repository of a model or an adapter on the Hub, or the slug of a collection.
        output: If given, each adapter is copied to a subfolder that is named after its language. Otherwise the adapters, the base
            LLM and the model's code are kept in the cache, and the model can be loaded offline.
        revision: Branch, tag or commit hash of the repository.
        hub: The Hub.

    Returns:
        The adapters at their new places.

    Raises:
        InputError: ``source`` is neither a repository nor a collection.
        FileExistsError: A folder of the output exists; it is not replaced.
        HubError: A file cannot be downloaded.
        AdapterError: No adapter can be used.
    """
    if not (is_repository(source) or is_collection(source)):
        raise InputError(f"{source!r} is neither a repository nor a collection. A repository has the form 'owner/name'.")
    hub, skipped = hub or Hub(), SkippedAdapters()
    found = resolve_model(source, hub, revision, skipped, {})
    adapters = load_adapters(found.adapters, skipped)
    for language, adapter in list(adapters.items()):
        try:
            adapter.lora_weights(torch.float32)
        except AdapterError as error:
            skipped.skip(adapter.source, error)
            del adapters[language]
    skipped.warn()
    if output is not None:
        for language in adapters:
            if (output / language).exists():
                raise FileExistsError(f"{output / language} already exists. Remove it, or choose another output folder.")
        return [_copy_adapter(adapter, output / language) for language, adapter in adapters.items()]
    if found.snapshot and not hub.offline:  # the repository of a model; those of adapters have no code
        _fetch_code(found.snapshot)
    base = found.config.base_model
    load_base(base, pinned_revision(base, found.config.base_revision, hub), hub)
    return list(adapters.values())


def _fetch_code(model: Snapshot) -> None:
    """Downloads the code, the configuration and the card of a model."""
    with translate_hub_errors(model.repository):
        files = model.hub.api.list_repo_files(model.repository, revision=model.commit)
    names = [name for name in files if "/" not in name and name.endswith((".py", ".json"))]
    model.fetch({name: LIMITS.json_bytes for name in names} | {name: LIMITS.card_bytes for name in files if name == CARD})


def _copy_adapter(adapter: LanguageAdapter, target: Path) -> LanguageAdapter:
    for name, limit in CARD_FILES.items():
        with suppress(HubFileMissingError):
            if adapter.snapshot:
                adapter.snapshot.fetch({name: limit})
    with creating(target) as copy:
        adapter.copy_to(copy.parent, copy.name)
    return LanguageAdapter.load(target)
