"""The examples of one split, made from what a reader returns, and samples of them.

>>> raw = TaggedSentence(["Bonn", "ruft"], ["B-LOC", "O"], "bonn.conll", [1, 2])
>>> build_labelled_data([raw], [], "bonn.conll", Notes()).examples[0].spans
(Span(start=0, end=1, label='LOC'),)
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..model.entities import Example, Sentence, Span
from .detokenization import detect_token_kind, join_subwords
from .reader_types import DatasetError, Notes, RawExample, SpanText, TaggedSentence
from .span_alignment import align_spans
from .tags import TagError, canonical_tags, detect_scheme, is_outside, is_prefixed, spans_from_tags

_NO_PREFIX = "types of tags without a prefix, for which neighbouring words of one type were read as one mention"
_CASE = "entity types that differ only in upper and lower case; an adapter learns them as different types"
_BLANKS = " \t\r\n"


@dataclass(frozen=True)
class LabelledData:
    """The examples of one split.

    Attributes:
        examples: The sentences that have words, with their labelled spans.
        labels: The entity types of the dataset, sorted, including those that no example of this split has.
        repairs: For each tag that is invalid in its scheme: where it is, and how it was read.
        notes: What else was changed or left out while reading: how often, with one example.
        extra_columns: For each example, the other columns of its record.
        predicted: Whether the labels are uncorrected predictions of a model, as ``retrieveall annotate`` writes them.
        label_places: For each label that the split has, where it occurs first: the file, and the line or row.
    """

    examples: list[Example]
    labels: list[str]
    repairs: list[str]
    notes: list[str] = field(default_factory=list)
    extra_columns: list[dict[str, Any]] = field(default_factory=list)
    predicted: bool = False
    label_places: dict[str, str] = field(default_factory=dict)


def build_labelled_data(raw_examples: list[RawExample], tag_names: Sequence[str], source: str, notes: Notes) -> LabelledData:
    """Examples from what the readers return.

    Args:
        raw_examples: The sentences.
        tag_names: The tags that the dataset lists, whether they occur or not.
        source: The dataset, for messages.
        notes: What the readers have changed or left out; more is added.

    Raises:
        DatasetError: There is no sentence, a sentence has more or fewer tags than words, or a tag belongs to no scheme.
    """
    tagged = [raw for raw in raw_examples if isinstance(raw, TaggedSentence)]
    for sentence in tagged:
        _check_tags(sentence)
    canonical = _canonical(tagged, tag_names if tagged else [], source, notes)
    scheme = detect_scheme([canonical[tag] for tag in sentence.tags] for sentence in tagged)
    kind = detect_token_kind(sentence.words for sentence in tagged)
    if kind:
        notes.add(f"sentences split into {kind}, which were joined to words", tagged[0].place)
    examples: list[Example] = []
    extra: list[dict[str, Any]] = []
    repairs: list[str] = []
    places: dict[str, str] = {}
    for raw in raw_examples:
        if isinstance(raw, TaggedSentence):
            spans, repaired = spans_from_tags([canonical[tag] for tag in raw.tags], scheme)
            repairs += [f"{raw.place_of(i)}: {raw.tags[i]} was read as {_repaired_as(spans, i)}" for i in repaired]
            example = _example(raw.words, spans, kind)
            found = [(span.label, raw.place_of(span.start)) for span in spans]
        else:
            example = align_spans(raw, notes)
            found = [(span.label, raw.place) for span in raw.spans]
        for label, place in found:
            places.setdefault(label, place)
        if example.sentence.words:
            examples.append(example)
            extra.append(raw.extra)
    if not examples:
        raise DatasetError(f"{source} has no sentences. Expected are lines of a word and a tag, or filled columns.")
    labels = sorted(({tag.partition("-")[2] for tag in canonical.values()} - {""}) | places.keys())
    _note_case_variants(labels, places, source, notes)
    predicted = any(isinstance(raw, SpanText) and raw.scored for raw in raw_examples)
    return LabelledData(examples, labels, repairs, list(notes), extra, predicted, places)


def _check_tags(raw: TaggedSentence) -> None:
    for name, cells in (("words", raw.words), ("tags", raw.tags)):
        if not isinstance(cells, list) or not all(isinstance(cell, str) for cell in cells):
            raise DatasetError(f"the {name} of {raw.place} are {cells!r}, not a list of strings.")
    if len(raw.words) != len(raw.tags):
        raise DatasetError(f"{raw.place} has {len(raw.words)} words and {len(raw.tags)} tags; give one tag per word.")


def _canonical(tagged: list[TaggedSentence], tag_names: Sequence[str], source: str, notes: Notes) -> dict[str, str]:
    """For each tag of the dataset, how BIO or BILOU writes it."""
    try:
        canonical = canonical_tags([*tag_names, *(tag for raw in tagged for tag in raw.tags)])
    except TagError as error:
        places = (raw.place_of(raw.tags.index(error.tag)) for raw in tagged if error.tag in raw.tags)
        raise DatasetError(f"{next(places, source)}: {error}") from error
    for tag in canonical:
        if not is_outside(tag) and not is_prefixed(tag):
            notes.add(_NO_PREFIX, repr(tag))
    return canonical


def _example(tokens: Sequence[str], spans: Sequence[Span], kind: str | None) -> Example:
    if kind:
        return Example(*join_subwords(tokens, spans, kind))
    return Example(Sentence.from_words([word.strip(_BLANKS) or word for word in tokens]), tuple(spans))


def _repaired_as(spans: Iterable[Span], position: int) -> str:
    """The part of a mention that the tag at a position is read as."""
    span = next(span for span in spans if span.start <= position < span.end)
    if span.end - span.start == 1:
        return f"a {span.label} of one word"
    return f"the {'first' if span.start == position else 'last'} word of a {span.label}"


def _note_case_variants(labels: list[str], places: dict[str, str], source: str, notes: Notes) -> None:
    variants: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        variants[label.casefold()].append(label)
    for spellings in variants.values():
        if len(spellings) > 1:
            notes.add(_CASE, " and ".join(f"{label!r} ({places.get(label, source)})" for label in spellings))


def summarize_repairs(repairs: Sequence[str]) -> str:
    """One line about :attr:`LabelledData.repairs`: the first one, and how many more there are.

    >>> summarize_repairs(["sw.conll, line 2, word 'Okonjo': I-PRE was read as a PRE of one word"])
    "A tag that does not fit its neighbours: sw.conll, line 2, word 'Okonjo': I-PRE was read as a PRE of one word"
    """
    more = f" (and {len(repairs) - 1} more)" if len(repairs) > 1 else ""
    return f"A tag that does not fit its neighbours: {repairs[0]}{more}"


def sample_examples(examples: Sequence[Example], limit: int | None, seed: int) -> list[Example]:
    """At most ``limit`` examples, drawn at random; without a limit all of them, in order."""
    if limit is None or limit >= len(examples):
        return list(examples)
    return random.Random(seed).sample(list(examples), limit)


def exclude_by_key(examples: Iterable[Example], keys: set[str]) -> list[Example]:
    """The examples whose :attr:`~modeling_retrieveall.model.entities.Example.key`, their words, is not in ``keys``."""
    return [example for example in examples if example.key not in keys]
