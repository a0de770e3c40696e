"""A batch of token sequences that the base LLM has read, with their key-value cache.

>>> sequences = CachedSequences(base, rows=2)
>>> sequences.read([[2, 10, 11], [2, 12]]).shape  # the hidden states, padded on the left
torch.Size([2, 3, 640])
>>> sequences.read([[13], [14]]).shape
torch.Size([2, 1, 640])
"""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from .base_llm import input_device


def cache_argument(decoder: nn.Module) -> str:
    """The name of the argument for the keys and values, which depends on the version of transformers."""
    return "cache" if "cache" in signature(decoder.forward).parameters else "past_key_values"


class CachedSequences:
    """The key-value cache of a batch, from which each row can drop its last tokens.

    Rows have different lengths. A mask marks the padding between reads and the dropped tokens.

    Args:
        base: The causal LM.
        rows: Number of rows in the batch.
    """

    def __init__(self, base: PreTrainedModel, rows: int) -> None:
        self._decoder = base.get_decoder()
        self._device = input_device(base)
        # Without a config, sliding-window layers keep all tokens: the window counts columns, and some columns may be dropped.
        self._cache = DynamicCache()
        self._window: int | None = getattr(base.config.get_text_config(), "sliding_window", None)
        self._mask = torch.zeros(rows, 0, dtype=torch.int64, device=self._device)  # [rows, read]

    @property
    def length(self) -> int:
        """Number of columns in the cache, with padding."""
        return self._mask.shape[1]

    @property
    def size(self) -> int:
        """Size of the keys and values in bytes."""
        layers: list[Any] = self._cache.layers
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)

    def release(self) -> None:
        """Frees the keys and values. The sequences cannot be continued afterwards."""
        self._cache = DynamicCache()

    def read(self, tokens: Sequence[list[int]]) -> Tensor:
        """Processes more tokens of each row, possibly none.

        Returns:
            Their hidden states ``[rows, tokens, hidden]``, padded on the left.
        """
        width = max(map(len, tokens))
        if self._window is not None and self.length + width > self._window:
            self._close_gaps()
        ids = torch.tensor([[0] * (width - len(row)) + row for row in tokens], device=self._device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in tokens], device=self._device)
        positions = (self._mask.sum(1, keepdim=True) + mask.cumsum(1) - 1).clamp(min=0)
        self._mask = torch.cat([self._mask, mask], dim=1)
        states: Tensor = self._decoder(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            use_cache=True,
            **{cache_argument(self._decoder): self._cache},
        ).last_hidden_state
        return states

    def forget(self, tokens: Sequence[int]) -> None:
        """Drops the last tokens of each row, given their number."""
        width = max(tokens, default=0)
        if width:
            kept = [[1] * (width - forgotten) + [0] * forgotten for forgotten in tokens]
            self._mask[:, -width:] *= torch.tensor(kept, device=self._device)

    def _close_gaps(self) -> None:
        """Moves the tokens of each row to the right, over padding and dropped tokens, which would use up a sliding window.

        The keys already contain the positions, so columns may move.
        """
        order = self._mask.argsort(dim=1, stable=True)[:, self.length - int(self._mask.sum(1).max()) :]
        self._mask = self._mask.gather(1, order)
        layers: list[Any] = self._cache.layers  # all of them are attention layers, with keys and values
        for layer in layers:
            index = order[:, None, :, None].to(layer.keys.device)
            layer.keys = layer.keys.gather(2, index.expand(-1, layer.keys.shape[1], -1, layer.keys.shape[3]))
            layer.values = layer.values.gather(2, index.expand(-1, layer.values.shape[1], -1, layer.values.shape[3]))

    def keep(self, rows: Sequence[int]) -> None:
        """Continues with these rows only."""
        kept = torch.tensor(rows, device=self._device)
        self._mask = self._mask[kept]
        self._cache.batch_select_indices(kept)
