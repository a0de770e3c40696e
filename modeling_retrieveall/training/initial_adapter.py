"""The adapter that a new language starts from, so that it keeps what transfers.

>>> find_start("mul", "sw", EMBEDDED_BASE).language
'mul'
"""

import torch
from peft import LoraConfig

from ..model.configuration_retrieveall import RetrieveAllConfig
from ..model.hub_files import Hub
from ..model.language_adapter import LanguageAdapter
from ..model.lora_files import AdapterError
from ..model.manifest import SHARED_LANGUAGE, read_manifest
from ..model.model_source import locate, shipped_adapters


def find_start(init: str, language: str, base: str) -> LanguageAdapter | None:
    """The adapter that a run starts from, ``None`` for nothing.

    Args:
        init: A folder; or a repository on the Hub, with ``@revision`` if need be; ``"mul"`` for the shared adapter of the
            package; ``"none"``; or ``"auto"``, which is ``"mul"`` where it fits and nothing elsewhere.
        language: The language to be learned.
        base: The base LLM.

    Raises:
        AdapterError: It is of another base LLM.
        HubError: The Hub does not have it.
    """
    if init == "none" or (init == "auto" and language == SHARED_LANGUAGE):
        return None
    if init in ("auto", SHARED_LANGUAGE):
        shared = shipped_adapters() / SHARED_LANGUAGE
        if shared.is_dir() and read_manifest(shared).base_model == base:
            return LanguageAdapter.load(shared)
        if init == "auto":
            return None
        raise AdapterError(f"There is no 'mul' adapter for {base!r}. Use --init none, or train one with --language mul.")
    start = LanguageAdapter.load(locate(init, Hub()))
    if start.manifest.base_model != base:
        raise AdapterError(
            f"{start.source} was trained on {start.manifest.base_model!r}, not on {base!r}. Choose another --init or --base."
        )
    shapes = start.lora_shapes()  # fetches the weights, if they are on the Hub
    if (rank := max(a.shape[0] for a in shapes.a.values())) > RetrieveAllConfig().max_rank:
        raise AdapterError(f"{start.source} has rank {rank}. Start from an adapter of a lower one.")
    start.lora_weights(torch.float32)  # makes sure that they are finite
    return start


def start_config(start: LanguageAdapter) -> LoraConfig:
    """PEFT's configuration for going on with an adapter, made from its tensors: its own file may be a stranger's.

    Raises:
        AdapterError: Its layers differ in rank or scaling.
    """
    weights = start.lora_shapes()
    (rank, scaling), *others = {(a.shape[0], weights.scaling[name]) for name, a in weights.a.items()}
    if others:
        raise AdapterError(f"The layers of {start.source} differ in rank or scaling. Start from an adapter that has one of each.")
    return LoraConfig(
        r=rank,
        lora_alpha=round(rank * scaling),
        target_modules=sorted({name.rpartition(".")[2] for name in weights.a}),
        task_type="CAUSAL_LM",
    )
