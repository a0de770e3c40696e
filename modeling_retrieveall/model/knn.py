"""The paper's vote: the k nearest examples of all languages, and the most frequent language wins (arXiv 2505.19128).

>>> votes = Votes()
>>> votes.add("de", german_vectors)
>>> votes.add("es", spanish_vectors)
>>> votes.posterior(vectors, k_neighbours=10)
tensor([[0.9, 0.1]])
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

_BEFOREHAND = 0.3
"""Of a vote for every language: none is impossible because its examples are not among the k nearest."""


class Votes:
    """The examples of all languages, of which the nearest vote.

    Vectors are centred on the mean of the languages' means, so that a language of many examples does not pull the centre.
    """

    def __init__(self) -> None:
        self._vectors: dict[str, Tensor] = {}
        self._pool: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def languages(self) -> list[str]:
        """The languages that have a vote, sorted."""
        return sorted(self._vectors)

    def add(self, language: str, vectors: Tensor) -> None:
        """Gives a language its votes: ``vectors`` [examples, hidden], at least one. Replaces those it had."""
        self._vectors[language] = vectors.float()
        self._pool = None

    def remove(self, language: str) -> None:
        """Takes a language's votes away, if it has any."""
        self._vectors.pop(language, None)
        self._pool = None

    def posterior(self, sentences: Tensor, k_neighbours: int) -> Tensor:
        """Shares of the votes of the ``k_neighbours`` nearest examples.

        Args:
            sentences: ``[sentences, hidden]``: sentence vectors.
            k_neighbours: Examples that vote.

        Returns:
            ``[sentences, languages]``, in the order of ``languages``.
        """
        mean, pool, owners = self._pooled()
        similarities = normalize(sentences.float() - mean, dim=-1) @ pool.T
        nearest = similarities.topk(min(k_neighbours, len(pool)), dim=-1)
        votes = torch.zeros(len(sentences), len(self._vectors))
        votes.scatter_add_(1, owners[nearest.indices], torch.ones_like(nearest.values))
        # Ties go to the language of the nearer examples: their similarities break them without outweighing a vote.
        ties = torch.zeros_like(votes).scatter_add_(1, owners[nearest.indices], nearest.values + 1.0)
        shares = votes + ties / (4.0 * k_neighbours) + _BEFOREHAND
        return shares / shares.sum(-1, keepdim=True)

    def _pooled(self) -> tuple[Tensor, Tensor, Tensor]:
        """The centre [hidden], all centred unit vectors [examples, hidden], and whose each is [examples]."""
        if self._pool is None:
            of_language = [self._vectors[language] for language in self.languages]
            mean = torch.stack([vectors.mean(0) for vectors in of_language]).mean(0)
            pool = normalize(torch.cat(of_language) - mean, dim=-1)
            owners = torch.repeat_interleave(torch.arange(len(of_language)), torch.tensor(list(map(len, of_language))))
            self._pool = mean, pool, owners
        return self._pool
