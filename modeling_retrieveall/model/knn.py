"""The paper's router: the k nearest examples of all languages vote, and the most frequent language wins (arXiv 2505.19128).

>>> voters = NearestNeighbours()
>>> voters.add("de", german_vectors)
>>> voters.add("es", spanish_vectors)
>>> voters.posterior(vectors, k_neighbours=10)
tensor([[0.9, 0.1]])
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

_SMOOTHING = 0.3
"""Additive smoothing: every language receives this fraction of a vote, so that none has probability zero."""


class NearestNeighbours:
    """The example sentences of all languages, and the vote of the nearest ones.

    Vectors are centred on the mean of the languages' means, so that a language with many examples does not move the centre.
    """

    def __init__(self) -> None:
        self._vectors: dict[str, Tensor] = {}
        self._pool: tuple[Tensor, Tensor, Tensor] | None = None  # computed at the first use after a change

    @property
    def languages(self) -> list[str]:
        """The languages that have examples, sorted."""
        return sorted(self._vectors)

    def add(self, language: str, vectors: Tensor) -> None:
        """Adds or replaces a language by the vectors of its examples, ``[examples, hidden]``, at least one."""
        self._vectors[language] = vectors.float()
        self._pool = None

    def remove(self, language: str) -> None:
        """Removes a language if it is there."""
        self._vectors.pop(language, None)
        self._pool = None

    def posterior(self, sentences: Tensor, k_neighbours: int) -> Tensor:
        """The share of each language in the votes of the nearest examples.

        Args:
            sentences: ``[sentences, hidden]``: sentence vectors.
            k_neighbours: Number of nearest examples that vote.

        Returns:
            ``[sentences, languages]``, in the order of ``languages``.
        """
        mean, pool, owners = self._pooled()
        similarities = normalize(sentences.float() - mean, dim=-1) @ pool.T  # [sentences, examples]
        nearest = similarities.topk(min(k_neighbours, len(pool)), dim=-1)
        votes = torch.zeros(len(sentences), len(self._vectors))
        votes.scatter_add_(1, owners[nearest.indices], torch.ones_like(nearest.values))
        # Similarities break ties in favour of the nearer examples, but their sum is too small to outweigh a vote.
        ties = torch.zeros_like(votes).scatter_add_(1, owners[nearest.indices], nearest.values + 1.0)
        shares = votes + ties / (4.0 * k_neighbours) + _SMOOTHING
        return shares / shares.sum(-1, keepdim=True)

    def _pooled(self) -> tuple[Tensor, Tensor, Tensor]:
        """The centre [hidden], all centred unit vectors [examples, hidden], and the language number of each [examples]."""
        if self._pool is None:
            by_language = [self._vectors[language] for language in self.languages]
            mean = torch.stack([vectors.mean(0) for vectors in by_language]).mean(0)
            pool = normalize(torch.cat(by_language) - mean, dim=-1)
            owners = torch.repeat_interleave(torch.arange(len(by_language)), torch.tensor(list(map(len, by_language))))
            self._pool = mean, pool, owners
        return self._pool
