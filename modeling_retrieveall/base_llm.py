"""The frozen LLM under all adapters: the embedded one, or any causal LM that transformers loads.

>>> base, tokenizer = load_base("Qwen/Qwen3-0.6B", dtype=torch.bfloat16)
"""

from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

from .embedded import EMBEDDED_BASE, EMBEDDED_REVISION, resolve_base


def load_base(name: str, **arguments: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A base LLM and its tokenizer.

    Args:
        name: ``"embedded/gemma-3-270m"``, a Hub id or a directory of any causal LM.
        **arguments: For the model's ``from_pretrained``; float32 is computed in unless ``dtype`` says otherwise.

    Raises:
        ValueError: There is no such model.
    """
    path = resolve_base(name)
    arguments.setdefault("dtype", torch.float32)
    arguments.setdefault("use_safetensors", True)  # a pickle runs code, and the base may be named by a stranger's adapter
    hub = {key: arguments[key] for key in ("token", "cache_dir", "local_files_only", "revision") if key in arguments}
    try:
        base = AutoModelForCausalLM.from_pretrained(path, **arguments)
        tokenizer = AutoTokenizer.from_pretrained(path, **hub)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The base LLM {name!r} could not be loaded: {(str(error).strip() or type(error).__name__).splitlines()[0]} "
            "Give 'embedded/gemma-3-270m', the Hub id of a causal LM, or a directory that holds one."
        ) from error
    return base, tokenizer


def quantization(bits: str | None) -> dict[str, Any]:
    """What :func:`load_base` takes to load a base quantised by bitsandbytes.

    Args:
        bits: ``"4bit"`` (NF4), ``"8bit"`` or ``None`` for neither.

    Raises:
        ValueError: It is something else.
    """
    if bits is None:
        return {}
    if bits == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    if bits == "4bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")}
    raise ValueError(f"quantize is {bits!r}; give 4bit or 8bit.")


def native_dtype(device: str = "cpu") -> torch.dtype:
    """The fastest dtype that keeps the range of float32: bfloat16 where the device multiplies it natively, else float32.

    On a CPU without such instructions bfloat16 is several times slower than float32.
    """
    if device.startswith("cuda"):
        native = bool(torch.cuda.is_bf16_supported(including_emulation=False))
    else:
        native = device == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


def input_device(base: PreTrainedModel) -> torch.device:
    """Where the tokens of a base go: to its embeddings; to the CPU when those are offloaded, whence Accelerate moves them."""
    device: torch.device = base.get_input_embeddings().weight.device
    return torch.device("cpu") if device.type == "meta" else device


def base_revision(name: str, base: PreTrainedModel) -> str | None:
    """What a manifest records for a loaded base: the checksum of the embedded one, the commit of a Hub model, else ``None``."""
    return EMBEDDED_REVISION if name == EMBEDDED_BASE else getattr(base.config, "_commit_hash", None)
