"""Linear discriminant analysis over sentence vectors, from statistics that add up: a language comes and goes in closed form.

Every language is a Gaussian around its own mean; all share one covariance, pooled from their scatters. Adding or removing a
language adds or removes its statistics, and in whatever order that happens the result is that of building from scratch.

    >>> discriminant = Discriminant()
    >>> discriminant.add("de", german_vectors)
    >>> discriminant.add("es", spanish_vectors)
    >>> discriminant.distances(vectors)
    tensor([[24.1, 26.8]])
"""

from dataclasses import dataclass
from functools import cache
from statistics import median_low

import numpy as np
import torch
from torch import Tensor

DIMENSIONS = 640
"""Of the space that statistics are kept in: a scatter of 4,096 dimensions would take 64 MB a language, of 640 it takes 1.6."""

_MOST_VARIANCE = 100.0
"""Times the median of the languages: one of more is a stranger's, and would make all others look near."""


@dataclass(frozen=True, slots=True)
class LanguageStatistics:
    """What a language contributes to the discriminant.

    Attributes:
        count: Sentences.
        mean: ``[d]``, float64: the mean of their projected vectors.
        scatter: ``[d, d]``, float32: the sum of the outer products of their deviations from it.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, vectors: Tensor) -> "LanguageStatistics":
        """The statistics of sentence vectors ``[sentences, hidden]``, of which there is at least one."""
        projected = project(vectors)
        mean = projected.mean(0)
        deviations = projected - mean
        return cls(len(projected), mean, (deviations.T @ deviations).float())

    @property
    def variance(self) -> float:
        """Of a dimension, on average."""
        return float(self.scatter.diagonal().double().mean()) / max(self.count - 1, 1)


def project(vectors: Tensor) -> Tensor:
    """Sentence vectors ``[sentences, hidden]`` in the space of the statistics, ``[sentences, d]``, float64.

    Random signs keep distances, up to a few percent (Achlioptas 2003); a narrow base is not projected.
    """
    vectors = vectors.double()
    return vectors if vectors.shape[1] <= DIMENSIONS else vectors @ _signs(vectors.shape[1])


@cache
def _signs(hidden: int) -> Tensor:
    """``[hidden, d]``: the same signs on every machine and in every version, so that routes are."""
    bits = np.random.Philox(key=hidden).random_raw(hidden * DIMENSIONS) >> np.uint64(63)
    signs = torch.from_numpy(bits.astype(np.float64)).reshape(hidden, DIMENSIONS) * 2 - 1
    return signs.div(DIMENSIONS**0.5)


class Discriminant:
    """The Gaussians of all languages, with one covariance."""

    def __init__(self) -> None:
        self._statistics: dict[str, LanguageStatistics] = {}
        self._whitened: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def languages(self) -> list[str]:
        """Its languages, sorted."""
        return sorted(self._statistics)

    def add(self, language: str, vectors: Tensor) -> None:
        """Adds a language by its sentence vectors ``[sentences, hidden]``, at least one, in place of those it had."""
        self._statistics[language] = LanguageStatistics.of(vectors)
        self._whitened = None

    def remove(self, language: str) -> None:
        """Takes a language away, if it is there."""
        self._statistics.pop(language, None)
        self._whitened = None

    def distances(self, sentences: Tensor) -> Tensor:
        """Mahalanobis distances ``[sentences, languages]`` of vectors ``[sentences, hidden]`` from the means of the languages.

        A sentence of a known language is about as far from its mean as the square root of :attr:`dimensions`.
        """
        centre, whitening, means = self._solved()
        return torch.cdist((project(sentences) - centre) @ whitening, means, compute_mode="donot_use_mm_for_euclid_dist")

    @property
    def dimensions(self) -> int:
        """Of the space in which distances are measured."""
        return len(self._solved()[0])

    def _solved(self) -> tuple[Tensor, Tensor, Tensor]:
        """The centre ``[d]``, the whitening of the covariance ``[d, d]``, and the whitened means ``[languages, d]``."""
        if self._whitened is None:
            # In the order of their names, so that sums are the same to the last bit whatever the order of adding.
            statistics = [self._statistics[language] for language in self.languages]
            means = torch.stack([language.mean for language in statistics])
            covariance = shrunk(*_pooled(statistics))
            whitening = torch.linalg.inv(torch.linalg.cholesky(covariance)).T
            centre = means.mean(0)
            self._whitened = centre, whitening, (means - centre) @ whitening
        return self._whitened


def _pooled(statistics: list[LanguageStatistics]) -> tuple[Tensor, int]:
    """The scatter ``[d, d]`` of all languages within themselves, float64, and its degrees of freedom."""
    most = _MOST_VARIANCE * median_low([language.variance for language in statistics if language.variance] or [0.0])
    scatter, freedom = torch.zeros(statistics[0].scatter.shape, dtype=torch.float64), 0
    for language in statistics:
        if language.variance <= most:
            scatter += language.scatter
            freedom += language.count - 1
    return scatter, freedom


def shrunk(scatter: Tensor, freedom: int) -> Tensor:
    """A covariance that can be inverted, however few sentences there are.

    Shrinks to its own diagonal by the share that oracle approximating shrinkage gives for the correlations (Chen et al. 2010,
    equation 23), which needs nothing but the scatter and its degrees of freedom.

    Args:
        scatter: ``[d, d]``, the pooled within-class scatter.
        freedom: Sentences less languages.
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
    above = (1 - 2 / dimensions) * square + trace_square
    below = (freedom + 1 - 2 / dimensions) * (square - trace_square / dimensions)
    share = min(float(above / below), 1.0) if below > 0 else 1.0
    return (1 - share) * covariance + share * torch.diag(variances)
