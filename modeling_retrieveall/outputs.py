"""What comes out of the model: entities, and how they came about."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.utils import ModelOutput

from .entities import Entity, Example, Mention
from .retrieval import Hit, Retrieved
from .routing import Route


@dataclass
class RetrieveAllOutput(ModelOutput):
    """What ``generate(..., return_dict_in_generate=True)`` returns, an item a row of the batch.

    Attributes:
        sequences: ``[batch, answer_tokens]``: the generated answers, padded on the right.
        entities: The entities, with offsets into the text that ``input_ids`` decode to.
        routes: The route of each row.
        prompts: The prompts of each row, as text; a row of several sentences has as many, with empty lines between.
        scores: The score of each entity, row by row.
    """

    sequences: Tensor | None = None
    entities: list[list[Entity]] | None = None
    routes: list[Route] | None = None
    prompts: list[str] | None = None
    scores: list[list[float]] | None = None


@dataclass(frozen=True, slots=True)
class ServedSentence:
    """How one sentence of a text was served.

    Attributes:
        start: Offset of its first word in the text, in code points.
        end: Offset after its last word.
        route: The adapters that served it.
        posterior: The probability of each language that is not ruled out, likeliest first.
        retrieved: The labelled examples found for it, with their similarities.
        prompt: What the LLM was given, as text.
        prompt_ids: The same as tokens.
        answer_ids: The tokens of the answer.
    """

    start: int
    end: int
    route: Route
    posterior: dict[str, float]
    retrieved: Retrieved
    prompt: str
    prompt_ids: list[int]
    answer_ids: list[int]


@dataclass(frozen=True, slots=True)
class Extraction:
    """One text, its entities, and how they came about.

    Attributes:
        text: The caller's string.
        entities: Its entities, in order.
        sentences: How each of its sentences was served, in order.
    """

    text: str
    entities: list[Entity]
    sentences: list[ServedSentence]

    @property
    def route(self) -> Route:
        """Of the language that most of the text is in, the route of its first sentence."""
        if not self.sentences:
            return Route.nowhere()
        lengths: Counter[str] = Counter()
        for sentence in self.sentences:
            lengths[sentence.route.language] += sentence.end - sentence.start
        language = lengths.most_common(1)[0][0]
        return next(sentence.route for sentence in self.sentences if sentence.route.language == language)

    def support(self, entity: Entity) -> list[Hit[Mention] | Hit[Example]]:
        """The retrieved examples that mention an entity of the text, nearest first."""
        found: list[Hit[Mention] | Hit[Example]] = []
        for sentence in self.sentences:
            if sentence.start <= entity.start < sentence.end:
                found += [hit for hit in sentence.retrieved.mentions if hit.item.text.casefold() == entity.text.casefold()]
                found += [hit for hit in sentence.retrieved.examples if entity.text in hit.item.sentence.text]
        return sorted(found, key=lambda hit: -hit.similarity)

    def to_dict(self) -> dict[str, Any]:
        """Everything but tokens, ready for JSON."""
        return {
            "text": self.text,
            "language": self.route.language,
            "known": self.route.known,
            "entities": [
                {**entity_dict(entity), "support": [_hit_dict(hit) for hit in self.support(entity)]} for entity in self.entities
            ],
            "sentences": [
                {
                    "start": sentence.start,
                    "end": sentence.end,
                    "language": sentence.route.language,
                    "known": sentence.route.known,
                    "adapters": _rounded(sentence.route.mixture),
                    "posterior": _rounded(sentence.posterior),
                    "retrieved_entities": [_hit_dict(hit) for hit in sentence.retrieved.mentions],
                    "retrieved_sentences": [_hit_dict(hit) for hit in sentence.retrieved.examples],
                    "prompt": sentence.prompt,
                }
                for sentence in self.sentences
            ],
        }


def entity_dict(entity: Entity) -> dict[str, Any]:
    """An entity, ready for JSON."""
    return {
        "text": entity.text,
        "label": entity.label,
        "start": entity.start,
        "end": entity.end,
        "score": round(entity.score, 4),
    }


def _hit_dict(hit: Hit[Mention] | Hit[Example]) -> dict[str, Any]:
    similarity = round(hit.similarity, 4)
    if isinstance(hit.item, Mention):
        return {"text": hit.item.text, "label": hit.item.span.label, "similarity": similarity}
    entities = [entity_dict(hit.item.sentence.entity(span)) for span in hit.item.spans]
    return {"text": hit.item.sentence.text, "entities": entities, "similarity": similarity}


def _rounded(weights: dict[str, float]) -> dict[str, float]:
    return {name: round(weight, 4) for name, weight in weights.items()}
