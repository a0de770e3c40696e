"""Answers that cannot be wrong in form: a grammar per sentence, and greedy decoding of a batch under it.

The grammar admits exactly the answers of :mod:`answers` whose mentions are runs of words of the sentence, in order and
without overlap, and whose labels are entity types of the adapter. It is a small automaton over tokens, so the tokens it
allows are known before the logits are: only their rows of the LM head are multiplied.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from .answers import AnswerFormat
from .entities import Sentence, Span


class _State(NamedTuple):
    """A place in the answer: which tokens come next, and what has been read of the current mention."""

    part: str  # "word", "separator", "label", "next" or "end"
    position: int  # of the next token within the part
    start: int = 0  # word at which the mention began
    word: int = 0  # word being copied, or the last one copied
    label: int = -1  # label of the mention, once it is being written


@dataclass(frozen=True, slots=True)
class ScoredSpan:
    """A decoded mention with the probability of it and its label under the grammar."""

    span: Span
    score: float


class AnswerGrammar:
    """The automaton of one sentence's answers, and how far one answer has come.

    Args:
        answers: The answer format.
        sentence: The sentence to be answered.
        labels: The entity types that may stand in the answer.

    Example:
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
        self._separator, self._next, self._end = answers.separator, answers.next_mention, answers.end
        self._labels = [answers.label_ids(label) for label in self.labels]
        self._states = {*self._mention_starts(0), _State("end", 0)}

    def allowed(self) -> list[int]:
        """The tokens that may come next; empty once the answer is finished."""
        return sorted({self._token(state) for state in self._states})

    def advance(self, token: int) -> Span | None:
        """Takes one more token.

        Returns:
            The mention that this token ends, if it does: only what follows a label tells that it is not the beginning of a
            longer one.

        Raises:
            ValueError: The token is not allowed here.
        """
        matching = [state for state in self._states if self._token(state) == token]
        if not matching:
            raise ValueError(f"Token {token} is not allowed here; allowed are {self.allowed()}.")
        span = None
        ending = [state for state in matching if state.part in ("next", "end") and state.position == 0 and state.label >= 0]
        if ending:
            # The same words may stand in several places: the answer is in order, so the earliest is meant.
            best = min(ending, key=lambda state: (state.word, -state.start))
            matching = [best]
            span = Span(best.start, best.word + 1, self.labels[best.label])
            self.spans.append(span)
        self._states = set()
        for state in matching:
            if state.position + 1 < len(self._part(state)):
                self._states.add(state._replace(position=state.position + 1))
            else:
                self._states |= self._after(state)
        return span

    def accepts(self, answer: Sequence[int]) -> bool:
        """Whether an answer, from here to its end, is one of the grammar's. Leaves the grammar advanced."""
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
                return self._separator
            case "label":
                return self._labels[state.label]
            case "next":
                return self._next
            case _:
                return self._end

    def _token(self, state: _State) -> int:
        return self._part(state)[state.position]

    def _after(self, state: _State) -> set[_State]:
        """The states that follow a part whose last token was taken."""
        match state.part:
            case "word":
                following = {state._replace(part="separator", position=0)}
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


class LMHead:
    """The output layer of a base LLM, multiplied only for the tokens that matter.

    Soft-capping of the logits is respected as the base's configuration states it.

    Args:
        base: A causal LM of transformers.
    """

    def __init__(self, base: PreTrainedModel) -> None:
        self._layer = base.get_output_embeddings()
        config = base.config.get_text_config()
        self._soft_cap: float | None = getattr(config, "final_logit_softcapping", None)
        self._scale: float = getattr(config, "logit_scale", None) or 1.0

    def __call__(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Logits [rows, tokens] of ``hidden`` [rows, hidden] for the given ``tokens`` [tokens], float32."""
        logits = (hidden @ self._layer.weight[tokens].to(hidden.dtype).T).float()
        if getattr(self._layer, "bias", None) is not None:
            logits = logits + self._layer.bias[tokens].float()
        return self._scaled(logits)

    def full(self, hidden: Tensor) -> Tensor:
        """Logits [..., vocabulary] of ``hidden`` [..., hidden], float32."""
        return self._scaled(self._layer(hidden).float())

    def _scaled(self, logits: Tensor) -> Tensor:
        logits = logits * self._scale
        return self._soft_cap * torch.tanh(logits / self._soft_cap) if self._soft_cap else logits


@dataclass(frozen=True, slots=True)
class Answer:
    """One decoded answer: its tokens, end included, and the mentions in it."""

    ids: list[int]
    spans: list[ScoredSpan]


class _Row:
    """One answer in the making."""

    def __init__(self, grammar: AnswerGrammar) -> None:
        self.grammar = grammar
        self.ids: list[int] = []
        self.spans: list[ScoredSpan] = []
        self.log_probability = 0.0  # of the tokens since the mention before

    def take(self, token: int, log_probability: float) -> None:
        self.ids.append(token)
        span = self.grammar.advance(token)
        if span is not None:
            self.spans.append(ScoredSpan(span, min(1.0, math.exp(self.log_probability))))
            self.log_probability = 0.0
        self.log_probability += log_probability


@torch.no_grad()
def decode_answers(
    base: PreTrainedModel, head: LMHead, prompts: Sequence[list[int]], grammars: Sequence[AnswerGrammar]
) -> list[Answer]:
    """Greedily decodes the answers to a batch of prompts, each under its own grammar.

    The adapters in force are those of the surrounding ``bank.rows(...)``.

    Args:
        base: The causal LM.
        head: Its output layer.
        prompts: Tokens of each prompt.
        grammars: The fresh grammar of each sentence; advanced to its end.

    Returns:
        The answers, in the order of the prompts. A mention's score is the product of the probabilities, under the grammar,
        of the tokens since the mention before.
    """
    rows = [_Row(grammar) for grammar in grammars]
    decoder, device = base.get_decoder(), base.device
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=base.config)
    while True:
        states = decoder(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state[:, -1]
        tokens = _step(rows, states, head)
        if all(row.grammar.finished for row in rows):
            return [Answer(row.ids, row.spans) for row in rows]
        ids = torch.tensor(tokens, device=device)[:, None]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        positions = positions[:, -1:] + 1


def _step(rows: list[_Row], states: Tensor, head: LMHead) -> list[int]:
    """Appends the most probable allowed token to each unfinished row; finished rows get the filler 0."""
    allowed = [row.grammar.allowed() for row in rows]
    tokens = sorted({token for row in allowed for token in row})
    column = {token: i for i, token in enumerate(tokens)}
    logits = head(states, torch.tensor(tokens, device=states.device)).cpu()
    if not logits.isfinite().all():
        raise FloatingPointError(f"The base LLM overflows in {states.dtype}. Load it with dtype=torch.bfloat16 or torch.float32.")
    chosen = []
    for row, row_allowed, row_logits in zip(rows, allowed, logits, strict=True):
        if not row_allowed:
            chosen.append(0)
            continue
        log_probabilities = row_logits[[column[token] for token in row_allowed]].log_softmax(0)
        best = int(log_probabilities.argmax())
        row.take(row_allowed[best], float(log_probabilities[best]))
        chosen.append(row_allowed[best])
    return chosen
