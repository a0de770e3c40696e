"""Labelled ranges of characters as spans of words.

>>> row = SpanRow("Bonn ruft. ", [CharSpan(0, 5, "LOC")], "bonn.jsonl, line 1")
>>> aligned(row, notes := Notes()).spans, list(notes)
((Span(start=0, end=1, label='LOC'),), ["mentions with white space at their ends, which was cut off: 1, such as ..."])
"""

from bisect import bisect_left, bisect_right

from ..model.entities import Example, Sentence, Span
from .rows import CharSpan, DatasetError, Notes, SpanRow

_TRIMMED = "mentions with white space at their ends, which was cut off"
_EMPTY = "mentions without a word in them, which were left out"
_WIDENED = "mentions that begin or end inside a word, and were widened to whole words"
_OVERLAPPING = "mentions that lie in others or overlap them, and were left out"


def aligned(row: SpanRow, notes: Notes) -> Example:
    """The words of a text, and the spans of those that its ranges cover.

    White space at the ends of a range is cut off; one that begins or ends inside a word is widened to whole words; of ranges
    that overlap the longest is kept. Each is noted.

    Args:
        row: The text and its ranges.
        notes: Takes what was changed or left out.

    Raises:
        DatasetError: A range leaves the text.
    """
    sentence = Sentence.from_text(row.text) if isinstance(row.text, str) else Sentence.from_words(row.text)
    starts, ends = [word.start for word in sentence.words], [word.end for word in sentence.words]
    kept: list[Span] = []
    for mention in sorted(set(row.spans), key=lambda span: (span.start - span.end, span.start)):
        _check(mention, sentence.text, row.place)
        found = sentence.text[mention.start : mention.end]
        shown = f"{found!r} ({row.place})"
        start = mention.start + len(found) - len(found.lstrip())
        end = mention.end - len(found) + len(found.rstrip())
        first, last = bisect_right(ends, start), bisect_left(starts, end)
        if start >= end or first >= last:
            notes.add(_EMPTY, shown)
            continue
        if (start, end) != (mention.start, mention.end):
            notes.add(_TRIMMED, shown)
        if any(span.start < last and first < span.end for span in kept):
            notes.add(_OVERLAPPING, shown)
            continue
        if starts[first] < start or end < ends[last - 1]:
            notes.add(_WIDENED, f"{found!r} to {sentence.text[starts[first] : ends[last - 1]]!r} ({row.place})")
        kept.append(Span(first, last, mention.label))
    return Example(sentence, tuple(sorted(kept)))


def _check(mention: CharSpan, text: str, place: str) -> None:
    if not 0 <= mention.start <= mention.end <= len(text):
        raise DatasetError(
            f"{place}: the mention {list(mention)} leaves the text, which has {len(text)} characters: {text!r:.80}. Offsets "
            "count the characters from 0, and the end is that after the last."
        )
