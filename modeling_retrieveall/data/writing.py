"""Writes labelled texts in the formats of doccano, Label Studio, Prodigy, spaCy, Hugging Face and CoNLL.

>>> to_doccano("Bonn ruft.", [Entity("Bonn", "LOC", 0, 4)], {"id": 7})
{'id': 7, 'text': 'Bonn ruft.', 'label': [[0, 4, 'LOC']]}
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..model.entities import Entity, Example, tags_from_spans
from .conll import conll_lines
from .dataset_files import format_suffix
from .detokenization import detokenize_example
from .reader_types import DatasetError
from .record_conversion import LABEL_COLUMNS
from .record_mentions import is_mention_list

Record = dict[str, Any]
ExtraColumns = Mapping[str, Any]
"""The columns of a record beside its text and its labels."""


# Records


def to_doccano(text: str, entities: Sequence[Entity], extra: ExtraColumns) -> Record:
    """A record for doccano, which shows the extra columns as metadata.

    An extra column called ``label`` is renamed to ``source_label``, as doccano reads the entities from ``label``.
    """
    return {**_extra(extra, "label"), "text": text, "label": _triples(entities)}


def to_spacy(text: str, entities: Sequence[Entity], extra: ExtraColumns) -> Record:
    """A training example for spaCy. An extra column called ``entities`` is renamed to ``source_entities``."""
    return {**_extra(extra, "entities"), "text": text, "entities": _triples(entities)}


def to_prodigy(text: str, entities: Sequence[Entity], extra: ExtraColumns) -> Record:
    """A record for Prodigy, with the extra columns as metadata."""
    spans = [{"start": entity.start, "end": entity.end, "label": entity.label} for entity in entities]
    meta = {"meta": _extra(extra)} if _extra(extra) else {}
    return {"text": text, "spans": spans, **meta}


def to_label_studio(text: str, entities: Sequence[Entity], extra: ExtraColumns, *, accepted: bool = False) -> Record:
    """A task for Label Studio, for a labelling configuration with ``<Labels name="label" toName="text">``.

    Args:
        text: The text.
        entities: Its entities.
        extra: Its other columns, which become data of the task.
        accepted: Whether to write the entities as annotations. By default they are predictions, which a person has to accept.
    """
    result = [_region(entity, scored=not accepted) for entity in entities]
    task = {"data": {**_extra(extra), "text": text}}
    if accepted:
        return {**task, "annotations": [{"result": result}]}
    return {**task, "predictions": [{"model_version": "retrieveall", "result": result}]}


def to_tagged_words(example: Example, extra: ExtraColumns) -> Record:
    """A record for Hugging Face, with the columns ``tokens`` and ``ner_tags``.

    An extra column called ``ner_tags`` is renamed to ``source_ner_tags``.
    """
    words = [word.text for word in example.sentence.words]
    return {**_extra(extra, "ner_tags"), "tokens": words, "ner_tags": tags_from_spans(example.spans, len(words))}


def _region(entity: Entity, scored: bool) -> Record:
    value = {"start": entity.start, "end": entity.end, "text": entity.text, "labels": [entity.label]}
    region = {"from_name": "label", "to_name": "text", "type": "labels", "value": value}
    # A score of 1 means that the entity was labelled by a person, who gave no score.
    return {**region, "score": entity.score} if scored and entity.score < 1 else region


def _triples(entities: Sequence[Entity]) -> list[list[Any]]:
    return [[entity.start, entity.end, entity.label] for entity in entities]


def _extra(columns: ExtraColumns, labels_name: str | None = None) -> Record:
    """The extra columns without earlier texts and entities; a column named like the new labels becomes ``source_...``."""
    kept = {
        name: value
        for name, value in columns.items()
        if name not in ("text", "tokens") and not (name in LABEL_COLUMNS and (value == [] or is_mention_list(value)))
    }
    return {f"source_{name}" if name == labels_name else name: value for name, value in kept.items()}


# Files


def write_examples(
    examples: Iterable[Example], target: Path, to: str, extra_columns: Iterable[ExtraColumns] = (), *, accepted: bool = True
) -> int:
    """Writes examples to a file.

    Args:
        examples: The examples.
        target: The file.
        to: The format, a key of :data:`WRITERS`.
        extra_columns: The other columns of each example; by default there are none.
        accepted: As for :func:`to_label_studio`.

    Returns:
        The number of examples written.

    Raises:
        DatasetError: An example cannot be written in this format.
    """
    listed = list(examples)
    extra = list(extra_columns) or [{}] * len(listed)
    WRITERS[to](list(zip(listed, extra, strict=True)), target, accepted)
    return len(listed)


_Pairs = list[tuple[Example, ExtraColumns]]


def _json_lines_writer(make: Callable[[Example, ExtraColumns], Record]) -> Callable[[_Pairs, Path, bool], None]:
    def write(pairs: _Pairs, target: Path, accepted: bool) -> None:
        with target.open("wb") as stream:
            for example, extra in pairs:
                stream.write(_json(make(example, extra)) + b"\n")

    return write


def _write_label_studio(pairs: _Pairs, target: Path, accepted: bool) -> None:
    """Writes an array, as Label Studio does not import JSON lines."""
    tasks = (_json(to_label_studio(*detokenize_example(example), extra, accepted=accepted)) for example, extra in pairs)
    target.write_bytes(b"[\n" + b",\n".join(tasks) + b"\n]\n")


def _write_conll(pairs: _Pairs, target: Path, accepted: bool) -> None:
    with target.open("w", encoding="utf-8", newline="\n") as stream:
        for number, (example, _) in enumerate(pairs, start=1):
            words = [word.text for word in example.sentence.words]
            try:
                block = "\n".join(conll_lines(words, tags_from_spans(example.spans, len(words))))
                stream.write(block + "\n")
            except ValueError as error:  # a word cannot be in a column, or a lone surrogate cannot be in UTF-8
                raise DatasetError(f"Sentence {number} cannot be written as CoNLL: {error}") from error


def _write_spacy(pairs: _Pairs, target: Path, accepted: bool) -> None:
    if format_suffix(target) != ".spacy":
        _json_lines_writer(lambda example, extra: to_spacy(*detokenize_example(example), extra))(pairs, target, accepted)
        return
    from .spacy_files import write_doc_bin

    write_doc_bin((example for example, _ in pairs), target)


def _json(record: Record) -> bytes:
    """A record as JSON in UTF-8. A lone surrogate stays escaped, and a value of a type that JSON lacks becomes text."""
    return json.dumps(record, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")


WRITERS: dict[str, Callable[[_Pairs, Path, bool], None]] = {
    "doccano": _json_lines_writer(lambda example, extra: to_doccano(*detokenize_example(example), extra)),
    "label-studio": _write_label_studio,
    "prodigy": _json_lines_writer(lambda example, extra: to_prodigy(*detokenize_example(example), extra)),
    "spacy": _write_spacy,
    "conll": _write_conll,
    "jsonl": _json_lines_writer(to_tagged_words),
}
"""For each format the function that writes it."""
_SUFFIXES = {
    "label-studio": (".json",),
    "conll": (".conll", ".bio", ".iob2", ".tsv", ".txt"),
    "spacy": (".spacy", ".jsonl"),
    **dict.fromkeys(("doccano", "prodigy", "jsonl"), (".jsonl",)),
}
"""For each format the suffixes that its files may have."""


def choose_format(target: Path, to: str | None) -> str:
    """The requested format, or the only format whose files have the suffix of the target.

    Raises:
        DatasetError: There is no such format, its files have another suffix, or the suffix fits several formats or none.
    """
    suffix = format_suffix(target)
    if to is None:
        fitting = [name for name, suffixes in _SUFFIXES.items() if suffix in suffixes]
        if len(fitting) != 1:
            raise DatasetError(
                f"The name {target} does not decide the format. Set `to` to one of {', '.join(fitting or WRITERS)}."
            )
        return fitting[0]
    if to not in WRITERS:
        raise DatasetError(f"There is no format {to!r}. Choose one of {', '.join(WRITERS)}.")
    if suffix not in _SUFFIXES[to]:
        found = f"the suffix {suffix!r}" if suffix else "no suffix"
        raise DatasetError(f"{target} has {found}; files of {to} have {' or '.join(_SUFFIXES[to])}.")
    return to
