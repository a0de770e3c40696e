"""Words of a sentence that are labelled in the examples: what the labels of the examples say about the tags of these words.

A mention that the examples contain is usually an entity of the same type again. The tag probabilities of the LLM are interpolated
with the labels of the examples, as in kNN-NER (arXiv 2203.17103), but the neighbours are found by their words instead of by
vectors, which an LLM computes badly for languages that it hardly knows:

    examples       "Ilé-Ifẹ̀" is LOC 3 times, PER never, no entity once           n = 4 occurrences
    w              match_weight * n / (n + 1)                                    the more occurrences, the more they count
    p(tag | word)  (1 - w) * p_LLM(tag | word)  +  w * p_examples(tag)           B-LOC 3/4, O 1/4

Words are compared by their smallest units in Unicode's composed form (NFC), because text and examples may be split into words in
different ways. The longest mentions are taken, from left to right. Occurrences inside of a longer entity are not counted. Nothing
is learned, so an example counts as soon as it is in the index.

>>> example = Example(Sentence.from_text("Wangari Maathai alizaliwa Nyeri."), (Span(0, 2, "PER"), Span(3, 4, "LOC")))
>>> KnownMentions([example]).find(Sentence.from_text("Anaishi Nyeri."))
[MentionMatch(start=1, end=2, counts={'LOC': 1}, occurrences=1)]
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import torch
from torch import Tensor

from .entities import Example, Sentence, comparable_units
from .untrusted_files import LIMITS

Units = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MentionMatch:
    """Words of a sentence that are a mention in the examples.

    Attributes:
        start: Index of the first word.
        end: Index after the last word.
        counts: For each label the number of occurrences in the examples that have it. The rest of them are no entity.
        occurrences: Number of all occurrences in the examples.
    """

    start: int
    end: int
    counts: Mapping[str, int]
    occurrences: int

    @property
    def shares(self) -> dict[str, float]:
        """For each label the share of the occurrences that have it."""
        return {label: count / self.occurrences for label, count in self.counts.items()}

    @property
    def certainty(self) -> float:
        """How much the occurrences say, from 0 to 1: n / (n + 1) for n of them."""
        return self.occurrences / (self.occurrences + 1)


class KnownMentions:
    """The mentions in labelled examples, with the number of their occurrences as entities and as other words.

    Args:
        examples: The labelled sentences.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self._labels: dict[Units, Counter[str]] = defaultdict(Counter)
        self._occurrences: Counter[Units] = Counter()
        self._lengths: dict[str, list[int]] = {}  # for each first unit the lengths of its mentions, longest first
        split = [_SplitSentence(example.sentence) for example in examples]
        for example, sentence in zip(examples, split, strict=True):
            for span in example.spans:
                mention = sentence.between(span.start, span.end)
                if 0 < len(mention) <= LIMITS.mention_units:
                    self._labels[mention][span.label] += 1
        for mention in sorted(self._labels, key=len, reverse=True):
            lengths = self._lengths.setdefault(mention[0], [])
            if len(mention) not in lengths:
                lengths.append(len(mention))
        for example, sentence in zip(examples, split, strict=True):
            self._count(example, sentence)

    def find(self, sentence: Sentence) -> list[MentionMatch]:
        """The mentions in a sentence, in order. They do not overlap."""
        split = _SplitSentence(sentence)
        found, start = [], 0
        while start < len(sentence.words):
            end, mention = next(self._from(split, start), (start + 1, None))
            if mention:
                found.append(MentionMatch(start, end, dict(self._labels[mention]), self._occurrences[mention]))
            start = end
        return found

    def _count(self, example: Example, sentence: "_SplitSentence") -> None:
        """Counts each occurrence that is an entity or does not overlap with one."""
        inside = {word for span in example.spans for word in range(span.start, span.end)}
        spans = {(sentence.starts[span.start], sentence.starts[span.end]) for span in example.spans}  # of units
        for start in range(len(example.sentence.words)):
            for end, mention in self._from(sentence, start):
                if (sentence.starts[start], sentence.starts[end]) in spans or inside.isdisjoint(range(start, end)):
                    self._occurrences[mention] += 1

    def _from(self, sentence: "_SplitSentence", word: int) -> Iterator[tuple[int, Units]]:
        """The mentions that begin at a word, longest first, and the index after their last word."""
        start = sentence.starts[word]
        if start == sentence.starts[word + 1]:  # a word of invisible characters
            return
        for length in self._lengths.get(sentence.units[start], ()):
            mention = sentence.units[start : start + length]
            end = sentence.word_at.get(start + length)
            if end is not None and mention in self._labels:
                yield end, mention


class _SplitSentence:
    """The units of a sentence, and where its words begin among them."""

    def __init__(self, sentence: Sentence) -> None:
        of_words = [comparable_units(word.text) for word in sentence.words]
        self.units: Units = tuple(chain.from_iterable(of_words))
        self.starts = list(accumulate(map(len, of_words), initial=0))  # [words + 1]
        self.word_at: dict[int, int] = {}  # for each place where a word begins, the index of the first such word
        for word, start in enumerate(self.starts):
            self.word_at.setdefault(start, word)

    def between(self, start: int, end: int) -> Units:
        """The units of the words from ``start`` up to ``end``."""
        return self.units[self.starts[start] : self.starts[end]]


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
