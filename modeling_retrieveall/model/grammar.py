"""The grammar of the answers for one sentence: which tokens may come next.

It accepts exactly the answers of :mod:`.answer_format` whose mentions are spans of the sentence, in order and without overlap,
and whose labels are entity types of the adapter. It is a small automaton over tokens, so the allowed tokens are known before
their logits are computed.
"""

from collections.abc import Sequence
from typing import NamedTuple

from .answer_format import AnswerFormat
from .entities import Sentence, Span


class _State(NamedTuple):
    """A position in the answer: the part that is being written, and the current mention."""

    part: str  # "word", "separator", "label", "next" or "end"
    position: int  # of the next token within the part
    start: int = 0  # first word of the mention
    word: int = 0  # word that is being copied, or the last one that was copied
    label: int = -1  # number of the mention's label; -1 before the label is written
    occurrence: int = 1  # number of this occurrence of the mention's tokens


class AnswerGrammar:
    """The automaton of the answers for one sentence, and the state of one answer.

    Args:
        answers: The answer format.
        sentence: The sentence.
        labels: The entity types that the answer may have.

    Examples:
        >>> grammar = AnswerGrammar(answers, Sentence.from_text("Bonn!"), ["LOC"])
        >>> for token in answers.ids(" Bonn = LOC") + answers.end:
        ...     assert token in grammar.allowed()
        ...     grammar.advance(token)
        >>> grammar.finished, grammar.spans
        (True, [Span(start=0, end=1, label='LOC')])
    """

    def __init__(self, answers: AnswerFormat, sentence: Sentence, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self.spans: list[Span] = []
        self.finished = False
        self._words = answers.word_ids(sentence)
        self._separator, self._next, self._end = answers.separator_ids, answers.next_mention, answers.end
        self._labels = [answers.label_ids(label) for label in self.labels]
        self._states = {*self._mention_starts(0), _State("end", 0)}

    def allowed(self) -> list[int]:
        """The tokens that may come next; empty when the answer is finished."""
        return sorted({self._token(state) for state in self._states})

    def advance(self, token: int) -> Span | None:
        """Appends one token to the answer.

        Returns:
            The mention that is complete with this token, if any. Only the token after a label completes a mention, because one
            label may be the beginning of another.

        Raises:
            ValueError: The token is not allowed here.
        """
        matching = [state for state in self._states if self._token(state) == token]
        if not matching:
            raise ValueError(f"Token {token} is not allowed here; allowed are {self.allowed()}.")
        span = None
        ending = [state for state in matching if state.part in ("next", "end") and state.position == 0 and state.label >= 0]
        if ending:
            matching = ending  # a single state, because no two mentions have the same tokens
            span = Span(ending[0].start, ending[0].word + 1, self.labels[ending[0].label])
            self.spans.append(span)
        self._states = set()
        complete: list[_State] = []
        for state in matching:
            if state.position + 1 < len(self._part(state)):
                self._states.add(state._replace(position=state.position + 1))
            else:
                complete.append(state)
        # All states at the end of a word have matched the same tokens since the start of the mention: its occurrences.
        places = sorted((state for state in complete if state.part == "word"), key=lambda state: state.start)
        occurrence = {state: number for number, state in enumerate(places, start=1)}
        for state in complete:
            self._states |= self._after(state, occurrence.get(state, state.occurrence))
        return span

    def draft(self) -> list[int]:
        """The likely next tokens, for speculative decoding: the separator after a mention, or the mark before the next mention.

        Empty if any of many words may come next.
        """
        parts = {state.part for state in self._states if state.position == 0}
        return self._separator(1) if "separator" in parts else self._next if "next" in parts else []

    def accepts(self, answer: Sequence[int]) -> bool:
        """Whether the grammar accepts the rest of an answer. Advances the grammar."""
        for token in answer:
            if token not in self.allowed():
                return False
            self.advance(token)
        return self.finished

    def _mention_starts(self, first: int) -> set[_State]:
        return {_State("word", 0, start=i, word=i) for i in range(first, len(self._words))} if self._labels else set()

    def _part(self, state: _State) -> list[int]:
        match state.part:
            case "word":
                return self._words[state.word]
            case "separator":
                return self._separator(state.occurrence)
            case "label":
                return self._labels[state.label]
            case "next":
                return self._next
            case _:
                return self._end

    def _token(self, state: _State) -> int:
        return self._part(state)[state.position]

    def _after(self, state: _State, occurrence: int) -> set[_State]:
        """The states after a part that is complete.

        Args:
            state: The state at the last token of the part.
            occurrence: Number of this occurrence of the mention's tokens.
        """
        match state.part:
            case "word":
                following = {state._replace(part="separator", position=0, occurrence=occurrence)}
                if state.word + 1 < len(self._words):
                    following.add(state._replace(position=0, word=state.word + 1))
                return following
            case "separator":
                return {state._replace(part="label", position=0, label=i) for i in range(len(self._labels))}
            case "label":
                end = state._replace(part="end", position=0)
                return {end, end._replace(part="next")} if state.word + 1 < len(self._words) else {end}
            case "next":
                return self._mention_starts(state.word + 1)
            case _:
                self.finished = True
                return set()
