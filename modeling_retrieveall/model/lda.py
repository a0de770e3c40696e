"""Linear discriminant analysis (LDA) over sentence vectors, updated in closed form when a language is added or removed.

Every language is a Gaussian with its own mean. All languages share one covariance, which is pooled from their scatter matrices.
The statistics of each language are stored separately, so the result does not depend on the order of these changes.

    >>> lda = LinearDiscriminant()
    >>> lda.add("de", german_vectors)
    >>> lda.add("es", spanish_vectors)
    >>> lda.distances(vectors)
    tensor([[24.1, 26.8]])
"""

from dataclasses import dataclass
from functools import cache
from statistics import median_low

import numpy as np
import torch
from torch import Tensor

from .untrusted_files import LIMITS

DIMENSIONS = 640
"""Wider vectors are projected to this many dimensions: a float32 scatter matrix of 4,096 dimensions takes 64 MB per language, one
of 640 dimensions 1.6 MB."""


@dataclass(frozen=True, slots=True)
class LanguageStatistics:
    """What one language contributes to the discriminant.

    Attributes:
        count: Number of sentences.
        mean: ``[d]``, float64: mean of the projected sentence vectors.
        scatter: ``[d, d]``, float32: sum of the outer products of the deviations from the mean.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def from_vectors(cls, vectors: Tensor) -> "LanguageStatistics":
        """The statistics of sentence vectors ``[sentences, hidden]``, at least one."""
        projected = project(vectors)
        mean = projected.mean(0)
        deviations = projected - mean
        return cls(len(projected), mean, (deviations.T @ deviations).float())

    @property
    def variance(self) -> float:
        """The mean variance of a dimension."""
        return float(self.scatter.diagonal().double().mean()) / max(self.count - 1, 1)


def project(vectors: Tensor) -> Tensor:
    """Projects sentence vectors ``[sentences, hidden]`` to ``[sentences, d]``, float64.

    A projection by random signs keeps distances up to a few percent (Achlioptas 2003). Narrow vectors are not projected.
    """
    vectors = vectors.double()
    return vectors if vectors.shape[1] <= DIMENSIONS else vectors @ _signs(vectors.shape[1])


@cache
def _signs(hidden: int) -> Tensor:
    """``[hidden, d]``: signs that are the same on every machine and in every version, so that routes are reproducible."""
    bits = np.random.Philox(key=hidden).random_raw(hidden * DIMENSIONS) >> np.uint64(63)
    signs = torch.from_numpy(bits.astype(np.float64)).reshape(hidden, DIMENSIONS) * 2 - 1
    return signs.div(DIMENSIONS**0.5)


class LinearDiscriminant:
    """The Gaussians of all languages, with one shared covariance."""

    def __init__(self) -> None:
        self._statistics: dict[str, LanguageStatistics] = {}
        self._whitened: tuple[Tensor, Tensor, Tensor] | None = None  # computed at the first use after a change

    @property
    def languages(self) -> list[str]:
        """Its languages, sorted."""
        return sorted(self._statistics)

    def add(self, language: str, vectors: Tensor) -> None:
        """Adds or replaces a language by its sentence vectors ``[sentences, hidden]``, at least one."""
        self._statistics[language] = LanguageStatistics.from_vectors(vectors)
        self._whitened = None

    def remove(self, language: str) -> None:
        """Removes a language if it is there."""
        self._statistics.pop(language, None)
        self._whitened = None

    def distances(self, sentences: Tensor) -> Tensor:
        """Mahalanobis distances ``[sentences, languages]`` of vectors ``[sentences, hidden]`` from the means of the languages.

        A sentence is about as far from the mean of its own language as the square root of :attr:`dimensions`.
        """
        centre, whitening, means = self._whitening()
        return torch.cdist((project(sentences) - centre) @ whitening, means, compute_mode="donot_use_mm_for_euclid_dist")

    @property
    def dimensions(self) -> int:
        """Dimensions of the space in which distances are measured."""
        return len(self._whitening()[0])

    def _whitening(self) -> tuple[Tensor, Tensor, Tensor]:
        """The centre ``[d]``, the whitening of the covariance ``[d, d]``, and the whitened means ``[languages, d]``."""
        if self._whitened is None:
            # Sorted, so that sums are equal to the last bit whatever the order in which languages were added.
            statistics = [self._statistics[language] for language in self.languages]
            means = torch.stack([language.mean for language in statistics])
            covariance = shrink_covariance(*_pooled(statistics))
            whitening = torch.linalg.inv(torch.linalg.cholesky(covariance)).T
            centre = means.mean(0)
            self._whitened = centre, whitening, (means - centre) @ whitening
        return self._whitened


def _pooled(statistics: list[LanguageStatistics]) -> tuple[Tensor, int]:
    """The within-class scatter ``[d, d]`` of all languages, float64, and its degrees of freedom."""
    limit = LIMITS.relative_variance * median_low([language.variance for language in statistics if language.variance] or [0.0])
    scatter, freedom = torch.zeros(statistics[0].scatter.shape, dtype=torch.float64), 0
    for language in statistics:
        if language.variance <= limit:
            scatter += language.scatter
            freedom += language.count - 1
    return scatter, freedom


def shrink_covariance(scatter: Tensor, freedom: int) -> Tensor:
    """The covariance of a scatter matrix, shrunk so that it can be inverted even if there are few sentences.

    The covariance is shrunk towards its own diagonal. The share comes from oracle approximating shrinkage of the correlations
    (Chen et al. 2010, equation 23), which needs only the scatter matrix and its degrees of freedom.

    Args:
        scatter: ``[d, d]``: the pooled within-class scatter.
        freedom: Degrees of freedom: number of sentences minus number of languages.
    """
    dimensions = len(scatter)
    covariance = scatter / max(freedom, 1)
    variances = covariance.diagonal()
    floor = 1e-6 * variances.mean().clamp(min=1e-12)
    variances = variances.clamp(min=floor)
    deviations = variances.sqrt()
    correlations = covariance / deviations / deviations[:, None]
    square = correlations.square().sum()
    trace_square = correlations.trace() ** 2
    numerator = (1 - 2 / dimensions) * square + trace_square
    denominator = (freedom + 1 - 2 / dimensions) * (square - trace_square / dimensions)
    share = min(float(numerator / denominator), 1.0) if denominator > 0 else 1.0
    return (1 - share) * covariance + share * torch.diag(variances)
