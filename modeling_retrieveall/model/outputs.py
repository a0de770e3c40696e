"""The results of the model: the entities of a text, the language of each sentence, and the details of their extraction.

>>> result = model.extract("Angela Merkel besuchte Nairobi.")
>>> result.language, [(entity.text, entity.label) for entity in result.entities]
('de', [('Angela Merkel', 'PER'), ('Nairobi', 'LOC')])
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from torch import Tensor
from transformers.utils import ModelOutput

from .entities import Entity, Example, Mention, Sentence
from .known_mentions import MentionMatch
from .retrieval import Hit, Retrieved
from .router import Route


@dataclass
class RetrieveAllOutput(ModelOutput):
    """The result of ``generate(..., return_dict_in_generate=True)``, with one item per row of the batch.

    Attributes:
        sequences: ``[batch, answer_tokens]``: the generated answers, padded on the right.
        entities: The entities, with offsets into the text that ``input_ids`` decode to.
        routes: The route of each row.
        prompts: The prompts of each row as text. The prompts of a row with several sentences are joined by empty lines.
        scores: The scores of the entities of each row.
    """

    sequences: Tensor | None = None
    entities: list[list[Entity]] | None = None
    routes: list[Route] | None = None
    prompts: list[str] | None = None
    scores: list[list[float]] | None = None


@dataclass(frozen=True, slots=True)
class KnownMention:
    """Words of a text that are an entity in the labelled examples of its language. The examples influence their tags.

    Attributes:
        text: The words.
        start: Offset of the first character in the text, in code points.
        end: Offset after the last character.
        counts: Maps each label to the number of occurrences with this label in the examples. All other occurrences are no entity.
        occurrences: Number of all occurrences in the examples.
    """

    text: str
    start: int
    end: int
    counts: Mapping[str, int]
    occurrences: int

    @classmethod
    def from_match(cls, match: MentionMatch, sentence: Sentence) -> Self:
        """Takes the text and the offsets from the sentence in which the match was found."""
        start, end = sentence.words[match.start].start, sentence.words[match.end - 1].end
        return cls(sentence.text[start:end], start, end, match.counts, match.occurrences)

    @property
    def summary(self) -> str:
        """The counts in words, the most frequent label first: ``"LOC 3, PER 1, no entity 2"``."""
        counts = sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))
        other = self.occurrences - sum(self.counts.values())
        return ", ".join(f"{label} {count}" for label, count in [*counts, *([("no entity", other)] if other else [])])


@dataclass(frozen=True, slots=True)
class SentenceDetails:
    """How the entities of a sentence were extracted.

    Attributes:
        posterior: The probability of each language, the most probable first. Languages that were ruled out are missing.
        retrieved: The labelled examples that were retrieved for the sentence, with their similarities.
        prompt_ids: The token ids of the prompt; empty if no adapter was used.
        prompt: The prompt as text.
        answer_ids: The token ids of the answer.
        known_mentions: The words of the sentence that are an entity in the examples, for tags only.
    """

    posterior: dict[str, float]
    retrieved: Retrieved
    prompt_ids: list[int]
    prompt: str
    answer_ids: list[int]
    known_mentions: list[KnownMention] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SentenceResult:
    """One sentence of a text, and the adapters that were used for it.

    Attributes:
        start: Offset of its first word in the text, in code points.
        end: Offset after its last word, in code points.
        route: Its language and its adapters.
        details: How its entities were extracted, if ``extract(..., details=True)`` asked for it.
    """

    start: int
    end: int
    route: Route
    details: SentenceDetails | None = None


@dataclass(frozen=True, slots=True)
class Extraction:
    """The result for one text.

    Attributes:
        text: The text, as it was given.
        entities: Its entities, in order and without overlap; ``text[entity.start : entity.end] == entity.text``.
        sentences: Its sentences, in order.
        near_misses: Spans that are no entities but nearly are, if ``extract(..., near_misses=...)`` asked for them: those below
            the threshold, and for tags those that were nearly chosen. They overlap with no entity.
    """

    text: str
    entities: list[Entity]
    sentences: list[SentenceResult]
    near_misses: list[Entity] | None = None

    @property
    def language(self) -> str:
        """The language of most of the text; ``"und"`` for a text without words."""
        return self.route.language

    @property
    def known(self) -> bool:
        """Whether the text seems to be in a language of the model. If not, ``language`` is the most similar one."""
        return self.route.known

    @property
    def route(self) -> Route:
        """The route of the longest sentence in the language of most of the text."""
        if not self.sentences:
            return Route.undetermined()
        lengths: Counter[str] = Counter()
        for sentence in self.sentences:
            lengths[sentence.route.language] += sentence.end - sentence.start
        language = lengths.most_common(1)[0][0]
        candidates = [sentence for sentence in self.sentences if sentence.route.language == language]
        return max(candidates, key=lambda sentence: sentence.end - sentence.start).route

    def sentence_of(self, entity: Entity) -> SentenceResult:
        """The sentence that an entity is in.

        Windows of a long sentence overlap; an entity in the overlap belongs to the later one.
        """
        return self.sentences[bisect_right(self.sentences, entity.start, key=lambda sentence: sentence.start) - 1]

    def support(self, entity: Entity) -> list[Hit[Mention] | Hit[Example]]:
        """The retrieved examples that mention the name of an entity, in any case, the most similar first.

        Args:
            entity: One of the entities.

        Returns:
            Retrieved mentions of that name, and retrieved sentences with such a mention; none without ``details=True``.
        """
        name = entity.text.casefold()
        found: list[Hit[Mention] | Hit[Example]] = []
        last = bisect_right(self.sentences, entity.start, key=lambda sentence: sentence.start)
        # Windows of a long sentence overlap, so the entity may be in two of them.
        for sentence in self.sentences[max(last - 2, 0) : last]:
            if sentence.details and entity.start < sentence.end:
                retrieved = sentence.details.retrieved
                found += [hit for hit in retrieved.mentions if hit.item.text.casefold() == name]
                found += [hit for hit in retrieved.examples if _has_mention(hit.item, name)]
        distinct = {hit.item: hit for hit in found}.values()
        return sorted(distinct, key=lambda hit: -hit.similarity)

    def to_dict(self, details: bool = False) -> dict[str, Any]:
        """Returns the result for JSON.

        Args:
            details: Whether to add the sentences with their details, and the examples that mention each entity.
        """
        row: dict[str, Any] = {"text": self.text, "language": self.language, "known": self.known}
        entities = [entity_dict(entity) for entity in self.entities]
        if self.near_misses is not None:
            row["near_misses"] = [entity_dict(entity) for entity in self.near_misses]
        if not details:
            return {**row, "entities": entities}
        for entity, entity_row in zip(self.entities, entities, strict=True):
            entity_row["support"] = [_hit_dict(hit) for hit in self.support(entity)]
        return {**row, "entities": entities, "sentences": [_sentence_dict(sentence) for sentence in self.sentences]}


def _has_mention(example: Example, name: str) -> bool:
    return any(Mention(example, span).text.casefold() == name for span in example.spans)


def entity_dict(entity: Entity) -> dict[str, Any]:
    """Returns an entity for JSON, its score rounded to four digits."""
    return {
        "text": entity.text,
        "label": entity.label,
        "start": entity.start,
        "end": entity.end,
        "score": round(entity.score, 4),
    }


def _sentence_dict(sentence: SentenceResult) -> dict[str, Any]:
    row: dict[str, Any] = {
        "start": sentence.start,
        "end": sentence.end,
        "language": sentence.route.language,
        "known": sentence.route.known,
        "adapters": _rounded(sentence.route.mixture),
    }
    if details := sentence.details:
        row |= {
            "posterior": _rounded(details.posterior),
            "retrieved_entities": [_hit_dict(hit) for hit in details.retrieved.mentions],
            "retrieved_sentences": [_hit_dict(hit) for hit in details.retrieved.examples],
            "known_mentions": [asdict(mention) for mention in details.known_mentions],
            "prompt": details.prompt,
        }
    return row


def _hit_dict(hit: Hit[Mention] | Hit[Example]) -> dict[str, Any]:
    similarity = round(hit.similarity, 4)
    if isinstance(hit.item, Mention):
        return {"text": hit.item.text, "label": hit.item.span.label, "similarity": similarity}
    entities = [entity_dict(hit.item.sentence.entity(span)) for span in hit.item.spans]
    return {"text": hit.item.sentence.text, "entities": entities, "similarity": similarity}


def _rounded(weights: dict[str, float]) -> dict[str, float]:
    return {name: round(weight, 4) for name, weight in weights.items()}
