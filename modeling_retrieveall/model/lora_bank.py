"""Many LoRA adapters in one forward pass: every row of a batch uses its own adapters.

For each linear layer W of the base LLM, the bank stacks the LoRA matrices of all resident adapters. The mapping matrix M gives
the weight of each adapter in each row of the batch (RetrieveAll, arXiv 2505.19128):

    M [rows, adapters]              A [slots + 1, rank, in]       B [slots + 1, rank, out]

            de   sw   mul           slot 0   A of de              slot 0   B of de
    row 0   1.0                     slot 1   A of sw              slot 1   B of sw
    row 1        0.6  0.4           slot 2   A of mul             slot 2   B of mul
                                    slot 3   zeros                slot 3   zeros

Row 0 needs the slots (0, 3) with the weights (1.0, 0), and row 1 the slots (1, 2) with the weights (0.6, 0.4). The last slot is
always empty; it fills up rows that have fewer adapters than others. The bank gathers the slots of each row. With r = slots of a
row * rank, a layer computes:

    x ----+---------------------- W ----------------------+----> y
          |                                               |
          +------ A^T --------- * M --------- B ----------+

    x [rows, tokens, in]   A [rows, r, in]   M [rows, 1, r]   B [rows, r, out]   y [rows, tokens, out]

A layer costs two additional batched products, whether the batch has one language or fifty.

    >>> bank = LoraBank(base, slots=16)
    >>> bank.load("de", lora_weights)
    >>> with bank.rows([{"de": 1.0}, {"de": 0.6, "mul": 0.4}]):
    ...     base(input_ids)                    # row 0 uses German, row 1 a mixture
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from .errors import InputError


@dataclass(frozen=True)
class LoraWeights:
    """The weights of one adapter, as PEFT defines them: ``delta(x) = scaling * B (A x)``.

    Attributes:
        a: Maps the name of a module of the base LLM to its A, ``[rank, in_features]``.
        b: Maps the name of a module to its B, ``[out_features, rank]``.
        scaling: Maps the name of a module to its scaling, ``alpha / rank`` (for rsLoRA ``alpha / sqrt(rank)``).
    """

    a: dict[str, Tensor]
    b: dict[str, Tensor]
    scaling: dict[str, float]


class _Stack:
    """The stacked A and B of one linear layer, padded with zeros to the highest rank.

    There is one more slot than adapters. The last slot stays empty, for rows with fewer adapters than others.
    """

    def __init__(self, slots: int, a: Tensor, b: Tensor, device: torch.device) -> None:
        """Creates empty slots for adapters with the shapes and dtype of ``a`` [rank, in] and ``b`` [out, rank]."""
        self.a = torch.zeros(slots + 1, a.shape[0], a.shape[1], dtype=a.dtype, device=device)  # [slots + 1, rank, in]
        self.b = torch.zeros(slots + 1, b.shape[1], b.shape[0], dtype=b.dtype, device=device)  # [slots + 1, rank, out]
        self.scaling = [0.0] * (slots + 1)
        self.ranks = [0] * (slots + 1)

    def put(self, slot: int, a: Tensor, b: Tensor, scaling: float) -> None:
        """Fills a slot with A [rank, in] and B [out, rank]."""
        rank = a.shape[0]
        self.a[slot, :rank], self.a[slot, rank:] = a, 0
        self.b[slot, :rank], self.b[slot, rank:] = b.T, 0
        self.scaling[slot], self.ranks[slot] = scaling, rank

    def clear(self, slot: int) -> None:
        """Empties a slot."""
        self.a[slot], self.b[slot] = 0, 0
        self.scaling[slot], self.ranks[slot] = 0.0, 0

    def widened(self, rank: int) -> "_Stack":
        """A copy that is padded to a higher rank."""
        padding = rank - self.a.shape[1]
        stack = copy(self)
        stack.a = nn.functional.pad(self.a, (0, 0, 0, padding))
        stack.b = nn.functional.pad(self.b, (0, 0, 0, padding))
        return stack


@dataclass(frozen=True)
class _Gathered:
    """The LoRA matrices of one layer for the current batch."""

    a: Tensor  # [rows, r, in]
    b: Tensor  # [rows, r, out]
    m: Tensor  # [rows, 1, r]: the weights, multiplied by the scaling of the adapters

    def __call__(self, x: Tensor, output: Tensor) -> Tensor:
        """Adds the LoRA output for ``x`` [rows, tokens, in] to the layer's ``output`` [rows, tokens, out]."""
        h = torch.bmm(x.to(self.a), self.a.mT) * self.m  # [rows, tokens, r]
        return torch.baddbmm(output, h, self.b) if output.dtype == self.b.dtype else output + torch.bmm(h, self.b).to(output)


class Rows:
    """The adapters of the current batch: for each row its slots and their weights, which are the non-zero part of M."""

    def __init__(self, slots: Sequence[Sequence[int]], weights: Sequence[Sequence[float]]) -> None:
        self._slots = slots
        self._weights = weights
        self._gathered: dict[str, _Gathered | None] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def keep(self, rows: Sequence[int]) -> None:
        """Continues with these rows only, in the given order, because finished rows have left the batch."""
        self._slots = [self._slots[row] for row in rows]
        self._weights = [self._weights[row] for row in rows]
        self._gathered.clear()

    def gathered(self, name: str, stack: _Stack, device: torch.device) -> _Gathered | None:
        """The LoRA matrices of a layer, gathered at the first use. ``None`` if no adapter of the batch has weights for it."""
        if name not in self._gathered:
            self._gathered[name] = self._gather(stack, device)
        return self._gathered[name]

    def _gather(self, stack: _Stack, device: torch.device) -> _Gathered | None:
        # Not the rank of the stack: the results of a row must not depend on which other adapters are resident.
        rank = max((stack.ranks[slot] for row in self._slots for slot in row), default=0)
        if not rank:
            return None
        slots = torch.tensor(self._slots, device=stack.a.device)  # [rows, slots of a row]
        scaled = [
            [weight * stack.scaling[slot] for slot, weight in zip(row_slots, row_weights, strict=True)]
            for row_slots, row_weights in zip(self._slots, self._weights, strict=True)
        ]
        m = torch.tensor(scaled, device=stack.a.device).to(stack.a.dtype)  # [rows, slots of a row]
        a = stack.a[:, :rank][slots].flatten(1, 2)  # [rows, r, in]
        b = stack.b[:, :rank][slots].flatten(1, 2)  # [rows, r, out]
        return _Gathered(a.to(device), b.to(device), m.repeat_interleave(rank, dim=1)[:, None].to(device))


class LoraBank:
    """The resident LoRA adapters of one base LLM, and the adapters of the current batch.

    The modules of the base LLM are not replaced. Forward hooks add to the output of its linear layers, whatever their class
    (``nn.Linear``, or the 4-bit and 8-bit layers of bitsandbytes). Outside a ``with bank.rows(...)`` block the base LLM computes
    as if there were no bank.

    A bank is not thread-safe.

    Args:
        base: The base LLM.
        slots: Maximum number of resident adapters. The least recently used adapter is replaced first.

    Raises:
        InputError: ``slots`` is less than 1.
    """

    def __init__(self, base: nn.Module, slots: int) -> None:
        if slots < 1:
            raise InputError(f"adapter_slots is {slots}; it must be at least 1.")
        self.slots = slots
        self._modules = dict(base.named_modules())
        self._slot_of: OrderedDict[str, int] = OrderedDict()  # least recently used first
        self._stacks: dict[str, _Stack] = {}
        self._rows: Rows | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._slot_of

    @property
    def resident(self) -> list[str]:
        """Names of the resident adapters, least recently used first."""
        return list(self._slot_of)

    def load(self, name: str, weights: LoraWeights) -> None:
        """Makes an adapter resident. An adapter of the same name is replaced.

        Raises:
            InputError: A module is not in the base LLM, or the shape of a tensor does not fit. The bank has not changed then.
            RuntimeError: A ``with bank.rows(...)`` block is active.
        """
        self._check_idle(name)
        check_fits(name, weights, self._modules)
        slot = self._free_slot(name)
        for module_name, a in weights.a.items():
            self._ensure_stack(module_name, a, weights.b[module_name])
        for module_name, stack in self._stacks.items():
            if module_name in weights.a:
                stack.put(slot, weights.a[module_name], weights.b[module_name], weights.scaling[module_name])
            else:
                stack.clear(slot)  # an adapter that failed to load may have left weights here
        # Last, so that an adapter that fails to load is not resident.
        self._slot_of[name] = slot

    def make_resident(self, names: Collection[str], read: Callable[[str], LoraWeights]) -> None:
        """Loads the named adapters unless they are resident. None of them is replaced by another one of them.

        Args:
            names: The adapters that a batch needs.
            read: Returns the weights of an adapter, given its name.

        Raises:
            InputError: There are more adapters than slots.
        """
        if len(set(names)) > self.slots:
            raise InputError(f"The batch needs {len(set(names))} adapters, but adapter_slots is {self.slots}. Raise it.")
        for name in names:
            if name in self._slot_of:
                self._slot_of.move_to_end(name)
        for name in names:
            if name not in self._slot_of:
                self.load(name, read(name))

    def unload(self, name: str) -> None:
        """Removes an adapter if it is resident.

        Raises:
            RuntimeError: A ``with bank.rows(...)`` block is active.
        """
        self._check_idle(name)
        slot = self._slot_of.pop(name, None)
        if slot is not None:
            for stack in self._stacks.values():
                stack.clear(slot)

    @contextmanager
    def rows(self, mixtures: Sequence[dict[str, float]]) -> Iterator[Rows]:
        """Sets the adapters of each row of the batches that are computed inside the ``with`` block.

        Args:
            mixtures: For each row the weight of each adapter; a row without adapters is computed by the base LLM alone.

        Raises:
            KeyError: An adapter is not resident.
            RuntimeError: Another ``with bank.rows(...)`` block is active.
        """
        if self._rows is not None:
            raise RuntimeError("Another `with bank.rows(...)` block is active. Leave it before entering a new one.")
        for name in sorted({name for mixture in mixtures for name in mixture}):
            self._slot_of.move_to_end(name)
        width = max(map(len, mixtures), default=0)
        # Rows with fewer adapters are filled up with the empty slot, at weight 0.
        slots = [[self._slot_of[name] for name in m] + [self.slots] * (width - len(m)) for m in mixtures]
        weights = [[*mixture.values()] + [0.0] * (width - len(mixture)) for mixture in mixtures]
        self._rows = Rows(slots, weights)
        try:
            yield self._rows
        finally:
            self._rows = None

    def _check_idle(self, name: str) -> None:
        if self._rows is not None:
            raise RuntimeError(f"Adapter {name!r} cannot be loaded or unloaded while a `with bank.rows(...)` block is active.")

    def _free_slot(self, name: str) -> int:
        """Makes a slot free for an adapter, if necessary by unloading another one."""
        if name in self._slot_of:
            slot = self._slot_of[name]
            self.unload(name)
            return slot
        if len(self._slot_of) < self.slots:
            return min(set(range(self.slots)) - set(self._slot_of.values()))
        leaving = next(iter(self._slot_of))
        slot = self._slot_of[leaving]
        self.unload(leaving)
        return slot

    def _ensure_stack(self, module_name: str, a: Tensor, b: Tensor) -> None:
        """Ensures that a module has a stack with at least the rank of A [rank, in] and B [out, rank]."""
        module, stack = self._modules[module_name], self._stacks.get(module_name)
        if stack is None:
            # On the device of the layer. For an offloaded layer on the CPU; it is then copied to the device of the output.
            device = next(chain(module.parameters(), module.buffers())).device
            device = torch.device("cpu") if device.type == "meta" else device
            self._stacks[module_name] = _Stack(self.slots, a, b, device)
            module.register_forward_hook(self._hook(module_name))
        elif stack.a.shape[1] < a.shape[0]:
            self._stacks[module_name] = stack.widened(a.shape[0])

    def _hook(self, module_name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        def add_delta(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            rows = self._rows
            gathered = rows and rows.gathered(module_name, self._stacks[module_name], output.device)
            if not rows or not gathered:
                return None
            if output.ndim != 3 or len(output) != len(rows):
                raise ValueError(
                    f"{module_name} computed {tuple(output.shape)}, but bank.rows has {len(rows)} rows. Both must match."
                )
            return gathered(args[0], output)

        return add_delta


def check_fits(name: str, weights: LoraWeights, modules: dict[str, nn.Module]) -> None:
    """Checks that the tensors of an adapter fit the linear layers of a base LLM.

    Args:
        name: The name of the adapter in the error message.
        weights: Its weights; tensors without values (``device="meta"``) are sufficient.
        modules: The modules of the base LLM by name.

    Raises:
        InputError: A module is not in the base LLM or is not a linear layer, or the shape of a tensor does not fit.
    """
    for module_name, a in weights.a.items():
        b, module = weights.b[module_name], modules.get(module_name)
        if module is None or not hasattr(module, "in_features"):
            raise InputError(f"Adapter {name!r} has weights for {module_name!r}, which is not a linear layer of the base LLM.")
        expected: tuple[Any, Any] = (a.shape[0], module.in_features), (module.out_features, a.shape[0])
        if (tuple(a.shape), tuple(b.shape)) != expected:
            raise InputError(
                f"Adapter {name!r} has A {tuple(a.shape)} and B {tuple(b.shape)} for {module_name!r}, which needs {expected[0]} "
                f"and {expected[1]}. The adapter was trained on another base LLM."
            )
