"""A name has the same type everywhere in a text, unless the context of an occurrence clearly says otherwise.

Each sentence is tagged alone. The names that were found in any sentence of a text are then looked up in all of its sentences, and
the tag probabilities of each occurrence are interpolated with their mean over all occurrences:

    Jordan scored again.          p(B-PER) = 0.4    p(B-LOC) = 0.5     becomes B-PER: 0.51, and B-LOC 0.40
    Jordan left the court.        p(B-PER) = 0.9    p(B-LOC) = 0.0
    The fans cheered Jordan.      p(B-PER) = 0.9    p(B-LOC) = 0.0     mean over the text: B-PER 0.55, B-LOC 0.37
    Then he flew to Jordan.       p(B-PER) = 0.0    p(B-LOC) = 0.97    stays B-LOC, because the LLM is sure

    p(tag | word, text)  =  (1 - w) · p(tag | word)  +  w · mean of p(tag | word) over the occurrences in the text

So an uncertain occurrence follows the others. An occurrence whose tags have a probability of at least 0.95 keeps them, and a name
that occurs once does not change. Words are compared in Unicode's composed form (NFC), without regard to case.

>>> consistent(prepared, backend.decode(prepared, 16, print), AnswerFormat(tokenizer))[0].spans
[ScoredSpan(span=Span(start=0, end=1, label='PER'), score=0.57)]
"""

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .answer_format import AnswerFormat
from .backends import PreparedSentence
from .decoding import Answer
from .entities import Sentence, Span, visible_text
from .tagging import tag_answers

_TEXT_WEIGHT = 0.75
"""Weight of the mean over the text."""
_SURE = 0.95
"""An occurrence keeps its tags if each of them has at least this probability. "US" among many "us" is still a country."""

Name = tuple[str, ...]
"""The words of a name, as they are compared."""


class _View(NamedTuple):
    """A name in a window: its distance from the nearer edge, in words, and its part of the result, ``[words, tags]``."""

    distance: int
    log_probabilities: Tensor


def consistent(sentences: Sequence[PreparedSentence], answers: Sequence[Answer], answer_format: AnswerFormat) -> list[Answer]:
    """Reads the tags of sentences again, with the tag probabilities of each name shared within its text.

    Args:
        sentences: The sentences. Those whose windows have the same ``text_index`` belong to one text.
        answers: The answer of each sentence. Generated answers, which have no tag probabilities, stay as they are.
        answer_format: The answer format.

    Returns:
        The answers, in the order of the sentences.
    """
    result = list(answers)
    groups: dict[tuple[int, tuple[str, ...]], list[int]] = defaultdict(list)
    for i, (sentence, answer) in enumerate(zip(sentences, answers, strict=True)):
        if answer.log_probabilities is not None:
            groups[sentence.window.text_index, tuple(sentence.labels)].append(i)
    for (_, labels), rows in groups.items():
        of_rows = [sentences[i].window.sentence for i in rows]
        spans = [[each.span for each in answers[i].spans] for i in rows]
        tags = [of_row for i in rows if (of_row := answers[i].log_probabilities) is not None]
        again = tag_answers(shared(tags, of_rows, spans), of_rows, labels, answer_format)
        for i, answer in zip(rows, again, strict=True):
            result[i] = answer
    return result


def shared(log_probabilities: Sequence[Tensor], sentences: Sequence[Sentence], spans: Sequence[Sequence[Span]]) -> list[Tensor]:
    """Interpolates the tag probabilities of each occurrence of a name with their mean over all occurrences.

    Args:
        log_probabilities: For each sentence of a text ``[words, tags]``. All sentences have the same tags.
        sentences: The sentences.
        spans: The names that were found in each sentence.

    Returns:
        For each sentence ``[words, tags]``. Words outside of the names, names that occur once, and occurrences with sure tags
        keep their probabilities.
    """
    words = [[_comparable(word.text) for word in sentence.words] for sentence in sentences]
    names = {tuple(of_row[span.start : span.end]) for of_row, found in zip(words, spans, strict=True) for span in found}
    # For each name its places in the text. A place in the overlap of two windows has two views of the result.
    places: dict[Name, dict[int, list[_View]]] = defaultdict(lambda: defaultdict(list))
    result = [of_row.clone() for of_row in log_probabilities]
    for sentence, of_row, in_row in zip(sentences, words, result, strict=True):
        for start, end in _occurrences(of_row, names):
            view = _View(min(start, len(of_row) - end), in_row[start:end])
            places[tuple(of_row[start:end])][sentence.words[start].start].append(view)
    for of_name in places.values():
        if len(of_name) > 1:
            best = [max(views, key=lambda view: view.distance).log_probabilities for views in of_name.values()]
            probabilities = torch.stack(best).exp()  # [occurrences, words of the name, tags]
            sure = probabilities.amax(-1).amin(-1) >= _SURE  # [occurrences]
            weight = torch.where(sure, 0.0, _TEXT_WEIGHT)[:, None, None]
            mixed = torch.lerp(probabilities, probabilities.mean(0, keepdim=True), weight)
            for views, of_place in zip(of_name.values(), mixed.clamp(min=torch.finfo(mixed.dtype).tiny).log(), strict=True):
                for view in views:
                    view.log_probabilities.copy_(of_place)
    return result


def _comparable(word: str) -> str:
    return unicodedata.normalize("NFC", visible_text(word)).casefold()


def _occurrences(words: Sequence[str], names: Collection[Name]) -> Iterator[tuple[int, int]]:
    """Where names are in a sentence: the longest ones from left to right, without overlap."""
    lengths = sorted({len(name) for name in names}, reverse=True)
    start = 0
    while start < len(words):
        ends = (start + length for length in lengths if start + length <= len(words))
        end = next((end for end in ends if tuple(words[start:end]) in names), None)
        if end is not None:
            yield start, end
        start = end or start + 1
