"""Many LoRA adapters in one forward pass: every row of a batch with its own.

The A and B of all adapters that a batch uses are stacked, and the mapping matrix M (rows x adapters) says which row takes how
much of which (RetrieveAll, arXiv 2505.19128):

    y = W x + B_stack (M * (A_stack x))

so a layer costs the same two extra products whether the batch holds one language or ten.

    >>> bank = LoraBank(base, slots=16)
    >>> bank.load("de", lora_weights)
    >>> with bank.rows([{"de": 1.0}, {"de": 0.6, "mul": 0.4}]):
    ...     base(input_ids)                    # row 0 with German, row 1 with a mixture
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LoraWeights:
    """The weights of one adapter, as PEFT defines them: ``delta(x) = scaling * B (A x)``.

    Attributes:
        a: Module name in the base LLM to A, ``[rank, in_features]``.
        b: Module name to B, ``[out_features, rank]``.
        scaling: Module name to its scaling, ``alpha / rank`` (or ``alpha / sqrt(rank)`` for rsLoRA).
    """

    a: dict[str, Tensor]
    b: dict[str, Tensor]
    scaling: dict[str, float]


@dataclass(frozen=True)
class _Stack:
    """What one module applies while rows are in force: A [ranks, in], B [out, ranks] and M [batch, 1, ranks]."""

    a: Tensor
    b: Tensor
    m: Tensor


class LoraBank:
    """Resident LoRA adapters of one base LLM and the rows of the batch in work.

    The base is left as it is: the bank adds to the output of its linear layers through forward hooks, whatever their class
    (``nn.Linear``, bitsandbytes' 4-bit and 8-bit). Outside of ``rows`` the base computes as if there were no bank.

    Args:
        base: The base LLM.
        slots: Adapters kept resident; beyond it, the least recently used is dropped.
    """

    def __init__(self, base: nn.Module, slots: int) -> None:
        self.slots = slots
        self._base = base
        self._modules = dict(base.named_modules())
        self._resident: OrderedDict[str, LoraWeights] = OrderedDict()
        self._hooked: set[str] = set()
        self._stacks: dict[str, _Stack] | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._resident

    @property
    def resident(self) -> list[str]:
        """Names of the resident adapters, least recently used first."""
        return list(self._resident)

    def load(self, name: str, weights: LoraWeights) -> None:
        """Makes an adapter resident, in place of one of the same name.

        Raises:
            ValueError: A tensor's module is not in the base, or its shape does not fit; nothing has changed then.
        """
        for module_name, a in weights.a.items():
            self._check(name, module_name, a, weights.b[module_name])
        for module_name in weights.a.keys() - self._hooked:
            self._modules[module_name].register_forward_hook(self._hook(module_name))
            self._hooked.add(module_name)
        self._resident[name] = weights
        self._resident.move_to_end(name)
        self.resize(self.slots)

    def resize(self, slots: int) -> None:
        """Sets the number of adapters kept resident, and drops the least recently used beyond it."""
        self.slots = slots
        while len(self._resident) > slots:
            self._resident.popitem(last=False)

    def make_resident(self, names: Collection[str], read: Callable[[str], LoraWeights]) -> None:
        """Loads those of the named adapters that are not resident; the others leave before any of these does.

        Args:
            names: The adapters that a batch needs; not more than there are slots.
            read: Gives the weights of an adapter.
        """
        for name in names:
            if name in self._resident:
                self._resident.move_to_end(name)
        for name in names:
            if name not in self._resident:
                self.load(name, read(name))

    def unload(self, name: str) -> None:
        """Drops an adapter if it is resident."""
        self._resident.pop(name, None)

    @contextmanager
    def rows(self, mixtures: Sequence[dict[str, float]]) -> Iterator[None]:
        """Puts a row of M in force for each row of the batches computed inside the ``with`` block.

        Args:
            mixtures: For each row, adapter name to weight; an empty one leaves the base as it is. All must be resident.

        Raises:
            KeyError: An adapter is not resident.
            RuntimeError: Rows are in force already.
        """
        if self._stacks is not None:
            raise RuntimeError("LoraBank.rows is in force already. Leave its `with` block before entering another.")
        names = sorted({name for mixture in mixtures for name in mixture})
        for name in names:
            self._resident.move_to_end(name)
        try:
            self._stacks = self._stack(names, mixtures)
            yield
        finally:
            self._stacks = None

    def _stack(self, names: list[str], mixtures: Sequence[dict[str, float]]) -> dict[str, _Stack]:
        m = torch.tensor([[mixture.get(name, 0.0) for name in names] for mixture in mixtures])
        stacks = {}
        for module_name in self._hooked:
            parts = [(i, self._resident[n]) for i, n in enumerate(names) if module_name in self._resident[n].a]
            if not parts:
                continue
            device = _device(self._modules[module_name])
            a = torch.cat([weights.a[module_name] for _, weights in parts]).to(device)
            b = torch.cat([weights.b[module_name] for _, weights in parts], dim=1).to(device)
            columns = [m[:, i : i + 1].expand(-1, w.a[module_name].shape[0]) * w.scaling[module_name] for i, w in parts]
            stacks[module_name] = _Stack(a, b, torch.cat(columns, dim=1)[:, None].to(device))
        return stacks

    def _hook(self, module_name: str) -> Any:
        def add_delta(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            stack = self._stacks.get(module_name) if self._stacks else None
            if stack is None:
                return None
            x = args[0].to(stack.a.dtype)
            return output + ((x @ stack.a.T * stack.m.to(x.dtype)) @ stack.b.T).to(output.dtype)

        return add_delta

    def _check(self, name: str, module_name: str, a: Tensor, b: Tensor) -> None:
        module = self._modules.get(module_name)
        if module is None or not hasattr(module, "in_features"):
            raise ValueError(f"Adapter {name!r} has weights for {module_name!r}, which is no linear layer of the base LLM.")
        expected = (a.shape[0], module.in_features), (module.out_features, a.shape[0])
        if (tuple(a.shape), tuple(b.shape)) != expected:
            raise ValueError(
                f"Adapter {name!r} has A {tuple(a.shape)} and B {tuple(b.shape)} for {module_name!r}, which takes "
                f"{expected[0]} and {expected[1]}. It was trained on another base LLM."
            )


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
