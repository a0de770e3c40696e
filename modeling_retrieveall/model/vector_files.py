"""The vectors of an adapter on disk, a byte for each component.

retrieval.safetensors
  sentences, mentions, routing                  int8 [n, hidden]: whole multiples of the step of each column
  <name>.centre, <name>.step                    float32 [hidden]: what is added to them, and the size of a step
  training_hashes                               int64 [n]

Some components of an LLM's hidden states are a thousand times larger than others, so each has a step of its own. Earlier releases
wrote half precision, without centres and steps.

>>> write_vectors(folder / VECTORS, sentences, mentions, routing, training_hashes)
>>> read_vectors(folder / VECTORS, hidden_size=640).sentences.shape
torch.Size([399, 640])
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from .lora_files import open_tensors

VECTORS = "retrieval.safetensors"
_NAMES = ("sentences", "mentions", "routing")
_HASHES = "training_hashes"
_LARGEST_COMPONENT = 1e9  # hidden states stay far below, and their squares add up without overflow


@dataclass(frozen=True)
class StoredVectors:
    """The vectors of an adapter, as they were read.

    Attributes:
        sentences: ``[n, hidden]``, of the examples.
        mentions: ``[n, hidden]``, of their mentions.
        routing: ``[n, hidden]``, of further sentences.
        training_hashes: ``[n]`` int64, of the sentences that the adapter was trained on.
        tensors: All of it as the file has it. Written again, it is the same file; packed again, it would be off by rounding.
    """

    sentences: Tensor
    mentions: Tensor
    routing: Tensor
    training_hashes: Tensor
    tensors: Mapping[str, Tensor]

    def holds(self, *vectors: Tensor) -> bool:
        """Whether these are the very tensors that were read: sentences, mentions, routing and hashes."""
        mine = (self.sentences, self.mentions, self.routing, self.training_hashes)
        return all(one is other for one, other in zip(mine, vectors, strict=True))

    def write(self, file: Path) -> None:
        """Writes the same file again."""
        save_file(dict(self.tensors), file)


def write_vectors(file: Path, sentences: Tensor, mentions: Tensor, routing: Tensor, training_hashes: Tensor) -> None:
    """Writes the vectors of an adapter, as :class:`StoredVectors` describes them.

    Args:
        file: The file.
        sentences: ``[n, hidden]``.
        mentions: ``[n, hidden]``.
        routing: ``[n, hidden]``.
        training_hashes: ``[n]`` int64.
    """
    tensors = {_HASHES: training_hashes}
    for name, vectors in zip(_NAMES, (sentences, mentions, routing), strict=True):
        tensors |= _packed(name, vectors.float())
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)


def read_vectors(file: Path, hidden_size: int) -> StoredVectors:
    """Reads the vectors of an adapter.

    Args:
        file: The file.
        hidden_size: How many components each must have.

    Raises:
        ValueError: A tensor is missing, has another shape or dtype, or holds numbers that are too large.
    """
    with open_tensors(file) as tensors:
        found = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    if missing := {*_NAMES, _HASHES} - found.keys():
        raise ValueError(f"it has no {', '.join(sorted(missing))}")
    hashes = found[_HASHES]
    if hashes.ndim != 1 or hashes.dtype != torch.int64:
        raise ValueError(f"its {_HASHES} are {hashes.dtype} of shape {tuple(hashes.shape)}, not int64 [n]")
    vectors = {name: _unpacked(name, found, hidden_size) for name in _NAMES}
    for name, tensor in vectors.items():
        if not (tensor.float().abs() <= _LARGEST_COMPONENT).all():
            raise ValueError(f"its {name} vectors are not all finite, or too large")
    return StoredVectors(**vectors, training_hashes=hashes, tensors=found)


def _packed(name: str, vectors: Tensor) -> dict[str, Tensor]:
    """The vectors ``[n, hidden]`` in whole steps from the middle between the smallest and the largest of each column."""
    if not len(vectors):
        low = high = torch.zeros(vectors.shape[1])
    else:
        low, high = vectors.amin(0), vectors.amax(0)
    centre, step = (low + high) / 2, ((high - low) / 254).clamp(min=torch.finfo(torch.float32).tiny)
    packed = ((vectors - centre) / step).round().clamp(-127, 127).to(torch.int8)
    return {name: packed, f"{name}.centre": centre, f"{name}.step": step}


def _unpacked(name: str, found: Mapping[str, Tensor], hidden_size: int) -> Tensor:
    vectors = found[name]
    if vectors.ndim != 2 or vectors.shape[1] != hidden_size:
        raise ValueError(f"its {name} vectors have shape {tuple(vectors.shape)}, not [n, {hidden_size}]")
    if vectors.dtype != torch.int8:
        return vectors
    centre, step = found.get(f"{name}.centre"), found.get(f"{name}.step")
    if centre is None or step is None or centre.shape != (hidden_size,) or step.shape != (hidden_size,):
        raise ValueError(f"its {name} vectors are packed, and their centre or step is missing or has another shape")
    return vectors * step.float() + centre.float()
