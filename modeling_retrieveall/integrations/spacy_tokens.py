"""Splits tokens of a spaCy document where entities begin or end inside of them; the other annotations are kept.

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
    """Splits each token that has a border inside of it.

    Args:
        doc: The document, which is changed in place. Its entities, span groups, sentences and parse are kept.
        borders: Offsets into ``doc.text``; those between two tokens have no effect.
    """
    cuts = _cuts(doc, borders)
    if not cuts:
        return
    # Where each token, and the end of the document, will be.
    moved = [0, *accumulate(1 + len(cuts.get(token.i, ())) for token in doc)]
    # spaCy leaves entities and span groups at their old token numbers, and gives new tokens what their neighbours have.
    entities = [_moved(entity, moved) for entity in doc.ents]
    groups = {key: (group.name, group.attrs, [_moved(span, moved) for span in group]) for key, group in doc.spans.items()}
    new_tokens = [i for old, offsets in cuts.items() for i in range(moved[old] + 1, moved[old] + 1 + len(offsets))]
    has_parse = doc.has_annotation("DEP")
    is_sentence_start = False if doc.has_annotation("SENT_START") else None
    with doc.retokenize() as retokenizer:
        for old, offsets in cuts.items():
            _split(retokenizer, doc[old], offsets, has_parse)
    if not has_parse:  # a parse has set the sentences
        for i in new_tokens:
            doc[i].is_sent_start = is_sentence_start
    doc.set_ents([Span(doc, **entity) for entity in entities])
    for key, (name, attributes, spans) in groups.items():
        doc.spans[key] = SpanGroup(doc, name=name, attrs=attributes, spans=[Span(doc, **span) for span in spans])


def _cuts(doc: Doc, borders: Iterable[int]) -> dict[int, list[int]]:
    """The tokens that have borders inside of them, and these as offsets into the token."""
    starts = [token.idx for token in doc]
    cuts: defaultdict[int, list[int]] = defaultdict(list)
    for border in sorted(set(borders)):
        i = bisect_right(starts, border) - 1
        if i >= 0 and starts[i] < border < starts[i] + len(doc[i]):
            cuts[i].append(border - starts[i])
    return cuts


def _moved(span: Span, moved: list[int]) -> dict[str, Any]:
    """The arguments that make a span after the tokens have moved."""
    position = {"start": moved[span.start], "end": moved[span.end]}
    return {**position, "label": span.label, "kb_id": span.kb_id, "span_id": span.id}


def _split(retokenizer: Any, token: Token, offsets: list[int], has_parse: bool) -> None:
    """Asks for a token to be split. The first piece has its place in the parse, and the others depend on the first."""
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
