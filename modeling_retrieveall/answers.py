r"""The answer format that training and decoding share, as tokens.

An answer lists the mentions of a sentence in order: `` Angela Merkel = PER; Nairobi = LOC`` and a line break; a sentence
without entities is answered by the line break alone. Every text is turned into tokens word by word, so the tokens of a
mention in an answer are exactly those it has in the sentence: to answer is to copy.

    >>> answers = AnswerFormat(tokenizer)
    >>> sentence = Sentence.from_text("Angela Merkel besuchte Nairobi.")
    >>> tokenizer.decode(answers.answer_ids(sentence, [Span(0, 2, "PER"), Span(3, 4, "LOC")]))
    ' Angela Merkel = PER; Nairobi = LOC\n'
"""

from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from .entities import Sentence, Span, Word, pieces

# A word given as one may be longer than any window. Its entity is still the whole word; the LLM reads its beginning.
_MAX_WORD_TOKENS = 128


class AnswerFormat:
    """Tokens of words, labels and the marks between them.

    Args:
        tokenizer: The tokenizer of the base LLM.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.separator = self.ids(" =")
        self.next_mention = self.ids(";")
        self.end = self.ids("\n")
        self._pieces: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        """Tokens of a text, without special ones: a text that spells ``<bos>`` is no ``<bos>``."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    def word_ids(self, sentence: Sentence) -> list[list[int]]:
        """The tokens of each word, at least one a word.

        The separator of the answer is shown to the LLM as a colon, so that it ends a mention wherever it occurs.
        """
        return [self._word_ids(word, first=position == 0) for position, word in enumerate(sentence.words)]

    def _word_ids(self, word: Word, first: bool) -> list[int]:
        ids: list[int] = []
        for position, piece in enumerate(pieces(word.text) or ["_"]):
            glued = position > 0 or (word.glued and not first)
            ids += self._piece_ids(piece if glued else " " + piece)
            if len(ids) >= _MAX_WORD_TOKENS:
                return ids[:_MAX_WORD_TOKENS]
        return ids

    def _piece_ids(self, piece: str) -> list[int]:
        ids = self._pieces.get(piece)
        if ids is None:
            if len(self._pieces) > 200_000:
                self._pieces.clear()
            ids = self._pieces[piece] = self.ids(piece.replace("=", ":"))
        return ids

    def label_ids(self, label: str) -> list[int]:
        """The tokens of an entity type, as its dataset names it."""
        return self.ids(" " + label)

    def mention_ids(self, mention: list[list[int]], label: str) -> list[int]:
        """The tokens of one mention and its label; ``mention`` holds the tokens of its words."""
        return [token for word in mention for token in word] + self.separator + self.label_ids(label)

    def answer_ids(self, sentence: Sentence, spans: Iterable[Span]) -> list[int]:
        """The tokens of the whole answer for a sentence, its end included."""
        words = self.word_ids(sentence)
        answer: list[int] = []
        for span in sorted(spans):
            if answer:
                answer += self.next_mention
            answer += self.mention_ids(words[span.start : span.end], span.label)
        return answer + self.end
