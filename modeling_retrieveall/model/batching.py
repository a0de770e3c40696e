"""Batches of like length under a budget of tokens that shrinks when memory runs out.

>>> budget = TokenBudget(max_tokens=100)
>>> budget.run([10, 90, 12], lambda batch: print(batch))
[1]
[2, 0]
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence

from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size


class TokenBudget:
    """How many tokens one forward pass may hold, padding included; halved by running out of memory, and slowly raised again.

    Args:
        max_tokens: The budget to begin with, never exceeded but by a single sequence.

    Attributes:
        tokens: The budget now.
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
        """Does some work for all items, in batches of like length, the longest first.

        An out-of-memory error halves the budget, and the work goes on where it was.

        Args:
            lengths: Tokens of each item.
            work: Takes the positions of a batch's items.
            max_rows: Items of a batch at most.
            adapters: What adapters each item needs.
            max_adapters: Different adapters of a batch at most.

        Raises:
            MemoryError: A batch of one item does not fit.
        """
        waiting = deque(sorted(range(len(lengths)), key=lambda i: -lengths[i]))
        while waiting:
            batch, passed_over = self._next_batch(waiting, lengths, max_rows, adapters, max_adapters)
            try:
                work(batch)
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                if len(batch) == 1:
                    raise MemoryError(
                        f"A text of {lengths[batch[0]]} tokens does not fit into memory, even alone. Lower max_sentence_tokens "
                        "or max_example_tokens, or load the base in 4 bits."
                    ) from error
                self.tokens = min(self.tokens, lengths[batch[0]] * len(batch)) // 2
                waiting.extendleft(sorted(batch + passed_over, key=lambda i: lengths[i]))
            else:
                # Memory may have been short for a moment only: a dozen good batches bring a halved budget back.
                self.tokens = min(self._max_tokens, self.tokens + max(1, self.tokens // 16))
                waiting.extendleft(reversed(passed_over))
                continue
            # Outside of the handler: the traceback of the error keeps its tensors alive.
            clear_device_cache(garbage_collection=True)

    def _next_batch(
        self,
        waiting: deque[int],
        lengths: Sequence[int],
        max_rows: int | None,
        adapters: Sequence[Collection[str]] | None,
        max_adapters: int,
    ) -> tuple[list[int], list[int]]:
        """Takes the next batch out of ``waiting``, and the longer items that need too many adapters for it."""
        longest = max(lengths[waiting[0]], 1)
        rows = max(1, self.tokens // longest)
        rows = rows if max_rows is None else min(rows, max_rows)
        batch: list[int] = []
        passed_over: list[int] = []
        needed: set[str] = set()
        while waiting and len(batch) < rows:
            i = waiting.popleft()
            needs = set(adapters[i]) if adapters else set()
            if not batch or len(needed | needs) <= max_adapters:
                batch.append(i)
                needed |= needs
            else:
                passed_over.append(i)
        return batch, passed_over
