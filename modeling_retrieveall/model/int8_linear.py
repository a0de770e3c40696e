"""Linear layers in int8 for CPUs, where integer products are several times faster than those of float32 (AVX-512 VNNI).

The weights are quantised once, each output with its own step. The input is quantised in every forward pass, each token with its
own step, because the hidden states of some tokens are a thousand times larger than those of others (arXiv 2208.07339):

    x [tokens, in]   -- max of each row / 127 -->     x_q int8 [tokens, in],  x_step [tokens, 1]
    W [out, in]      -- max of each row / 127 -->     W_q int8 [out, in],     W_step [out]

    y [tokens, out]  =  (x_q W_q^T) * x_step * W_step

The gradient of the input is computed in the same way (SwitchBack, arXiv 2304.13013), so that adapters can be trained on such a
base LLM. The weights themselves are never trained.

Without AVX-512 VNNI, PyTorch's integer product is about fifty times slower than the product in float32. On such a CPU the integers
are multiplied as float32, which gives the same numbers: the layer then saves memory, but no time.

>>> layers = quantize_linear_layers(base.get_decoder())
>>> layers
126
"""

from typing import Any

import torch
from torch import Tensor, nn

_LEVELS = 127
_SMALLEST = 1e-12  # the step of a row of zeros
_MIN_FEATURES = 16  # PyTorch's int8 product is wrong for a matrix with a single row or column of weights


class Int8Linear(nn.Linear):
    """A linear layer without bias whose weights and inputs are quantised to int8.

    Args:
        linear: The layer to quantise.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight, step = _quantized(linear.weight.detach().float())
        self.weight = nn.Parameter(weight, requires_grad=False)  # [out, in]
        self.register_buffer("step", step[:, 0])  # [out]
        self.register_parameter("bias", None)
        self._is_hf_initialized = True  # Transformers would initialise a new layer with random numbers

    def forward(self, x: Tensor) -> Tensor:
        """Computes ``[..., out]`` from ``[..., in]``."""
        y: Tensor = Int8Product.apply(x.reshape(-1, self.in_features), self.weight, self.step)  # type: ignore[no-untyped-call]
        return y.reshape(*x.shape[:-1], self.out_features)


def quantize_linear_layers(module: nn.Module) -> int:
    """Replaces the linear layers without a bias inside a module by int8 layers; returns their number."""
    count = 0
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear and child.bias is None and min(child.weight.shape) >= _MIN_FEATURES:
            setattr(module, name, Int8Linear(child))
            count += 1
        else:
            count += quantize_linear_layers(child)
    return count


class Int8Product(torch.autograd.Function):
    """The product of float inputs and int8 weights, with a gradient for the inputs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, step: Tensor) -> Tensor:
        """``[tokens, out]`` from ``x`` [tokens, in], ``weight`` int8 [out, in] and ``step`` [out]."""
        ctx.save_for_backward(weight, step)
        levels, x_step = _quantized(x.float())
        return _integer_product(levels, weight.T).mul_(x_step).mul_(step).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """``[tokens, in]`` from the gradient of the output, ``[tokens, out]``."""
        weight, step = ctx.saved_tensors
        levels, y_step = _quantized(gradients[0].float() * step)
        return _integer_product(levels, weight).mul_(y_step).to(gradients[0].dtype), None, None


def _integer_product(a: Tensor, b: Tensor) -> Tensor:
    """The product of two int8 matrices, in float32: ``[rows, columns]`` from ``[rows, inner]`` and ``[inner, columns]``."""
    return torch._int_mm(a, b).float() if torch.cpu._is_vnni_supported() else a.float() @ b.float()


def _quantized(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Each row as int8 multiples of its step: ``[rows, columns]`` int8, and the steps ``[rows, 1]``."""
    largest = torch.maximum(rows.amax(-1, keepdim=True), -rows.amin(-1, keepdim=True))  # twice as fast as abs() first
    step = largest.div_(_LEVELS).clamp_(min=_SMALLEST)
    return (rows / step).round_().to(torch.int8), step
