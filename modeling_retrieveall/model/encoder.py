"""The frozen base LLM as encoder: one forward pass gives a vector of the sentence and a vector of each word.

A prompt for tags begins with the sentence, which the base LLM processes without adapters. That is what encoding computes as
well, so :meth:`SentenceEncoder.encode_and_cache` keeps the keys and values, and tagging continues from there.

>>> encoder = SentenceEncoder(base, layer=12)
>>> vectors = encoder.encode([answers.word_ids(Sentence.from_text("Angela Merkel besuchte Nairobi."))])[0]
>>> vectors.sentence.shape, vectors.words.shape
(torch.Size([640]), torch.Size([5, 640]))
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .base_llm import decoder_layers, input_device
from .batching import TokenBudget
from .cached_sequences import CachedSequences
from .errors import InputError

_MAX_CACHED_BYTES = 1 << 29


@dataclass(frozen=True, slots=True)
class SentenceVectors:
    """Averaged hidden states of one sentence.

    Attributes:
        sentence: ``[hidden]``, float32, on the CPU: mean over the tokens of all words.
        words: ``[words, hidden]``, float32, on the CPU: mean over the tokens of each word.
    """

    sentence: Tensor
    words: Tensor

    def mention(self, start: int, end: int) -> Tensor:
        """``[hidden]``: the mean vector of the words from ``start`` up to ``end``."""
        return self.words[start:end].mean(0)


@dataclass(frozen=True, slots=True)
class CachedSentence:
    """The keys and values of a sentence.

    Attributes:
        batch: The sentences that were processed together. They can be continued once, together.
        row: The position of the sentence in the batch.
    """

    batch: CachedSequences
    row: int


class _LayerReached(Exception):
    """Carries the hidden states out of the forward pass, so that the layers above are not computed."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


class SentenceEncoder:
    """Encodes sentences with the base LLM, without any adapter.

    Args:
        base: A causal LM of transformers.
        layer: The hidden states to use: 0 for the embeddings, n for the output of the n-th layer.
        max_batch_tokens: Maximum number of tokens in one forward pass, with padding. Halved when memory runs out.

    Attributes:
        bos: The beginning-of-sequence token before each sentence, if the base LLM has one.

    Raises:
        InputError: The base LLM does not have this layer.
    """

    def __init__(self, base: PreTrainedModel, layer: int, max_batch_tokens: int = 4096) -> None:
        self.decoder = base.get_decoder()
        depth = base.config.get_text_config().num_hidden_layers
        if not 0 <= layer <= depth:
            raise InputError(
                f"encoder_layer={layer}, but the base LLM has layers 0 to {depth}. Set `encoder_layer` to one of them."
            )
        self.layer = layer
        self._base = base
        self._stop_at = _embeddings_or_layer(base, layer, depth)
        bos = base.config.get_text_config().bos_token_id
        self.bos = [] if bos is None else [bos]
        self._budget = TokenBudget(max_batch_tokens)

    def encode(self, sentences: Sequence[list[list[int]]]) -> list[SentenceVectors]:
        """Vectors of sentences, in the given order.

        Args:
            sentences: For each sentence the tokens of each of its words.

        Raises:
            MemoryError: A single sentence does not fit into memory.
        """
        vectors: dict[int, SentenceVectors] = {}

        def encode_batch(batch: list[int]) -> None:
            vectors.update(zip(batch, self._encode_batch([sentences[i] for i in batch]), strict=True))

        self._budget.run([len(row) for row in map(self._tokens, sentences)], encode_batch)
        return [vectors[i] for i in range(len(sentences))]

    def encode_and_cache(
        self, sentences: Sequence[list[list[int]]], batch_size: int
    ) -> list[tuple[SentenceVectors, CachedSentence | None]]:
        """Vectors of sentences, and their keys and values in all layers, as far as these fit into half a gigabyte.

        Args:
            sentences: For each sentence the tokens of each of its words.
            batch_size: Maximum number of sentences in a batch.

        Raises:
            MemoryError: A single sentence does not fit into memory.
        """
        encoded: dict[int, tuple[SentenceVectors, CachedSentence | None]] = {}
        size = 0

        def encode_batch(batch: list[int]) -> None:
            nonlocal size
            words = [sentences[i] for i in batch]
            if size > _MAX_CACHED_BYTES:
                encoded.update(zip(batch, [(vectors, None) for vectors in self._encode_batch(words)], strict=True))
                return
            sequences = CachedSequences(self._base, len(batch))
            with self._watching() as layers, torch.no_grad():
                sequences.read(list(map(self._tokens, words)))
            states = layers[0].float().cpu()  # [batch, tokens, hidden], padded on the left
            for row, i in enumerate(batch):
                count = len(self._tokens(sentences[i]))
                encoded[i] = self._average(states[row, -count:], sentences[i]), CachedSentence(sequences, row)
            size += sequences.size

        self._budget.run([len(row) for row in map(self._tokens, sentences)], encode_batch, max_rows=batch_size)
        return [encoded[i] for i in range(len(sentences))]

    def _tokens(self, words: list[list[int]]) -> list[int]:
        return [*self.bos, *(token for word in words for token in word)]

    @contextmanager
    def _watching(self) -> Iterator[list[Tensor]]:
        """Yields a list to which the hidden states of each forward pass are appended."""
        seen: list[Tensor] = []
        handle = self._stop_at.register_forward_hook(lambda module, args, output: seen.append(_states(output)))
        try:
            yield seen
        finally:
            handle.remove()

    def _encode_batch(self, sentences: list[list[list[int]]]) -> list[SentenceVectors]:
        """Vectors of sentences in one forward pass."""
        rows = [self._tokens(words) for words in sentences]
        longest = max(map(len, rows))
        device = input_device(self._base)
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
        states = self._hidden_states(ids, mask).float().cpu()  # [batch, tokens, hidden]
        return [self._average(states[i], words) for i, words in enumerate(sentences)]

    @torch.no_grad()
    def _hidden_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        handle = self._stop_at.register_forward_hook(_stop)
        try:
            self.decoder(input_ids=ids, attention_mask=mask, use_cache=False)
        except _LayerReached as reached:
            return reached.states
        finally:
            handle.remove()
        raise RuntimeError(f"Layer {self.layer} of {type(self.decoder).__name__} was never run. Choose another encoder_layer.")

    def _average(self, states: Tensor, words: list[list[int]]) -> SentenceVectors:
        """Averages ``states`` [tokens, hidden] over the tokens of each word, and over all tokens."""
        lengths = torch.tensor([len(word) for word in words], dtype=torch.int64)
        states = states[len(self.bos) : len(self.bos) + int(lengths.sum())]
        word_of = torch.repeat_interleave(torch.arange(len(words)), lengths)
        sums = torch.zeros(len(words), states.shape[1]).index_add_(0, word_of, states)
        return SentenceVectors(sums.sum(0) / max(len(states), 1), sums / lengths[:, None].clamp(min=1))


def _stop(module: nn.Module, args: Any, output: Any) -> None:
    raise _LayerReached(_states(output))


def _states(output: Any) -> Tensor:
    """The hidden states ``[batch, tokens, hidden]`` in the output of a layer."""
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states


def _embeddings_or_layer(base: PreTrainedModel, layer: int, depth: int) -> nn.Module:
    if layer == 0:
        embeddings: nn.Module = base.get_input_embeddings()
        return embeddings
    layers = decoder_layers(base)
    if layers is None:
        raise InputError(f"{type(base).__name__} has no list of {depth} layers. Set encoder_layer=0.")
    return layers[layer - 1]
