"""Adapters of the tiny base whose LoRA weights are large and random, so that every language answers in its own way."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = "adapter_model.safetensors"


def loud_copy(adapter: Path, target: Path, seed: int) -> Path:
    """A copy of an adapter's folder with random LoRA weights in place of the trained ones."""
    shutil.copytree(adapter, target)
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: tensor.shape for name, tensor in load_file(adapter / WEIGHTS).items()}
    loud = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in sorted(shapes.items())}
    save_file(loud, target / WEIGHTS, metadata={"format": "pt"})
    return target


def write_loud_adapters(folder: Path, tiny_adapter: Callable[[str], Path]) -> Path:
    """A folder of loud adapters for German, English and the shared ``mul``."""
    for seed, language in enumerate(("de", "en", "mul")):
        loud_copy(tiny_adapter(language), folder / language, seed)
    return folder
