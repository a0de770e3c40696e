"""A ``datasets.Dataset`` annotated by its own ``map``, which batches, caches and shards it.

>>> dataset.map(annotator(model), batched=True, batch_size=256)[0]["entities"]
[{'text': 'Angela Merkel', 'label': 'PER', 'start': 0, 'end': 13, 'score': 0.99}]
"""

from collections.abc import Callable
from typing import Any

from .annotation import Annotates, annotated
from .records import Record, text_of

Batch = dict[str, list[Any]]


def annotator(model: Annotates, column: str | None = None, **settings: Any) -> Callable[[Batch], Batch]:
    """What ``map`` calls on each batch: adds the columns ``entities``, ``language`` and ``known``.

    Args:
        model: The model.
        column: The texts, or lists of words; ``text`` or ``tokens`` when not given.
        **settings: As of :meth:`RetrieveAllModel.explain`.
    """

    def annotate_batch(batch: Batch) -> Batch:
        names = list(batch)
        rows = [dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        records = [Record(row, text_of(row, column, f"row {number}")) for number, row in enumerate(rows)]
        done = annotated(model, records, **settings)
        return {name: [row[name] for row in done] for name in ("entities", "language", "known")}

    return annotate_batch
