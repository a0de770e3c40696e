"""The options of one call of :meth:`RetrieveAllModel.extract`, checked.

>>> Request(labels=["PER"], threshold=0.5).keeps("PER", 0.7)
True
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from .errors import InputError, InputTypeError
from .manifest import matching_code
from .prompting import DECODINGS, Decoding


class ExtractOptions(TypedDict, total=False):
    """The keyword arguments of :meth:`RetrieveAllModel.extract`."""

    language: str | Sequence[str] | None
    prior: Mapping[str, float] | None
    labels: Sequence[str] | None
    threshold: float | Mapping[str, float]
    near_misses: float | None
    consistent_labels: bool
    is_split_into_words: bool
    decoding: Decoding | None
    batch_size: int | None
    details: bool


@dataclass(frozen=True, slots=True)
class Request:
    """The options of one call of :meth:`RetrieveAllModel.extract`.

    Attributes:
        language: The language of all texts or of each text, instead of routing.
        prior: Weights of languages before any text is read. Languages without a weight are ruled out, unknown ones as well.
        labels: The entity types to return; all when ``None``.
        threshold: Minimum score of an entity, for all types or by type.
        decoding: How sentences are decoded; the configuration decides when ``None``.
        batch_size: Maximum number of sentences that are decoded together; the configuration decides when ``None``.
        details: Whether the results keep prompts and retrieved examples.
        near_misses: Minimum score of spans that are no entities but nearly are; none are returned when ``None``.
        consistent_labels: Whether the mentions of a name in one text share their tag probabilities.
        calibrated: Whether scores are calibrated, for adapters that have a calibration.
    """

    language: str | Sequence[str] | None = None
    prior: Mapping[str, float] | None = None
    labels: Sequence[str] | None = None
    threshold: float | Mapping[str, float] = 0.0
    decoding: Decoding | None = None
    batch_size: int | None = None
    details: bool = False
    near_misses: float | None = None
    consistent_labels: bool = False
    calibrated: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.batch_size, int | None):
            raise InputTypeError(f"batch_size is {self.batch_size!r}; give a whole number.")
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; give at least 1.")
        _check_threshold(self.threshold)
        if not isinstance(self.near_misses, int | float | None):
            raise InputTypeError(f"near_misses is {self.near_misses!r}; give a number.")
        if self.near_misses is not None and not 0 <= self.near_misses <= 1:
            raise InputError(f"near_misses is {self.near_misses}; give a probability between 0 and 1.")
        if isinstance(self.labels, str) or not isinstance(self.labels, Sequence | None):
            raise InputTypeError(f'labels is {self.labels!r}; give a list of entity types, such as ["PER"].')
        if self.decoding not in (None, "auto", *DECODINGS):
            raise InputError(f"decoding is {self.decoding!r}; give auto, {' or '.join(DECODINGS)}.")
        if not isinstance(self.language, str | Sequence | None):
            raise InputTypeError(f"language is {self.language!r}; give a language code, or a list with one for each text.")
        if self.language is not None and self.prior is not None:
            raise InputError("Give the language of the texts or a prior, not both.")
        if self.prior is not None:
            _check_prior(self.prior)

    def matched(self, available: Collection[str]) -> "Request":
        """The same request with the codes under which the model has the languages (:func:`matching_code`)."""
        language, prior = self.language, self.prior
        if isinstance(language, str):
            language = matching_code(language, available)
        elif language is not None:
            language = [matching_code(code, available) for code in language]
        if prior is not None:
            prior = {matching_code(code, available): weight for code, weight in prior.items()}
        return replace(self, language=language, prior=prior)

    def languages(self, count: int) -> Sequence[str] | None:
        """The language of each of ``count`` texts, or ``None`` if they are to be routed."""
        if self.language is None:
            return None
        languages = [self.language] * count if isinstance(self.language, str) else self.language
        if len(languages) != count:
            raise InputError(f"There are {count} texts and {len(languages)} languages. Give one language, or one for each text.")
        return languages

    def keeps(self, label: str, score: float) -> bool:
        """Whether an entity with this type and score is returned."""
        least = self.threshold.get(label, 0.0) if isinstance(self.threshold, Mapping) else self.threshold
        return score >= least and (self.labels is None or label in self.labels)

    def nearly_keeps(self, label: str, score: float) -> bool:
        """Whether a span with this type and score that is no entity is returned as a near miss."""
        return self.near_misses is not None and score >= self.near_misses and (self.labels is None or label in self.labels)

    def named_labels(self) -> set[str]:
        """The entity types that the request names."""
        return set(self.labels or ()) | set(self.threshold if isinstance(self.threshold, Mapping) else ())


def _check_threshold(threshold: Any) -> None:
    for value in threshold.values() if isinstance(threshold, Mapping) else [threshold]:
        if not isinstance(value, int | float):
            raise InputTypeError(f'threshold is {threshold!r}; give a number, or numbers by entity type, such as {{"PER": 0.5}}.')
        if not 0 <= value <= 1:
            raise InputError(f"threshold is {threshold}; give a probability between 0 and 1.")


def _check_prior(prior: Any) -> None:
    if not isinstance(prior, Mapping) or not all(isinstance(weight, int | float) for weight in prior.values()):
        raise InputTypeError(f'prior is {prior!r}; give languages and weights, such as {{"da": 2, "nb": 1}}.')
    if not all(0 <= weight < float("inf") for weight in prior.values()) or not sum(prior.values()):
        raise InputError(f"prior is {dict(prior)!r}; give weights of at least 0, and one above 0.")
