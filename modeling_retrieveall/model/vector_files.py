"""The vectors of an adapter on disk, quantised to one byte per component.

retrieval.safetensors
  sentences, mentions, routing                  int8 [n, hidden]: multiples of the step of each column
  <name>.centre, <name>.step                    float32 [hidden]: vector = value * step + centre
  training_hashes                               int64 [n]

Each column has its own step, because some components of an LLM's hidden states are a thousand times larger than others. Earlier
releases wrote float16 without centres and steps; such files can still be read.

>>> write_vectors(folder / VECTORS, sentences, mentions, routing, training_hashes)
>>> read_vectors(folder / VECTORS, hidden_size=640).sentences.shape
torch.Size([466, 640])
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from .tensor_files import save_tensors
from .untrusted_files import LIMITS, open_safetensors

VECTORS = "retrieval.safetensors"
_NAMES = ("sentences", "mentions", "routing")
_HASHES = "training_hashes"


@dataclass(frozen=True)
class StoredVectors:
    """The vectors of an adapter as read from disk.

    Attributes:
        sentences: ``[n, hidden]``: sentence vectors of the examples.
        mentions: ``[n, hidden]``: vectors of the mentions in the examples; ``n`` is 0 if prompts contain no entities.
        routing: ``[n, hidden]``: vectors of further sentences, for the router only.
        training_hashes: ``[n]`` int64: hashes of the sentences that the adapter was trained on.
        tensors: The tensors of the file. They are kept so that saving writes the same file again; quantising once more would
            add a rounding error.
    """

    sentences: Tensor
    mentions: Tensor
    routing: Tensor
    training_hashes: Tensor
    tensors: Mapping[str, Tensor]

    def holds(self, *vectors: Tensor) -> bool:
        """Whether ``vectors`` are the objects that were read: sentences, mentions, routing and hashes, in this order."""
        mine = (self.sentences, self.mentions, self.routing, self.training_hashes)
        return all(one is other for one, other in zip(mine, vectors, strict=True))

    def with_hashes(self, hashes: Tensor) -> "StoredVectors":
        """The same vectors with other hashes, ``[n]`` int64."""
        return replace(self, training_hashes=hashes, tensors={**self.tensors, _HASHES: hashes})

    def without_mentions(self) -> "StoredVectors":
        """The same vectors without those of the mentions."""
        none = self.mentions[:0]
        return replace(self, mentions=none, tensors={**self.tensors, "mentions": self.tensors["mentions"][:0]})

    def write(self, file: Path) -> None:
        """Writes the same file again."""
        save_tensors(self.tensors, file)


def write_vectors(file: Path, sentences: Tensor, mentions: Tensor, routing: Tensor, training_hashes: Tensor) -> None:
    """Quantises and writes the vectors of an adapter.

    Args:
        file: The file to write.
        sentences: ``[n, hidden]``, as in :class:`StoredVectors`.
        mentions: ``[n, hidden]``.
        routing: ``[n, hidden]``.
        training_hashes: ``[n]`` int64.
    """
    tensors = {_HASHES: training_hashes}
    for name, vectors in zip(_NAMES, (sentences, mentions, routing), strict=True):
        tensors |= _quantised(name, vectors.float())
    save_tensors(tensors, file)


def read_vectors(file: Path, hidden_size: int) -> StoredVectors:
    """Reads and checks the vectors of an adapter.

    Args:
        file: The file.
        hidden_size: The number of components that each vector must have.

    Raises:
        ValueError: A tensor is missing, has the wrong shape or dtype, or holds values that are too large.
    """
    with open_safetensors(file) as tensors:
        found = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    if missing := {*_NAMES, _HASHES} - found.keys():
        raise ValueError(f"it has no {', '.join(sorted(missing))}")
    hashes = _checked_hashes(found[_HASHES])
    vectors = {name: _dequantised(name, found, hidden_size) for name in _NAMES}
    for name, tensor in vectors.items():
        if not (tensor.float().abs() <= LIMITS.vector_component).all():
            raise ValueError(f"its {name} vectors are not all finite, or too large")
    return StoredVectors(**vectors, training_hashes=hashes, tensors=found)


def read_hashes(file: Path) -> Tensor:
    """Reads only the hashes, ``[n]`` int64.

    Args:
        file: The file.

    Raises:
        ValueError: They are missing, or have the wrong shape or dtype.
    """
    with open_safetensors(file) as tensors:
        return _checked_hashes(tensors.get_tensor(_HASHES) if _HASHES in tensors.keys() else None)  # noqa: SIM118


def _checked_hashes(hashes: Tensor | None) -> Tensor:
    if hashes is None:
        raise ValueError(f"it has no {_HASHES}")
    if hashes.ndim != 1 or hashes.dtype != torch.int64:
        raise ValueError(f"its {_HASHES} are {hashes.dtype} of shape {tuple(hashes.shape)}, not int64 [n]")
    return hashes


def _quantised(name: str, vectors: Tensor) -> dict[str, Tensor]:
    """Vectors ``[n, hidden]`` as int8, with the centre ``[hidden]`` between minimum and maximum of each column and its step."""
    if not len(vectors):
        low = high = torch.zeros(vectors.shape[1])
    else:
        low, high = vectors.amin(0), vectors.amax(0)
    centre, step = (low + high) / 2, ((high - low) / 254).clamp(min=torch.finfo(torch.float32).tiny)
    quantised = ((vectors - centre) / step).round().clamp(-127, 127).to(torch.int8)
    return {name: quantised, f"{name}.centre": centre, f"{name}.step": step}


def _dequantised(name: str, found: Mapping[str, Tensor], hidden_size: int) -> Tensor:
    vectors = found[name]
    if vectors.ndim != 2 or vectors.shape[1] != hidden_size:
        raise ValueError(f"its {name} vectors have shape {tuple(vectors.shape)}, not [n, {hidden_size}]")
    if vectors.dtype != torch.int8:
        return vectors
    centre, step = found.get(f"{name}.centre"), found.get(f"{name}.step")
    if centre is None or step is None or centre.shape != (hidden_size,) or step.shape != (hidden_size,):
        raise ValueError(f"its {name} vectors are int8, but their centre or step is missing or has the wrong shape")
    return vectors * step.float() + centre.float()
