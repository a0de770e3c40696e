"""Labelled sentences as raw text, on which the model is used: with natural spaces, and split as `extract` splits a string.

>>> example = Example(Sentence.from_words(["Im", "US-Kongress", "."]), (Span(1, 2, "ORG"),))
>>> raw = as_raw_text(example)
>>> raw.sentence.text, [word.text for word in raw.sentence.words], raw.spans
('Im US-Kongress.', ['Im', 'US', '-', 'Kongress', '.'], (Span(start=1, end=4, label='ORG'),))
"""

from ..model.entities import Example
from .detokenization import detokenize_example
from .reader_types import CharSpan, Notes, SpanText
from .span_alignment import align_spans


def as_raw_text(example: Example) -> Example:
    """The natural text of an example, with its entities.

    Args:
        example: A labelled sentence whose words were split by a corpus.
    """
    text, entities = detokenize_example(example)
    spans = [CharSpan(entity.start, entity.end, entity.label) for entity in entities]
    return align_spans(SpanText(text, spans, place="raw text"), Notes())
