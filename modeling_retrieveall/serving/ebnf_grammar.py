r"""Answers as text, for servers that know grammars of characters instead of tokens.

The grammar of one sentence's answers is that of :mod:`grammar`, written out with three rules a word, in the EBNF that xgrammar
and llguidance read. For the sentence `Bonn, Graz`, whose entities can be places only:

    label ::= " LOC"
    after2 ::= " =" label "\n"
    word2 ::= " Graz" after2
    from2 ::= word2
    after1 ::= " =" label ("\n" | ";" from2)
    word1 ::= "," (after1 | word2)
    ...
    root ::= "\n" | from0

A server may choose other tokens for the same characters than we would. What it answers is read character by character. It is
not asked which occurrence of a mention is meant: that is the first one after the mention before.

>>> spelled = SpelledFormat(model.answers)
>>> sentence = Sentence.from_text("Bonn, Graz")
>>> read_answer(spelled, sentence, ["LOC"], model.answers.ids(" Graz = LOC\n"), [-0.1, 0.0, 0.0, -0.2]).spans
[ScoredSpan(span=Span(start=2, end=3, label='LOC'), score=0.90)]
"""

import math
import re
from collections.abc import Iterator, Sequence

from ..model.answer_format import AnswerFormat
from ..model.decoding import Answer, ScoredSpan
from ..model.entities import Sentence
from ..model.grammar import AnswerGrammar

_BEFORE_DIGIT = re.compile("([^\x00-\x7f])(?=[0-9A-Fa-f])")


class SpelledFormat(AnswerFormat):
    """The answer format in characters: what its tokens spell, as code points.

    Args:
        answers: The format in tokens.
    """

    def __init__(self, answers: AnswerFormat) -> None:
        self.in_tokens = answers
        # Some tokenizers drop a space that nothing stands before.
        self._lead = answers.end
        self._lead_length = len(self._decoded([]))
        super().__init__(answers.tokenizer)

    def ids(self, text: str) -> list[int]:
        """The code points of a text."""
        return [ord(character) for character in text]

    def word_ids(self, sentence: Sentence) -> list[list[int]]:
        """The code points of each word, as its tokens spell it."""
        return [self.ids(self.text(tokens)) for tokens in self.in_tokens.word_ids(sentence)]

    def label_ids(self, label: str) -> list[int]:
        """The code points of an entity type, as its tokens spell it."""
        return self.ids(self.text(self.in_tokens.label_ids(label)))

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens spell."""
        return self._decoded(tokens)[self._lead_length :]

    def texts(self, tokens: Sequence[int]) -> Iterator[str]:
        """What each token adds to the text; of a character spread over several tokens the last one adds it all."""
        before = ""
        for end in range(1, len(tokens) + 1):
            text = self.text(tokens[:end])
            whole = text if not text.endswith("\ufffd") else before
            yield whole[len(before) :]
            before = whole

    def _decoded(self, tokens: Sequence[int]) -> str:
        ids = [*self._lead, *tokens]
        return str(self.in_tokens.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def grammar_text(spelled: SpelledFormat, sentence: Sentence, labels: Sequence[str]) -> str:
    """The grammar of a sentence's answers in EBNF, as long as the sentence.

    Args:
        spelled: The answer format in characters.
        sentence: The sentence to be answered.
        labels: The entity types that may stand in the answer.
    """
    end, separator, next_mention = map(_literal, (spelled.end, spelled.separator, spelled.next_mention))
    words = [_literal(word) for word in spelled.word_ids(sentence)]
    if not words or not labels:
        return f"root ::= {end}"
    # A rule stands behind those it names: llguidance reads that order in one go.
    rules = [f"label ::= {' | '.join(_literal(spelled.label_ids(label)) for label in labels)}"]
    for i in reversed(range(len(words))):
        last = i + 1 == len(words)
        rules += [
            f"after{i} ::= {separator} label {end if last else f'({end} | {next_mention} from{i + 1})'}",
            f"word{i} ::= {words[i]} {f'after{i}' if last else f'(after{i} | word{i + 1})'}",
            f"from{i} ::= {f'word{i}' if last else f'word{i} | from{i + 1}'}",
        ]
    return "\n".join([*rules, f"root ::= {end} | from0"])


def _literal(characters: Sequence[int]) -> str:
    text = "".join(map(chr, characters)).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    # xgrammar 0.2.8 reads "í" and a hexadecimal digit after it as one character, unless they stand in two literals.
    return '"' + _BEFORE_DIGIT.sub('\\1" "', text) + '"'


def read_answer(
    spelled: SpelledFormat, sentence: Sentence, labels: Sequence[str], tokens: Sequence[int], log_probabilities: Sequence[float]
) -> Answer:
    """Reads an answer in whatever tokens.

    Args:
        spelled: The answer format in characters.
        sentence: The sentence that was answered.
        labels: The entity types that may stand in the answer.
        tokens: The answer.
        log_probabilities: Of each of its tokens.

    Returns:
        The answer; a mention's score is the product of the probabilities of the tokens since the mention before, as in
        :meth:`AnswerDecoder.decode`.

    Raises:
        ValueError: It is none of the grammar's answers.
    """
    grammar = AnswerGrammar(spelled, sentence, labels)
    spans: list[ScoredSpan] = []
    since = 0.0  # of the tokens since the mention before
    for text, log_probability in zip(spelled.texts(tokens), log_probabilities, strict=True):
        if grammar.finished:
            break
        for character in spelled.ids(text):
            if span := grammar.advance(character):
                spans.append(ScoredSpan(span, min(1.0, math.exp(since))))
                since = 0.0
        since += log_probability
    if not grammar.finished:
        raise ValueError(f"The answer {spelled.text(tokens)!r} has no end.")
    return Answer(list(tokens), spans)
