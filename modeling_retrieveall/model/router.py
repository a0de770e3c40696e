"""Which language a sentence is in, and so which adapters serve it: one row of the mapping matrix M.

A posterior over the languages makes the row: that of a linear discriminant over the sentence vectors, the shares of the
paper's vote, or both. Sentences of one text share their evidence, and what is far from every language is marked unknown.

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
from .hmm_smoothing import shared
from .knn import Votes
from .lda import Discriminant
from .writing_systems import dominant_script

UNDETERMINED = "und"
"""BCP-47 for a language that could not be determined: a text without words, or a model without languages."""

_TEMPERATURES = [2 ** (step / 8) for step in range(57)]  # from 1 to 128
_TAKEN_FOR_UNKNOWN = 0.01


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


class Router:
    """Routes sentences among languages, which come and go without anything being learned again.

    Args:
        config: Which posterior, how many adapters serve a sentence, and what serves one of an unknown language.

    Attributes:
        fallback: The shared adapter, when there is one.
    """

    def __init__(self, config: RetrieveAllConfig) -> None:
        self.config = config
        self.fallback: str | None = None
        # Both know every language, so that the configuration may choose another one at any time.
        self._all_distances, self._all_votes = Discriminant(), Votes()
        self._scripts: dict[str, frozenset[str]] = {}

    @property
    def _discriminant(self) -> Discriminant | None:
        return None if self.config.router == "vote" else self._all_distances

    @property
    def _votes(self) -> Votes | None:
        return None if self.config.router == "discriminant" else self._all_votes

    @property
    def languages(self) -> list[str]:
        """The languages it knows, sorted."""
        return sorted(self._scripts)

    def add(self, language: str, vectors: Tensor, scripts: frozenset[str] = frozenset()) -> None:
        """Adds a language, in place of what was known of it.

        Args:
            language: Its code.
            vectors: ``[examples, hidden]``: its sentence vectors.
            scripts: The scripts it is written in; any, when none is given.
        """
        self.remove(language)
        if len(vectors):
            self._scripts[language] = scripts
            for scorer in (self._all_distances, self._all_votes):
                scorer.add(language, vectors)

    def remove(self, language: str) -> None:
        """Takes a language away, if it is there."""
        self._scripts.pop(language, None)
        for scorer in (self._all_distances, self._all_votes):
            scorer.remove(language)

    def route(
        self,
        sentences: Tensor,
        texts: Sequence[str] | None = None,
        documents: Sequence[int] | None = None,
        prior: Mapping[str, float] | None = None,
    ) -> tuple[Tensor, list[Route]]:
        """Posterior and routes of sentences.

        Args:
            sentences: ``[sentences, hidden]``: sentence vectors.
            texts: Their texts; scripts are not looked at when not given.
            documents: Which text each sentence is of; those of one text stand together, in its order. Each is of its own when
                not given.
            prior: Weights of languages before any sentence is read; a language without one is ruled out. Who gives it knows
                that the sentences are in one of these: none is taken for unknown.

        Returns:
            ``[sentences, languages]``, float64, in the order of ``languages``; and the row of M of each sentence.
        """
        count = len(sentences)
        if not self.languages or not count:
            return torch.zeros(count, len(self.languages)), [self._row([], False)] * count
        owners = range(count) if documents is None else documents
        distances = self._discriminant.distances(sentences) if self._discriminant else None
        posterior = self._posterior(sentences, distances, owners, prior)
        known = self._known(distances, posterior, owners, texts) if prior is None else [True] * count
        return posterior, [self._row(*row) for row in zip(posterior.tolist(), known, strict=True)]

    def _posterior(
        self, sentences: Tensor, distances: Tensor | None, owners: Sequence[int], prior: Mapping[str, float] | None
    ) -> Tensor:
        logs = torch.zeros(len(sentences), len(self.languages), dtype=torch.float64)
        if distances is not None:
            logs = logs + (-distances.square() / (2 * self.config.routing_temperature)).log_softmax(-1)
        if self._votes:
            logs = logs + self._votes.posterior(sentences, self.config.k_neighbours).double().log()
        weights = [1.0 if prior is None else prior.get(language, 0.0) for language in self.languages]
        log_prior = torch.tensor(weights, dtype=torch.float64).log()
        texts = [list(positions) for _, positions in groupby(range(len(owners)), key=owners.__getitem__)]
        return torch.cat([shared(logs[text], log_prior, self.config.stay_probability) for text in texts]).exp()

    def _known(
        self, distances: Tensor | None, posterior: Tensor, owners: Sequence[int], texts: Sequence[str] | None
    ) -> list[bool]:
        """Whether each sentence is near a language, and in a script of one.

        Neighbours in one text that are taken for the same language are near or far together: one odd sentence is no unknown
        language.
        """
        near = torch.ones(len(owners), dtype=torch.bool)
        if distances is not None:
            nearest, taken_for = self._nearest(distances), posterior.argmax(-1).tolist()
            for _, run in groupby(range(len(owners)), key=lambda i: (owners[i], taken_for[i])):
                together = list(run)
                near[together] = nearest[together].mean() <= self.config.max_distance
        scripts = self._scripts.values()
        if texts is None or not all(scripts):
            return near.tolist()
        written = frozenset().union(*scripts) | {None}
        return [is_near and dominant_script(text) in written for is_near, text in zip(near.tolist(), texts, strict=True)]

    def _row(self, probabilities: list[float], known: bool) -> Route:
        ranked = sorted(zip(self.languages, probabilities, strict=True), key=lambda pair: -pair[1]) if probabilities else []
        language, confidence = ranked[0] if ranked else (UNDETERMINED, 0.0)
        nearest = [pair for pair in ranked[: self.config.adapters_per_sentence] if pair[1] >= self.config.min_weight]
        row = dict(nearest or ranked[:1])
        if not known:
            row = self._row_of_unknown(row)
        total = sum(row.values())
        return Route(language, tuple(row), tuple(weight / total for weight in row.values()), confidence, known)

    def _row_of_unknown(self, nearest: dict[str, float]) -> dict[str, float]:
        """Adapters and weights, not yet adding up to 1, for a sentence that has these nearest languages."""
        mul = {self.fallback: sum(nearest.values()) or 1.0} if self.fallback else nearest
        choice = self.config.when_unknown
        if choice == "empty":
            return {}
        if choice == "mul" or not nearest:
            return mul
        return nearest | mul if choice == "both" else nearest

    def _nearest(self, distances: Tensor) -> Tensor:
        """``[sentences]``: distances from the nearest language, in standard deviations a dimension."""
        return distances.amin(-1) / sqrt(self._all_distances.dimensions)

    def calibrate(self, held_out: Mapping[str, Tensor]) -> dict[str, float]:
        """Sets the temperature of highest likelihood, and the distance that one known sentence in a hundred exceeds.

        Every language counts alike, however many sentences it has.

        Args:
            held_out: Each of the router's languages to sentence vectors ``[sentences, hidden]``, none of them among those added.

        Returns:
            The fields of the configuration that were set; none by a router that only votes.
        """
        if not self._discriminant:
            return {}
        distances = {code: self._discriminant.distances(held_out[code]) for code in self.languages}
        losses = [_loss(list(distances.values()), temperature) for temperature in _TEMPERATURES]
        farthest = _quantile([self._nearest(of_language) for of_language in distances.values()], 1 - _TAKEN_FOR_UNKNOWN)
        fitted = {"max_distance": round(farthest, 3)}
        if len(distances) > 1:
            fitted["routing_temperature"] = round(_TEMPERATURES[losses.index(min(losses))], 2)
        self.config.change(fitted)
        return fitted


def _loss(distances: list[Tensor], temperature: float) -> float:
    """Mean over languages of the cross-entropy of their sentences, of which ``distances`` [sentences, languages] tell."""
    logs = [(-of_language.square() / (2 * temperature)).log_softmax(-1)[:, i] for i, of_language in enumerate(distances)]
    return -sum(float(log.mean()) for log in logs) / len(logs)


def _quantile(groups: list[Tensor], share: float) -> float:
    """The value below which such a share of all lies, when every group weighs the same."""
    values = torch.cat(groups)
    weights = torch.cat([torch.full_like(group, 1 / (len(group) * len(groups))) for group in groups])
    order = values.argsort()
    reached = int((weights[order].cumsum(0) < share - 1e-9).sum())
    return float(values[order][min(reached, len(values) - 1)])
