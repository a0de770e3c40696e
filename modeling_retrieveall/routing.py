"""Which language a sentence is in, and so which adapters serve it: one row of the mapping matrix M.

The k nearest examples of the pooled index vote, and the most frequent language wins (RetrieveAll, arXiv 2505.19128).

    >>> router = VoteRouter(k_neighbours=10, min_confidence=0.35)
    >>> router.add("de", german_vectors)
    >>> router.add("es", spanish_vectors)
    >>> router.route(vectors.sentence[None])[0]
    Route(language='de', adapters=('de',), weights=(1.0,), confidence=0.9, known=True)
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

UNDETERMINED = "und"
"""BCP-47 for a language that could not be determined: a text without words, or a model without languages."""


@dataclass(frozen=True, slots=True)
class Route:
    """How one sentence is served.

    Attributes:
        language: The language it is taken for.
        adapters: The adapters of its row of M.
        weights: Their weights, adding up to 1.
        confidence: Posterior of the language, in [0, 1].
        known: Whether the language is believed to be one of the router's.
    """

    language: str
    adapters: tuple[str, ...]
    weights: tuple[float, ...]
    confidence: float
    known: bool

    @classmethod
    def certain(cls, language: str) -> "Route":
        """The route of a language that the caller has named."""
        return cls(language, (language,), (1.0,), 1.0, True)

    @classmethod
    def nowhere(cls) -> "Route":
        """The route of a text that has nothing to route."""
        return cls(UNDETERMINED, (), (), 0.0, False)

    @property
    def mixture(self) -> dict[str, float]:
        """Its row of M: adapter to weight."""
        return dict(zip(self.adapters, self.weights, strict=True))


class VoteRouter:
    """Routes by majority vote of the nearest examples of all languages.

    Vectors are centred on the mean of the languages' means, so that a language of many examples does not pull the centre.

    Args:
        k_neighbours: Examples that vote.
        min_confidence: Share of the votes below which the language is marked unknown.
        fallback: Adapter that serves unknown languages, when there is one.
    """

    def __init__(self, k_neighbours: int, min_confidence: float, fallback: str | None = None) -> None:
        self.k_neighbours = k_neighbours
        self.min_confidence = min_confidence
        self.fallback = fallback
        self._vectors: dict[str, Tensor] = {}
        self._pool: tuple[list[str], Tensor, Tensor, Tensor] | None = None

    @property
    def languages(self) -> list[str]:
        """The languages that have a vote, sorted."""
        return sorted(self._vectors)

    def add(self, language: str, vectors: Tensor) -> None:
        """Gives a language its votes: ``vectors`` [examples, hidden]. Replaces those it had."""
        self._vectors.pop(language, None)
        if len(vectors):
            self._vectors[language] = vectors.float()
        self._pool = None

    def remove(self, language: str) -> None:
        """Takes a language's votes away."""
        self._vectors.pop(language, None)
        self._pool = None

    def posterior(self, sentences: Tensor) -> Tensor:
        """Shares of the votes, [sentences, languages] in the order of ``languages``, for sentence vectors [sentences, hidden]."""
        languages, mean, pool, owners = self._pooled()
        similarities = normalize(sentences.float() - mean, dim=-1) @ pool.T
        nearest = similarities.topk(min(self.k_neighbours, len(pool)), dim=-1)
        votes = torch.zeros(len(sentences), len(languages))
        votes.scatter_add_(1, owners[nearest.indices], torch.ones_like(nearest.values))
        # Ties go to the language of the nearer examples: their similarities break them without outweighing a vote.
        ties = torch.zeros_like(votes).scatter_add_(1, owners[nearest.indices], nearest.values + 1.0)
        shares = votes + ties / (4.0 * self.k_neighbours)
        return shares / shares.sum(-1, keepdim=True)

    def route(self, sentences: Tensor) -> list[Route]:
        """Routes of sentence vectors [sentences, hidden]."""
        if not self._vectors or not len(sentences):
            return [self._unknown(UNDETERMINED, 0.0)] * len(sentences)
        languages = self.languages
        routes = []
        for shares in self.posterior(sentences):
            best = int(shares.argmax())
            confidence = float(shares[best])
            if confidence < self.min_confidence:
                routes.append(self._unknown(languages[best], confidence))
            else:
                routes.append(Route(languages[best], (languages[best],), (1.0,), confidence, True))
        return routes

    def _unknown(self, language: str, confidence: float) -> Route:
        adapter = self.fallback or (language if language in self._vectors else None)
        return Route(language, (adapter,) if adapter else (), (1.0,) if adapter else (), confidence, False)

    def _pooled(self) -> tuple[list[str], Tensor, Tensor, Tensor]:
        """Languages, the centre [hidden], all centred unit vectors [examples, hidden], and whose each is [examples]."""
        if self._pool is None:
            languages = self.languages
            mean = torch.stack([self._vectors[language].mean(0) for language in languages]).mean(0)
            pool = normalize(torch.cat([self._vectors[language] for language in languages]) - mean, dim=-1)
            owners = torch.repeat_interleave(
                torch.arange(len(languages)), torch.tensor([len(self._vectors[language]) for language in languages])
            )
            self._pool = languages, mean, pool, owners
        return self._pool
