"""The frozen LLM under all adapters: the embedded one, or any causal LM that transformers loads.

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
from .errors import InputError, MissingPackageError
from .hub_files import Hub, is_hub_id


def pinned_revision(name: str, revision: str | None, hub: Hub) -> str | None:
    """What a manifest records of a base: its commit on the Hub, the checksum of the embedded one; ``None`` for a folder.

    Args:
        name: As :func:`load_base` takes it.
        revision: Branch, tag or commit hash; the newest when not given.
        hub: How the Hub is reached.

    Raises:
        HubError: There is no such repository or revision.
    """
    if name == EMBEDDED_BASE:
        return EMBEDDED_REVISION
    return None if Path(name).expanduser().exists() or not is_hub_id(name) else hub.resolve(name, revision)


def load_base(
    name: str, revision: str | None = None, hub: Hub | None = None, **arguments: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A base LLM and its tokenizer.

    Args:
        name: ``"embedded/gemma-3-270m"``, a Hub id or a directory of any causal LM.
        revision: Branch, tag or commit hash of a base on the Hub.
        hub: How the Hub is reached.
        **arguments: For the model's ``from_pretrained``; float32 is computed in unless ``dtype`` says otherwise.

    Raises:
        InputError: There is no such model.
        MissingPackageError: It needs a package that is not installed.
    """
    _prepare_for_forks()
    hub, path = hub or Hub(), resolve_base(name)
    # A stranger's adapter may name the base: it runs no code, neither from the Hub nor from a pickle.
    shared: dict[str, Any] = {name: getattr(hub, name) for name in ("token", "cache_dir", "local_files_only")}
    shared["trust_remote_code"] = False
    if name != EMBEDDED_BASE and revision:
        shared["revision"] = revision
    arguments = {"dtype": arguments.pop("torch_dtype", torch.float32), "use_safetensors": True, **arguments}
    try:
        base = AutoModelForCausalLM.from_pretrained(path, **shared, **arguments)
        tokenizer = AutoTokenizer.from_pretrained(path, **shared)
    except ImportError as error:  # of bitsandbytes or of what a tokenizer needs
        raise MissingPackageError(f"The base LLM {name!r} could not be loaded: {str(error).strip()}") from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(
            f"The base LLM {name!r} could not be loaded: {(str(error).strip() or type(error).__name__).splitlines()[0]} "
            "Give 'embedded/gemma-3-270m', the Hub id of a causal LM, or a directory that holds one."
        ) from error
    return base, tokenizer


@cache
def _prepare_for_forks() -> None:
    """Lets every process that is forked from this one compute with one thread.

    GNU OpenMP keeps a pool of threads, which a fork does not copy: a forked process that computes with several threads waits for
    those of its parent forever.
    """
    if hasattr(os, "register_at_fork"):  # which Windows lacks
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def quantization(bits: str | None) -> dict[str, Any]:
    """What :func:`load_base` takes to load a base quantised by bitsandbytes.

    Args:
        bits: ``"4bit"`` (NF4), ``"8bit"`` or ``None`` for neither.

    Raises:
        InputError: It is something else.
    """
    if bits is None:
        return {}
    if bits == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    if bits == "4bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")}
    raise InputError(f"quantization is {bits!r}; give 4bit or 8bit.")


def placement(
    device: str | None, dtype: str | torch.dtype | None, quantized: str | None, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Chooses the device and the dtype of a base LLM, as far as a caller did not.

    Args:
        device: A device of torch such as ``"cuda:1"``; a GPU if there is one when ``None`` or ``"auto"``.
        dtype: A dtype or its name; the fastest one of the device when ``None`` or ``"auto"``.
        quantized: As for :func:`quantization`.
        arguments: The other arguments of :func:`load_base`. With ``device_map`` the device is not chosen here.

    Returns:
        Further arguments of :func:`load_base`.

    Raises:
        InputError: The device does not exist on this machine, or a value is unknown.
    """
    if device is None or device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif "device_map" in arguments:
        raise InputError(f"device is {device!r} and device_map is {arguments['device_map']!r}. Give one of the two.")
    if not _is_here(device):
        raise InputError(f"device is {device!r}, which this machine does not have; give cpu, cuda or cuda:1.")
    dtype = arguments.pop("torch_dtype", None) if dtype is None else dtype
    if dtype is None or dtype == "auto":
        dtype = native_dtype(device)
    elif isinstance(dtype, str):
        if dtype not in _DTYPES:
            raise InputError(f"dtype is {dtype!r}; give auto, {', '.join(_DTYPES)}.")
        dtype = getattr(torch, dtype)
    placed = {"dtype": dtype, **quantization(quantized)}
    if "device_map" not in arguments and (device != "cpu" or quantized or "quantization_config" in arguments):
        placed["device_map"] = {"": device}
    return placed


_DTYPES = ("float32", "bfloat16", "float16")


def _is_here(device: str) -> bool:
    """Whether torch can compute on a device, such as ``"cuda:1"``."""
    match = re.fullmatch(r"(cpu|mps|cuda|xpu)(?::(\d+))?", device)
    if not match or match[1] == "cpu":
        return device == "cpu"
    backend = torch.mps if match[1] == "mps" else getattr(torch, match[1])
    return int(match[2] or 0) < int(backend.device_count())


def native_dtype(device: str = "cpu") -> torch.dtype:
    """The fastest dtype that keeps the range of float32: bfloat16 where the device multiplies it natively, else float32.

    On a CPU without such instructions bfloat16 is several times slower than float32. AVX512_BF16 is not enough: without AMX its
    multiplications were 0.6 times as fast as float32's on an Intel Xeon, extraction and training 0.7 to 0.9 times.
    """
    if device.startswith("cuda"):
        native = bool(torch.cuda.is_bf16_supported(including_emulation=False))
    else:
        native = device == "cpu" and torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def decoder_layers(base: PreTrainedModel) -> nn.ModuleList | None:
    """The layers of a causal LM, ``None`` if they stand in no list."""
    depth = base.config.get_text_config().num_hidden_layers
    stacks = [m for m in base.get_decoder().modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    return stacks[0] if stacks else None


def input_device(base: PreTrainedModel) -> torch.device:
    """Where the tokens of a base go: to its embeddings; to the CPU when those are offloaded, whence Accelerate moves them."""
    device = next(base.get_input_embeddings().parameters()).device
    return torch.device("cpu") if device.type == "meta" else device
