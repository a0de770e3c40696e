"""What comes out of the model: entities, and how they came about."""

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput

from .entities import Entity
from .retrieval import Retrieved
from .routing import Route


@dataclass
class RetrieveAllOutput(ModelOutput):
    """What ``generate(..., return_dict_in_generate=True)`` returns, an item a row of the batch.

    Attributes:
        sequences: ``[batch, answer_tokens]``: the generated answers, padded on the right.
        entities: The entities, with offsets into the text that ``input_ids`` decode to.
        routes: The route of each row.
        prompts: The prompt of each row, as text.
        scores: The score of each entity, row by row.
    """

    sequences: Tensor | None = None
    entities: list[list[Entity]] | None = None
    routes: list[Route] | None = None
    prompts: list[str] | None = None
    scores: list[list[float]] | None = None


@dataclass(frozen=True)
class Extraction:
    """One text, its entities, and how they came about.

    Attributes:
        text: The caller's string.
        entities: Its entities, in order.
        route: How it was served; of a text cut into windows, the route of the first.
        retrieved: The labelled examples found for each of its windows.
        prompts: What the LLM was given for each window, as text.
        prompt_ids: The same as tokens.
        answers: The tokens of each window's answer.
    """

    text: str
    entities: list[Entity]
    route: Route
    retrieved: list[Retrieved]
    prompts: list[str]
    prompt_ids: list[list[int]]
    answers: list[list[int]]
