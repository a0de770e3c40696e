"""Fits the scores of an adapter to labelled sentences, and measures how well scores are calibrated.

>>> calibrate_scores(model, load_examples("uner/hr_set", "validation").examples, "hr")
CalibrationReport(n_entities=312, error_before=6.1, error_after=2.2)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..model.entities import Entity, Example
from ..model.errors import InputError
from ..model.modeling_retrieveall import RetrieveAllModel
from ..model.score_calibration import ScoreCalibration
from .span_f1 import unseen

_LEAST_ENTITIES = 20
_BINS = 10


@dataclass(frozen=True)
class CalibrationReport:
    """The result of a calibration. Errors are in percent.

    Attributes:
        n_entities: Number of extracted entities to which the scores were fitted.
        error_before: Expected calibration error before, on these entities.
        error_after: Expected calibration error after, on these entities. On others it is higher.
    """

    n_entities: int
    error_before: float
    error_after: float


def calibrate_scores(model: RetrieveAllModel, examples: Sequence[Example], language: str) -> CalibrationReport:
    """Fits the scores of a language to labelled sentences; :meth:`RetrieveAllModel.save_pretrained` stores the calibration.

    Args:
        model: The model.
        examples: Labelled sentences. Those that an adapter was trained on are left out.
        language: Their language.

    Raises:
        InputError: Too few entities are extracted from the sentences.
    """
    adapter = model._registry.adapter(language)
    decoding = adapter.manifest.decodings[0] if model.config.decoding == "auto" else model.config.decoding
    others = {name: numbers for name, numbers in adapter.manifest.score_calibration.items() if name != decoding}
    model._registry.replace_manifest(adapter.language, replace(adapter.manifest, score_calibration=others))
    scores, correct = scored_entities(model, unseen(model, examples), language)
    if len(scores) < _LEAST_ENTITIES:
        model._registry.replace_manifest(adapter.language, adapter.manifest)
        raise InputError(
            f"{len(scores)} entities were extracted from the sentences that the adapter was not trained on; at least "
            f"{_LEAST_ENTITIES} are needed. Give more sentences."
        )
    fitted = ScoreCalibration.fit(scores, correct)
    calibration = {**others, decoding: [fitted.slope, fitted.intercept]}
    model._registry.replace_manifest(adapter.language, replace(adapter.manifest, score_calibration=calibration))
    after = expected_calibration_error([fitted(score) for score in scores], correct)
    return CalibrationReport(len(scores), expected_calibration_error(scores, correct), after)


def scored_entities(model: RetrieveAllModel, examples: Sequence[Example], language: str) -> tuple[list[float], list[bool]]:
    """The scores of the entities that are extracted from labelled sentences, and whether each of them is correct."""
    results = model.extract([example.sentence for example in examples], language=language)
    scores: list[float] = []
    correct: list[bool] = []
    for example, result in zip(examples, results, strict=True):
        labelled = {_place(example.sentence.entity(span)) for span in example.spans}
        scores += [entity.score for entity in result.entities]
        correct += [_place(entity) in labelled for entity in result.entities]
    return scores, correct


def expected_calibration_error(scores: Sequence[float], correct: Sequence[bool]) -> float:
    """The mean distance between score and share of correct entities, over ten bins with equal numbers of entities, in percent.

    Args:
        scores: The scores of entities.
        correct: Whether each of them is correct.

    Examples:
        >>> expected_calibration_error([0.9] * 10, [True] * 8 + [False] * 2)
        10.0
    """
    ordered = sorted(zip(scores, correct, strict=True))
    distance = 0.0
    for number in range(_BINS):
        rows = ordered[number * len(ordered) // _BINS : (number + 1) * len(ordered) // _BINS]
        distance += abs(sum(score for score, _ in rows) - sum(right for _, right in rows))
    return round(100 * distance / max(len(ordered), 1), 2)


def _place(entity: Entity) -> tuple[int, int, str]:
    return entity.start, entity.end, entity.label
