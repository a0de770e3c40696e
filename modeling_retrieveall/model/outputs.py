"""What comes out of the model: entities, and how they came about."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers.utils import ModelOutput

from .answer_format import AnswerFormat
from .documents import Window
from .entities import Entity, Example, Mention
from .retrieval import Hit, Retrieved
from .router import Route


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
        prompt_ids: What the LLM was given, as tokens.
        answer_ids: The tokens of the answer.
    """

    start: int
    end: int
    route: Route
    posterior: dict[str, float]
    retrieved: Retrieved
    prompt_ids: list[int]
    answer_ids: list[int]
    _decode: Callable[[list[int]], str | list[str]] = field(repr=False, compare=False)

    @classmethod
    def of(cls, window: Window, answers: AnswerFormat) -> "ServedSentence":
        """How a window was served that was not made to forget it."""
        words = window.sentence.words
        likeliest = sorted(window.posterior.items(), key=lambda pair: -pair[1])
        return cls(
            words[0].start,
            words[-1].end,
            window.route,
            {language: probability for language, probability in likeliest if probability},
            window.retrieved,
            [*window.prompt.prefix, *window.prompt.ids] if window.prompt else [],
            window.answer.ids if window.answer else answers.end,
            answers.tokenizer.decode,
        )

    @property
    def prompt(self) -> str:
        """What the LLM was given, as text."""
        return str(self._decode(self.prompt_ids))


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
        """Of the language that most of the text is in, the route of its longest sentence."""
        if not self.sentences:
            return Route.nowhere()
        lengths: Counter[str] = Counter()
        for sentence in self.sentences:
            lengths[sentence.route.language] += sentence.end - sentence.start
        language = lengths.most_common(1)[0][0]
        of_language = [sentence for sentence in self.sentences if sentence.route.language == language]
        return max(of_language, key=lambda sentence: sentence.end - sentence.start).route

    def support(self, entity: Entity) -> list[Hit[Mention] | Hit[Example]]:
        """The retrieved mentions of the same name, whatever its case, and the sentences that hold one; nearest first."""
        name = entity.text.casefold()
        found: list[Hit[Mention] | Hit[Example]] = []
        last = bisect_right(self.sentences, entity.start, key=lambda sentence: sentence.start)
        # Windows of one sentence overlap: the entity may lie in two of them.
        for sentence in self.sentences[max(last - 2, 0) : last]:
            if entity.start < sentence.end:
                found += [hit for hit in sentence.retrieved.mentions if hit.item.text.casefold() == name]
                found += [hit for hit in sentence.retrieved.examples if _mentions(hit.item, name)]
        return sorted(_distinct(found), key=lambda hit: -hit.similarity)

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


def _mentions(example: Example, name: str) -> bool:
    return any(Mention(example, span).text.casefold() == name for span in example.spans)


def _distinct(hits: list[Hit[Mention] | Hit[Example]]) -> list[Hit[Mention] | Hit[Example]]:
    return list({hit.item: hit for hit in hits}.values())


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
