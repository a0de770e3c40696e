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
from .discriminant import Discriminant
from .evidence import shared
from .scripts import dominant_script
from .voting import Votes

UNDETERMINED = "und"
"""BCP-47 for a language that could not be determined: a text without words, or a model without languages."""

_TEMPERATURES = [2 ** (step / 8) for step in range(-8, 57)]  # from 1/2 to 128
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
        self._discriminant = Discriminant(config.routing_temperature) if config.router != "vote" else None
        self._votes = Votes(config.k_neighbours) if config.router != "discriminant" else None
        self._scorers = [scorer for scorer in (self._discriminant, self._votes) if scorer]
        self._scripts: dict[str, frozenset[str]] = {}

    @property
    def languages(self) -> list[str]:
        """The languages it knows, sorted."""
        return self._scorers[0].languages

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
            for scorer in self._scorers:
                scorer.add(language, vectors)

    def remove(self, language: str) -> None:
        """Takes a language away, if it is there."""
        self._scripts.pop(language, None)
        for scorer in self._scorers:
            scorer.remove(language)

    def posterior(
        self, sentences: Tensor, documents: Sequence[int] | None = None, prior: Mapping[str, float] | None = None
    ) -> Tensor:
        """Probabilities of the languages, in the order of ``languages``.

        Args:
            sentences: ``[sentences, hidden]``: sentence vectors.
            documents: Which text each sentence is of; those of one text stand together, in its order. Each is of its own when
                not given.
            prior: Weights of languages before any sentence is read; a language without one is ruled out.

        Returns:
            ``[sentences, languages]``, float64.
        """
        logs = torch.stack([scorer.posterior(sentences).double().log() for scorer in self._scorers]).sum(0)
        if prior is not None:
            logs = logs + torch.tensor([prior.get(language, 0.0) for language in self.languages], dtype=torch.float64).log()
        logs = logs.log_softmax(-1)
        if documents is None:
            return logs.exp()
        texts = [list(positions) for _, positions in groupby(range(len(documents)), key=documents.__getitem__)]
        return torch.cat([shared(logs[text], self.config.stay_probability) for text in texts]).exp()

    def knows(self, sentences: Tensor, texts: Sequence[str] | None = None) -> list[bool]:
        """Whether each sentence is near a language, and in a script of one.

        Args:
            sentences: ``[sentences, hidden]``: sentence vectors.
            texts: Their texts; scripts are not looked at when not given.
        """
        near = [True] * len(sentences)
        if self._discriminant:
            near = (self._nearest(self._discriminant, sentences) <= self.config.max_distance).tolist()
        if texts is None or not all(self._scripts.values()):
            return near
        scripts = frozenset.union(*self._scripts.values()) | {None}
        return [is_near and dominant_script(text) in scripts for is_near, text in zip(near, texts, strict=True)]

    def route(
        self,
        sentences: Tensor,
        texts: Sequence[str] | None = None,
        documents: Sequence[int] | None = None,
        prior: Mapping[str, float] | None = None,
    ) -> tuple[Tensor, list[Route]]:
        """Posterior and routes of sentences; the arguments are those of :meth:`posterior` and :meth:`knows`."""
        if self.languages and len(sentences):
            posterior, known = self.posterior(sentences, documents, prior), self.knows(sentences, texts)
        else:
            posterior, known = torch.zeros(len(sentences), len(self.languages)), [False] * len(sentences)
        return posterior, [self._row(*row) for row in zip(posterior.tolist(), known, strict=True)]

    def _row(self, probabilities: list[float], known: bool) -> Route:
        ranked = sorted(zip(self.languages, probabilities, strict=True), key=lambda pair: -pair[1])
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

    def _nearest(self, discriminant: Discriminant, sentences: Tensor) -> Tensor:
        """``[sentences]``: distances from the nearest language, in standard deviations a dimension."""
        return discriminant.distances(sentences).amin(-1) / sqrt(discriminant.dimensions)

    def calibrate(self, held_out: Mapping[str, Tensor]) -> dict[str, float]:
        """Sets the temperature of highest likelihood, and the distance that one known sentence in a hundred exceeds.

        Args:
            held_out: Language to sentence vectors ``[sentences, hidden]``, none of them among those added.

        Returns:
            The fields of the configuration that were set; none by a router that only votes.
        """
        if not self._discriminant:
            return {}
        sentences = torch.cat([held_out[language] for language in sorted(held_out)])
        names = [language for language in sorted(held_out) for _ in range(len(held_out[language]))]
        truth = torch.tensor([self.languages.index(name) for name in names])
        energies = -self._discriminant.distances(sentences).square() / 2
        losses = {t: float(torch.nn.functional.cross_entropy(energies / t, truth)) for t in _TEMPERATURES}
        farthest = self._nearest(self._discriminant, sentences).quantile(1 - _TAKEN_FOR_UNKNOWN)
        temperature = min(_TEMPERATURES, key=lambda t: losses[t])
        fitted = {"routing_temperature": round(temperature, 2), "max_distance": round(float(farthest), 3)}
        self.config.change(fitted)
        self._discriminant.temperature = fitted["routing_temperature"]
        return fitted
