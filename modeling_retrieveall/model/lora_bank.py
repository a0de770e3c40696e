"""Many LoRA adapters in one forward pass: every row of a batch with its own.

The A and B of all resident adapters are stacked, ``A[slots, rank, in]`` and ``B[slots, rank, out]`` for each linear layer, and
the mapping matrix M says which row of the batch takes how much of which slots (RetrieveAll, arXiv 2505.19128):

    y = W x + (M * (x A[slots of the row])) B[slots of the row]

so a layer costs the same two extra batched products whether the batch holds one language or fifty.

    >>> bank = LoraBank(base, slots=16)
    >>> bank.load("de", lora_weights)
    >>> with bank.rows([{"de": 1.0}, {"de": 0.6, "mul": 0.4}]):
    ...     base(input_ids)                    # row 0 with German, row 1 with a mixture
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
        a: Module name in the base LLM to A, ``[rank, in_features]``.
        b: Module name to B, ``[out_features, rank]``.
        scaling: Module name to its scaling, ``alpha / rank`` (or ``alpha / sqrt(rank)`` for rsLoRA).
    """

    a: dict[str, Tensor]
    b: dict[str, Tensor]
    scaling: dict[str, float]


class _Stack:
    """The slots of one linear layer; one more than there are adapters, always empty, for rows of fewer adapters than others.

    Adapters of a lower rank, or without this layer, are filled up with zeros.
    """

    def __init__(self, slots: int, a: Tensor, b: Tensor, device: torch.device) -> None:
        """Makes empty slots for adapters of the shapes and dtype of ``a`` [rank, in] and ``b`` [out, rank]."""
        self.a = torch.zeros(slots + 1, a.shape[0], a.shape[1], dtype=a.dtype, device=device)
        self.b = torch.zeros(slots + 1, b.shape[1], b.shape[0], dtype=b.dtype, device=device)
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
        """A copy with room for a higher rank."""
        room = rank - self.a.shape[1]
        stack = copy(self)
        stack.a = nn.functional.pad(self.a, (0, 0, 0, room))
        stack.b = nn.functional.pad(self.b, (0, 0, 0, room))
        return stack


@dataclass(frozen=True)
class _Gathered:
    """What one layer applies to the rows in force: A and B [batch, ranks, in or out] and M [batch, 1, ranks]."""

    a: Tensor
    b: Tensor
    m: Tensor

    def __call__(self, x: Tensor, output: Tensor) -> Tensor:
        h = torch.bmm(x.to(self.a), self.a.mT) * self.m
        return torch.baddbmm(output, h, self.b) if output.dtype == self.b.dtype else output + torch.bmm(h, self.b).to(output)


class Rows:
    """The rows in force: for each row of the batch its slots and their weights, the non-zero part of M."""

    def __init__(self, slots: Sequence[Sequence[int]], weights: Sequence[Sequence[float]]) -> None:
        self._slots = slots
        self._weights = weights
        self._gathered: dict[str, _Gathered | None] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def keep(self, rows: Sequence[int]) -> None:
        """Goes on with some of the rows, in the order given: for a batch that finished rows have left."""
        self._slots = [self._slots[row] for row in rows]
        self._weights = [self._weights[row] for row in rows]
        self._gathered.clear()

    def gathered(self, name: str, stack: _Stack, device: torch.device) -> _Gathered | None:
        """The layer's share, ``None`` if no row has any; gathered at its first use."""
        if name not in self._gathered:
            self._gathered[name] = self._gather(stack, device)
        return self._gathered[name]

    def _gather(self, stack: _Stack, device: torch.device) -> _Gathered | None:
        # Not the stack's rank: a row's sums must not depend on what else is resident.
        rank = max((stack.ranks[slot] for row in self._slots for slot in row), default=0)
        if not rank:
            return None
        slots = torch.tensor(self._slots, device=stack.a.device)
        scaled = [
            [weight * stack.scaling[slot] for slot, weight in zip(row_slots, row_weights, strict=True)]
            for row_slots, row_weights in zip(self._slots, self._weights, strict=True)
        ]
        m = torch.tensor(scaled, device=stack.a.device).to(stack.a.dtype)
        a, b = stack.a[:, :rank][slots].flatten(1, 2), stack.b[:, :rank][slots].flatten(1, 2)
        return _Gathered(a.to(device), b.to(device), m.repeat_interleave(rank, dim=1)[:, None].to(device))


class LoraBank:
    """Resident LoRA adapters of one base LLM and the rows of the batch in work.

    The base is left as it is: the bank adds to the output of its linear layers through forward hooks, whatever their class
    (``nn.Linear``, bitsandbytes' 4-bit and 8-bit). Outside of ``rows`` the base computes as if there were no bank.

    A bank serves one thread at a time.

    Args:
        base: The base LLM.
        slots: Adapters kept resident; beyond it, the least recently used makes room.

    Raises:
        InputError: There is no slot.
    """

    def __init__(self, base: nn.Module, slots: int) -> None:
        if slots < 1:
            raise InputError(f"adapter_slots is {slots}; give at least 1.")
        self.slots = slots
        self._modules = dict(base.named_modules())
        self._slot_of: OrderedDict[str, int] = OrderedDict()  # least recently used first
        self._pinned: set[str] = set()
        self._stacks: dict[str, _Stack] = {}
        self._rows: Rows | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._slot_of

    @property
    def resident(self) -> list[str]:
        """Names of the resident adapters, least recently used first."""
        return list(self._slot_of)

    @property
    def free_slots(self) -> int:
        """Slots that a batch can count on: those that no adapter is pinned to."""
        return self.slots - len(self._pinned)

    def pin(self, name: str) -> None:
        """Keeps a resident adapter until it is unpinned or unloaded: one that every other batch needs.

        Raises:
            KeyError: It is not resident.
            InputError: It would be the last slot that others can use.
        """
        if name not in self._slot_of:
            raise KeyError(f"Adapter {name!r} is not resident. Load it before pinning it.")
        if len(self._pinned | {name}) >= self.slots:
            raise InputError(f"Cannot pin {name!r}: {len(self._pinned)} of {self.slots} slots are pinned, one must stay free.")
        self._pinned.add(name)

    def unpin(self, name: str) -> None:
        """Lets an adapter make room again."""
        self._pinned.discard(name)

    def load(self, name: str, weights: LoraWeights) -> None:
        """Makes an adapter resident, in place of one of the same name.

        Raises:
            InputError: A tensor's module is not in the base, or its shape does not fit; nothing has changed then.
            RuntimeError: Rows are in force.
        """
        self._check_idle(name)
        check_fits(name, weights, self._modules)
        pinned = name in self._pinned
        slot = self._free_slot(name)
        for module_name, a in weights.a.items():
            self._make_room(module_name, a, weights.b[module_name])
        for module_name, stack in self._stacks.items():
            if module_name in weights.a:
                stack.put(slot, weights.a[module_name], weights.b[module_name], weights.scaling[module_name])
            else:
                stack.clear(slot)  # of what an adapter left there whose copying failed
        # Last: an adapter whose copying failed is not resident.
        self._slot_of[name] = slot
        self._pinned |= {name} if pinned else set()

    def make_resident(self, names: Collection[str], read: Callable[[str], LoraWeights]) -> None:
        """Loads those of the named adapters that are not resident; the others leave before any of these does.

        Args:
            names: The adapters that a batch needs; not more than there are slots.
            read: Gives the weights of an adapter.

        Raises:
            InputError: There are more than slots for them.
        """
        if len(self._pinned | set(names)) > self.slots:
            raise InputError(
                f"{len(set(names))} adapters are needed at once, {len(self._pinned)} of {self.slots} slots are pinned. "
                "Raise adapter_slots."
            )
        for name in names:
            if name in self._slot_of:
                self._slot_of.move_to_end(name)
        for name in names:
            if name not in self._slot_of:
                self.load(name, read(name))

    def unload(self, name: str) -> None:
        """Drops an adapter if it is resident.

        Raises:
            RuntimeError: Rows are in force.
        """
        self._check_idle(name)
        self._pinned.discard(name)
        slot = self._slot_of.pop(name, None)
        if slot is not None:
            for stack in self._stacks.values():
                stack.clear(slot)

    @contextmanager
    def rows(self, mixtures: Sequence[dict[str, float]]) -> Iterator[Rows]:
        """Puts a row of M in force for each row of the batches computed inside the ``with`` block.

        Args:
            mixtures: For each row, adapter name to weight; an empty one leaves the base as it is. All must be resident.

        Raises:
            KeyError: An adapter is not resident.
            RuntimeError: Rows are in force already.
        """
        if self._rows is not None:
            raise RuntimeError("LoraBank.rows is in force already. Leave its `with` block before entering another.")
        for name in sorted({name for mixture in mixtures for name in mixture}):
            self._slot_of.move_to_end(name)
        width = max(map(len, mixtures), default=0)
        # Rows of fewer adapters are filled up with the empty slot, of which they take nothing.
        slots = [[self._slot_of[name] for name in m] + [self.slots] * (width - len(m)) for m in mixtures]
        weights = [[*mixture.values()] + [0.0] * (width - len(mixture)) for mixture in mixtures]
        self._rows = Rows(slots, weights)
        try:
            yield self._rows
        finally:
            self._rows = None

    def _check_idle(self, name: str) -> None:
        if self._rows is not None:
            raise RuntimeError(f"Adapter {name!r} cannot come or go while rows are in force. Leave the `with bank.rows` block.")

    def _free_slot(self, name: str) -> int:
        """The slot of an adapter to be loaded; who was there before is gone."""
        if name in self._slot_of:
            slot = self._slot_of[name]
            self.unload(name)
            return slot
        if len(self._slot_of) < self.slots:
            return min(set(range(self.slots)) - set(self._slot_of.values()))
        leaving = next(name for name in self._slot_of if name not in self._pinned)
        slot = self._slot_of[leaving]
        self.unload(leaving)
        return slot

    def _make_room(self, module_name: str, a: Tensor, b: Tensor) -> None:
        """Makes sure that a module has a stack, and that it takes the rank of A [rank, in] and B [out, rank]."""
        module, stack = self._modules[module_name], self._stacks.get(module_name)
        if stack is None:
            # Beside the layer, unless that is offloaded: then its adapters wait in memory and follow the layer's output.
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
                    f"{module_name} got {tuple(output.shape)} for {len(rows)} rows in force; give a batch of [rows, tokens]."
                )
            return gathered(args[0], output)

        return add_delta


def check_fits(name: str, weights: LoraWeights, modules: dict[str, nn.Module]) -> None:
    """Makes sure that an adapter's tensors fit the linear layers of a base.

    Args:
        name: What the error calls the adapter.
        weights: Its weights; tensors without values (``device="meta"``) will do.
        modules: The base's modules by name.

    Raises:
        InputError: A module is not in the base or no linear layer, or a shape does not fit it.
    """
    for module_name, a in weights.a.items():
        b, module = weights.b[module_name], modules.get(module_name)
        if module is None or not hasattr(module, "in_features"):
            raise InputError(f"Adapter {name!r} has weights for {module_name!r}, which is no linear layer of the base LLM.")
        expected: tuple[Any, Any] = (a.shape[0], module.in_features), (module.out_features, a.shape[0])
        if (tuple(a.shape), tuple(b.shape)) != expected:
            raise InputError(
                f"Adapter {name!r} has A {tuple(a.shape)} and B {tuple(b.shape)} for {module_name!r}, which takes "
                f"{expected[0]} and {expected[1]}. It was trained on another base LLM."
            )
