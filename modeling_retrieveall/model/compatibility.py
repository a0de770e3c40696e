"""Whether a language adapter fits a base LLM, its revision, the encoder's layer and the prompt.

>>> check_manifest(adapter.source, adapter.manifest, model.config)
>>> check_weights(adapter, model.base, max_rank=256)
"""

from transformers import PreTrainedModel

from .configuration_retrieveall import RetrieveAllConfig
from .language_adapter import LanguageAdapter
from .lora_bank import check_fits
from .lora_files import LORA_WEIGHTS, AdapterError
from .manifest import MANIFEST, Manifest
from .prompting import PROMPT_VERSION, SERVED_VERSIONS


def check_manifest(source: str, manifest: Manifest, config: RetrieveAllConfig, base_loaded: bool = True) -> None:
    """Compares what an adapter was trained on with what a model is made of.

    Args:
        source: What the error calls the adapter.
        manifest: What the adapter says of itself.
        config: What the model is made of.
        base_loaded: Whether the revision of the base is known; before it is loaded every one fits a configuration without it.

    Raises:
        AdapterError: They differ.
    """
    prompt_version = manifest.prompt_version if manifest.prompt_version in SERVED_VERSIONS else PROMPT_VERSION
    # A base in a folder has no revision, and neither had those of the Hub whose ids have no owner, in earlier releases.
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
                f"{source}: by its {MANIFEST}, the {manifest.language!r} adapter has {what} {theirs!r}, the model {ours!r}. "
                "Load it into a model of its own base, or train it again on this one."
            )


def check_hidden_size(adapter: LanguageAdapter, base: PreTrainedModel) -> None:
    """Compares the width of an adapter's vectors with the base's.

    Raises:
        AdapterError: They differ.
    """
    theirs, ours = adapter.manifest.hidden_size, base.config.get_text_config().hidden_size
    if theirs != ours:
        raise AdapterError(
            f"{adapter.source}: by its {MANIFEST}, the {adapter.language!r} adapter has hidden size {theirs}, the model {ours}. "
            "Load it into a model of its own base."
        )


def check_weights(adapter: LanguageAdapter, base: PreTrainedModel, max_rank: int) -> None:
    """Compares an adapter's LoRA tensors with the linear layers of the base; reads names and shapes only.

    Raises:
        AdapterError: A tensor is of no module of the base, its shape does not fit, or its rank is over ``max_rank``.
        HubUnreachableError: The weights are on the Hub, which cannot be asked.
    """
    shapes = adapter.lora_shapes()
    if (rank := max((a.shape[0] for a in shapes.a.values()), default=0)) > max_rank:
        raise AdapterError(f"{adapter.source}: {LORA_WEIGHTS} has rank {rank}; max_rank is {max_rank}.")
    try:
        check_fits(adapter.language, shapes, dict(base.named_modules()))
    except ValueError as error:
        raise AdapterError(f"{adapter.source}: {LORA_WEIGHTS}: {error}") from error
