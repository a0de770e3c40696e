"""Records of JSON, parquet and Hub datasets as labelled sentences: which columns hold words and labels, and what they say.

>>> record = SourceRecord({"text": "Bonn ruft.", "label": [[0, 4, "LOC"]], "id": 7}, "line 1")
>>> convert_records([record], "doccano.jsonl", ColumnNames(), {}, Notes())[0]
[SpanText(text='Bonn ruft.', spans=[CharSpan(start=0, end=4, label='LOC')], place='line 1', extra={'id': 7}, scored=False)]
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .reader_types import ColumnNames, DatasetError, Notes, RawExample, SourceRecord, SpanText, TaggedSentence
from .record_mentions import is_mention_list, mentions_to_spans, parse_mention

_WORD_COLUMNS = ("tokens", "words", "tokenized_text")
_TEXT_COLUMNS = ("text", "sentence", "content")
_TAG_COLUMNS = ("ner_tags", "tags", "labels", "label", "ner", "ner_labels")
_MENTION_COLUMNS = ("label", "labels", "entities", "spans", "ents", "ner", "annotations")
LABEL_COLUMNS = {*_TAG_COLUMNS, *_MENTION_COLUMNS}
"""The names of the columns in which tools write labels."""
_SHORT_LABEL_STUDIO = "annotation_id"
"""Label Studio's short JSON has this column in annotated records, but no column of labels if a record has no mention."""
_GLINER_WORDS = "tokenized_text"
_NO_TEXT = "records without a text, which were left out"
_NO_LABELS = "records without labels, which were left out"
_OTHER_LABELS = "columns that hold other labels, which were left out"


@dataclass(frozen=True)
class _Columns:
    """The columns of a dataset.

    Attributes:
        words: The column of lists of words.
        text: The column of texts.
        labels: The column of labels.
        are_tags: Whether the labels are one tag per word, not mentions.
    """

    words: str | None
    text: str | None
    labels: str
    are_tags: bool

    @property
    def tokens(self) -> str | None:
        """The column that the labels refer to."""
        return self.words if self.are_tags or self.words == _GLINER_WORDS or self.text is None else self.text


def convert_records(
    records: Sequence[SourceRecord], source: str, names: ColumnNames, class_labels: Mapping[str, list[str]], notes: Notes
) -> tuple[list[RawExample], Sequence[str]]:
    """Labelled sentences from records, and the tags that the dataset lists.

    Args:
        records: The records.
        source: The dataset, for messages.
        names: The columns of words and labels; those not given are found by their names and values.
        class_labels: For each column of numbers whose dataset names them: the tags that 0, 1, ... stand for.
        notes: Collects what is left out.

    Raises:
        DatasetError: Words or labels are missing, or it is not clear which columns hold them.
    """
    if not records:
        return [], []
    columns = _find_columns(records, source, names)
    tag_names = _tag_names(source, columns.labels, names.tag_names, class_labels)
    examples: list[RawExample] = []
    for record in records:
        tokens: Any = record.fields.get(columns.tokens or "")
        labels = record.fields.get(columns.labels)
        if tokens is None and not labels:
            notes.add(_NO_TEXT, record.place)
        elif labels is None and tokens and _SHORT_LABEL_STUDIO not in record.fields:
            notes.add(_NO_LABELS, record.place)
        elif columns.are_tags:
            tags = _named_tags(labels or [], tag_names, columns.labels, record.place)
            examples.append(TaggedSentence(tokens or [], tags, record.place, extra=_extra_columns(record, columns, notes)))
        else:
            examples.append(_span_text(record, tokens, labels or [], columns, notes))
    if not examples and list(notes):
        raise DatasetError(f"{source} has no labelled record: {'; '.join(notes)}.")
    return examples, tag_names or []


def _span_text(record: SourceRecord, tokens: Any, labels: Any, columns: _Columns, notes: Notes) -> SpanText:
    if not isinstance(tokens, str) and not _is_word_list(tokens):
        raise DatasetError(f"{record.place}: {tokens!r:.80} is neither a text nor a list of words.")
    spans = mentions_to_spans(labels, tokens, record.place, columns.words == _GLINER_WORDS)
    scored = any(isinstance(item, dict) and "score" in item for item in labels)
    return SpanText(tokens, spans, record.place, _extra_columns(record, columns, notes), scored)


def _extra_columns(record: SourceRecord, columns: _Columns, notes: Notes) -> dict[str, Any]:
    """All columns but those of words, text and labels. A further column is one of labels by its name and its values."""
    extra = dict(record.extra)
    words = record.fields.get(columns.words or "") or []
    for name, value in record.fields.items():
        if name in (columns.words, columns.text, columns.labels):
            continue
        if name in LABEL_COLUMNS and (is_mention_list(value) or (_is_tag_list(value) and len(value) == len(words))):
            notes.add(_OTHER_LABELS, f"{name!r} ({record.place})")
        else:
            extra[name] = value
    return extra


# Finding columns


def _find_columns(records: Sequence[SourceRecord], source: str, names: ColumnNames) -> _Columns:
    words, text = _token_columns(records, names.tokens_column)
    if not (words or text):
        raise _missing(source, records, names.tokens_column or "tokens")
    labels, are_tags = _label_column(records, source, names.tags_column, words is not None)
    if labels is None:
        raise _missing(source, records, names.tags_column or ("ner_tags" if words else "label"))
    columns = _Columns(words, text, labels, are_tags)
    if not are_tags:
        _check_offset_unit(records, source, columns)
    return columns


def _missing(source: str, records: Sequence[SourceRecord], name: str) -> DatasetError:
    present = list(dict.fromkeys(name for record in records for name in record.fields))
    return DatasetError(
        f"{source} has no column {name}, only {present}. Rename its columns, or name them with `tokens_column` and "
        "`tags_column`. Expected are 'tokens' (the words of a sentence) and 'ner_tags' (one tag per word: text, or numbers of a "
        "ClassLabel), or 'text' and 'label' (a list of mentions: [[start, end, label], ...])."
    )


def _token_columns(records: Sequence[SourceRecord], asked: str | None) -> tuple[str | None, str | None]:
    """The column of lists of words, and the column of texts."""
    rows = [record.fields for record in records]
    words = [name for name in ([asked] if asked else _WORD_COLUMNS) if any(_is_word_list(row.get(name)) for row in rows)]
    texts = [name for name in ([asked] if asked else _TEXT_COLUMNS) if any(isinstance(row.get(name), str) for row in rows)]
    if not words and not texts:  # all sentences are empty
        words = [name for name in _WORD_COLUMNS if any(row.get(name) == [] for row in rows)]
    return next(iter(words), None), next(iter(texts), None)


def _is_word_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)


def _is_tag_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(tag, str | int) for tag in value)


def _label_column(records: Sequence[SourceRecord], source: str, asked: str | None, has_words: bool) -> tuple[str | None, bool]:
    """The column of the labels, and whether they are one tag per word."""
    values: dict[str, list[Any]] = {}
    for name, value in (item for record in records for item in record.fields.items()):
        values.setdefault(name, []).extend([value] if value else [])
    known = [asked] if asked else [name for name in values if name in LABEL_COLUMNS]
    may_be_tags = [name for name in known if has_words and (name == asked or name in _TAG_COLUMNS)]
    tags = [name for name in may_be_tags if any(map(_is_tag_list, values.get(name, [])))]
    mentions = [name for name in known if any(map(is_mention_list, values.get(name, [])))]
    if not tags and not mentions and not asked:  # Label Studio takes the name of the column from the user's configuration
        mentions = [name for name, found in values.items() if any(map(is_mention_list, found))]
    if "ner_tags" in tags:
        tags = ["ner_tags"]
    found = tags + mentions
    if len(found) > 1:
        raise DatasetError(
            f"{source}: the columns {' and '.join(map(repr, found))} all hold labels. Set `tags_column` to one of them."
        )
    if found:
        return found[0], bool(tags)
    empty = [name for name in known if name in values and not values[name]]
    if empty:
        return empty[0], has_words and empty[0] in _TAG_COLUMNS
    if not known or known[0] not in values:
        return asked, has_words
    raise DatasetError(
        f"{source}: {known[0]!r} is {values[known[0]][0]!r:.80}. It holds neither one tag per word nor mentions with offsets and "
        "a label, as in [[0, 4, 'LOC']]. Set `tags_column` to another column."
    )


def _check_offset_unit(records: Sequence[SourceRecord], source: str, columns: _Columns) -> None:
    """Refuses offsets that might count words, where they would be read as counting characters."""
    if not columns.words or columns.words == _GLINER_WORDS:
        return
    found = [
        (mention, len(record.fields.get(columns.words) or []))
        for record in records
        for item in record.fields.get(columns.labels) or []
        if (mention := parse_mention(item)) and mention.text is None
    ]
    if found and (not columns.text or all(mention.end <= count for mention, count in found)):
        raise DatasetError(
            f"{source}: do the offsets of {columns.labels!r} count characters or words? Give one tag per word, or the 'text' of "
            "each mention, or set `tokens_column` to the column of the text if they count its characters."
        )


# Tags


def _tag_names(
    source: str, column: str, asked: Sequence[str] | None, class_labels: Mapping[str, list[str]]
) -> Sequence[str] | None:
    if asked and column in class_labels:
        raise DatasetError(f"{source} names the tags of {column!r} itself: {', '.join(class_labels[column])}. Omit `tag_names`.")
    return asked or class_labels.get(column)


def _named_tags(tags: list[Any], names: Sequence[str] | None, column: str, place: str) -> list[str]:
    """Tags as text: numbers are replaced by their names."""
    named = []
    for tag in tags:
        is_number = isinstance(tag, int) or (names is not None and str(tag).isdigit())
        if not is_number:
            named.append(tag)
        elif names is None:
            raise DatasetError(
                f"{place} has numbers in {column!r}, and nothing names them. Make the column a ClassLabel, write tags as text, "
                "or give `tag_names` in the order of the numbers, such as O,B-PER,I-PER."
            )
        elif not 0 <= int(tag) < len(names):
            raise DatasetError(f"{place} has a tag {tag}, but only 0 to {len(names) - 1} have names. Is this split labelled?")
        else:
            named.append(names[int(tag)])
    return named
