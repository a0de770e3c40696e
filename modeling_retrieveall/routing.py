"""Which language a sentence is in, and so which adapters serve it: one row of the mapping matrix M.

A posterior over the languages makes the row: that of a linear discriminant over the sentence vectors, or the shares of the
paper's vote.

    >>> router = Router(RetrieveAllConfig())
    >>> router.add("de", german_vectors)
    >>> router.add("es", spanish_vectors)
    >>> router.route(vectors.sentence[None])[0]
    Route(language='de', adapters=('de',), weights=(1.0,), confidence=0.9, known=True)
"""

from dataclasses import dataclass

from torch import Tensor

from .configuration_retrieveall import RetrieveAllConfig
from .discriminant import Discriminant
from .voting import Votes

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


class Router:
    """Routes sentences among languages, which come and go without anything being learned again.

    Args:
        config: Which posterior, and from which confidence on a language is known.

    Attributes:
        fallback: Adapter that serves unknown languages, when there is one.
    """

    def __init__(self, config: RetrieveAllConfig) -> None:
        self.config = config
        self.fallback: str | None = None
        self._scorer = Votes(config.k_neighbours) if config.router == "vote" else Discriminant(config.routing_temperature)

    @property
    def languages(self) -> list[str]:
        """The languages it knows, sorted."""
        return self._scorer.languages

    def add(self, language: str, vectors: Tensor) -> None:
        """Adds a language by its sentence vectors ``[examples, hidden]``, in place of those it had."""
        self.remove(language)
        if len(vectors):
            self._scorer.add(language, vectors)

    def remove(self, language: str) -> None:
        """Takes a language away, if it is there."""
        self._scorer.remove(language)

    def posterior(self, sentences: Tensor) -> Tensor:
        """Probabilities ``[sentences, languages]``, in the order of ``languages``, of vectors ``[sentences, hidden]``."""
        return self._scorer.posterior(sentences)

    def route(self, sentences: Tensor) -> list[Route]:
        """Routes of sentence vectors ``[sentences, hidden]``."""
        if not self.languages or not len(sentences):
            return [self._unknown(UNDETERMINED, 0.0)] * len(sentences)
        languages = self.languages
        routes = []
        for probabilities in self.posterior(sentences):
            best = int(probabilities.argmax())
            confidence = float(probabilities[best])
            if confidence < self.config.min_confidence:
                routes.append(self._unknown(languages[best], confidence))
            else:
                routes.append(Route(languages[best], (languages[best],), (1.0,), confidence, True))
        return routes

    def _unknown(self, language: str, confidence: float) -> Route:
        adapter = self.fallback or (language if language != UNDETERMINED else None)
        return Route(language, (adapter,) if adapter else (), (1.0,) if adapter else (), confidence, False)
