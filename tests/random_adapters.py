"""Adapters of the tiny base LLM with large random LoRA weights, so that their outputs differ clearly from each other."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = "adapter_model.safetensors"


def copy_with_random_weights(adapter: Path, target: Path, seed: int) -> Path:
    """Copies an adapter's folder, with random LoRA weights in place of the trained ones."""
    shutil.copytree(adapter, target)
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: tensor.shape for name, tensor in load_file(adapter / WEIGHTS).items()}
    weights = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in sorted(shapes.items())}
    save_file(weights, target / WEIGHTS, metadata={"format": "pt"})
    return target


def write_random_adapters(folder: Path, tiny_adapter: Callable[[str], Path]) -> Path:
    """Writes adapters with random weights for German, English and the multilingual ``mul`` into a folder."""
    for seed, language in enumerate(("de", "en", "mul")):
        copy_with_random_weights(tiny_adapter(language), folder / language, seed)
    return folder
