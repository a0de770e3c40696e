"""Labelled texts in the formats that annotation tools import: doccano, Label Studio, Prodigy, spaCy, Hugging Face and CoNLL.

>>> to_doccano("Bonn ruft.", [Entity("Bonn", "LOC", 0, 4)], {"id": 7})
{'id': 7, 'text': 'Bonn ruft.', 'label': [[0, 4, 'LOC']]}
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..model.entities import Entity, Example, Sentence, tags_from_spans
from .conll import conll_lines
from .records import LABEL_COLUMNS, Record
from .rows import DatasetError
from .split_files import suffix_of

Row = Mapping[str, Any]


def written(sentence: Sentence) -> tuple[str, list[int]]:
    """A sentence as people write it, without a space before a full stop, and where its words begin there.

    A raw text is as it was; of words that a corpus has split, those that are written together are joined.

    Examples:
        >>> written(Sentence.from_words(["Bonn", "ruft", "."]))
        ('Bonn ruft.', [0, 5, 9])
    """
    words = sentence.words
    if not words:
        return sentence.text, []
    text, starts = sentence.text[: words[0].end], [words[0].start]
    for before, word in pairwise(words):
        gap = sentence.text[before.end : word.start]
        text += "" if word.glued and gap == " " else gap
        starts.append(len(text))
        text += sentence.text[word.start : word.end]
    return text + sentence.text[words[-1].end :], starts


def text_and_entities(example: Example) -> tuple[str, list[Entity]]:
    """An example as people write it, and its entities there."""
    text, starts = written(example.sentence)
    ends = [start + len(word.text) for start, word in zip(starts, example.sentence.words, strict=True)]
    bounds = [(starts[span.start], ends[span.end - 1], span.label) for span in example.spans]
    return text, [Entity(text[start:end], label, start, end) for start, end, label in bounds]


# A record of each tool


def to_doccano(text: str, entities: Sequence[Entity], row: Row) -> Record:
    """A line of JSON for doccano; the other columns of the row become its metadata."""
    return {**_other(row), "text": text, "label": _triples(entities)}


def to_spacy(text: str, entities: Sequence[Entity], row: Row) -> Record:
    """A line of JSON as spaCy's examples are trained on."""
    return {**_other(row), "text": text, "entities": _triples(entities)}


def to_prodigy(text: str, entities: Sequence[Entity], row: Row) -> Record:
    """A line of JSON for Prodigy; the other columns of the row become its metadata."""
    spans = [{"start": entity.start, "end": entity.end, "label": entity.label} for entity in entities]
    meta = {"meta": _other(row)} if _other(row) else {}
    return {"text": text, "spans": spans, **meta}


def to_label_studio(text: str, entities: Sequence[Entity], row: Row, *, accepted: bool = False) -> Record:
    """A task of Label Studio, for a labelling configuration with ``<Labels name="label" toName="text">``.

    Args:
        text: The text.
        entities: Its entities.
        row: Its other columns, which become data of the task.
        accepted: Whether the entities are annotations; if not they are predictions, which somebody has yet to accept.
    """
    result = [_region(entity, scored=not accepted) for entity in entities]
    task = {"data": {**_other(row), "text": text}}
    if accepted:
        return {**task, "annotations": [{"result": result}]}
    return {**task, "predictions": [{"model_version": "retrieveall", "result": result}]}


def _region(entity: Entity, scored: bool) -> Record:
    value = {"start": entity.start, "end": entity.end, "text": entity.text, "labels": [entity.label]}
    region = {"from_name": "label", "to_name": "text", "type": "labels", "value": value}
    # The labels of people have no score, which is 1.
    return {**region, "score": entity.score} if scored and entity.score < 1 else region


def _triples(entities: Sequence[Entity]) -> list[list[Any]]:
    return [[entity.start, entity.end, entity.label] for entity in entities]


def _other(row: Row) -> Record:
    """The columns of a row that are neither a text nor labels."""
    return {name: value for name, value in row.items() if name not in {"text", "tokens", *LABEL_COLUMNS}}


# Files


def write_examples(examples: Iterable[Example], target: Path, to: str, rows: Iterable[Row] = (), *, accepted: bool = True) -> int:
    """Writes examples in the format of a tool.

    Args:
        examples: The examples.
        target: The file.
        to: One of :data:`WRITERS`.
        rows: The other columns of each example; none when not given.
        accepted: As for :func:`to_label_studio`.

    Returns:
        How many were written.

    Raises:
        DatasetError: An example cannot be written in that format.
    """
    listed = list(examples)
    others = list(rows) or [{}] * len(listed)
    WRITERS[to](list(zip(listed, others, strict=True)), target, accepted)
    return len(listed)


def _write_json_lines(make: Callable[[Example, Row], Record]) -> Callable[[list[tuple[Example, Row]], Path, bool], None]:
    def write(pairs: list[tuple[Example, Row]], target: Path, accepted: bool) -> None:
        with target.open("wb") as stream:
            for example, row in pairs:
                stream.write(_json(make(example, row)) + b"\n")

    return write


def _write_label_studio(pairs: list[tuple[Example, Row]], target: Path, accepted: bool) -> None:
    """An array, as Label Studio imports no JSON lines."""
    tasks = (_json(to_label_studio(*text_and_entities(example), row, accepted=accepted)) for example, row in pairs)
    target.write_bytes(b"[\n" + b",\n".join(tasks) + b"\n]\n")


def _write_conll(pairs: list[tuple[Example, Row]], target: Path, accepted: bool) -> None:
    with target.open("w", encoding="utf-8", newline="\n") as stream:
        for number, (example, _) in enumerate(pairs, start=1):
            words = [word.text for word in example.sentence.words]
            try:
                block = "\n".join(conll_lines(words, tags_from_spans(example.spans, len(words))))
                stream.write(block + "\n")
            except ValueError as error:  # half a surrogate pair included
                raise DatasetError(f"Sentence {number} cannot be written as CoNLL: {error}") from error


def _write_spacy(pairs: list[tuple[Example, Row]], target: Path, accepted: bool) -> None:
    if suffix_of(target) != ".spacy":
        _write_json_lines(lambda example, row: to_spacy(*text_and_entities(example), row))(pairs, target, accepted)
        return
    from .doc_bins import write_doc_bin

    write_doc_bin((example for example, _ in pairs), target)


def _tokens(example: Example, row: Row) -> Record:
    words = [word.text for word in example.sentence.words]
    return {**_other(row), "tokens": words, "ner_tags": tags_from_spans(example.spans, len(words))}


def _json(record: Record) -> bytes:
    """A record as JSON in UTF-8; half a surrogate pair stays escaped, and what JSON has no word for becomes text."""
    return json.dumps(record, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")


WRITERS: dict[str, Callable[[list[tuple[Example, Row]], Path, bool], None]] = {
    "doccano": _write_json_lines(lambda example, row: to_doccano(*text_and_entities(example), row)),
    "label-studio": _write_label_studio,
    "prodigy": _write_json_lines(lambda example, row: to_prodigy(*text_and_entities(example), row)),
    "spacy": _write_spacy,
    "conll": _write_conll,
    "jsonl": _write_json_lines(_tokens),
}
"""The name of a format to what writes it."""
_SUFFIXES = {
    "label-studio": (".json",),
    "conll": (".conll", ".bio", ".iob2", ".tsv", ".txt"),
    "spacy": (".spacy", ".jsonl"),
    **dict.fromkeys(("doccano", "prodigy", "jsonl"), (".jsonl",)),
}
"""The ends that the name of a file of a format may have."""


def chosen_format(target: Path, to: str | None) -> str:
    """The format that is asked for, or the only one of the files that end as the target does.

    Raises:
        DatasetError: There is no such format, its files end with something else, or there are several.
    """
    suffix = suffix_of(target)
    if to is None:
        fitting = [name for name, suffixes in _SUFFIXES.items() if suffix in suffixes]
        if len(fitting) != 1:
            raise DatasetError(f"Which format is {target} in? Give --to with one of {', '.join(fitting or WRITERS)}.")
        return fitting[0]
    if to not in WRITERS:
        raise DatasetError(f"--to is {to!r}; give one of {', '.join(WRITERS)}.")
    if suffix not in _SUFFIXES[to]:
        raise DatasetError(
            f"{target} ends with {suffix or 'no suffix'!r}; of {to} give one that ends with {' or '.join(_SUFFIXES[to])}."
        )
    return to
