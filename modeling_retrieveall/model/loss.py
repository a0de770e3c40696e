"""The loss of prompts with answers, computed where answers are and nowhere else.

>>> states = hidden_states(base, input_ids, attention_mask)
>>> logits, targets = labelled_logits(LMHead(base), states, labels)
>>> loss = torch.nn.functional.cross_entropy(logits, targets)
"""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from .decoding import LMHead
from .tagging import prefill_without_lora


def hidden_states(
    base: PreTrainedModel,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    prefix_ids: Tensor | None = None,
    prefix_mask: Tensor | None = None,
) -> Tensor:
    """Returns the last hidden states ``[batch, tokens, hidden]`` of the base LLM.

    Args:
        base: The base LLM.
        input_ids: ``[batch, tokens]``.
        attention_mask: ``[batch, tokens]``: 0 at padding, which is on the right.
        prefix_ids: ``[batch, prefix]``: tokens before, which are read without the LoRA in training.
        prefix_mask: ``[batch, prefix]``: 0 at padding of the prefix, which is on the right.
    """
    decoder: Any = base.get_decoder()
    past: dict[str, Any] = {"use_cache": False}
    if prefix_ids is not None and prefix_mask is not None:
        past = prefill_without_lora(decoder, prefix_ids, prefix_mask, input_ids.shape[1])
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        attention_mask = torch.cat([prefix_mask, attention_mask], 1)
    states: Tensor = decoder(input_ids=input_ids, attention_mask=attention_mask, **past).last_hidden_state
    return states


def labelled_logits(head: LMHead, states: Tensor, labels: Tensor, candidates: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns the logits of labelled positions, and their targets.

    Args:
        head: The LM head of the base LLM.
        states: ``[batch, tokens, hidden]``.
        labels: ``[batch, tokens]``: the token to predict from the position before; -100 where there is no loss.
        candidates: ``[n]``: the sorted tokens among which labels are predicted; the whole vocabulary when ``None``.

    Returns:
        Logits ``[labelled, vocabulary or n]`` and targets ``[labelled]``, which are indices into the last dimension.
    """
    shifted = labels[:, 1:]
    labelled = shifted != -100
    targets, states = shifted[labelled], states[:, :-1][labelled]
    if candidates is None:
        return head.full(states), targets
    return head(states, candidates), torch.searchsorted(candidates, targets)
