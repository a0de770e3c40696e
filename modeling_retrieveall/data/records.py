"""Records of JSON, parquet and the Hub as labelled rows, whatever tool has written them and whatever their columns are called.

>>> record = {"text": "Bonn ruft.", "label": [[0, 4, "LOC"]], "id": 7}
>>> rows_of([(record, "line 1")], "doccano.jsonl", Columns(), {}, Notes())[0]
[SpanRow(text='Bonn ruft.', spans=[CharSpan(start=0, end=4, label='LOC')], place='line 1', other={'id': 7}, scored=False)]
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .rows import CharSpan, Columns, DatasetError, Notes, Row, SpanRow, TaggedRow

Record = dict[str, Any]
_WORDS = ("tokens", "words", "tokenized_text")
_TEXTS = ("text", "sentence", "content")
_TAGS = ("ner_tags", "tags", "labels", "label", "ner", "ner_labels")
_SPANS = ("label", "labels", "entities", "spans", "ents", "ner", "annotations")
LABEL_COLUMNS = {*_TAGS, *_SPANS}
"""Where tools write labels: none of these is a further column of a record."""
_SHORT_LABEL_STUDIO = "annotation_id"
"""What a record of Label Studio's short JSON has when it was annotated; without a mention it lacks the column of them."""
_GLINER = "tokenized_text"
_TEXTLESS = "records without a text, which were left out"
_UNLABELLED = "records without labels, which were left out"


def rows_of(
    records: Sequence[tuple[Record, str]], source: str, columns: Columns, names: Mapping[str, list[str]], notes: Notes
) -> tuple[list[Row], Sequence[str]]:
    """Labelled rows of records, and the tags that numbers stand for in them.

    Args:
        records: Each record and its place.
        source: What messages call all of them.
        columns: Where words and labels stand; when not given they are found by name and content.
        names: The tags that numbers stand for, of columns that say so.
        notes: Takes what is left out.

    Raises:
        DatasetError: Words or labels are missing, or it is not clear where they stand.
    """
    if not records:
        return [], []
    words, text = _token_columns(records, columns.tokens)
    if not (words or text):
        raise _missing(source, records, columns.tokens or "tokens")
    labels, are_tags = _label_column(records, source, columns.tags, words is not None)
    if labels is None:
        raise _missing(source, records, columns.tags or ("ner_tags" if words else "label"))
    if not are_tags:
        _check_offsets(records, source, words, text, labels)
    tokens_in = words if are_tags or words == _GLINER or text is None else text
    tag_names = _tag_names(source, labels, columns.tag_names, names)
    rows: list[Row] = []
    for record, place in records:
        tokens: Any = record.get(tokens_in or "")
        labelled = record.get(labels)
        if tokens is None and not labelled:
            notes.add(_TEXTLESS, place)
        elif labelled is None and tokens and _SHORT_LABEL_STUDIO not in record:
            notes.add(_UNLABELLED, place)
        else:
            other = {name: value for name, value in record.items() if name not in {words, text, labels, *LABEL_COLUMNS}}
            if are_tags:
                rows.append(TaggedRow(tokens or [], _tags(labelled or [], tag_names, source, labels), place, other=other))
            else:
                spans = _spans(labelled or [], tokens, place, words == _GLINER)
                scored = any(isinstance(item, dict) and "score" in item for item in labelled or [])
                rows.append(SpanRow(tokens, spans, place, other, scored))
    if not rows and list(notes):
        raise DatasetError(f"{source} has no labelled record: {'; '.join(notes)}.")
    return rows, tag_names or []


def _missing(source: str, records: Sequence[tuple[Record, str]], name: str) -> DatasetError:
    present = list(dict.fromkeys(name for record, _ in records for name in record))
    return DatasetError(
        f"{source} has no column {name}, only {present}. Rename its columns, or name them with --tokens-column and "
        "--tags-column: 'tokens' holds the words of each sentence and 'ner_tags' a tag a word (names, or a ClassLabel of names); "
        "or 'text' holds a text and 'label' its mentions, [[start, end, label], ...]."
    )


# Columns


def _token_columns(records: Sequence[tuple[Record, str]], asked: str | None) -> tuple[str | None, str | None]:
    """The column of lists of words, and that of texts."""
    words = [name for name in ([asked] if asked else _WORDS) if any(_is_words(record.get(name)) for record, _ in records)]
    texts = [name for name in ([asked] if asked else _TEXTS) if any(isinstance(record.get(name), str) for record, _ in records)]
    if not words and not texts:  # only empty sentences
        words = [name for name in _WORDS if any(record.get(name) == [] for record, _ in records)]
    return next(iter(words), None), next(iter(texts), None)


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)


def _label_column(
    records: Sequence[tuple[Record, str]], source: str, asked: str | None, has_words: bool
) -> tuple[str | None, bool]:
    """The column of the labels, and whether they are a tag a word."""
    values: dict[str, list[Any]] = {}
    for name, value in (item for record, _ in records for item in record.items()):
        values.setdefault(name, []).extend([value] if value else [])
    known = [asked] if asked else [name for name in values if name in LABEL_COLUMNS]
    of_words = [name for name in known if has_words and (name == asked or name in _TAGS)]
    tagged = [name for name in of_words if any(map(_is_tags, values.get(name, [])))]
    spans = [name for name in known if any(map(_is_spans, values.get(name, [])))]
    if not tagged and not spans and not asked:  # Label Studio calls its column as the user's configuration does
        spans = [name for name, found in values.items() if any(map(_is_spans, found))]
    if "ner_tags" in tagged:
        tagged = ["ner_tags"]
    found = tagged + spans
    if len(found) > 1:
        raise DatasetError(
            f"{source}: the columns {' and '.join(map(repr, found))} all hold labels. Give the one that is meant, as "
            f"--tags-column {found[0]}."
        )
    if found:
        return found[0], bool(tagged)
    empty = [name for name in known if name in values and not values[name]]
    if empty:
        return empty[0], has_words and empty[0] in _TAGS
    if not known or known[0] not in values:
        return asked, has_words
    raise DatasetError(
        f"{source}: {known[0]!r} is {values[known[0]][0]!r:.80}, neither a tag a word nor mentions with their offsets and label, "
        "as in [[0, 4, 'LOC']]. Give another --tags-column."
    )


def _is_tags(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(tag, str | int) for tag in value)


def _tag_names(source: str, column: str, asked: Sequence[str] | None, names: Mapping[str, list[str]]) -> Sequence[str] | None:
    if asked and column in names:
        raise DatasetError(f"{source} names the tags of {column!r} itself: {', '.join(names[column])}. Leave out --tag-names.")
    return asked or names.get(column)


def _tags(tags: list[Any], names: Sequence[str] | None, source: str, column: str) -> list[str]:
    """Tags as text; numbers by their names."""
    named = []
    for tag in tags:
        is_number = isinstance(tag, int) or (names is not None and str(tag).isdigit())
        if not is_number:
            named.append(tag)
        elif names is None:
            raise DatasetError(
                f"{source} has numbers in {column!r} without their names. Make the column a ClassLabel or write names, or give "
                "them in the order of the numbers, as in --tag-names O,B-PER,I-PER."
            )
        elif not 0 <= int(tag) < len(names):
            raise DatasetError(
                f"{source} has a tag {tag}, but its ClassLabel names 0 to {len(names) - 1}. Is this split labelled?"
            )
        else:
            named.append(names[int(tag)])
    return named


# Mentions


def _is_spans(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_fields(item) is not None for item in value)


def _fields(item: Any) -> tuple[Any, Any, Any, Any] | None:
    """Start, end, label and, if it is there, text of a mention as any of the tools writes it; ``None`` for something else."""
    if isinstance(item, list | tuple) and len(item) >= 3:
        start, end, label, text = item[0], item[1], item[2], None
    elif isinstance(item, dict):
        start = item.get("start", item.get("start_offset"))
        end = item.get("end", item.get("end_offset"))
        label = next((item[name] for name in ("label", "labels", "type", "entity_group") if item.get(name)), None)
        text = item.get("text")
    else:
        return None
    if type(start) is not int or type(end) is not int or not isinstance(label, str | list):
        return None
    return start, end, label, text if isinstance(text, str) else None


def _check_offsets(records: Sequence[tuple[Record, str]], source: str, words: str | None, text: str | None, labels: str) -> None:
    """Refuses offsets that may count words where they are read as counting characters."""
    if not words or words == _GLINER:
        return
    found = [
        (fields, len(record.get(words) or []))
        for record, _ in records
        for item in record.get(labels) or []
        if (fields := _fields(item)) and fields[3] is None
    ]
    if found and (not text or all(fields[1] <= count for fields, count in found)):
        raise DatasetError(
            f"{source}: do the offsets of {labels!r} count characters or words? Give a tag a word, offsets of characters in a "
            "text alone (--tokens-column text), or the 'text' of each mention."
        )


def _spans(items: Any, tokens: Any, place: str, count_words: bool) -> list[CharSpan]:
    if not isinstance(tokens, str) and not _is_words(tokens):
        raise DatasetError(f"{place}: {tokens!r:.80} is neither a text nor a list of words.")
    if not isinstance(items, list):
        raise DatasetError(f"{place}: {items!r:.80} is no list of mentions. Write [[start, end, label], ...].")
    text = tokens if isinstance(tokens, str) else " ".join(tokens)
    spans = []
    for item in items:
        fields = _fields(item)
        if fields is None:
            raise DatasetError(f"{place}: {item!r:.80} is no mention. Write its start, its end and its label.")
        start, end, label, mention = fields
        if isinstance(label, list):
            if len(label) != 1 or not isinstance(label[0], str):
                raise DatasetError(f"{place}: the mention {item!r:.120} has {len(label)} labels. Give each mention one.")
            label = label[0]
        if count_words:  # GLiNER counts words, the last one included
            start, end = len(" ".join([*tokens[:start], ""])), len(" ".join(tokens[: end + 1]))
        elif mention is not None:
            start, end = _verified(text, start, end, mention, place)
        spans.append(CharSpan(start, end, label))
    return spans


def _verified(text: str, start: int, end: int, mention: str, place: str) -> tuple[int, int]:
    """The offsets of a mention in code points; browsers count an emoji as two.

    Raises:
        DatasetError: The text has something else there.
    """
    if _same(text[start:end], mention):
        return start, end
    try:
        wide = text.encode("utf-16-le", "surrogatepass")
        before, found = (wide[a:b].decode("utf-16-le") for a, b in ((0, 2 * start), (2 * start, 2 * end)))
    except UnicodeDecodeError:
        before = found = ""
    if _same(found, mention):
        return len(before), len(before) + len(found)
    raise DatasetError(f"{place}: the mention is {mention!r:.80}, but the text has {text[start:end]!r:.80} at {start} to {end}.")


def _same(found: str, mention: str) -> bool:
    """Whether two mentions are the same but for their white space; Label Studio writes a line end as a backslash and an n."""
    return found.split() in (mention.split(), mention.replace("\\n", "\n").split())
