r"""JSON lines and JSON arrays, with the records of doccano, Label Studio, Prodigy, spaCy and Hugging Face.

>>> read_json(io.BytesIO(b'{"text": "Bonn ruft.", "spans": [], "answer": "accept"}\n'), "prodigy.jsonl", Columns(), Notes())
[({'text': 'Bonn ruft.', 'spans': [], 'answer': 'accept'}, 'prodigy.jsonl, line 1')]
"""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from .records import LABEL_COLUMNS, Record
from .rows import Columns, DatasetError, Notes
from .text_files import lines

_REJECTED = "records that were rejected or ignored in Prodigy, which were left out"
_UNREVIEWED = "tasks of Label Studio that nobody has annotated, which were left out (predictions count when they are submitted)"
_SEVERAL = "tasks of Label Studio whose annotators differ, of whom the first was taken"


def read_json(stream: BinaryIO, name: str, columns: Columns, notes: Notes) -> list[tuple[Record, str]]:
    """The records of a file, each with its place.

    Args:
        stream: The file, open for reading bytes.
        name: What messages call the file.
        columns: May name the text among the data of a Label Studio task.
        notes: Takes what is left out.

    Raises:
        DatasetError: The file is no JSON, or a record of another kind.
        EncodingError: The file is in another encoding than its byte order mark says.
    """
    records = []
    for value, place in _values(stream, name):
        record = _record(value, place)
        kept = _label_studio(record, place, columns.tokens, notes) if _is_task(record) else _prodigy(record, place, notes)
        if kept is not None:
            records.append((kept, place))
    if not records and list(notes):
        raise DatasetError(f"{name} has no labelled record: {'; '.join(notes)}.")
    return records


def _values(stream: BinaryIO, name: str) -> Iterator[tuple[Any, str]]:
    """The values of JSON lines, or of an array over one line or many."""
    numbered = [(number, line) for number, line in enumerate(lines(stream, name), start=1) if line.strip()]
    if len(numbered) > 1 and _is_json(numbered[0][1]):
        for number, line in numbered:
            yield _parsed(line, name, number), f"{name}, line {number}"
        return
    if not numbered:
        return
    whole = _parsed("\n".join(line for _, line in numbered), name, numbered[0][0])
    if isinstance(whole, dict) and isinstance(whole.get("annotations"), list) and "classes" in whole:
        whole = [pair for pair in whole["annotations"] if pair]  # NER Text Annotator
    if not isinstance(whole, list) or _is_pair(whole):
        yield whole, f"{name}, line {numbered[0][0]}"
        return
    yield from ((value, f"{name}, record {number}") for number, value in enumerate(whole, start=1))


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def without_repeated_keys(pairs: list[tuple[str, Any]]) -> Record:
    """An object of JSON, for ``object_pairs_hook``; of a key that occurs twice one value would be lost.

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
        return json.loads(text, object_pairs_hook=without_repeated_keys)
    except DatasetError as error:
        raise DatasetError(f"{name}, line {number}: {error} in a record.") from error
    except json.JSONDecodeError as error:
        line = text.split("\n")[error.lineno - 1]
        raise DatasetError(
            f"{name}, line {number + error.lineno - 1} is no JSON ({error.msg}, character {error.colno}): {line!r:.80}. Give a "
            "record on each line, or an array of records."
        ) from error
    except RecursionError as error:
        raise DatasetError(f"{name}, line {number} is nested too deeply to be read.") from error


def _is_pair(value: Any) -> bool:
    """Whether a value is an example as spaCy 2 was trained on: a text, and its annotations."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)


def _record(value: Any, place: str) -> Record:
    if _is_pair(value):
        return {"text": value[0], **value[1]}
    if not isinstance(value, dict):
        raise DatasetError(f"{place} is {value!r:.80}, not a JSON object with a text and its labels.")
    return value


def _prodigy(record: Record, place: str, notes: Notes) -> Record | None:
    """A record that was accepted, if Prodigy has asked; without a mention it has an empty list of them."""
    if "answer" in record and "text" in record:
        if record["answer"] != "accept":
            notes.add(_REJECTED, place)
            return None
        return {"spans": [], **record}
    return record


def _is_task(record: Record) -> bool:
    answers = {"annotations", "completions", "predictions"}
    return isinstance(record.get("data"), dict) and bool(answers & record.keys())


def _label_studio(record: Record, place: str, column: str | None, notes: Notes) -> Record | None:
    """A task of Label Studio as a text and its mentions; ``None`` when nobody has annotated it."""
    annotations = [
        annotation.get("result") or []
        for annotation in record.get("annotations") or record.get("completions") or []
        if isinstance(annotation, dict) and not annotation.get("was_cancelled")
    ]
    if not annotations:
        notes.add(_UNREVIEWED, place)
        return None
    data = record["data"]
    texts = [name for name, value in data.items() if isinstance(value, str)]
    name = column or ("text" if "text" in texts else texts[0] if len(texts) == 1 else None)
    if name not in texts:
        raise DatasetError(f"{place}: which of {', '.join(texts) or 'its data'} is the text? Give --tokens-column.")
    mentions = [_regions(result, place) for result in annotations]
    if any(sorted(map(str, other)) != sorted(map(str, mentions[0])) for other in mentions[1:]):
        notes.add(_SEVERAL, place)
    other = {key: value for key, value in data.items() if key not in LABEL_COLUMNS}
    return {**other, column or "text": data[name], "label": mentions[0]}


def _regions(result: list[Any], place: str) -> list[Record]:
    """The labelled regions of an annotation; choices, relations and comments are not regions."""
    values = [item["value"] for item in result if isinstance(item, dict) and isinstance(item.get("value"), dict)]
    for value in values:
        # Those of pages, dialogues and pictures are called hypertextlabels, paragraphlabels, rectanglelabels, ...
        other = any(name.endswith("labels") and name != "labels" for name in value)
        if other or ("labels" in value and "start" in value and type(value["start"]) is not int):
            raise DatasetError(f"{place}: {value!r:.80} is a region of a page or picture. Only those of plain text can be read.")
    regions = [value for value in values if "labels" in value and "start" in value]
    return [{key: region[key] for key in ("start", "end", "text", "labels") if key in region} for region in regions]
