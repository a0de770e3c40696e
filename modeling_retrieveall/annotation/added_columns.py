"""The columns that annotation adds to a record, and the function that computes them.

>>> annotate_records(model, [Record({"text": "Bonn"}, "Bonn")])
[{'entities': [{'text': 'Bonn', 'label': 'LOC', 'start': 0, 'end': 4, 'score': 0.99}], 'language': 'de', 'known': True}]
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import pyarrow as pa

from ..model.outputs import Extraction, entity_dict
from .readers import Record, RecordError, Row

ADDED_COLUMNS = pa.schema(
    {
        "entities": pa.list_(
            pa.struct({"text": pa.string(), "label": pa.string(), "start": pa.int64(), "end": pa.int64(), "score": pa.float64()})
        ),
        "language": pa.string(),
        "known": pa.bool_(),
    }
)
"""Names and parquet types of the added columns."""
UNCERTAINTY = "uncertainty"
"""The column that is added as well if near misses are asked for."""


class AnnotationModel(Protocol):
    """The part of :class:`RetrieveAllModel` that annotation uses."""

    @property
    def languages(self) -> dict[str, str]:
        """Language code to the source of its adapter."""

    def extract(self, texts: Any, **options: Any) -> Any:
        """Extracts the entities of a list of texts; see :meth:`RetrieveAllModel.extract`."""


def annotate_records(
    model: AnnotationModel, records: Sequence[Record], batch_size: int | None = None, **settings: Any
) -> list[Row]:
    """Computes the added columns of each record.

    Args:
        model: The model.
        records: The records. One without text has no entities.
        batch_size: Number of sentences decoded together.
        **settings: Further arguments of :meth:`RetrieveAllModel.extract`.

    Returns:
        For each record the values of ``entities``, ``language`` and ``known``, and of ``uncertainty`` with ``near_misses``.
    """
    no_text = Extraction("", [], [], near_misses=None if settings.get("near_misses") is None else [])
    added = [_columns(no_text)] * len(records)
    texts = [i for i, record in enumerate(records) if record.text and isinstance(record.text, str)]
    words = [i for i, record in enumerate(records) if record.text and not isinstance(record.text, str)]
    for positions, is_split in ((texts, False), (words, True)):
        if positions:
            inputs = [records[i].text for i in positions]
            results = model.extract(inputs, is_split_into_words=is_split, batch_size=batch_size, **settings)
            for i, result in zip(positions, results, strict=True):
                added[i] = _columns(result)
    return added


def added_names(near_misses: bool) -> list[str]:
    """The names of the added columns.

    Args:
        near_misses: Whether near misses are asked for.
    """
    return [*ADDED_COLUMNS.names, *([UNCERTAINTY] if near_misses else [])]


def _columns(result: Extraction) -> Row:
    row = {
        "entities": [entity_dict(entity) for entity in result.entities],
        "language": result.language,
        "known": result.known,
    }
    return row if result.near_misses is None else {**row, UNCERTAINTY: uncertainty(result)}


def uncertainty(result: Extraction) -> float:
    """How uncertain the most uncertain decision in a text is: 1 for a score of 0.5, 0 for scores of 0 and 1 and for no entities.

    Args:
        result: A result with near misses.
    """
    scores = [entity.score for entity in [*result.entities, *(result.near_misses or ())]]
    return round(max((1 - abs(2 * score - 1) for score in scores), default=0.0), 4)


def check_added_columns(names: Iterable[str], prefix: str, source: str, added: Sequence[str] = ADDED_COLUMNS.names) -> None:
    """Checks that no column of the source has the name of an added column.

    Args:
        names: The columns of the source.
        prefix: The prefix of the added columns.
        source: How the error message calls the source.
        added: The names of the added columns, without the prefix.

    Raises:
        RecordError: A column has the name of an added column.
    """
    present = set(names)
    if taken := [f"{prefix}{name}" for name in added if f"{prefix}{name}" in present]:
        advice = "Choose another `prefix`." if prefix else "Set `prefix`, for example to 'retrieveall_'."
        raise RecordError(f"{source} already has {', '.join(map(repr, taken))}, which annotation would overwrite. {advice}")
