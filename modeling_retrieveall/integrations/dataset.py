"""A ``datasets.Dataset`` annotated by its own ``map``, which batches, caches and shards it.

>>> dataset.map(annotator(model), batched=True, batch_size=256)[0]["entities"]
[{'text': 'Angela Merkel', 'label': 'PER', 'start': 0, 'end': 13, 'score': 0.99}]
"""

from collections.abc import Callable
from typing import Any

from .annotation import Annotates, annotated, check_added
from .records import Record, check_text_column, text_of
from .writers import ADDED

Batch = dict[str, list[Any]]


def annotator(model: Annotates, column: str | None = None, prefix: str = "", **settings: Any) -> Callable[[Batch], Batch]:
    """What ``map`` calls on each batch: adds the columns ``entities``, ``language`` and ``known``.

    Args:
        model: The model.
        column: The texts, or lists of words; ``text`` or ``tokens`` when not given.
        prefix: Put before the names of the columns that are added.
        **settings: As of :meth:`RetrieveAllModel.explain`.
    """

    def annotate_batch(batch: Batch) -> Batch:
        names = list(batch)
        check_text_column(names, column, "The dataset")
        check_added(names, prefix, "The dataset")
        rows = [dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        records = [Record(row, text_of(row, column, f"row {number}")) for number, row in enumerate(rows)]
        added = annotated(model, records, **settings)
        return {f"{prefix}{name}": [row[name] for row in added] for name in ADDED.names}

    return annotate_batch
