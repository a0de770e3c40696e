"""Batches of similar length under a token budget, which is halved when memory runs out.

>>> budget = TokenBudget(max_tokens=100)
>>> budget.run([10, 90, 12], lambda batch: print(batch))
[1]
[2, 0]
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor


class TokenBudget:
    """The number of tokens that one forward pass may have, with padding.

    The budget is halved when memory runs out, and slowly raised again afterwards.

    Args:
        max_tokens: The initial and largest budget. Only a batch of a single item may exceed it.

    Attributes:
        tokens: The current budget.
    """

    def __init__(self, max_tokens: int) -> None:
        self.tokens = max_tokens
        self._max_tokens = max_tokens

    def run(
        self,
        lengths: Sequence[int],
        work: Callable[[list[int]], None],
        max_rows: int | None = None,
        adapters: Sequence[Collection[str]] | None = None,
        max_adapters: int = 1,
    ) -> None:
        """Processes all items in batches of similar length, the longest first.

        After an out-of-memory error the items of the batch are processed again in smaller batches.

        Args:
            lengths: Number of tokens of each item.
            work: Processes a batch, given the positions of its items.
            max_rows: Maximum number of items in a batch.
            adapters: The adapters that each item needs.
            max_adapters: Maximum number of different adapters in a batch.

        Raises:
            MemoryError: A single item does not fit into memory.
        """
        waiting = deque(sorted(range(len(lengths)), key=lambda i: -lengths[i]))
        while waiting:
            batch, deferred = self._next_batch(waiting, lengths, max_rows, adapters, max_adapters)
            try:
                work(batch)
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                if len(batch) == 1:
                    raise MemoryError(
                        f"A single text of {lengths[batch[0]]} tokens does not fit into memory. Lower max_sentence_tokens or "
                        "max_example_tokens, or load the base LLM in 4 bits."
                    ) from error
                self.tokens = min(self.tokens, lengths[batch[0]] * len(batch)) // 2
                waiting.extendleft(sorted(batch + deferred, key=lambda i: lengths[i]))
            else:
                # Memory may have been short only for a moment: after a dozen batches a halved budget is back at its old value.
                self.tokens = min(self._max_tokens, self.tokens + max(1, self.tokens // 16))
                waiting.extendleft(reversed(deferred))
                continue
            # Not in the except block, where the traceback of the error still references its tensors.
            clear_device_cache(garbage_collection=True)

    def _next_batch(
        self,
        waiting: deque[int],
        lengths: Sequence[int],
        max_rows: int | None,
        adapters: Sequence[Collection[str]] | None,
        max_adapters: int,
    ) -> tuple[list[int], list[int]]:
        """Removes the next batch from ``waiting``, and with it the items that are deferred because of their adapters."""
        longest = max(lengths[waiting[0]], 1)
        rows = max(1, self.tokens // longest)
        rows = rows if max_rows is None else min(rows, max_rows)
        batch: list[int] = []
        deferred: list[int] = []
        needed: set[str] = set()
        while waiting and len(batch) < rows:
            i = waiting.popleft()
            needs = set(adapters[i]) if adapters else set()
            if not batch or len(needed | needs) <= max_adapters:
                batch.append(i)
                needed |= needs
            else:
                deferred.append(i)
        return batch, deferred


def padded_ids(rows: Sequence[Sequence[int]], pad: int) -> Tensor:
    """Rows of token ids as one tensor.

    Args:
        rows: The token ids of each row.
        pad: The token id of the padding.

    Returns:
        ``[rows, longest row]``, padded on the right.
    """
    longest = max(map(len, rows), default=0)
    return torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows], dtype=torch.int64).reshape(len(rows), longest)
