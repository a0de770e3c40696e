"""A model's languages, fetched from the Hub: into the cache for work offline, or into folders.

>>> [adapter.language for adapter in pull("someone/retrieveall-panx")]
['de', 'en', 'mul']
"""

from contextlib import suppress
from pathlib import Path

import torch
from huggingface_hub import snapshot_download

from ..model.atomic import creating
from ..model.base_llm import load_base, pinned_revision
from ..model.errors import InputError
from ..model.hub_files import Hub, HubFileMissingError, explained, is_collection, is_repository
from ..model.language_adapter import PICTURED_FILES, LanguageAdapter
from ..model.lora_files import AdapterError
from ..model.model_source import Refusals, find, load_adapters


def pull(source: str, output: Path | None = None, revision: str | None = None, hub: Hub | None = None) -> list[LanguageAdapter]:
    """Fetches a model with all its languages.

    Args:
        source: Repository of a model or an adapter on the Hub, or slug of a collection.
        output: Copy each adapter to a folder of this one, named by its language. Without it everything stays in the cache, with
            the base LLM and the model's code, and works offline from then on.
        revision: Branch, tag or commit hash of the repository.
        hub: How the Hub is reached.

    Returns:
        The adapters, where they lie now.

    Raises:
        InputError: ``source`` names neither a repository nor a collection.
        FileExistsError: A folder is there already; it is not replaced.
        HubError: Something cannot be fetched.
        AdapterError: An adapter is of no use.
    """
    if not (is_repository(source) or is_collection(source)):
        raise InputError(f"{source!r} is neither a repository nor a collection; write it like 'someone/retrieveall-sw'.")
    hub, refusals = hub or Hub(), Refusals()
    found = find(source, hub, revision, refusals, {})
    adapters = load_adapters(found.adapters, refusals)
    for language, adapter in list(adapters.items()):
        try:
            adapter.lora_weights(torch.float32)
        except AdapterError as error:
            refusals.add(adapter.source, error)
            del adapters[language]
    refusals.warn()
    if output is not None:
        for language in adapters:
            if (output / language).exists():
                raise FileExistsError(f"{output / language} is there already. Move it away, or choose another output.")
        return [_copied(adapter, output / language) for language, adapter in adapters.items()]
    if not is_collection(source):
        with explained(source):
            snapshot_download(
                source,
                revision=hub.resolve(source, revision),
                allow_patterns=["*.py", "*.json", "README.md"],
                token=hub.token,
                cache_dir=hub.cache_dir,
            )
    base = found.config.base_model
    load_base(base, pinned_revision(base, found.config.base_revision, hub), hub)
    return list(adapters.values())


def _copied(adapter: LanguageAdapter, target: Path) -> LanguageAdapter:
    for name, limit in PICTURED_FILES.items():
        with suppress(HubFileMissingError):
            if adapter.snapshot:
                adapter.snapshot.fetch({name: limit})
    with creating(target) as copy:  # all of it or nothing
        adapter.copy_to(copy.parent, copy.name)
    return LanguageAdapter.load(target)
