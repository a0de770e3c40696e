"""Splits tokens of a spaCy document at given character offsets. All annotations are kept.

>>> doc = spacy.blank("xx")("屠呦呦出生于宁波")
>>> split_tokens(doc, [3, 6])
>>> [token.text for token in doc]
['屠呦呦', '出生于', '宁波']
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import Any

from spacy.tokens import Doc, Span, SpanGroup, Token


def split_tokens(doc: Doc, borders: Iterable[int]) -> None:
    """Splits each token that has a border inside it.

    Args:
        doc: The document, which is changed in place. Its entities, span groups, sentences and parse are kept.
        borders: Character offsets into ``doc.text``. Offsets between two tokens have no effect.
    """
    cuts = _offsets_inside_tokens(doc, borders)
    if not cuts:
        return
    # The new index of each token and of the end of the document.
    new_index = [0, *accumulate(1 + len(cuts.get(token.i, ())) for token in doc)]
    # spaCy does not update the token indices of entities and span groups, so both are set again after the split.
    entities = [_span_arguments(entity, new_index) for entity in doc.ents]
    groups = {
        key: (group.name, group.attrs, [_span_arguments(span, new_index) for span in group]) for key, group in doc.spans.items()
    }
    new_tokens = [i for old, offsets in cuts.items() for i in range(new_index[old] + 1, new_index[old] + 1 + len(offsets))]
    has_parse = doc.has_annotation("DEP")
    is_sentence_start = False if doc.has_annotation("SENT_START") else None
    with doc.retokenize() as retokenizer:
        for old, offsets in cuts.items():
            _split(retokenizer, doc[old], offsets, has_parse)
    if not has_parse:  # with a parse, spaCy derives the sentences from it
        for i in new_tokens:
            doc[i].is_sent_start = is_sentence_start
    doc.set_ents([Span(doc, **entity) for entity in entities])
    for key, (name, attributes, spans) in groups.items():
        doc.spans[key] = SpanGroup(doc, name=name, attrs=attributes, spans=[Span(doc, **span) for span in spans])


def _offsets_inside_tokens(doc: Doc, borders: Iterable[int]) -> dict[int, list[int]]:
    """Token index to the borders inside the token, as offsets from its start."""
    starts = [token.idx for token in doc]
    cuts: defaultdict[int, list[int]] = defaultdict(list)
    for border in sorted(set(borders)):
        i = bisect_right(starts, border) - 1
        if i >= 0 and starts[i] < border < starts[i] + len(doc[i]):
            cuts[i].append(border - starts[i])
    return cuts


def _span_arguments(span: Span, new_index: list[int]) -> dict[str, Any]:
    """The arguments of :class:`Span` for a span after the split."""
    position = {"start": new_index[span.start], "end": new_index[span.end]}
    return {**position, "label": span.label, "kb_id": span.kb_id, "span_id": span.id}


def _split(retokenizer: Any, token: Token, offsets: list[int], has_parse: bool) -> None:
    """Schedules the split of a token. The first piece keeps its place in the parse, and the others depend on the first."""
    pieces = [token.text[start:end] for start, end in pairwise([0, *offsets, len(token)])]
    others = len(offsets)
    attributes: dict[str, list[Any]] = {
        "POS": [token.pos] * (others + 1),
        "TAG": [token.tag] * (others + 1),
        "ENT_ID": [token.ent_id] * (others + 1),
    }
    if token.has_morph():
        attributes["MORPH"] = [str(token.morph)] * (others + 1)
    if has_parse:
        attributes["DEP"] = [token.dep_] + ["dep"] * others
    heads = [token.head] + [token] * others if has_parse else [(token, piece) for piece in range(others + 1)]
    retokenizer.split(token, pieces, heads=heads, attrs=attributes)
