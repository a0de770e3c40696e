"""Mentions in the notation of any tool, as labelled character ranges.

>>> parse_mention({"start": 0, "end": 4, "labels": ["LOC"], "text": "Bonn"})
RawMention(start=0, end=4, label=['LOC'], text='Bonn')
>>> mentions_to_spans([[0, 4, "LOC"]], "Bonn ruft.", "doccano.jsonl, line 1", count_words=False)
[CharSpan(start=0, end=4, label='LOC')]
"""

from typing import Any, NamedTuple

from .reader_types import CharSpan, DatasetError

_LABEL_KEYS = ("label", "labels", "type", "entity_group")


class RawMention(NamedTuple):
    """A mention as a tool writes it.

    Attributes:
        start: Its first character or word.
        end: The position after its last character; for GLiNER its last word.
        label: Its entity type, or a list of types.
        text: Its text, if the tool writes it.
    """

    start: int
    end: int
    label: str | list[Any]
    text: str | None


def parse_mention(item: Any) -> RawMention | None:
    """The start, end, label and text of a mention; ``None`` if a value is not a mention in any notation."""
    if isinstance(item, list | tuple) and len(item) >= 3:
        start, end, label, text = item[0], item[1], item[2], None
    elif isinstance(item, dict):
        start = item.get("start", item.get("start_offset"))
        end = item.get("end", item.get("end_offset"))
        label = next((item[name] for name in _LABEL_KEYS if item.get(name)), None)
        text = item.get("text")
    else:
        return None
    if type(start) is not int or type(end) is not int or not isinstance(label, str | list):
        return None
    return RawMention(start, end, label, text if isinstance(text, str) else None)


def is_mention_list(value: Any) -> bool:
    """Whether a value is a list of one or more mentions."""
    return isinstance(value, list) and bool(value) and all(parse_mention(item) is not None for item in value)


def mentions_to_spans(items: Any, tokens: str | list[str], place: str, count_words: bool) -> list[CharSpan]:
    """Character ranges of the mentions of one record.

    Args:
        items: The mentions.
        tokens: The text, or its words.
        place: The record, for messages.
        count_words: Whether start and end count words, the last word included, as in GLiNER's data.

    Raises:
        DatasetError: An item is not a mention, has several labels, or its text differs from the text at its offsets.
    """
    if not isinstance(items, list):
        raise DatasetError(f"{place}: {items!r:.80} is not a list of mentions. Write [[start, end, label], ...].")
    text = tokens if isinstance(tokens, str) else " ".join(tokens)
    spans = []
    for item in items:
        mention = parse_mention(item)
        if mention is None:
            raise DatasetError(f"{place}: {item!r:.80} is not a mention. Write its start, its end and its label.")
        start, end = mention.start, mention.end
        if count_words:
            start, end = len(" ".join([*tokens[:start], ""])), len(" ".join(tokens[: end + 1]))
        elif mention.text is not None:
            start, end = _code_point_offsets(text, start, end, mention.text, place)
        spans.append(CharSpan(start, end, _single_label(mention.label, item, place)))
    return spans


def _single_label(label: str | list[Any], item: Any, place: str) -> str:
    if isinstance(label, str):
        return label
    if len(label) != 1 or not isinstance(label[0], str):
        raise DatasetError(f"{place}: the mention {item!r:.120} has {len(label)} labels. Give each mention one label.")
    return label[0]


def _code_point_offsets(text: str, start: int, end: int, mention: str, place: str) -> tuple[int, int]:
    """The offsets in code points. Tools that run in a browser count UTF-16 units, in which an emoji has two.

    Raises:
        DatasetError: The mention is not at these offsets in either unit.
    """
    if _is_same(text[start:end], mention):
        return start, end
    try:
        utf16 = text.encode("utf-16-le", "surrogatepass")
        before, found = (utf16[a:b].decode("utf-16-le") for a, b in ((0, 2 * start), (2 * start, 2 * end)))
    except UnicodeDecodeError:
        before = found = ""
    if _is_same(found, mention):
        return len(before), len(before) + len(found)
    raise DatasetError(f"{place}: the mention is {mention!r:.80}, but the text has {text[start:end]!r:.80} at {start} to {end}.")


def _is_same(found: str, mention: str) -> bool:
    r"""Whether two texts are equal apart from white space. Label Studio writes a line end as ``\n`` in two characters."""
    return found.split() in (mention.split(), mention.replace("\\n", "\n").split())
