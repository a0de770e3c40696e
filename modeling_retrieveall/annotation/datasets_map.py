"""Annotation of a ``datasets.Dataset`` with its ``map`` method, which batches, caches and parallelises the work.

>>> dataset.map(annotator(model), batched=True, batch_size=256)[0]["entities"]
[{'text': 'Angela Merkel', 'label': 'PER', 'start': 0, 'end': 13, 'score': 0.99}]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets.formatting.formatting import LazyBatch, LazyRow

from .. import __version__
from ..model.errors import InputError
from .added_columns import AnnotationModel, added_names, annotate_records, check_added_columns
from .readers import Record, Row, check_text_column, text_columns, text_of


@dataclass(frozen=True)
class Annotator:
    """The function that ``map`` calls on each batch or example.

    It adds the columns ``entities``, ``language`` and ``known``, and ``uncertainty`` if ``settings`` has ``near_misses``.

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

    def __call__(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Computes the added columns of a batch, or of one example if ``map`` is not batched.

        Raises:
            InputError: The columns are neither a batch nor surely an example.
            RecordError: There is no column with texts, or an added column exists already.
        """
        names = list(columns)
        check_text_column(names, self.column, "The dataset")
        added = added_names(self.settings.get("near_misses") is not None)
        check_added_columns(names, self.prefix, "The dataset", added)
        is_example = self._is_example(columns)
        rows = [dict(columns)] if is_example else _rows(columns)
        records = [Record(row, text_of(row, self.column, f"row {number}")) for number, row in enumerate(rows)]
        results = annotate_records(self.model, records, **self.settings)
        if is_example:
            return {f"{self.prefix}{name}": results[0][name] for name in added}
        return {f"{self.prefix}{name}": [row[name] for row in results] for name in added}

    def _is_example(self, columns: Mapping[str, Any]) -> bool:
        """Whether the columns are those of one example.

        A dataset passes its own types, except a streamed or formatted one, which passes dicts. In a dict, a list of strings is a
        batch of texts, but in the column ``tokens`` the words of an example.
        """
        if isinstance(columns, LazyRow | LazyBatch):
            return isinstance(columns, LazyRow)
        name = next(name for name in text_columns(self.column) if name in columns)
        value = columns[name]
        if value is None or isinstance(value, str):
            return True
        return name == "tokens" and isinstance(value, list) and isinstance(next(iter(value), ""), str)


def _rows(columns: Mapping[str, Any]) -> list[Row]:
    """The rows of a batch.

    Raises:
        InputError: The columns do not have the same number of values.
    """
    try:
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    except (TypeError, ValueError) as error:
        raise InputError(
            "The columns do not have one value for each row of a batch. Call `map` with batched=True, which the words of a "
            "streamed dataset need if their column is not called 'tokens'."
        ) from error


def annotator(model: AnnotationModel, column: str | None = None, prefix: str = "", **settings: Any) -> Annotator:
    """Makes a function for ``Dataset.map`` that annotates texts.

    It adds the columns ``entities``, ``language`` and ``known``, and ``uncertainty`` with the setting ``near_misses``. A streamed
    dataset with words in another column than ``tokens`` needs ``map(..., batched=True)``.

    Args:
        model: The model.
        column: The column that holds the texts or lists of words; by default ``text`` or ``tokens``.
        prefix: Prefix of the added columns.
        **settings: Further arguments of :meth:`RetrieveAllModel.extract`.

    Examples:
        >>> dataset.map(annotator(model), batched=True)
    """
    return Annotator(model, column, prefix, settings)
