"""Labelled character ranges as spans of words.

>>> text = SpanText("Bonn ruft. ", [CharSpan(0, 5, "LOC")], "bonn.jsonl, line 1")
>>> align_spans(text, notes := Notes()).spans, list(notes)
((Span(start=0, end=1, label='LOC'),), ["mentions with white space at their ends, which was cut off: 1, such as ..."])
"""

from bisect import bisect_left, bisect_right

from ..model.entities import Example, Sentence, Span
from .reader_types import CharSpan, DatasetError, Notes, SpanText

_TRIMMED = "mentions with white space at their ends, which was cut off"
_EMPTY = "mentions without a word in them, which were left out"
_WIDENED = "mentions that begin or end inside a word, which were widened to whole words"
_OVERLAPPING = "mentions that overlap a longer mention, which were left out"


def align_spans(raw: SpanText, notes: Notes) -> Example:
    """The words of a text, and the spans of words that its labelled ranges cover.

    White space at the ends of a range is cut off. A range that begins or ends inside a word is widened to whole words. Of
    overlapping ranges the longest is kept.

    Args:
        raw: The text and its ranges.
        notes: Collects what is changed or left out.

    Raises:
        DatasetError: A range extends beyond the text.
    """
    sentence = Sentence.from_text(raw.text) if isinstance(raw.text, str) else Sentence.from_words(raw.text)
    starts, ends = [word.start for word in sentence.words], [word.end for word in sentence.words]
    kept: list[Span] = []
    for mention in sorted(set(raw.spans), key=lambda span: (span.start - span.end, span.start)):
        _check_bounds(mention, sentence.text, raw.place)
        found = sentence.text[mention.start : mention.end]
        where = f"{found!r} ({raw.place})"
        start = mention.start + len(found) - len(found.lstrip())
        end = mention.end - len(found) + len(found.rstrip())
        first, last = bisect_right(ends, start), bisect_left(starts, end)
        if start >= end or first >= last:
            notes.add(_EMPTY, where)
            continue
        if (start, end) != (mention.start, mention.end):
            notes.add(_TRIMMED, where)
        if any(span.start < last and first < span.end for span in kept):
            notes.add(_OVERLAPPING, where)
            continue
        if starts[first] < start or end < ends[last - 1]:
            notes.add(_WIDENED, f"{found!r} to {sentence.text[starts[first] : ends[last - 1]]!r} ({raw.place})")
        kept.append(Span(first, last, mention.label))
    return Example(sentence, tuple(sorted(kept)))


def _check_bounds(mention: CharSpan, text: str, place: str) -> None:
    if not 0 <= mention.start <= mention.end <= len(text):
        raise DatasetError(
            f"{place}: the mention {list(mention)} extends beyond the text, which has {len(text)} characters: {text!r:.80}. "
            "Offsets count characters from 0, and the end is the position after the last character."
        )
