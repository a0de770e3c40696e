"""A ``datasets.Dataset`` annotated by its own ``map``, which batches, caches and shards it.

>>> dataset.map(annotator(model), batched=True, batch_size=256)[0]["entities"]
[{'text': 'Angela Merkel', 'label': 'PER', 'start': 0, 'end': 13, 'score': 0.99}]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from .annotate import Annotates, annotated, check_added
from .records import Record, check_text_column, text_of
from .writers import ADDED

_RELEASE = version("retrieveall")


@dataclass(frozen=True)
class Annotator:
    """What ``map`` calls on each batch, or on each example: adds the columns ``entities``, ``language`` and ``known``.

    ``map`` finds its cached results by what pickle stores of this object, and with ``num_proc`` gives it to other processes.
    Pickle stores of a model what it was loaded from, so that equal models have equal results and each process loads its own.

    Attributes:
        model: The model.
        column: The texts, or lists of words; ``text`` or ``tokens`` when not given.
        prefix: Put before the names of the columns that are added.
        settings: As of :meth:`RetrieveAllModel.extract`.
        release: The version of this package: another one may find other entities.
    """

    model: Annotates
    column: str | None
    prefix: str
    settings: dict[str, Any]
    release: str = _RELEASE

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The new columns of a batch, or of one example when ``map`` is not batched."""
        if self._is_example(batch):
            return {name: values[0] for name, values in self({name: [value] for name, value in batch.items()}).items()}
        names = list(batch)
        check_text_column(names, self.column, "The dataset")
        check_added(names, self.prefix, "The dataset")
        rows = [dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        records = [Record(row, text_of(row, self.column, f"row {number}")) for number, row in enumerate(rows)]
        added = annotated(self.model, records, **self.settings)
        return {f"{self.prefix}{name}": [row[name] for row in added] for name in ADDED.names}

    def _is_example(self, batch: Mapping[str, Any]) -> bool:
        name = self.column or ("text" if "text" in batch else "tokens")
        value = batch.get(name)
        return isinstance(value, str) or (name == "tokens" and isinstance(value, list) and isinstance(next(iter(value), []), str))


def annotator(model: Annotates, column: str | None = None, prefix: str = "", **settings: Any) -> Annotator:
    """What ``Dataset.map`` calls to annotate texts.

    Args:
        model: The model.
        column: The texts, or lists of words; ``text`` or ``tokens`` when not given.
        prefix: Put before the names of the columns that are added.
        **settings: As of :meth:`RetrieveAllModel.extract`.
    """
    return Annotator(model, column, prefix, settings)
