"""Decides which language a sentence is in, and which adapters decode it: one row of the paper's mapping matrix M.

The posterior over the languages comes from LDA over the sentence vectors, from the paper's vote of the nearest examples, or from
both. The sentences of one text are smoothed together. A sentence that is far from every language is marked as unknown.

    >>> router = Router(RetrieveAllConfig())
    >>> router.add("de", german_vectors)
    >>> router.add("es", spanish_vectors)
    >>> posterior, routes = router.route(vectors.sentence[None])
    >>> routes[0]
    Route(language='de', adapters=('de',), weights=(1.0,), confidence=0.9, known=True)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import sqrt

import torch
from torch import Tensor

from .configuration_retrieveall import RetrieveAllConfig
from .hmm_smoothing import smooth_posteriors
from .knn import NearestNeighbours
from .lda import LinearDiscriminant
from .writing_systems import dominant_script

UNDETERMINED = "und"
"""BCP-47 code of an undetermined language: the text has no words, or the model has no languages."""

_TEMPERATURES = [2 ** (step / 8) for step in range(57)]  # from 1 to 128
_UNKNOWN_RATE = 0.01
"""Share of the sentences of known languages that a calibrated router takes for unknown."""


@dataclass(frozen=True, slots=True)
class Route:
    """The language of a sentence, and the adapters that decode it.

    Attributes:
        language: The most probable language.
        adapters: The adapters of the sentence, as in its row of M.
        weights: The weights of the adapters; they add up to 1.
        confidence: Posterior probability of the language, in [0, 1].
        known: Whether the sentence seems to be in one of the router's languages.
    """

    language: str
    adapters: tuple[str, ...]
    weights: tuple[float, ...]
    confidence: float
    known: bool

    @classmethod
    def certain(cls, language: str) -> "Route":
        """The route of a sentence whose language the caller has given."""
        return cls(language, (language,), (1.0,), 1.0, True)

    @classmethod
    def undetermined(cls) -> "Route":
        """The route of a text without words: no adapter."""
        return cls(UNDETERMINED, (), (), 0.0, False)

    @property
    def mixture(self) -> dict[str, float]:
        """The weight of each adapter."""
        return dict(zip(self.adapters, self.weights, strict=True))


class Router:
    """Routes sentences to languages. Languages are added and removed without any training.

    Args:
        config: Selects the posterior, the number of adapters per sentence, and what decodes a sentence in an unknown language.

    Attributes:
        fallback: The multilingual adapter, if there is one.
    """

    def __init__(self, config: RetrieveAllConfig) -> None:
        self.config = config
        self.fallback: str | None = None
        # Both hold every language, so that `config.router` can change at any time.
        self._lda, self._neighbours = LinearDiscriminant(), NearestNeighbours()
        self._scripts: dict[str, frozenset[str]] = {}

    @property
    def languages(self) -> list[str]:
        """The languages it routes to, sorted."""
        return sorted(self._scripts)

    def add(self, language: str, vectors: Tensor, scripts: frozenset[str] = frozenset()) -> None:
        """Adds or replaces a language. A language without examples is not routed to.

        Args:
            language: Its code.
            vectors: ``[examples, hidden]``: the sentence vectors of its examples.
            scripts: The scripts it is written in; empty for any script.
        """
        self.remove(language)
        if len(vectors):
            self._scripts[language] = scripts
            self._lda.add(language, vectors)
            self._neighbours.add(language, vectors)

    def remove(self, language: str) -> None:
        """Removes a language if it is there."""
        self._scripts.pop(language, None)
        self._lda.remove(language)
        self._neighbours.remove(language)

    def route(
        self,
        sentences: Tensor,
        texts: Sequence[str] | None = None,
        documents: Sequence[int] | None = None,
        prior: Mapping[str, float] | None = None,
    ) -> tuple[Tensor, list[Route]]:
        """Posteriors and routes of sentences.

        Args:
            sentences: ``[sentences, hidden]``: sentence vectors.
            texts: The text of each sentence. Without them, scripts are not checked.
            documents: The document number of each sentence; the sentences of a document follow each other in its order. Without
                it, each sentence is a document of its own.
            prior: Weight of each language; languages without one are ruled out. With a prior, no sentence is treated as being
                in an unknown language.

        Returns:
            The posterior, ``[sentences, languages]``, float64, in the order of ``languages``; and the route of each sentence.
        """
        count = len(sentences)
        if not self.languages or not count:
            return torch.zeros(count, len(self.languages)), [self._route([], False)] * count
        owners = range(count) if documents is None else documents
        distances = None if self.config.router == "vote" else self._lda.distances(sentences)
        posterior = self._posterior(sentences, distances, owners, prior)
        known = self._known(distances, posterior, owners, texts) if prior is None else [True] * count
        return posterior, [self._route(*row) for row in zip(posterior.tolist(), known, strict=True)]

    def _posterior(
        self, sentences: Tensor, distances: Tensor | None, owners: Sequence[int], prior: Mapping[str, float] | None
    ) -> Tensor:
        """``[sentences, languages]``: the posterior that the configuration selects, smoothed over each document."""
        logs = torch.zeros(len(sentences), len(self.languages), dtype=torch.float64)
        if distances is not None:
            logs = logs + (-distances.square() / (2 * self.config.routing_temperature)).log_softmax(-1)
        if self.config.router != "discriminant":
            logs = logs + self._neighbours.posterior(sentences, self.config.k_neighbours).double().log()
        weights = [1.0 if prior is None else prior.get(language, 0.0) for language in self.languages]
        log_prior = torch.tensor(weights, dtype=torch.float64).log()
        documents = [list(positions) for _, positions in groupby(range(len(owners)), key=owners.__getitem__)]
        stay = self.config.stay_probability
        return torch.cat([smooth_posteriors(logs[document], log_prior, stay) for document in documents]).exp()

    def _known(
        self, distances: Tensor | None, posterior: Tensor, owners: Sequence[int], texts: Sequence[str] | None
    ) -> list[bool]:
        """Whether each sentence is near a language, and in a script of one of the languages.

        Consecutive sentences of a document that are routed to the same language share their mean distance, so that one unusual
        sentence is not taken for an unknown language.
        """
        near = torch.ones(len(owners), dtype=torch.bool)
        if distances is not None:
            nearest, best = self._nearest_distance(distances), posterior.argmax(-1).tolist()
            for _, run in groupby(range(len(owners)), key=lambda i: (owners[i], best[i])):
                together = list(run)
                near[together] = nearest[together].mean() <= self.config.max_distance
        scripts = self._scripts.values()
        if texts is None or not all(scripts):
            return near.tolist()
        written = frozenset().union(*scripts) | {None}
        return [is_near and dominant_script(text) in written for is_near, text in zip(near.tolist(), texts, strict=True)]

    def _route(self, probabilities: list[float], known: bool) -> Route:
        """The route of one sentence from its posterior, which is empty if there are no languages."""
        ranked = sorted(zip(self.languages, probabilities, strict=True), key=lambda pair: -pair[1]) if probabilities else []
        language, confidence = ranked[0] if ranked else (UNDETERMINED, 0.0)
        probable = [pair for pair in ranked[: self.config.adapters_per_sentence] if pair[1] >= self.config.min_weight]
        mixture = dict(probable or ranked[:1])
        if not known:
            mixture = self._mixture_for_unknown(mixture)
        total = sum(mixture.values())
        return Route(language, tuple(mixture), tuple(weight / total for weight in mixture.values()), confidence, known)

    def _mixture_for_unknown(self, nearest: dict[str, float]) -> dict[str, float]:
        """Adapters and their weights, not normalised, for a sentence in an unknown language with these nearest languages."""
        mul = {self.fallback: sum(nearest.values()) or 1.0} if self.fallback else nearest
        choice = self.config.when_unknown
        if choice == "empty":
            return {}
        if choice == "mul" or not nearest:
            return mul
        return nearest | mul if choice == "both" else nearest

    def _nearest_distance(self, distances: Tensor) -> Tensor:
        """``[sentences]``: distances from the nearest language, in standard deviations per dimension."""
        return distances.amin(-1) / sqrt(self._lda.dimensions)

    def calibrate(self, held_out: Mapping[str, Tensor]) -> dict[str, float]:
        """Fits ``routing_temperature`` by maximum likelihood, and ``max_distance`` so that 1 % of the sentences exceed it.

        Every language has the same weight, whatever its number of sentences.

        Args:
            held_out: For each language of the router sentence vectors ``[sentences, hidden]``, none of which were added.

        Returns:
            The fields of the configuration that were set. Empty with ``router="vote"``, which uses neither field.
        """
        if self.config.router == "vote":
            return {}
        distances = {code: self._lda.distances(held_out[code]) for code in self.languages}
        losses = [_loss(list(distances.values()), temperature) for temperature in _TEMPERATURES]
        farthest = _quantile([self._nearest_distance(of_language) for of_language in distances.values()], 1 - _UNKNOWN_RATE)
        fitted = {"max_distance": round(farthest, 3)}
        if len(distances) > 1:
            fitted["routing_temperature"] = round(_TEMPERATURES[losses.index(min(losses))], 2)
        self.config.change(fitted)
        return fitted


def _loss(distances: list[Tensor], temperature: float) -> float:
    """Mean cross-entropy of the languages; ``distances[i]`` ``[sentences, languages]`` are of sentences in language i."""
    logs = [(-of_language.square() / (2 * temperature)).log_softmax(-1)[:, i] for i, of_language in enumerate(distances)]
    return -sum(float(log.mean()) for log in logs) / len(logs)


def _quantile(groups: list[Tensor], share: float) -> float:
    """The quantile of all values, when every group has the same total weight."""
    values = torch.cat(groups)
    weights = torch.cat([torch.full_like(group, 1 / (len(group) * len(groups))) for group in groups])
    order = values.argsort()
    reached = int((weights[order].cumsum(0) < share - 1e-9).sum())
    return float(values[order][min(reached, len(values) - 1)])
