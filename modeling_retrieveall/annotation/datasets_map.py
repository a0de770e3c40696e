"""Annotation of a ``datasets.Dataset`` with its ``map`` method, which batches, caches and parallelises the work.

>>> dataset.map(annotator(model), batched=True, batch_size=256)[0]["entities"]
[{'text': 'Angela Merkel', 'label': 'PER', 'start': 0, 'end': 13, 'score': 0.99}]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import __version__
from .added_columns import ADDED_COLUMNS, AnnotationModel, annotate_records, check_added_columns
from .readers import Record, check_text_column, text_of


@dataclass(frozen=True)
class Annotator:
    """The function that ``map`` calls on each batch or example. It adds the columns ``entities``, ``language`` and ``known``.

    ``map`` pickles this object for two purposes: the hash of the pickle is the key of the cache, and with ``num_proc`` the pickle
    is sent to other processes. A pickled model consists of the arguments it was loaded with, so equal models have equal keys and
    each process loads the model itself.

    Attributes:
        model: The model.
        column: The column that holds the texts or lists of words; by default ``text`` or ``tokens``.
        prefix: Prefix of the added columns.
        settings: Further arguments of :meth:`RetrieveAllModel.extract`.
        release: The version of this package, because another version may find other entities.
    """

    model: AnnotationModel
    column: str | None
    prefix: str
    settings: dict[str, Any]
    release: str = __version__

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Computes the added columns of a batch, or of one example if ``map`` is not batched."""
        if self._is_example(batch):
            return {name: values[0] for name, values in self({name: [value] for name, value in batch.items()}).items()}
        names = list(batch)
        check_text_column(names, self.column, "The dataset")
        check_added_columns(names, self.prefix, "The dataset")
        rows = [dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        records = [Record(row, text_of(row, self.column, f"row {number}")) for number, row in enumerate(rows)]
        added = annotate_records(self.model, records, **self.settings)
        return {f"{self.prefix}{name}": [row[name] for row in added] for name in ADDED_COLUMNS.names}

    def _is_example(self, batch: Mapping[str, Any]) -> bool:
        name = self.column or ("text" if "text" in batch else "tokens")
        value = batch.get(name)
        return isinstance(value, str) or (name == "tokens" and isinstance(value, list) and isinstance(next(iter(value), []), str))


def annotator(model: AnnotationModel, column: str | None = None, prefix: str = "", **settings: Any) -> Annotator:
    """Makes a function for ``Dataset.map`` that annotates texts.

    Args:
        model: The model.
        column: The column that holds the texts or lists of words; by default ``text`` or ``tokens``.
        prefix: Prefix of the added columns.
        **settings: Further arguments of :meth:`RetrieveAllModel.extract`.

    Examples:
        >>> dataset.map(annotator(model), batched=True)
    """
    return Annotator(model, column, prefix, settings)
