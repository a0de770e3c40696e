"""The layers of the base LLM under ``torch.compile`` while they are trained.

>>> compiled = CompiledLayers(model.base)
>>> with compiled:
...     model(**part).loss
"""

from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from transformers import PreTrainedModel

from ..model.base_llm import decoder_layers
from ..model.errors import InputError


class CompiledLayers(AbstractContextManager[None]):
    """Compiles each decoder layer when it is first called inside the ``with`` block.

    Outside of it the layers run as they are: what is compiled would ignore hooks that were added since, such as those of the
    LoRA bank, which serves validation.

    Args:
        base: The base LLM, with the LoRA that is trained.

    Raises:
        InputError: The base has no list of layers.
    """

    def __init__(self, base: PreTrainedModel) -> None:
        layers: Any = decoder_layers(base)
        if layers is None:
            raise InputError(f"{type(base).__name__} has no list of layers that could be compiled. Leave out torch_compile.")
        self._calls = [(layer, torch.compile(layer._call_impl, dynamic=True)) for layer in layers]

    def __enter__(self) -> None:
        for layer, call in self._calls:
            layer._compiled_call_impl = call

    def __exit__(self, *_: object) -> None:
        for layer, _call in self._calls:
            layer._compiled_call_impl = None


def layers_of(base: PreTrainedModel, compile_layers: bool) -> AbstractContextManager[Any]:
    """A context in which the layers are compiled, or one that changes nothing."""
    return CompiledLayers(base) if compile_layers else ExitStack()
