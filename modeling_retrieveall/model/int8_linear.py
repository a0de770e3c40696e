"""Linear layers in int8 for CPUs, where integer products are faster than those of float32.

The weights are quantised once, each output with its own step. The input is quantised in every forward pass, each token with its
own step, because the hidden states of some tokens are a thousand times larger than those of others (arXiv 2208.07339):

    x [tokens, in]   -- max of each row / 127 -->     x_q int8 [tokens, in],  x_step [tokens, 1]
    W [out, in]      -- max of each row / 127 -->     W_q int8 [out, in],     W_step [out]

    y [tokens, out]  =  (x_q W_q^T) * x_step * W_step

The gradient of the input is computed in the same way (SwitchBack, arXiv 2304.13013), so that adapters can be trained on such a
base LLM. The weights themselves are never trained.

The kernel of the product depends on the CPU, because PyTorch's integer product is fast with AVX-512 VNNI only. With AVX2, the
kernel is that of oneDNN. It adds pairs of products in 16 bits, so that the weights have 63 levels there instead of 127. On other
CPUs the integers are multiplied as float32, which saves memory, but no time.

>>> layers = quantize_linear_layers(base.get_decoder())
>>> layers
126
"""

from typing import Any

import torch
from torch import Tensor, nn

_LEVELS = 127
_LEVELS_FOR_16_BITS = 63  # two products of an input from 0 to 255 and a weight of this size fit in 16 bits
_FEW_TOKENS = 64  # for fewer, packing the weights takes longer than the product in float32, which has the same result
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
        weight, step = _quantized(linear.weight.detach().float(), _LEVELS_FOR_16_BITS if _adds_in_16_bits() else _LEVELS)
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
        return _integer_product(levels, weight).mul_(x_step).mul_(step).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """``[tokens, in]`` from the gradient of the output, ``[tokens, out]``."""
        weight, step = ctx.saved_tensors
        levels, y_step = _quantized(gradients[0].float() * step)
        return _integer_product(levels, weight.T).mul_(y_step).to(gradients[0].dtype), None, None


def _integer_product(x: Tensor, weight: Tensor) -> Tensor:
    """``[tokens, out]`` in float32 from two int8 matrices, ``x`` [tokens, in] and ``weight`` [out, in]."""
    if torch.cpu._is_vnni_supported():
        return torch._int_mm(x, weight.T).float()
    if _adds_in_16_bits():
        product: Tensor = _onednn_product(x, weight)
        return product
    return x.float() @ weight.float().T


@torch.library.custom_op("retrieveall::onednn_product", mutates_args=())  # torch.compile cannot compile what it calls
def _onednn_product(x: Tensor, weight: Tensor) -> Tensor:
    """The integer product with the kernel of oneDNN, for weights with 63 levels; see :func:`_integer_product`."""
    if len(x) < _FEW_TOKENS:
        return x.float() @ weight.float().T
    packed = torch.ops.onednn.qlinear_prepack(weight.contiguous(), None)
    step, zero = weight.new_ones(len(weight), dtype=torch.float32), weight.new_zeros(len(weight), dtype=torch.int64)
    x_from_0_to_255 = x.view(torch.uint8) ^ 128  # x + 128
    y: Tensor = torch.ops.onednn.qlinear_pointwise(
        x_from_0_to_255, 1.0, 128, packed, step, zero, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return y


@_onednn_product.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], dtype=torch.float32)


def _adds_in_16_bits() -> bool:
    """Whether the integer product of this CPU is that of oneDNN with AVX2."""
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return onednn and torch.cpu._is_avx2_supported() and not torch.cpu._is_vnni_supported()


def _quantized(rows: Tensor, levels: int = _LEVELS) -> tuple[Tensor, Tensor]:
    """Each row as int8 multiples of its step, at most ``levels``: ``[rows, columns]`` int8, and the steps ``[rows, 1]``."""
    largest = torch.maximum(rows.amax(-1, keepdim=True), -rows.amin(-1, keepdim=True))  # twice as fast as abs() first
    step = largest.div_(levels).clamp_(min=_SMALLEST)
    return (rows / step).round_().to(torch.int8), step
