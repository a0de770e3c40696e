"""Averaging of the trained LoRA weights with those of the initial adapter.

A run of a few hundred sentences overshoots, so that weights between the initial and the trained ones are better than the trained
ones. Wortsman et al., "Robust fine-tuning of zero-shot models" (CVPR 2022), do the same with all weights of a model.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


def average_weights(trained: Mapping[str, Tensor], initial: Mapping[str, Tensor], initial_share: float) -> dict[str, Tensor]:
    """The weighted average of two adapters. A and B are averaged separately, which keeps the rank of the LoRA.

    Args:
        trained: The trained tensors, with PEFT's names.
        initial: The tensors of the initial adapter, with the same names and shapes.
        initial_share: Weight of the initial adapter, from 0 to 1.

    >>> average_weights({"lora_B": torch.ones(1)}, {"lora_B": torch.zeros(1)}, initial_share=0.25)
    {'lora_B': tensor([0.7500])}
    """
    return {
        name: torch.lerp(tensor.float(), initial[name].float(), initial_share).to(tensor.dtype)
        for name, tensor in trained.items()
    }
