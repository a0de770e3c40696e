"""The LoRA of an adapter on disk, as PEFT writes it.

>>> weights = read_lora(Path("adapter_cards/de"), torch.float32)
>>> weights.a["model.layers.0.self_attn.q_proj"].shape
torch.Size([8, 640])
"""

import json
import re
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from .errors import RetrieveAllError
from .lora_bank import LoraWeights

LORA_CONFIG, LORA_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PEFT_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_LONGEST_HEADER = 16 << 20  # of a hundred thousand tensors; safetensors itself takes 100 MB
_LARGEST_ALPHA = 1e6
_LARGEST_UPDATE = 1e6  # |A| * |B| * scaling; 11 in the shipped adapters, and float32 does not overflow yet
_MOST_PATTERNS, _MOST_CHOICES = 256, 10


class AdapterError(RetrieveAllError, ValueError):
    """A folder that cannot serve as a language adapter; the message names it and what is wrong."""


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Lets whatever goes wrong inside the ``with`` block end in one line that names the file."""
    try:
        yield
    except AdapterError:
        raise
    except Exception as error:  # a stranger's file makes a library raise what it likes
        # It may quote the file, line breaks and escape sequences included.
        reason = "".join(c if c.isprintable() else " " for c in str(error) or repr(error))[:300]
        raise AdapterError(f"{file} cannot be read: {reason}. Train or download the adapter again.") from error


@contextmanager
def open_tensors(file: Path) -> Iterator[Any]:
    """Opens a safetensors file, of which no tensor is read yet.

    Raises:
        ValueError: Its header is absurdly long.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"its header has {length:,} bytes; at most {_LONGEST_HEADER:,} are read")
    with safe_open(file, "pt") as tensors:
        yield tensors


def read_lora(path: Path, dtype: torch.dtype | None) -> LoraWeights:
    """The LoRA of a folder that PEFT wrote.

    Args:
        path: The folder.
        dtype: The dtype of the tensors; ``None`` reads their shapes alone, on the meta device.

    Raises:
        AdapterError: It is of another kind than plain LoRA, or damaged.
    """
    with reading(path / LORA_CONFIG):
        config = json.loads((path / LORA_CONFIG).read_text(encoding="utf-8"))
        _check_plain_lora(path, config)
        alphas = [(re.compile(rf"(.*\.)?({key})$"), value) for key, value in (config.get("alpha_pattern") or {}).items()]
    file = path / LORA_WEIGHTS
    sides: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
    with reading(file), open_tensors(file) as tensors:
        for key in tensors.keys():  # noqa: SIM118
            tensor = torch.empty(tensors.get_slice(key).get_shape(), device="meta") if dtype is None else tensors.get_tensor(key)
            named = _PEFT_NAME.fullmatch(key)
            if not named or tensor.ndim != 2 or not tensor.shape[0] or not tensor.shape[1] or tensor.dtype not in _FLOATS:
                raise AdapterError(f"{file}: tensor {key!r} is not of a plain LoRA. Train the adapter with `retrieveall train`.")
            sides[named[2]][named[1]] = tensor.to(dtype)
    a, b = sides["A"], sides["B"]
    if a.keys() != b.keys():
        raise AdapterError(f"{file}: A or B is missing for {min(a.keys() ^ b.keys())!r}. Download the adapter again.")
    if any(name.rpartition(".")[2] == "lm_head" for name in a):
        raise AdapterError(f"{file} adapts the LM head, which decoding reads row by row. Train it with `retrieveall train`.")
    return LoraWeights(a, b, {name: _scaling(config, alphas, name, a[name].shape[0]) for name in a})


def check_finite(path: Path, weights: LoraWeights) -> None:
    """Makes sure that no weight is NaN or infinite, nor so large that the base would overflow.

    Raises:
        AdapterError: One is.
    """
    for name in weights.a:
        update = weights.a[name].float().norm() * weights.b[name].float().norm() * weights.scaling[name]
        if not update.abs() <= _LARGEST_UPDATE:  # which is never true of NaN
            raise AdapterError(
                f"{path}: {LORA_WEIGHTS} has weights for {name!r} that are not all finite, or too large. "
                "Train or download the adapter again."
            )


def _check_plain_lora(path: Path, config: Any) -> None:
    plain = isinstance(config, dict) and config.get("peft_type") == "LORA"
    if not plain or config.get("use_dora") or config.get("modules_to_save"):
        raise AdapterError(
            f"{path} is not a plain LoRA (no DoRA, no modules_to_save), says {LORA_CONFIG}. Train it with `retrieveall train`."
        )
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or len(patterns) > _MOST_PATTERNS:
        raise AdapterError(f"{path}: alpha_pattern in {LORA_CONFIG} is no table of at most {_MOST_PATTERNS:,} modules.")
    for alpha in (config.get("lora_alpha"), *patterns.values()):
        if not isinstance(alpha, int | float) or not abs(alpha) <= _LARGEST_ALPHA:
            raise AdapterError(
                f"{path}: {LORA_CONFIG} has no usable number for lora_alpha: {reprlib.repr(alpha)}. "
                "Train or download the adapter again."
            )
    for pattern in patterns:
        _check_pattern(path, pattern)


def _check_pattern(path: Path, pattern: str) -> None:
    """Refuses a regular expression that a stranger could make run for ever: one with repetition, or many choices."""
    try:
        re.compile(pattern)
        fits = not re.search(r"[*+?{]", pattern) and pattern.count("|") <= _MOST_CHOICES
    except (re.error, OverflowError, RecursionError):
        fits = False
    if not fits:
        raise AdapterError(
            f"{path}: {LORA_CONFIG} has the alpha_pattern {reprlib.repr(pattern)}; "
            f"write names of modules without repetition and with at most {_MOST_CHOICES} '|'."
        )


def _scaling(config: dict[str, Any], alphas: list[tuple[re.Pattern[str], float]], module_name: str, rank: int) -> float:
    # As PEFT reads them: regular expressions, of which the first that matches counts.
    alpha: float = next((value for pattern, value in alphas if pattern.match(module_name)), config["lora_alpha"])
    return alpha / rank**0.5 if config.get("use_rslora") else alpha / rank
