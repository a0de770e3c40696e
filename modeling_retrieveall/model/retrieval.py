"""Search over the labelled examples of one language, by sentence, by entity and by the words of the entities.

>>> index = ExampleIndex(examples, vectors)
>>> found = index.search(query, n_entities=6, n_sentences=2)
>>> found.mentions[0].item.text, found.mentions[0].similarity
('Nairobi', 0.83)
"""

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .encoder import SentenceVectors
from .entities import Example, Mention
from .known_mentions import KnownMentions, MentionMatch

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hit(Generic[T]):
    """A retrieved item, and its cosine similarity to the query in [-1, 1]."""

    item: T
    similarity: float


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What was retrieved for a sentence.

    Attributes:
        mentions: Labelled entities, most similar first. If they are longer than ``max_example_tokens``, the prompt has only the
            first ones.
        examples: Labelled sentences, likewise.
        matches: The words of the sentence that are mentions in the examples, for tags.
    """

    mentions: list[Hit[Mention]]
    examples: list[Hit[Example]]
    matches: list[MentionMatch] = field(default_factory=list)


class ExampleIndex:
    """Sentence-level and entity-level search over labelled examples.

    Vectors are centred on the mean of the index before the cosine is taken, because the hidden states of an LLM share one large
    component that would make all of them similar.

    Args:
        examples: The labelled sentences.
        sentence_vectors: ``[examples, hidden]``: the vector of each sentence.
        mention_vectors: ``[mentions, hidden]``: the vector of each mention, in the order of the examples and their spans,
            or ``[0, hidden]`` if prompts contain no entities.

    Raises:
        ValueError: The number of vectors differs from that of the examples, or is neither that of the mentions nor 0.
    """

    def __init__(self, examples: Sequence[Example], sentence_vectors: Tensor, mention_vectors: Tensor) -> None:
        self.examples = list(examples)
        self.mentions = [Mention(example, span) for example in self.examples for span in example.spans]
        if len(sentence_vectors) != len(self.examples) or len(mention_vectors) not in (0, len(self.mentions)):
            raise ValueError(
                f"The index has {len(self.examples)} examples with {len(self.mentions)} mentions, but {len(sentence_vectors)} "
                f"sentence and {len(mention_vectors)} mention vectors. Build both from the same examples."
            )
        self.sentence_vectors = sentence_vectors
        self.mention_vectors = mention_vectors
        self._sentence_mean, self._sentences = _centred(sentence_vectors)
        self._mention_mean, self._mentions = _centred(mention_vectors)
        self._example_rows = _rows_by_key(self.examples)
        self._mention_rows = _rows_by_key([mention.example for mention in self.mentions])

    @cached_property
    def known_mentions(self) -> KnownMentions:
        """The mentions by their words, collected at the first use."""
        return KnownMentions(self.examples)

    @classmethod
    def build(cls, examples: Sequence[Example], vectors: Sequence[SentenceVectors]) -> "ExampleIndex":
        """Builds an index from examples and the encoder's vectors of their sentences."""
        hidden = vectors[0].sentence.shape[0] if vectors else 0
        mentions = [v.mention(s.start, s.end) for e, v in zip(examples, vectors, strict=True) for s in e.spans]
        sentences = [v.sentence for v in vectors]
        return cls(
            examples,
            torch.stack(sentences) if sentences else torch.zeros(0, hidden),
            torch.stack(mentions) if mentions else torch.zeros(0, hidden),
        )

    def with_added(self, examples: Sequence[Example], vectors: Sequence[SentenceVectors]) -> "ExampleIndex":
        """An index with further examples. An example with the same words as an earlier one replaces it.

        Args:
            examples: The examples to add.
            vectors: The encoder's vectors of their sentences.
        """
        last = {example.units: (example, of_words) for example, of_words in zip(examples, vectors, strict=True)}
        kept, added = self.without(last), ExampleIndex.build([e for e, _ in last.values()], [v for _, v in last.values()])
        both = [index for index in (kept, added) if index.examples] or [self]
        with_mentions = [index for index in both if index.mentions]
        if any(not len(index.mention_vectors) for index in with_mentions):
            with_mentions = []  # prompts contain no entities
        return ExampleIndex(
            [example for index in both for example in index.examples],
            torch.cat([index.sentence_vectors.float() for index in both]),
            torch.cat([index.mention_vectors.float() for index in with_mentions] or [self.mention_vectors[:0]]),
        )

    def without(self, units: Collection[tuple[str, ...]]) -> "ExampleIndex":
        """An index without the examples that have one of the given :attr:`Example.units`."""
        sentences = [row for row, example in enumerate(self.examples) if example.units not in units]
        examples = [self.examples[row] for row in sentences]
        kept = set(map(id, examples))
        mentions = [row for row, mention in enumerate(self.mentions) if id(mention.example) in kept]
        mention_vectors = self.mention_vectors[mentions] if len(self.mention_vectors) else self.mention_vectors
        return ExampleIndex(examples, self.sentence_vectors[sentences], mention_vectors)

    def search(
        self,
        query: SentenceVectors,
        n_entities: int,
        n_sentences: int,
        entity_threshold: float = 1.0,
        sentence_threshold: float = 1.0,
        exclude: str | None = None,
    ) -> Retrieved:
        """The most similar distinct mentions and sentences above the dynamic thresholds.

        The similarity of a mention is that of the most similar word of the query. A threshold is mean + factor * standard
        deviation of the similarities to the whole index; the paper (arXiv 2505.19128) does not define its thresholds.

        Args:
            query: Vectors of the sentence.
            n_entities: Maximum number of mentions.
            n_sentences: Maximum number of sentences.
            entity_threshold: Factor of the threshold for mentions.
            sentence_threshold: Factor of the threshold for sentences.
            exclude: Key of an example. The example, its exact duplicates and their mentions are not returned.
        """
        mentions: list[Hit[Mention]] = []
        if n_entities and len(self._mentions) and len(query.words):
            words = normalize(query.words - self._mention_mean, dim=-1)
            similarities = (words @ self._mentions.T).amax(0)  # [mentions]
            excluded = self._mention_rows.get(exclude, ()) if exclude is not None else ()
            mentions = _top(self.mentions, similarities, n_entities, entity_threshold, excluded, _mention_identity)
        examples: list[Hit[Example]] = []
        if n_sentences and len(self._sentences):
            similarities = self._sentences @ normalize(query.sentence - self._sentence_mean, dim=-1)  # [examples]
            excluded = self._example_rows.get(exclude, ()) if exclude is not None else ()
            examples = _top(self.examples, similarities, n_sentences, sentence_threshold, excluded, _example_identity)
        return Retrieved(mentions, examples)


def merge_retrieved(found: Sequence[Retrieved], n_entities: int, n_sentences: int) -> Retrieved:
    """The most similar distinct mentions and sentences among the results of several indices.

    Args:
        found: The result of each index.
        n_entities: Maximum number of mentions.
        n_sentences: Maximum number of sentences.
    """
    if len(found) == 1:
        return found[0]
    mentions = [hit for retrieved in found for hit in retrieved.mentions]
    examples = [hit for retrieved in found for hit in retrieved.examples]
    return Retrieved(_best(mentions, n_entities, _mention_identity), _best(examples, n_sentences, _example_identity))


def _best(hits: Sequence[Hit[T]], limit: int, identity: Callable[[T], Hashable]) -> list[Hit[T]]:
    distinct: dict[Hashable, Hit[T]] = {}
    for hit in sorted(hits, key=lambda hit: -hit.similarity):
        distinct.setdefault(identity(hit.item), hit)
    return list(distinct.values())[:limit]


def _rows_by_key(examples: Sequence[Example]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, example in enumerate(examples):
        rows.setdefault(example.key, []).append(row)
    return rows


def _mention_identity(mention: Mention) -> tuple[str, str]:
    return mention.text, mention.span.label


def _example_identity(example: Example) -> str:
    return example.key


def _centred(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The mean [hidden], and the centred vectors [n, hidden] scaled to unit length."""
    vectors = vectors.float()
    mean = vectors.mean(0) if len(vectors) else torch.zeros(vectors.shape[1:])
    return mean, normalize(vectors - mean, dim=-1)


def _top(
    items: Sequence[T],
    similarities: Tensor,
    limit: int,
    factor: float,
    excluded: Sequence[int],
    identity: Callable[[T], Hashable],
) -> list[Hit[T]]:
    """The ``limit`` most similar items above the dynamic threshold, one per identity, without the ``excluded`` rows."""
    # Excluded rows do not count in the threshold either: at inference, the index does not contain the query.
    counted = torch.ones(len(items), dtype=torch.bool)
    counted[list(excluded)] = False
    if not counted.any():
        return []
    threshold = similarities[counted].mean() + factor * similarities[counted].std(correction=0)
    similarities = similarities.masked_fill(~counted, -torch.inf)
    hits: dict[Hashable, Hit[T]] = {}
    for i in similarities.argsort(descending=True).tolist():
        if len(hits) == limit or similarities[i] < threshold - 1e-6:
            break
        hits.setdefault(identity(items[i]), Hit(items[i], float(similarities[i])))
    return list(hits.values())
