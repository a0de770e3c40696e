r"""The output grammar of a sentence as EBNF text, for servers that constrain decoding by characters instead of tokens.

The grammar accepts the same outputs as the one in :mod:`grammar`. It has three rules per word, in the EBNF dialect that xgrammar
and llguidance read. For the sentence `Bonn, Graz` and the only entity type `LOC`:

    label ::= " LOC"
    after2 ::= " =" label "\n"
    word2 ::= " Graz" after2
    from2 ::= word2
    after1 ::= " =" label ("\n" | ";" from2)
    word1 ::= "," (after1 | word2)
    ...
    root ::= "\n" | from0

A server can tokenise the same output differently, so outputs are parsed character by character. If a mention occurs several times
in the sentence, the first occurrence after the previous mention is used.

>>> characters = CharacterFormat(model.answers)
>>> sentence = Sentence.from_text("Bonn, Graz")
>>> parse_answer(characters, sentence, ["LOC"], model.answers.ids(" Graz = LOC\n"), [-0.1, 0.0, 0.0, -0.2]).spans
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


class CharacterFormat(AnswerFormat):
    """The answer format with characters in place of tokens. Its ids are Unicode code points.

    Args:
        answers: The answer format over the tokens of the base LLM.
    """

    def __init__(self, answers: AnswerFormat) -> None:
        self.token_format = answers
        # Some tokenizers drop a leading space, so all tokens are decoded after this prefix, which is then removed.
        self._prefix = answers.end
        self._prefix_length = len(self._decode([]))
        super().__init__(answers.tokenizer)

    def ids(self, text: str) -> list[int]:
        """The code points of a text."""
        return [ord(character) for character in text]

    def word_ids(self, sentence: Sentence) -> list[list[int]]:
        """The code points of each word, as decoded from its tokens."""
        return [self.ids(self.text(tokens)) for tokens in self.token_format.word_ids(sentence)]

    def label_ids(self, label: str) -> list[int]:
        """The code points of an entity type, as decoded from its tokens."""
        return self.ids(self.text(self.token_format.label_ids(label)))

    def text(self, tokens: Sequence[int]) -> str:
        """Decodes tokens to text."""
        return self._decode(tokens)[self._prefix_length :]

    def texts(self, tokens: Sequence[int]) -> Iterator[str]:
        """Yields the text that each token adds. A character that is split over several tokens is added by the last of them."""
        previous = ""
        for end in range(1, len(tokens) + 1):
            text = self.text(tokens[:end])
            complete = text if not text.endswith("\ufffd") else previous
            yield complete[len(previous) :]
            previous = complete

    def _decode(self, tokens: Sequence[int]) -> str:
        ids = [*self._prefix, *tokens]
        return str(self.token_format.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def build_ebnf(characters: CharacterFormat, sentence: Sentence, labels: Sequence[str]) -> str:
    """Builds the output grammar of a sentence in EBNF. Its length is proportional to that of the sentence.

    Args:
        characters: The answer format over characters.
        sentence: The sentence.
        labels: The entity types that the output may contain.
    """
    end, separator, next_mention = map(_literal, (characters.end, characters.separator, characters.next_mention))
    words = [_literal(word) for word in characters.word_ids(sentence)]
    if not words or not labels:
        return f"root ::= {end}"
    # Each rule follows the rules that it refers to, because llguidance compiles this order in one pass.
    rules = [f"label ::= {' | '.join(_literal(characters.label_ids(label)) for label in labels)}"]
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
    # xgrammar 0.2.8 reads a character such as "í" and a following hexadecimal digit as one character if they are in one literal.
    return '"' + _BEFORE_DIGIT.sub('\\1" "', text) + '"'


def parse_answer(
    characters: CharacterFormat,
    sentence: Sentence,
    labels: Sequence[str],
    tokens: Sequence[int],
    log_probabilities: Sequence[float],
) -> Answer:
    """Parses an output of the LLM, however it is tokenised.

    Args:
        characters: The answer format over characters.
        sentence: The sentence.
        labels: The entity types that the output may contain.
        tokens: The tokens of the output.
        log_probabilities: The log probability of each token.

    Returns:
        The entities. The score of a mention is the product of the probabilities of the tokens since the previous mention, as in
        :meth:`AnswerDecoder.decode`.

    Raises:
        ValueError: The grammar does not accept the output.
    """
    grammar = AnswerGrammar(characters, sentence, labels)
    spans: list[ScoredSpan] = []
    log_score = 0.0  # sum of the log probabilities since the previous mention
    for text, log_probability in zip(characters.texts(tokens), log_probabilities, strict=True):
        if grammar.finished:
            break
        for character in characters.ids(text):
            if span := grammar.advance(character):
                spans.append(ScoredSpan(span, min(1.0, math.exp(log_score))))
                log_score = 0.0
        log_score += log_probability
    if not grammar.finished:
        raise ValueError(f"The output {characters.text(tokens)!r} is incomplete.")
    return Answer(list(tokens), spans)
