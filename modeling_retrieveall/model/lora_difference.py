"""The LoRA of a language as a small difference to that of the multilingual adapter ``mul``.

A language adapter that was trained from ``mul`` stays close to it. What it has learned beyond ``mul`` is a matrix of low rank,
which takes an eighth of the space of the whole LoRA. For each linear layer, with the scaling included in B:

    B_de A_de  =  B_mul A_mul  +  D        D [out, in] ~ U S V^T of rank r    (singular value decomposition, Eckart-Young)

    joined     A [rank of mul + r, in]     A_mul above S^1/2 V^T
               B [out, rank of mul + r]    B_mul beside U S^1/2

The joined LoRA is one plain LoRA, which PEFT and vLLM read like any other.

>>> mul, de = read_lora(Path("runs/mul"), torch.float32), read_lora(Path("runs/de"), torch.float32)
>>> joined = join_lora(mul, lora_difference(de, mul, rank=4))
>>> joined.a["model.layers.0.self_attn.q_proj"].shape
torch.Size([36, 640])
"""

import torch
from torch import Tensor

from .errors import AdapterError
from .lora_bank import LoraWeights


def lora_difference(weights: LoraWeights, shared: LoraWeights, rank: int) -> LoraWeights:
    """The best approximation of a given rank to the difference between two LoRAs.

    Args:
        weights: The LoRA of a language, float32.
        shared: The LoRA of ``mul``, float32.
        rank: The rank of the difference.

    Returns:
        The difference, with a scaling of 1.

    Raises:
        AdapterError: The LoRAs adapt different modules, or layers of different sizes.
    """
    _check_same_modules(weights, shared)
    a, b = {}, {}
    for name in weights.a:
        rows = torch.cat([weights.a[name], shared.a[name]])  # [ranks, in]
        columns = torch.cat([_scaled_b(weights, name), -_scaled_b(shared, name)], dim=1)  # [out, ranks]
        a[name], b[name] = _truncated(rows, columns, rank)
    return LoraWeights(a, b, dict.fromkeys(a, 1.0))


def join_lora(first: LoraWeights, second: LoraWeights) -> LoraWeights:
    """The sum of two LoRAs as one LoRA, whose rank is the sum of their ranks and whose scaling is 1.

    Args:
        first: A LoRA.
        second: A LoRA of the same modules.

    Raises:
        AdapterError: The LoRAs adapt different modules, or layers of different sizes.
    """
    _check_same_modules(first, second)
    a = {name: torch.cat([first.a[name], second.a[name]]) for name in first.a}
    b = {name: torch.cat([_scaled_b(first, name), _scaled_b(second, name)], dim=1) for name in first.a}
    return LoraWeights(a, b, dict.fromkeys(a, 1.0))


def join_shapes(first: LoraWeights, second: LoraWeights) -> LoraWeights:
    """The shapes of the result of :func:`join_lora`, as tensors on the meta device.

    They are computed from the shapes of both LoRAs, because operations on meta tensors are slow.

    Args:
        first: The shapes of a LoRA.
        second: The shapes of a LoRA of the same modules.

    Raises:
        AdapterError: The LoRAs adapt different modules, or layers of different sizes.
    """
    _check_same_modules(first, second)
    ranks = {name: first.a[name].shape[0] + second.a[name].shape[0] for name in first.a}
    a = {name: torch.empty(rank, first.a[name].shape[1], device="meta") for name, rank in ranks.items()}
    b = {name: torch.empty(first.b[name].shape[0], rank, device="meta") for name, rank in ranks.items()}
    return LoraWeights(a, b, dict.fromkeys(a, 1.0))


def _scaled_b(weights: LoraWeights, name: str) -> Tensor:
    """B [out, rank], multiplied by the scaling."""
    return weights.b[name] * weights.scaling[name]


def _truncated(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best A [rank, in] and B [out, rank] for the product of ``b`` [out, ranks] and ``a`` [ranks, in].

    Only the small product of the two triangular factors is decomposed, never a matrix of the size of the layer.
    """
    left, upper = torch.linalg.qr(b)  # [out, ranks], [ranks, ranks]
    right, lower = torch.linalg.qr(a.T)  # [in, ranks], [ranks, ranks]
    u, s, v = torch.linalg.svd(upper @ lower.T)
    root = s[:rank].sqrt()
    return root[:, None] * (right @ v.T[:, :rank]).T, (left @ u[:, :rank]) * root


def _check_same_modules(first: LoraWeights, second: LoraWeights) -> None:
    if others := first.a.keys() ^ second.a.keys():
        raise AdapterError(f"Only one of the two LoRAs adapts {min(others)!r}. Train the language from `mul` again.")
    for name in first.a:
        sizes = [(weights.a[name].shape[1], weights.b[name].shape[0]) for weights in (first, second)]
        if sizes[0] != sizes[1]:
            raise AdapterError(
                f"For {name!r}, one LoRA has the input and output sizes {sizes[0]}, the other one {sizes[1]}. Train the language "
                "from `mul` again."
            )
