"""The frozen base LLM: the embedded one, or any causal LM that transformers can load.

>>> base, tokenizer = load_base("Qwen/Qwen3-0.6B", dtype=torch.bfloat16)
"""

import os
import re
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

from .embedded_llm import EMBEDDED_BASE, EMBEDDED_REVISION, resolve_base
from .errors import InputError, InputTypeError, MissingPackageError
from .hub_files import Hub, is_hub_id
from .int8_linear import Int8Linear, quantize_linear_layers

_ADVICE = f"Give {EMBEDDED_BASE!r}, the Hub id of a causal LM, or a directory that holds one."
_DTYPES = ("float32", "bfloat16", "float16")


def pinned_revision(name: str, revision: str | None, hub: Hub) -> str | None:
    """The revision of a base LLM that a manifest records.

    Args:
        name: The base LLM, as in :func:`load_base`.
        revision: Branch, tag or commit hash on the Hub; ``None`` for the newest commit.
        hub: The connection to the Hub.

    Returns:
        The commit hash on the Hub, the checksum of the embedded LLM, or ``None`` for a folder.

    Raises:
        HubError: There is no such repository or revision.
    """
    if name == EMBEDDED_BASE:
        return EMBEDDED_REVISION
    return None if Path(name).expanduser().exists() or not is_hub_id(name) else hub.resolve(name, revision)


def load_base(
    name: str, revision: str | None = None, hub: Hub | None = None, **arguments: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a base LLM and its tokenizer.

    Args:
        name: ``"embedded/gemma-3-270m"``, or the Hub id or directory of any causal LM.
        revision: Branch, tag or commit hash on the Hub.
        hub: The connection to the Hub.
        **arguments: Arguments for the model's ``from_pretrained``. The default of ``dtype`` is float32. With ``int8=True`` the
            linear layers are quantised for a CPU (:mod:`int8_linear`).

    Raises:
        InputError: There is no such model, or it cannot be quantised.
        InputTypeError: The model does not have one of the arguments.
        MissingPackageError: The model requires a package that is not installed.
        MemoryError: The model does not fit into the memory of the device.
    """
    _prepare_for_forks()
    name = os.path.expanduser(name)
    if not is_hub_id(name) and not Path(name).exists():
        raise InputError(f"The base LLM {name!r} could not be loaded: there is no such folder. {_ADVICE}")
    hub, path = hub or Hub(), resolve_base(name)
    # An untrusted adapter may name the base LLM, so no code is executed, neither remote code nor a pickle.
    shared: dict[str, Any] = {name: getattr(hub, name) for name in ("token", "cache_dir", "local_files_only")}
    shared["trust_remote_code"] = False
    if name != EMBEDDED_BASE and revision:
        shared["revision"] = revision
    int8 = arguments.pop("int8", False)
    arguments = {"dtype": arguments.pop("torch_dtype", torch.float32), "use_safetensors": True, **arguments}
    try:
        base = AutoModelForCausalLM.from_pretrained(path, **shared, **arguments)
        tokenizer = AutoTokenizer.from_pretrained(path, **shared)
    except ImportError as error:  # bitsandbytes, or a package of the tokenizer
        raise MissingPackageError(f"The base LLM {name!r} could not be loaded: {str(error).strip()}") from error
    except torch.OutOfMemoryError as error:
        raise MemoryError(
            f"The base LLM {name!r} does not fit into the memory of the device. Load it with quantization='4bit', or choose a "
            "smaller one."
        ) from error
    except TypeError as error:
        raise InputTypeError(f"The base LLM {name!r} could not be loaded: {error}") from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(
            f"The base LLM {name!r} could not be loaded: {(str(error).strip() or type(error).__name__).splitlines()[0]} {_ADVICE}"
        ) from error
    if int8:
        _quantize(base)
    return base, tokenizer


def _quantize(base: PreTrainedModel) -> None:
    """Replaces the linear layers of a base LLM on the CPU by int8 layers. The LM head stays, as only some rows are computed."""
    if base.device.type != "cpu":
        raise InputError(f"quantization is 'int8', which is for CPUs, but the base LLM is on {base.device}. Give 8bit or 4bit.")
    if not quantize_linear_layers(base.get_decoder()):
        raise InputError(f"quantization is 'int8', but {type(base).__name__} has no linear layers without a bias.")


def quantization_of(base: PreTrainedModel) -> str | None:
    """Describes how a base LLM is quantised: ``"int8"``, or the configuration of bitsandbytes; ``None`` if it is not."""
    if any(isinstance(module, Int8Linear) for module in base.modules()):
        return "int8"
    config = getattr(base.config, "quantization_config", None)
    return None if config is None else str(config.to_dict())


@cache
def _prepare_for_forks() -> None:
    """Limits torch to one thread in every process that is forked from this one.

    GNU OpenMP keeps a pool of threads that a fork does not copy. A forked process that computes with several threads would wait
    for the threads of its parent forever.
    """
    if hasattr(os, "register_at_fork"):  # Windows does not have it
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def quantization_arguments(quantization: str | None, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """The arguments of :func:`load_base` for a quantised base LLM.

    Args:
        quantization: ``"4bit"`` (NF4) or ``"8bit"`` with bitsandbytes, ``"int8"`` for a CPU, or ``None``.
        dtype: The dtype of the products with weights of 4 bits. Transformers would take float32, whatever the base LLM has.

    Raises:
        InputError: ``quantization`` has another value.
    """
    if quantization is None:
        return {}
    if quantization == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    if quantization == "4bit":
        nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
        return {"quantization_config": nf4}
    if quantization == "int8":
        return {"int8": True}
    raise InputError(f"quantization is {quantization!r}; give 4bit, 8bit or int8.")


def placement(
    device: str | torch.device | None, dtype: str | torch.dtype | None, quantization: str | None, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Chooses the device and the dtype of a base LLM, unless the caller has chosen them.

    Args:
        device: A torch device such as ``"cuda:1"``. ``None`` and ``"auto"`` select a GPU if there is one.
        dtype: A dtype or its name. ``None`` and ``"auto"`` select the fastest one of the device (:func:`native_dtype`).
        quantization: ``"4bit"``, ``"8bit"``, ``"int8"`` or ``None``, as in :func:`quantization_arguments`.
        arguments: The other arguments of :func:`load_base`. If they have a ``device_map``, it decides about the device.

    Returns:
        Additional arguments for :func:`load_base`.

    Raises:
        InputError: The device does not exist on this machine, or a value is unknown.
    """
    if device is None or device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif "device_map" in arguments:
        raise InputError(f"device is {device!r} and device_map is {arguments['device_map']!r}. Give one of the two.")
    device = str(device)
    if not _is_here(device):
        raise InputError(f"device is {device!r}, which this machine does not have. Examples: cpu, cuda, cuda:1.")
    chosen = _dtype(arguments.pop("torch_dtype", None) if dtype is None else dtype, device)
    placed = {"dtype": chosen, **quantization_arguments(quantization, chosen)}
    if "device_map" not in arguments and (not device.startswith("cpu") or quantization or "quantization_config" in arguments):
        placed["device_map"] = {"": device}
    return placed


def _dtype(dtype: str | torch.dtype | None, device: str) -> torch.dtype:
    """The dtype of a name, and the fastest one of the device for ``None`` and ``"auto"``."""
    if dtype is None or dtype == "auto":
        return native_dtype(device)
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in _DTYPES:
        raise InputError(f"dtype is {dtype!r}; give auto, {', '.join(_DTYPES)}.")
    named: torch.dtype = getattr(torch, dtype)
    return named


def _is_here(device: str) -> bool:
    """Whether torch can compute on a device, such as ``"cuda:1"``."""
    match = re.fullmatch(r"(cpu|mps|cuda|xpu)(?::(\d+))?", device)
    if not match or match[1] == "cpu":
        return device in ("cpu", "cpu:0")
    backend = torch.mps if match[1] == "mps" else getattr(torch, match[1])
    return int(match[2] or 0) < int(backend.device_count())


def native_dtype(device: str = "cpu") -> torch.dtype:
    """The fastest dtype with the range of float32: bfloat16 if the device multiplies it natively, and else float32.

    On a CPU, only AMX makes bfloat16 faster than float32; AVX512_BF16 does not.

    Args:
        device: A device as in torch, such as ``"cuda:1"``.
    """
    if device.startswith("cuda"):
        native = bool(torch.cuda.is_bf16_supported(including_emulation=False))
    else:
        native = device == "cpu" and torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def decoder_layers(base: PreTrainedModel) -> nn.ModuleList | None:
    """The decoder layers of a causal LM; ``None`` if the model does not keep them in one list."""
    depth = base.config.get_text_config().num_hidden_layers
    stacks = [m for m in base.get_decoder().modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    return stacks[0] if stacks else None


def input_device(base: PreTrainedModel) -> torch.device:
    """The device for the input tokens: that of the input embeddings, or the CPU if these are offloaded by Accelerate."""
    device = next(base.get_input_embeddings().parameters()).device
    return torch.device("cpu") if device.type == "meta" else device
