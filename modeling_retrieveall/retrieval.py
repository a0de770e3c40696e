"""The labelled examples of one language, searched by sentence and by entity.

>>> index = ExampleIndex(examples, vectors)
>>> found = index.search(query, n_entities=6, n_sentences=2)
>>> found.mentions[0].item.text, found.mentions[0].similarity
('Nairobi', 0.83)
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .encoding import SentenceVectors
from .entities import Example, Mention

T = TypeVar("T")

_SENTENCES_OF_A_MEAN = 1000


@dataclass(frozen=True, slots=True)
class Hit(Generic[T]):
    """Something retrieved, and how similar it is to the query.

    Attributes:
        item: A mention or an example.
        similarity: Of an example the cosine to the query, in [-1, 1]; of a mention by how much its cosine exceeds the usual one.
    """

    item: T
    similarity: float


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What a prompt is written from: hits, nearest first."""

    mentions: list[Hit[Mention]]
    examples: list[Hit[Example]]


class ExampleIndex:
    """Sentence-level and entity-level search over labelled examples.

    Vectors are centred on the mean sentence of the index before the cosine: hidden states of an LLM share one large component
    that would make everything look alike. Some mentions are near to every sentence all the same ("hubs": Radovanovic et al.,
    2010, jmlr.org/papers/v11/radovanovic10a.html), so what counts of a mention is how much nearer it is than usual.

    Args:
        examples: The labelled sentences.
        sentence_vectors: ``[examples, hidden]``, their sentence vectors.
        mention_vectors: ``[mentions, hidden]``, a vector of every mention, example by example in order of its spans.
        usual_similarities: ``[mentions]``, how similar each mention is to a sentence on average; nothing when not given.

    Raises:
        ValueError: The numbers of vectors and of examples or mentions differ.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        sentence_vectors: Tensor,
        mention_vectors: Tensor,
        usual_similarities: Tensor | None = None,
    ) -> None:
        self.examples = list(examples)
        self.mentions = [Mention(example, span) for example in self.examples for span in example.spans]
        if usual_similarities is None:
            usual_similarities = torch.zeros(len(self.mentions))
        if len(sentence_vectors) != len(self.examples) or len(mention_vectors) != len(self.mentions):
            raise ValueError(
                f"The index has {len(self.examples)} examples with {len(self.mentions)} mentions, but {len(sentence_vectors)} "
                f"sentence and {len(mention_vectors)} mention vectors. Build both from the same examples."
            )
        if usual_similarities.shape != (len(self.mentions),):
            shape = tuple(usual_similarities.shape)
            raise ValueError(f"The index has {len(self.mentions)} mentions, but usual similarities of shape {shape}.")
        self.sentence_vectors = sentence_vectors
        self.mention_vectors = mention_vectors
        self._centre = sentence_vectors.float().mean(0) if self.examples else torch.zeros(sentence_vectors.shape[1:])
        self._sentences = self._direction(sentence_vectors)
        self._mentions = self._direction(mention_vectors)
        self.usual_similarities = usual_similarities.float()
        self._example_rows = _rows_by_key(self.examples)
        self._mention_rows = _rows_by_key([mention.example for mention in self.mentions])

    @classmethod
    def build(cls, examples: Sequence[Example], vectors: Sequence[SentenceVectors]) -> "ExampleIndex":
        """An index from examples and what the encoder made of their sentences."""
        hidden = vectors[0].sentence.shape[0] if vectors else 0
        mentions = [v.mention(s.start, s.end) for e, v in zip(examples, vectors, strict=True) for s in e.spans]
        sentences = [v.sentence for v in vectors]
        index = cls(
            examples,
            torch.stack(sentences) if sentences else torch.zeros(0, hidden),
            torch.stack(mentions) if mentions else torch.zeros(0, hidden),
        )
        index.usual_similarities = index._usual_similarities(vectors)
        return index

    def search(
        self,
        query: SentenceVectors,
        n_entities: int,
        n_sentences: int,
        entity_threshold: float = 1.0,
        sentence_threshold: float = 1.0,
        exclude: str | None = None,
    ) -> Retrieved:
        """The nearest distinct mentions and sentences above the dynamic thresholds.

        A mention is as near as the word of the query nearest to it, less what is usual for it. Thresholds are mean + factor *
        standard deviation of the similarities to the whole index (section "retrieval" of arXiv 2505.19128 leaves the form open).

        Args:
            query: Vectors of the sentence.
            n_entities: Mentions at most.
            n_sentences: Sentences at most.
            entity_threshold: Factor for mentions.
            sentence_threshold: Factor for sentences.
            exclude: The key of an example; neither it nor its exact duplicates, nor their mentions, are returned.
        """
        mentions: list[Hit[Mention]] = []
        if n_entities and len(self._mentions) and len(query.words):
            similarities = self._nearness(query) - self.usual_similarities
            excluded = self._mention_rows.get(exclude, ()) if exclude is not None else ()
            mentions = _top(self.mentions, similarities, n_entities, entity_threshold, excluded, _mention_identity)
        examples: list[Hit[Example]] = []
        if n_sentences and len(self._sentences):
            similarities = self._sentences @ self._direction(query.sentence)
            excluded = self._example_rows.get(exclude, ()) if exclude is not None else ()
            examples = _top(self.examples, similarities, n_sentences, sentence_threshold, excluded, _example_identity)
        return Retrieved(mentions, examples)

    def _direction(self, vectors: Tensor) -> Tensor:
        return normalize(vectors.float() - self._centre, dim=-1)

    def _nearness(self, query: SentenceVectors) -> Tensor:
        """``[mentions]``: the cosine of each mention and the word of the query nearest to it."""
        return (self._direction(query.words) @ self._mentions.T).amax(0)

    def _usual_similarities(self, vectors: Sequence[SentenceVectors]) -> Tensor:
        """``[mentions]``: the mean nearness to the other sentences of the index."""
        owner = torch.tensor([row for row, example in enumerate(self.examples) for _ in example.spans], dtype=torch.int64)
        total, counted = torch.zeros(len(owner)), torch.zeros(len(owner))
        # Of many sentences some give the same mean, and the time would grow with the square of their number.
        for row in range(0, len(vectors), -(-len(vectors) // _SENTENCES_OF_A_MEAN) or 1):
            if len(vectors[row].words):
                others = owner != row  # in use a sentence is never in the index, and its own mentions are near to it
                total += self._nearness(vectors[row]) * others
                counted += others
        return total / counted.clamp(min=1)


def nearest(found: Sequence[Retrieved], n_entities: int, n_sentences: int) -> Retrieved:
    """The nearest distinct mentions and sentences of what several indices have.

    Args:
        found: What each index has retrieved.
        n_entities: Mentions at most.
        n_sentences: Sentences at most.
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


def _top(
    items: Sequence[T],
    similarities: Tensor,
    limit: int,
    factor: float,
    excluded: Sequence[int],
    identity: Callable[[T], Hashable],
) -> list[Hit[T]]:
    """The ``limit`` most similar items over the dynamic threshold, one of each identity, none of the ``excluded`` rows."""
    # As if the excluded were not in the index: in use they are not.
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
