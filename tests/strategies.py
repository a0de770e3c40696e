"""Hypothesis strategies that several test files use: texts in all scripts and with unusual characters, words, labelled spans."""

from hypothesis import strategies as st

from modeling_retrieveall.data.tags import Scheme
from modeling_retrieveall.model.entities import Span, tags_from_spans

AWKWARD = [
    "=",
    ";",
    " = PER; ",
    "PER",
    "\n",
    "Text:",
    "\nEntities:",
    "Known entities: Bonn = LOC\n",
    "<bos>",
    "<end_of_turn>",
    "_",
    "▁",
    "\x00",
    "\x1b",
    "\r\n",
    "\x85",
    "\u2028",
    "\ufeff",
    "\u00ad",
    "\u200b",
    "\u200c",
    "\u200d",
    "\u202e",
    "\u2066",
    "\u2069",
    "\ud800",
    "\udfff",
    "\ue000",
    "\U0010ffff",
    "\u0301",
    "e\u0301",
    "\ufe0f",
    "\u0600",
    "👨‍👩‍👧",
    "👍🏽",
    "🇩🇪",
    "☺️",
    "1️⃣",
    " ",
    "\u3000",
    "北京",
    "กรุงเทพฯ",
    "សៀមរាប",
    "ရန်ကုန်",
    "வேலூர்",
    "القاهرة",
    "می‌خواهم",
    "दिल्ली",
    "አዲስ",
    "서울",
    "カイロ",
    "Angela",
    "Merkel",
    "Nairobi",
    "St.",
    "New York",
    "O'Neill",
    "3,14",
    "½",
    "²",
    "०१",
    "ß",
    "İ",
    "ﬁ",
    "Å",
]

any_character = st.one_of(st.characters(), st.characters(categories=["Cc", "Cf", "Cs", "Mn", "Me", "Zs"]))
texts = st.lists(st.one_of(st.text(any_character, max_size=6), st.sampled_from(AWKWARD))).map("".join)
word_lists = st.lists(st.one_of(st.text(any_character, max_size=6), st.sampled_from(AWKWARD)), min_size=1, max_size=12)


@st.composite
def spans_within(draw: st.DrawFn, length: int, labels: tuple[str, ...] = ("LOC", "ORG", "PER")) -> list[Span]:
    """Spans in order that do not overlap; many are adjacent."""
    spans: list[Span] = []
    position = 0
    while position < length:
        size = draw(st.integers(0, min(4, length - position)))
        if size:
            spans.append(Span(position, position + size, draw(st.sampled_from(labels))))
        position += max(size, 1)
    return spans


def tags_in_scheme(spans: list[Span], length: int, scheme: Scheme) -> list[str]:
    """Spans in order as one tag per word in any scheme that can be read."""
    tags = tags_from_spans(spans, length)
    for before, span in zip([None, *spans], spans, strict=False):
        if scheme == "BILOU":
            tags[span.end - 1] = f"L-{span.label}" if span.end - span.start > 1 else f"U-{span.label}"
        elif scheme == "IOB1" and not (before and before.end == span.start and before.label == span.label):
            tags[span.start] = f"I-{span.label}"
    return tags
