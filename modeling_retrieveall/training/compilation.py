"""Compilation of the base LLM's layers with ``torch.compile`` during training.

>>> layers = compiled_layers(model.base, enabled=True)
>>> with layers:
...     loss = model(**micro_batch).loss
"""

from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from transformers import PreTrainedModel

from ..model.base_llm import decoder_layers
from ..model.errors import InputError
from ..model.int8_linear import Int8Product

_COMPILATIONS_PER_LAYER = 8  # PyTorch allows 8 compilations of one function, and all layers share that function


def compiled_layers(base: PreTrainedModel, enabled: bool) -> AbstractContextManager[Any]:
    """A context in which the decoder layers run compiled, or one without effect if not ``enabled``.

    Args:
        base: The base LLM with the LoRA that is trained.
        enabled: Whether to compile.

    Raises:
        InputError: The base LLM has no list of layers.
    """
    return _CompiledLayers(base) if enabled else ExitStack()


class _CompiledLayers(AbstractContextManager[None]):
    """Compiles each decoder layer at its first call inside the ``with`` block.

    Outside the block the layers run uncompiled, because compiled code ignores hooks that are added later, such as those of the
    LoRA bank during validation. PyTorch compiles the code of all layers separately, because each has its own place in the cache
    of keys and values, and each with and without gradients.
    """

    def __init__(self, base: PreTrainedModel) -> None:
        layers: Any = decoder_layers(base)
        if layers is None:
            raise InputError(f"`torch_compile` needs a list of decoder layers, and {type(base).__name__} has none.")
        # Dynamo cannot trace it, but the compiler behind Dynamo can trace its forward and backward pass.
        torch.compiler.allow_in_graph(Int8Product)  # type: ignore[no-untyped-call]
        self._calls = [(layer, torch.compile(layer._call_impl, dynamic=True)) for layer in layers]
        self._limit = torch._dynamo.config.patch(recompile_limit=_COMPILATIONS_PER_LAYER * len(self._calls))

    def __enter__(self) -> None:
        self._limit.__enter__()
        for layer, call in self._calls:
            layer._compiled_call_impl = call

    def __exit__(self, *_: object) -> None:
        for layer, _call in self._calls:
            layer._compiled_call_impl = None
        self._limit.__exit__(*_)
