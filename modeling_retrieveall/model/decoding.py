"""Greedy decoding of a batch of answers, each with its own grammar and its own adapters.

Three things make it fast. Only the rows of the LM head that a grammar allows are multiplied. Finished answers leave the batch.
One forward pass processes several tokens: those that the grammar forces, and a draft of the likely next ones, which is dropped
from the cache if another token is chosen (speculative decoding without a draft model).

>>> decoder = AnswerDecoder(base, bank)
>>> answer = decoder.decode([prompt.ids], [AnswerGrammar(answers, sentence, ["LOC", "PER"])], [{"de": 1.0}])[0]
>>> answer.spans
[ScoredSpan(span=Span(start=0, end=2, label='PER'), score=0.98)]
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from .cached_sequences import CachedSequences
from .entities import Span
from .errors import InputError, RetrieveAllError
from .grammar import AnswerGrammar
from .lora_bank import LoraBank

_COMPACT_SHARE = 0.25
"""Finished answers leave the batch when they are this share of it. Removing them copies the cache; keeping them costs a row in
every further step. The value is an estimate."""


@dataclass(frozen=True, slots=True)
class ScoredSpan:
    """A decoded mention, and the probability of the mention and its label under the grammar."""

    span: Span
    score: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One decoded answer.

    Attributes:
        ids: Its tokens with the final line break.
        spans: Its mentions.
        near_misses: Further spans that were nearly chosen, known for tags only. They overlap with no mention.
        log_probabilities: ``[words, tags]``: of the tags from which the mentions were read; ``None`` for generated answers.
    """

    ids: list[int]
    spans: list[ScoredSpan]
    near_misses: list[ScoredSpan] = field(default_factory=list)
    log_probabilities: Tensor | None = field(default=None, repr=False, compare=False)


class PrecisionError(RetrieveAllError, FloatingPointError):
    """The base LLM overflows in its dtype."""


def check_finite_logits(logits: Tensor, dtype: torch.dtype) -> None:
    """Checks logits of the base LLM.

    Args:
        logits: The logits.
        dtype: The dtype in which the base LLM computes.

    Raises:
        PrecisionError: A logit is infinite or NaN.
    """
    if not logits.isfinite().all():
        raise PrecisionError(f"The base LLM overflows in {dtype}. Load it with dtype='bfloat16' or dtype='float32'.")


class LMHead:
    """The output layer of a base LLM, computed only for the tokens that are needed.

    Logits are scaled and soft-capped as the configuration of the base LLM says.

    Args:
        base: A causal LM of transformers.
    """

    def __init__(self, base: PreTrainedModel) -> None:
        self._base = base
        config = base.config.get_text_config()
        self._soft_cap: float | None = getattr(config, "final_logit_softcapping", None)  # Gemma
        self._scale: float = getattr(config, "logit_scale", None) or 1.0  # Cohere
        self._scale /= getattr(config, "logits_scaling", None) or 1.0  # Granite

    @property
    def _layer(self) -> Any:
        return self._base.get_output_embeddings()

    def __call__(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Logits [rows, tokens] of ``hidden`` [rows, hidden] for the given ``tokens`` [tokens], float32."""
        layer = self._layer
        weight = layer.weight
        # The rows of an offloaded, quantised or sharded (FSDP) layer cannot be read one by one.
        if weight.is_meta or not weight.is_floating_point() or hasattr(weight, "full_tensor"):
            return self.full(hidden)[:, tokens.to(hidden.device)]
        tokens = tokens.to(weight.device)
        logits = (hidden.to(weight.device) @ weight[tokens].to(hidden.dtype).T).float()
        if getattr(layer, "bias", None) is not None:
            logits = logits + layer.bias[tokens].float()
        return self._scaled(logits)

    def full(self, hidden: Tensor) -> Tensor:
        """Logits [..., vocabulary] of ``hidden`` [..., hidden], float32."""
        return self._scaled(self._layer(hidden).float())

    def _scaled(self, logits: Tensor) -> Tensor:
        logits = logits * self._scale
        return self._soft_cap * torch.tanh(logits / self._soft_cap) if self._soft_cap else logits


class AnswerDecoder:
    """Decodes answers with one base LLM.

    Args:
        base: The causal LM.
        bank: Its LoRA bank, which holds the adapters of a batch.

    Raises:
        InputError: The base LLM has recurrent or convolutional layers, from whose state a token cannot be removed.
    """

    def __init__(self, base: PreTrainedModel, bank: LoraBank) -> None:
        _check_attention(base)
        self.head = LMHead(base)
        self._base = base
        self._bank = bank

    @torch.no_grad()
    def decode(
        self, prompts: Sequence[list[int]], grammars: Sequence[AnswerGrammar], mixtures: Sequence[dict[str, float]]
    ) -> list[Answer]:
        """Greedily decodes the answers to a batch of prompts.

        Args:
            prompts: Tokens of each prompt.
            grammars: A new grammar for each sentence; it is advanced to its end.
            mixtures: For each row the weight of each adapter.

        Returns:
            The answers, in the order of the prompts. The score of a mention is the product of the probabilities, under the
            grammar, of the tokens since the previous mention.

        Raises:
            PrecisionError: The base LLM overflows in its dtype.
        """
        answers = [_PartialAnswer(grammar, list(prompt)) for grammar, prompt in zip(grammars, prompts, strict=True)]
        active = answers
        with self._bank.rows(mixtures) as rows:
            sequences = CachedSequences(self._base, len(active))
            while not all(answer.finished for answer in active):
                staying = [row for row, answer in enumerate(active) if not answer.finished]
                if len(staying) <= len(active) * (1 - _COMPACT_SHARE):
                    active = [active[row] for row in staying]
                    rows.keep(staying)
                    sequences.keep(staying)
                states = sequences.read([answer.unread + answer.draft for answer in active])  # [rows, tokens, hidden]
                sequences.forget(self._advance(active, states))
        return [Answer(answer.ids, answer.spans) for answer in answers]

    @torch.no_grad()
    def log_probabilities(
        self,
        prompts: Sequence[list[int]],
        answers: Sequence[tuple[list[int], list[int]]],
        mixtures: Sequence[dict[str, float]],
    ) -> list[float]:
        """Log-probabilities of given answers under the LLM, without a grammar.

        Args:
            prompts: Tokens of each prompt.
            answers: For each prompt the tokens that follow it, and after them the tokens to score.
            mixtures: For each row the weight of each adapter.

        Returns:
            For each prompt the sum of the log-probabilities of the tokens to score.
        """
        with self._bank.rows(mixtures):
            rows = [[*prompt, *given, *asked] for prompt, (given, asked) in zip(prompts, answers, strict=True)]
            states = CachedSequences(self._base, len(rows)).read(rows)  # [rows, tokens, hidden]
        sums = []
        for row, (_, asked) in zip(states, answers, strict=True):
            log_probabilities = self.head.full(row[-len(asked) - 1 : -1]).log_softmax(-1)  # [asked, vocabulary]
            sums.append(float(log_probabilities[range(len(asked)), asked].sum()))
        return sums

    def _advance(self, active: Sequence["_PartialAnswer"], states: Tensor) -> list[int]:
        """Appends tokens to each answer, as far as the hidden states allow.

        Args:
            active: The answers of the batch.
            states: ``[rows, tokens, hidden]``: hidden states of the tokens that were read, padded on the left.

        Returns:
            For each row the number of draft tokens that were wrong.
        """
        drafted = [len(answer.draft) for answer in active]
        verified = [0] * len(active)
        choosing = [row for row, answer in enumerate(active) if not answer.finished]
        for answer in active:
            answer.unread = []
        while choosing:
            places = [states.shape[1] - 1 - drafted[row] + verified[row] for row in choosing]
            self._choose([active[row] for row in choosing], states[choosing, places])
            for row in choosing:
                verified[row] += active[row].verify()
            # If the whole draft was right, its last hidden state also gives the token after it.
            choosing = [row for row in choosing if not active[row].unread and not active[row].finished]
        for answer in active:
            answer.draft = [] if answer.finished else answer.grammar.draft()
            answer.unread = [] if answer.finished else answer.unread
        return [drafts - right for drafts, right in zip(drafted, verified, strict=True)]

    def _choose(self, answers: Sequence["_PartialAnswer"], states: Tensor) -> None:
        """Appends to each answer its most probable allowed token, and the tokens this one forces; states [rows, hidden]."""
        allowed = [answer.grammar.allowed() for answer in answers]
        tokens = sorted({token for row in allowed for token in row})
        column = {token: i for i, token in enumerate(tokens)}
        logits = self.head(states, torch.tensor(tokens, device=states.device)).cpu()  # [rows, allowed tokens of all rows]
        check_finite_logits(logits, states.dtype)
        for answer, row_allowed, row_logits in zip(answers, allowed, logits, strict=True):
            log_probabilities = row_logits[[column[token] for token in row_allowed]].log_softmax(0)
            best = int(log_probabilities.argmax())
            answer.take(row_allowed[best], float(log_probabilities[best]))


@dataclass
class _PartialAnswer:
    """An answer that is being decoded."""

    grammar: AnswerGrammar
    unread: list[int]  # tokens that the LLM has not processed yet; at first the prompt
    draft: list[int] = field(default_factory=list)  # likely next tokens, processed after them speculatively
    ids: list[int] = field(default_factory=list)
    spans: list[ScoredSpan] = field(default_factory=list)
    log_probability: float = 0.0  # of the tokens since the previous mention

    @property
    def finished(self) -> bool:
        return self.grammar.finished

    def take(self, token: int, log_probability: float) -> None:
        """Appends a chosen token, and all tokens that the grammar forces after it."""
        self._append(token, log_probability)
        while len(forced := self.grammar.allowed()) == 1:
            self._append(forced[0], 0.0)

    def verify(self) -> int:
        """Removes the tokens from ``unread`` that the draft predicted, and returns their number."""
        right = 0
        while right < min(len(self.unread), len(self.draft)) and self.unread[right] == self.draft[right]:
            right += 1
        self.unread = self.unread[right:]
        # After a wrong token the rest of the draft is worthless.
        self.draft = [] if self.unread else self.draft[right:]
        return right

    def _append(self, token: int, log_probability: float) -> None:
        self.ids.append(token)
        self.unread.append(token)
        span = self.grammar.advance(token)
        if span is not None:
            self.spans.append(ScoredSpan(span, min(1.0, math.exp(self.log_probability))))
            self.log_probability = 0.0
        self.log_probability += log_probability


def _check_attention(base: PreTrainedModel) -> None:
    kinds = set(getattr(base.config.get_text_config(), "layer_types", None) or ())
    if getattr(base, "_is_stateful", False) or kinds - {"full_attention", "sliding_attention", "chunked_attention"}:
        raise InputError(
            f"{type(base).__name__} has recurrent or convolutional layers, from whose state a token cannot be removed. "
            "Choose a base LLM that has only attention layers."
        )
