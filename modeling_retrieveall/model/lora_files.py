"""The LoRA weights of an adapter on disk, in the format of PEFT.

A difference to the multilingual adapter, which no other program can use alone, takes one byte a weight instead of two. Each of
its ranks has a step for A and one for B:

adapter_model.safetensors
  <name>.lora_A.weight, <name>.lora_A.weight.step        int8 [rank, in], float32 [rank]: A = weight * step[:, None]
  <name>.lora_B.weight, <name>.lora_B.weight.step        int8 [out, rank], float32 [rank]: B = weight * step

>>> weights = read_lora(Path("adapter_cards/de"), torch.float32)
>>> weights.a["model.layers.0.self_attn.q_proj"].shape
torch.Size([8, 640])
"""

import json
import re
import reprlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import AdapterError
from .lora_bank import LoraWeights
from .tensor_files import save_tensors
from .untrusted_files import LIMITS, compile_module_pattern, errors_name_file, open_safetensors, read_json

LORA_CONFIG, LORA_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM accepts as ``--max-lora-rank``."""
_PEFT_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_STEP = ".step"
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_lora(path: Path, dtype: torch.dtype | None) -> LoraWeights:
    """Reads the LoRA weights that PEFT wrote into a folder.

    Args:
        path: The folder.
        dtype: The dtype of the tensors. ``None`` reads only their shapes, as tensors on the meta device.

    Raises:
        AdapterError: The files are damaged, or hold something other than a plain LoRA.
    """
    with errors_name_file(path / LORA_CONFIG):
        config = read_json(path / LORA_CONFIG)
        alphas = _checked_alphas(path, config)
    file = path / LORA_WEIGHTS
    sides: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
    with errors_name_file(file), open_safetensors(file) as tensors:
        found = set(tensors.keys())
        for key in sorted(found - {name + _STEP for name in found}):
            if dtype is None:
                tensor = torch.empty(tensors.get_slice(key).get_shape(), device="meta")
            else:
                tensor = tensors.get_tensor(key)
                if key + _STEP in found:
                    tensor = _dequantised(key, tensor, tensors.get_tensor(key + _STEP))
            match = _PEFT_NAME.fullmatch(key)
            if not match or tensor.ndim != 2 or not tensor.shape[0] or not tensor.shape[1] or tensor.dtype not in _FLOATS:
                raise AdapterError(
                    f"{file}: the tensor {key!r} does not belong to a plain LoRA. Train the adapter with `retrieveall train`."
                )
            sides[match[2]][match[1]] = tensor.to(dtype)
    a, b = sides["A"], sides["B"]
    if a.keys() != b.keys():
        raise AdapterError(f"{file}: A or B is missing for {min(a.keys() ^ b.keys())!r}. Download the adapter again.")
    if any(name.rpartition(".")[2] == "lm_head" for name in a):
        raise AdapterError(
            f"{file} adapts the LM head, which is not supported, because decoding computes only some of its rows. "
            "Train the adapter with `retrieveall train`."
        )
    return LoraWeights(a, b, {name: _scaling(config, alphas, name, a[name].shape[0]) for name in a})


def write_lora(folder: Path, weights: LoraWeights, config_file: Path) -> None:
    """Writes a LoRA of one rank and a scaling of 1 into a folder, in the format of PEFT.

    Args:
        folder: An existing folder.
        weights: The LoRA.
        config_file: The configuration of another LoRA of the same modules, of which all but rank and scaling is kept.
    """
    _write(folder, weights, lora_state_dict(weights), config_file)


def write_difference(folder: Path, difference: LoraWeights, config_file: Path) -> None:
    """Writes a difference to the multilingual adapter into a folder, quantised to one byte a weight.

    Args:
        folder: An existing folder.
        difference: The difference as a LoRA of one rank and a scaling of 1.
        config_file: As in :func:`write_lora`.
    """
    quantised: dict[str, Tensor] = {}
    for key, tensor in lora_state_dict(difference).items():
        quantised |= _quantised(key, tensor)
    _write(folder, difference, quantised, config_file)


def _write(folder: Path, weights: LoraWeights, tensors: dict[str, Tensor], config_file: Path) -> None:
    rank = next(iter(weights.a.values())).shape[0]
    changed = {"r": rank, "lora_alpha": rank, "use_rslora": False, "rank_pattern": {}, "alpha_pattern": {}}
    config = {**read_json(config_file), **changed}
    (folder / LORA_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_tensors(tensors, folder / LORA_WEIGHTS)


def lora_state_dict(weights: LoraWeights) -> dict[str, Tensor]:
    """The tensors of a LoRA under PEFT's names. PEFT keeps the scaling in its configuration instead."""
    sides = {"A": weights.a, "B": weights.b}
    return {
        f"base_model.model.{name}.lora_{side}.weight": tensor.contiguous()
        for side, tensors in sides.items()
        for name, tensor in tensors.items()
    }


def check_finite(path: Path, weights: LoraWeights) -> None:
    """Checks that no weight is NaN or infinite, or so large that the base LLM would overflow.

    Args:
        path: The folder of the adapter, for the error message.
        weights: The weights.

    Raises:
        AdapterError: A weight is NaN, infinite or too large.
    """
    for name in weights.a:
        update = weights.a[name].float().norm() * weights.b[name].float().norm() * weights.scaling[name]
        if not update.abs() <= LIMITS.lora_update:  # written this way because every comparison with NaN is false
            raise AdapterError(f"{path}: {LORA_WEIGHTS} has weights for {name!r} that are not all finite, or too large.")


def _quantised(key: str, tensor: Tensor) -> dict[str, Tensor]:
    """A or B as int8, with the step ``[rank]`` of each rank."""
    other_side = 1 if ".lora_A." in key else 0
    step = tensor.float().abs().amax(other_side).clamp(min=torch.finfo(torch.float32).tiny) / 127
    quantised = (tensor.float() / step.unsqueeze(other_side)).round().to(torch.int8)
    return {key: quantised.contiguous(), key + _STEP: step}


def _dequantised(key: str, tensor: Tensor, step: Tensor) -> Tensor:
    """A or B in bfloat16, as a copy of the whole LoRA holds it, so that the copy gives the same results.

    Tensors that do not belong together are returned unchanged, and :func:`read_lora` refuses them.
    """
    side, other_side = (0, 1) if ".lora_A." in key else (1, 0)
    if (tensor.ndim, tensor.dtype, step.dtype) != (2, torch.int8, torch.float32) or step.shape != (tensor.shape[side],):
        return tensor
    return (tensor * step.unsqueeze(other_side)).bfloat16()


def _checked_alphas(path: Path, config: dict[str, Any]) -> list[tuple[re.Pattern[str], float]]:
    """Checks that a configuration is that of a plain LoRA; returns the patterns of modules with an alpha of their own."""
    if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("modules_to_save"):
        raise AdapterError(
            f"{path} is not a plain LoRA (no DoRA, no modules_to_save) according to {LORA_CONFIG}. "
            "Train the adapter with `retrieveall train`."
        )
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or len(patterns) > LIMITS.alpha_patterns:
        raise AdapterError(
            f"{path}: alpha_pattern in {LORA_CONFIG} must be an object with at most {LIMITS.alpha_patterns:,} names."
        )
    for alpha in (config.get("lora_alpha"), *patterns.values()):
        if not isinstance(alpha, int | float) or not abs(alpha) <= LIMITS.lora_alpha:
            raise AdapterError(
                f"{path}: lora_alpha in {LORA_CONFIG} is {reprlib.repr(alpha)}, which is not a usable number. "
                "Train or download the adapter again."
            )
    try:
        return [(compile_module_pattern(pattern), alpha) for pattern, alpha in patterns.items()]
    except ValueError as error:
        raise AdapterError(f"{path}: alpha_pattern in {LORA_CONFIG}: {error}.") from error


def _scaling(config: dict[str, Any], alphas: list[tuple[re.Pattern[str], float]], module_name: str, rank: int) -> float:
    # As in PEFT, the first pattern that matches the name decides.
    alpha: float = next((value for pattern, value in alphas if pattern.match(module_name)), config["lora_alpha"])
    return alpha / rank**0.5 if config.get("use_rslora") else alpha / rank
