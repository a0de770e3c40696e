"""The adapter that a run starts from.

>>> load_initial_adapter("mul", "sw", EMBEDDED_BASE).language
'mul'
"""

from pathlib import Path

import torch
from peft import LoraConfig

from ..model.configuration_retrieveall import RetrieveAllConfig
from ..model.errors import AdapterError, InputError
from ..model.hub_files import Hub
from ..model.language_adapter import LanguageAdapter
from ..model.manifest import MULTILINGUAL, read_manifest
from ..model.model_source import SHIPPED, AdapterLocation, resolve_adapter, resolve_model, shipped_adapters
from .arguments import AdapterTrainingArguments


def load_initial_adapter(source: str, language: str, base_model: str) -> LanguageAdapter | None:
    """Loads and checks the adapter that a run starts from.

    Args:
        source: A folder; a repository on the Hub, optionally with ``@revision``; the language of a shipped adapter, such as
            ``"mul"``; ``"none"``; or ``"auto"``: ``"mul"`` if that was trained on ``base_model``, otherwise ``"none"``.
        language: The language that is trained.
        base_model: The base LLM.

    Returns:
        The adapter, or ``None`` if the run starts from random weights.

    Raises:
        AdapterError: The adapter was trained on another base LLM, its rank is too high, or its weights are not finite.
        HubError: The adapter cannot be downloaded.
    """
    if source == "none" or (source == "auto" and language == MULTILINGUAL):
        return None
    if source in ("auto", MULTILINGUAL):
        shared = shipped_adapters() / MULTILINGUAL
        if shared.is_dir() and read_manifest(shared).base_model == base_model:
            return LanguageAdapter.load(shared)
        if source == "auto":
            return None
        raise AdapterError(
            f"The package has no 'mul' adapter for the base LLM {base_model!r}. Set init_adapter='none', or train 'mul' first."
        )
    initial = LanguageAdapter.load(_location(source))
    if initial.manifest.base_model != base_model:
        raise AdapterError(
            f"{initial.source} was trained on the base LLM {initial.manifest.base_model!r}, not on {base_model!r}."
        )
    shapes = initial.lora_shapes()  # downloads the weights of an adapter on the Hub
    rank, max_rank = max(a.shape[0] for a in shapes.a.values()), RetrieveAllConfig().max_rank
    if rank > max_rank:
        raise AdapterError(f"{initial.source} has rank {rank}, but an initial adapter may have at most {max_rank}.")
    initial.lora_weights(torch.float32)  # raises if a weight is not finite
    return initial


def _location(source: str) -> AdapterLocation:
    """Where an adapter is. A folder takes precedence over a shipped adapter with the same name."""
    shipped = resolve_model(SHIPPED).adapters
    if source in shipped and not Path(source).exists():
        return shipped[source]
    return resolve_adapter(source, Hub())


def check_initial_adapter(arguments: AdapterTrainingArguments, initial: LanguageAdapter | None) -> None:
    """Refuses arguments that would have no effect with the initial adapter, or without one.

    Args:
        arguments: The arguments of the run.
        initial: The initial adapter, if any.

    Raises:
        InputError: ``start_share`` is given without an initial adapter, or ``rank`` or ``lora_alpha`` differs from that of the
            initial adapter.
        AdapterError: The layers of the initial adapter differ in rank or scaling.
    """
    if initial is None:
        if arguments.start_share is not None:
            raise InputError(
                f"start_share is {arguments.start_share}, but there is no initial adapter. Set `init_adapter`, or omit "
                "`start_share`."
            )
        return
    config = lora_config_of(initial)
    for name, given, used in (
        ("rank", arguments.rank, config.r),
        ("lora_alpha", arguments.lora_alpha, config.lora_alpha),
    ):
        if given not in (None, used):
            raise InputError(
                f"{name} is {given}, but the initial adapter {initial.source} has {used}. Omit `{name}`, or set "
                "init_adapter='none'."
            )


def lora_config_of(adapter: LanguageAdapter) -> LoraConfig:
    """PEFT's configuration for continuing to train an adapter.

    It is derived from the tensors, because the configuration file of an adapter is untrusted.

    Raises:
        AdapterError: The layers of the adapter differ in rank or scaling.
    """
    weights = adapter.lora_shapes()
    (rank, scaling), *others = {(a.shape[0], weights.scaling[name]) for name, a in weights.a.items()}
    if others:
        raise AdapterError(f"The layers of {adapter.source} differ in rank or scaling, which an initial adapter must not.")
    return LoraConfig(
        r=rank,
        lora_alpha=round(rank * scaling),
        target_modules=sorted({name.rpartition(".")[2] for name in weights.a}),
        task_type="CAUSAL_LM",
    )
