"""Writes safetensors files that other users may read.

>>> save_tensors({"mean": torch.zeros(640)}, Path("vectors.safetensors"))
"""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Writes a safetensors file with the permissions that a new file usually has. The library lets only the owner read it.

    Args:
        tensors: The tensors by name.
        file: The file. One that exists is replaced, and its permissions are kept.
    """
    file.touch()
    mode = file.stat().st_mode
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, metadata={"format": "pt"})
    file.chmod(mode)
