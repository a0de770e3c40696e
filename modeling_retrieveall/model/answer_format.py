r"""The tokens of an answer, in training and in decoding.

An answer lists the mentions of a sentence in order, and ends with a line break: `` Angela Merkel = PER; Nairobi = LOC``. The
answer for a sentence without entities is only the line break. Every text is tokenised word by word, so a mention has the same
tokens in the answer as in the sentence, and the LLM can copy them.

The words of a mention may occur several times after the previous mention. The first occurrence is the default; a number after the
equals sign names another one: in "Das Essen war kalt, klagte der Bürgermeister von Essen." the city is `` Essen =2 LOC``.

    >>> answers = AnswerFormat(tokenizer)
    >>> sentence = Sentence.from_text("Angela Merkel besuchte Nairobi.")
    >>> tokenizer.decode(answers.answer_ids(sentence, [Span(0, 2, "PER"), Span(3, 4, "LOC")]))
    ' Angela Merkel = PER; Nairobi = LOC\n'
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from .entities import Sentence, Span, Word, pieces, visible_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase  # slow to import, and `retrieveall train --help` imports this module

_MAX_WORD_TOKENS = 128
"""The LLM reads only this many tokens of a word: a caller may pass a "word" that is longer than any context window."""


class AnswerFormat:
    """Tokens of words, of labels and of the marks between them.

    Args:
        tokenizer: The tokenizer of the base LLM.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.tokenizer = tokenizer
        self.separator = self.ids(" =")
        self.next_mention = self.ids(";")
        self.end = self.ids("\n")
        self._separators = {1: self.separator}
        self._pieces: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        """Tokens of a text, none of them special: the text ``<bos>`` does not become the token ``<bos>``."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    def word_ids(self, sentence: Sentence) -> list[list[int]]:
        """The tokens of each word, at least one per word.

        An equals sign in a word is replaced by a colon, so that in an answer it always ends a mention.
        """
        return [list(chain.from_iterable(units)) for units in self.unit_ids(sentence)]

    def unit_ids(self, sentence: Sentence) -> list[list[list[int]]]:
        """The tokens of each unit (:func:`~.entities.pieces`) of each word. In raw text, every word is one unit."""
        return [self._unit_ids(word, first=position == 0) for position, word in enumerate(sentence.words)]

    def _unit_ids(self, word: Word, first: bool) -> list[list[int]]:
        units: list[list[int]] = []
        left = _MAX_WORD_TOKENS
        for position, piece in enumerate(pieces(word.text) or ["_"]):
            glued = position > 0 or (word.glued and not first)
            units.append(self._piece_ids(piece if glued else " " + piece)[:left])
            left -= len(units[-1])
            if not left:
                break
        return units

    def _piece_ids(self, piece: str) -> list[int]:
        ids = self._pieces.get(piece)
        if ids is None:
            if len(self._pieces) > 200_000:
                self._pieces.clear()
            ids = self._pieces[piece] = self.ids(visible_text(piece).replace("=", ":"))
        return ids

    def separator_ids(self, occurrence: int) -> list[int]:
        """The tokens between a mention and its label.

        Args:
            occurrence: Number of the mention's occurrence, counted from 1 after the previous mention.
        """
        if occurrence not in self._separators:
            self._separators[occurrence] = self.ids(f" ={occurrence}")
        return self._separators[occurrence]

    def label_ids(self, label: str) -> list[int]:
        """The tokens of an entity type, which is named as in the dataset."""
        return self.ids(" " + label)

    def mention_ids(self, mention: Sequence[list[int]], label: str, occurrence: int = 1) -> list[int]:
        """The tokens of one mention and its label; ``mention`` holds the tokens of each word."""
        return [token for word in mention for token in word] + self.separator_ids(occurrence) + self.label_ids(label)

    def answer_ids(self, sentence: Sentence, spans: Iterable[Span]) -> list[int]:
        """The tokens of the complete answer for a sentence, with the line break."""
        words = self.word_ids(sentence)
        answer: list[int] = []
        end = 0
        for span in sorted(spans):
            places = occurrences(words, span, end)
            answer += self.next_mention if answer else []
            answer += self.mention_ids(words[span.start : span.end], span.label, places.index(span) + 1)
            end = span.end
        return answer + self.end


def occurrences(words: Sequence[list[int]], span: Span, first: int) -> list[Span]:
    """The spans of words that have the same tokens as a mention, in order; the mention is one of them.

    Args:
        words: The tokens of each word of the sentence.
        span: The mention.
        first: The first word at which a span may start.

    Examples:
        >>> occurrences([[5], [7], [5]], Span(2, 3, "LOC"), first=0)
        [Span(start=0, end=1, label='LOC'), Span(start=2, end=3, label='LOC')]
    """
    mention = [token for word in words[span.start : span.end] for token in word]
    found = []
    for start in range(first, len(words)):
        end = _end_of_match(words, start, mention)
        if end is not None:
            found.append(Span(start, end, span.label))
    return found


def _end_of_match(words: Sequence[list[int]], start: int, tokens: list[int]) -> int | None:
    """The end of the words from ``start`` that have exactly these tokens; ``None`` if there are none."""
    position = 0
    for end in range(start, len(words)):
        if words[end] != tokens[position : position + len(words[end])]:
            return None
        position += len(words[end])
        if position == len(tokens):
            return end + 1
    return None
