"""Tokens of sentences in, tokens of answers out: what ``generate`` adds to ``extract``.

>>> rows = sentences_of(model.tokenizer, input_ids, attention_mask)
>>> output_of(model.extract(rows, details=True), model.answers, input_ids.device)[0]
tensor([[ 52847,  77542,    578, ...]])
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from .answer_format import AnswerFormat
from .batching import padded_ids
from .errors import InputError
from .outputs import Extraction, RetrieveAllOutput


def sentences_of(tokenizer: PreTrainedTokenizerBase, input_ids: Tensor, attention_mask: Tensor | None) -> list[str]:
    """Decodes rows of tokens.

    Args:
        tokenizer: The base LLM's tokenizer.
        input_ids: ``[batch, tokens]``, padded on either side.
        attention_mask: ``[batch, tokens]``: 0 at padding.

    Raises:
        InputError: A tensor has another shape.
    """
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    if input_ids.ndim != 2 or mask.shape != input_ids.shape:
        shapes = f"{list(input_ids.shape)} and {list(mask.shape)}"
        raise InputError(f"input_ids and attention_mask have the shapes {shapes}; give [batch, tokens] for both.")
    rows = [ids[keep.bool()] for ids, keep in zip(input_ids, mask, strict=True)]
    return [str(tokenizer.decode(row, skip_special_tokens=True)) for row in rows]


def output_of(results: Sequence[Extraction], answers: AnswerFormat, device: torch.device) -> tuple[Tensor, RetrieveAllOutput]:
    """The output of ``generate`` for extracted entities.

    Args:
        results: The results of ``extract`` with ``details=True``.
        answers: The answer format over the base LLM's tokenizer.
        device: The device of the sequences.

    Returns:
        The sequences ``[batch, answer_tokens]``, padded on the right, and the output, which has them too.
    """
    details = [[sentence.details for sentence in result.sentences if sentence.details] for result in results]
    tokens = [[token for each in row for token in each.answer_ids] or answers.end for row in details]
    sequences = padded_ids(tokens, answers.tokenizer.pad_token_id or 0).to(device)
    return sequences, RetrieveAllOutput(
        sequences=sequences,
        entities=[result.entities for result in results],
        routes=[result.route for result in results],
        prompts=["\n\n".join(each.prompt for each in row) for row in details],
        scores=[[entity.score for entity in result.entities] for result in results],
    )
