"""Words of a sentence that are labelled in the examples: what the labels of the examples say about the tags of these words.

A mention that the examples contain is usually an entity of the same type again. The tag probabilities of the LLM are interpolated
with the labels of the examples, as in kNN-NER (arXiv 2203.17103), but the neighbours are found by their words instead of by
vectors, which an LLM computes badly for languages that it hardly knows:

    examples       "Ilé-Ifẹ̀" is LOC 3 times, PER never, no entity once           n = 4 occurrences
    w              match_weight * n / (n + 1)                                    one occurrence counts half, many count fully
    p(tag | word)  (1 - w) * p_LLM(tag | word)  +  w * p_examples(tag)           B-LOC 3/4, O 1/4

The longest mentions are taken, from left to right. Nothing is learned, so an example counts as soon as it is in the index.

>>> example = Example(Sentence.from_text("Wangari Maathai alizaliwa Nyeri."), (Span(0, 2, "PER"), Span(3, 4, "LOC")))
>>> KnownMentions([example]).find(Sentence.from_text("Anaishi Nyeri."))
[MentionMatch(start=1, end=2, shares={'LOC': 1.0}, certainty=0.5)]
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .entities import Example, Sentence

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MentionMatch:
    """Words of a sentence that are a mention in the examples.

    Attributes:
        start: Index of the first word.
        end: Index after the last word.
        shares: For each label the share of occurrences in the examples that have it. The rest of them are no entity.
        certainty: How much the occurrences say, from 0 to 1: n / (n + 1) for n of them.
    """

    start: int
    end: int
    shares: Mapping[str, float]
    certainty: float


class KnownMentions:
    """The mentions in labelled examples, with the number of their occurrences as entities and as other words.

    Args:
        examples: The labelled sentences.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self._labels: dict[Words, Counter[str]] = defaultdict(Counter)
        self._occurrences: Counter[Words] = Counter()
        self._lengths: dict[str, list[int]] = {}  # for each first word the numbers of words of its mentions, longest first
        for example in examples:
            words = _words(example.sentence)
            for span in example.spans:
                self._labels[words[span.start : span.end]][span.label] += 1
        for mention in sorted(self._labels, key=len, reverse=True):
            lengths = self._lengths.setdefault(mention[0], [])
            if len(mention) not in lengths:
                lengths.append(len(mention))
        for example in examples:
            self._count(example)

    def find(self, sentence: Sentence) -> list[MentionMatch]:
        """The mentions in a sentence, in order. They do not overlap."""
        words = _words(sentence)
        found, start = [], 0
        while start < len(words):
            mention = next(self._from(words, start), None)
            if mention:
                total = self._occurrences[mention]
                shares = {label: count / total for label, count in self._labels[mention].items()}
                found.append(MentionMatch(start, start + len(mention), shares, total / (total + 1)))
            start += len(mention or ("",))
        return found

    def _count(self, example: Example) -> None:
        """Counts each occurrence that is an entity or does not overlap with one."""
        words = _words(example.sentence)
        inside = {word for span in example.spans for word in range(span.start, span.end)}
        spans = {(span.start, span.end) for span in example.spans}
        for start in range(len(words)):
            for mention in self._from(words, start):
                end = start + len(mention)
                if (start, end) in spans or inside.isdisjoint(range(start, end)):
                    self._occurrences[mention] += 1

    def _from(self, words: Words, start: int) -> Iterator[Words]:
        """The mentions that begin at a word, longest first."""
        for length in self._lengths.get(words[start], ()):
            mention = words[start : start + length]
            if mention in self._labels:
                yield mention


def interpolated(
    log_probabilities: Tensor, matches: Collection[MentionMatch], labels: Sequence[str], match_weight: float
) -> Tensor:
    """Interpolates tag probabilities with the labels of known mentions.

    Args:
        log_probabilities: ``[words, tags]``: of ``O``, of ``B-`` with each label, and of ``I-`` with each label.
        matches: Known mentions among the words.
        labels: The labels of the tags, which include those of the matches.
        match_weight: The weight of a mention with very many occurrences, from 0 to 1.

    Returns:
        The interpolated log-probabilities, ``[words, tags]``. Words outside the matches keep theirs.
    """
    if not matches or not match_weight:
        return log_probabilities
    result = log_probabilities.clone()
    for match in matches:
        w = match_weight * match.certainty
        for word in range(match.start, match.end):
            from_examples = torch.zeros_like(result[word])  # [tags]
            for label, share in match.shares.items():
                inside = len(labels) if word > match.start else 0
                from_examples[1 + labels.index(label) + inside] = share
            from_examples[0] = (1 - from_examples.sum()).clamp(min=0)
            mixed = torch.lerp(result[word].exp(), from_examples, w)
            result[word] = mixed.clamp(min=torch.finfo(mixed.dtype).tiny).log()
    return result


def _words(sentence: Sentence) -> Words:
    return tuple(word.text for word in sentence.words)
