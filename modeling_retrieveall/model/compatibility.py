"""Checks that a language adapter fits the base LLM, its revision, the encoder layer and the prompt of a model.

>>> check_manifest_fits(adapter.source, adapter.manifest, model.config)
>>> check_hidden_size(adapter, model.base)
>>> check_lora_fits(adapter, model.base, max_rank=256)
"""

from transformers import PreTrainedModel

from .configuration_retrieveall import RetrieveAllConfig
from .errors import AdapterError
from .language_adapter import LanguageAdapter
from .lora_bank import check_fits
from .lora_files import LORA_WEIGHTS
from .manifest import MANIFEST, Manifest
from .prompting import PROMPT_VERSION, SUPPORTED_PROMPT_VERSIONS


def check_manifest_fits(source: str, manifest: Manifest, config: RetrieveAllConfig, base_loaded: bool = True) -> None:
    """Compares the base LLM, layer and prompt that an adapter was trained with to those of a model.

    Args:
        source: The adapter, for the error message.
        manifest: The manifest of the adapter.
        config: The configuration of the model.
        base_loaded: Whether the base LLM is loaded. Before that, a configuration without a revision fits every revision.

    Raises:
        AdapterError: They differ.
    """
    prompt_version = manifest.prompt_version if manifest.prompt_version in SUPPORTED_PROMPT_VERSIONS else PROMPT_VERSION
    # A base in a local folder has no revision. Earlier releases also recorded none for Hub ids without an owner.
    any_fits = manifest.base_revision is None or not (base_loaded or config.base_revision)
    ours_or_any = manifest.base_revision if any_fits else config.base_revision
    for what, theirs, ours in (
        ("base LLM", manifest.base_model, config.base_model),
        ("base revision", manifest.base_revision, ours_or_any),
        ("encoder layer", manifest.encoder_layer, config.encoder_layer),
        ("prompt version", manifest.prompt_version, prompt_version),
    ):
        if theirs != ours:
            raise AdapterError(
                f"{source}: according to {MANIFEST}, the {manifest.language!r} adapter has {what} {theirs!r}, "
                f"the model {ours!r}. Load it into a model with its own base LLM, or train it again for this one."
            )


def check_hidden_size(adapter: LanguageAdapter, base: PreTrainedModel) -> None:
    """Compares the width of an adapter's vectors to the hidden size of the base LLM.

    Raises:
        AdapterError: They differ.
    """
    theirs, ours = adapter.manifest.hidden_size, base.config.get_text_config().hidden_size
    if theirs != ours:
        raise AdapterError(
            f"{adapter.source}: according to {MANIFEST}, the {adapter.language!r} adapter has hidden size {theirs}, "
            f"the model {ours}. Load it into a model with its own base LLM."
        )


def check_lora_fits(adapter: LanguageAdapter, base: PreTrainedModel, max_rank: int) -> None:
    """Compares the names and shapes of an adapter's LoRA tensors to the linear layers of the base LLM.

    Args:
        adapter: The adapter. Its weights are downloaded if they are on the Hub, but no tensor is read.
        base: The base LLM.
        max_rank: The highest LoRA rank allowed.

    Raises:
        AdapterError: The base LLM has no such module, a shape differs, or the rank is higher than ``max_rank``.
        HubUnreachableError: The weights cannot be downloaded now.
    """
    shapes = adapter.lora_shapes()
    if (rank := max((a.shape[0] for a in shapes.a.values()), default=0)) > max_rank:
        raise AdapterError(f"{adapter.source}: {LORA_WEIGHTS} has rank {rank}; max_rank is {max_rank}.")
    try:
        check_fits(adapter.language, shapes, dict(base.named_modules()))
    except ValueError as error:
        raise AdapterError(f"{adapter.source}: {LORA_WEIGHTS}: {error}") from error
