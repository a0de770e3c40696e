r"""JSON lines and JSON arrays, as doccano, Label Studio, Prodigy, spaCy, Hugging Face and ``retrieveall annotate`` write them.

>>> line = b'{"text": "Bonn ruft.", "spans": [], "answer": "accept"}\n'
>>> read_json(io.BytesIO(line), "prodigy.jsonl", ColumnNames(), Notes())[0].fields
{'text': 'Bonn ruft.', 'spans': [], 'answer': 'accept'}
"""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from .reader_types import ColumnNames, DatasetError, Notes, SourceRecord
from .text_files import read_lines

_REJECTED = "records that were rejected or ignored in Prodigy, which were left out"
_NOT_ANNOTATED = "Label Studio tasks without an annotation, which were left out (a prediction counts once it is submitted)"
_DIFFERENT = "Label Studio tasks with different annotations, of which the first was used"


def read_json(stream: BinaryIO, name: str, columns: ColumnNames, notes: Notes) -> list[SourceRecord]:
    """The records of a file.

    Args:
        stream: The file, open for reading bytes.
        name: The file, for messages.
        columns: May name the column of the text in the data of Label Studio tasks.
        notes: Collects what is left out.

    Raises:
        DatasetError: The file is not JSON, or a record is not an object.
        EncodingError: The bytes of the file do not fit its encoding.
    """
    records = []
    for value, place in _values(stream, name):
        fields = _fields(value, place)
        if _is_label_studio_task(fields):
            record = _label_studio(fields, place, columns.tokens_column, notes)
        else:
            record = _accepted(fields, place, notes)
        if record is not None:
            records.append(record)
    if not records and list(notes):
        raise DatasetError(f"{name} has no labelled record: {'; '.join(notes)}.")
    return records


# JSON


def _values(stream: BinaryIO, name: str) -> Iterator[tuple[Any, str]]:
    """The values of JSON lines, or of an array that may span many lines, each with its place."""
    numbered = [(number, line) for number, line in enumerate(read_lines(stream, name), start=1) if line.strip()]
    if len(numbered) > 1 and _is_json(numbered[0][1]):
        for number, line in numbered:
            yield _parsed(line, name, number), f"{name}, line {number}"
        return
    if not numbered:
        return
    whole = _parsed("\n".join(line for _, line in numbered), name, numbered[0][0])
    if isinstance(whole, dict) and isinstance(whole.get("annotations"), list) and "classes" in whole:
        whole = [pair for pair in whole["annotations"] if pair]  # the format of NER Text Annotator
    if not isinstance(whole, list) or _is_spacy_pair(whole):
        yield whole, f"{name}, line {numbered[0][0]}"
        return
    yield from ((value, f"{name}, record {number}") for number, value in enumerate(whole, start=1))


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def reject_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, for ``object_pairs_hook``. Python would silently keep only the last value of a repeated key.

    Raises:
        DatasetError: A key occurs twice.
    """
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        raise DatasetError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return record


def _parsed(text: str, name: str, number: int) -> Any:
    try:
        return json.loads(text, object_pairs_hook=reject_repeated_keys)
    except DatasetError as error:
        raise DatasetError(f"{name}, line {number}: {error} in a record.") from error
    except json.JSONDecodeError as error:
        line = text.split("\n")[error.lineno - 1]
        raise DatasetError(
            f"{name}, line {number + error.lineno - 1} is not JSON ({error.msg}, character {error.colno}): {line!r:.80}. Write "
            "one record per line, or an array of records."
        ) from error
    except RecursionError as error:
        raise DatasetError(f"{name}, line {number} is nested too deeply.") from error


# Records


def _fields(value: Any, place: str) -> dict[str, Any]:
    if _is_spacy_pair(value):
        return {"text": value[0], **value[1]}
    if not isinstance(value, dict):
        raise DatasetError(f"{place} is {value!r:.80}, not a JSON object with a text and its labels.")
    return value


def _is_spacy_pair(value: Any) -> bool:
    """Whether a value is a training example of spaCy 2: a text, and a dictionary of its annotations."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)


def _accepted(fields: dict[str, Any], place: str, notes: Notes) -> SourceRecord | None:
    """A record; ``None`` if it was rejected in Prodigy, whose records without a mention may have no list of them."""
    if "answer" in fields and "text" in fields:
        if fields["answer"] != "accept":
            notes.add(_REJECTED, place)
            return None
        fields = {"spans": [], **fields}
    return SourceRecord(fields, place)


def _is_label_studio_task(fields: dict[str, Any]) -> bool:
    answers = {"annotations", "completions", "predictions"}
    return isinstance(fields.get("data"), dict) and bool(answers & fields.keys())


def _label_studio(task: dict[str, Any], place: str, text_column: str | None, notes: Notes) -> SourceRecord | None:
    """A Label Studio task as a text and its mentions; ``None`` if it has no annotation."""
    annotations = [
        annotation.get("result") or []
        for annotation in task.get("annotations") or task.get("completions") or []
        if isinstance(annotation, dict) and not annotation.get("was_cancelled")
    ]
    if not annotations:
        notes.add(_NOT_ANNOTATED, place)
        return None
    data = task["data"]
    texts = [name for name, value in data.items() if isinstance(value, str)]
    name = text_column or ("text" if "text" in texts else texts[0] if len(texts) == 1 else None)
    if name not in texts:
        raise DatasetError(f"{place}: which of {', '.join(texts) or 'its data'} is the text? Set `tokens_column` to it.")
    mentions = [_regions(result, place) for result in annotations]
    if any(sorted(map(str, other)) != sorted(map(str, mentions[0])) for other in mentions[1:]):
        notes.add(_DIFFERENT, place)
    extra = {key: value for key, value in data.items() if key != name}
    return SourceRecord({text_column or "text": data[name], "label": mentions[0]}, place, extra)


def _regions(result: list[Any], place: str) -> list[dict[str, Any]]:
    """The labelled regions of an annotation, without its choices, relations and comments."""
    values = [item["value"] for item in result if isinstance(item, dict) and isinstance(item.get("value"), dict)]
    for value in values:
        # Regions of web pages, dialogues and images have hypertextlabels, paragraphlabels, rectanglelabels, ...
        other = any(name.endswith("labels") and name != "labels" for name in value)
        if other or ("labels" in value and "start" in value and type(value["start"]) is not int):
            raise DatasetError(f"{place}: {value!r:.80} is a region of a web page or image. Only plain text can be read.")
    regions = [value for value in values if "labels" in value and "start" in value]
    return [{key: region[key] for key in ("start", "end", "text", "labels") if key in region} for region in regions]
