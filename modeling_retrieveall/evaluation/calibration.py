"""Fits the scores of an adapter to labelled sentences, and measures how well scores are calibrated.

>>> calibrate_scores(model, load_examples("uner/hr_set", "validation").examples, "hr")
CalibrationReport(n_entities=312, n_correct=271, error_before=6.1, error_after=2.2, n_dropped=0)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..model.entities import Entity, Example
from ..model.errors import InputError
from ..model.modeling_retrieveall import RetrieveAllModel
from ..model.request import Request
from ..model.score_calibration import ScoreCalibration
from .span_f1 import unseen

_LEAST_OF_EACH = 10
_BINS = 10


@dataclass(frozen=True)
class CalibrationReport:
    """The result of a calibration.

    Attributes:
        n_entities: Number of extracted entities to which the scores were fitted.
        n_correct: How many of them are correct.
        error_before: Their expected calibration error before, in percent.
        error_after: Their expected calibration error after, in percent. On other sentences it is higher.
        n_dropped: Number of sentences that were left out because an adapter was trained on them.
    """

    n_entities: int
    n_correct: int
    error_before: float
    error_after: float
    n_dropped: int


def calibrate_scores(model: RetrieveAllModel, examples: Sequence[Example], language: str) -> CalibrationReport:
    """Fits the scores of a language to labelled sentences; :meth:`RetrieveAllModel.save_pretrained` stores the calibration.

    The router has a calibration of its own: :meth:`RetrieveAllModel.calibrate_router`.

    Args:
        model: The model.
        examples: Labelled sentences. Those that an adapter was trained on are left out.
        language: Their language.

    Raises:
        InputError: Too few correct or wrong entities are extracted from the sentences.
    """
    decoding = model.extractor.decoding_of(language)
    kept = unseen(model, examples)
    scores, correct = scored_entities(model, kept, language, calibrated=False)
    if min(sum(correct), len(correct) - sum(correct)) < _LEAST_OF_EACH:
        raise InputError(
            f"{len(kept)} of the {len(examples)} sentences are new to the adapters. From these, {sum(correct)} correct and "
            f"{len(correct) - sum(correct)} wrong entities were extracted; at least {_LEAST_OF_EACH} of each are needed. "
            "Give more labelled sentences."
        )
    earlier = ScoreCalibration(*model.registry.adapter(language).manifest.score_calibration.get(decoding, (1.0, 0.0)))
    fitted = ScoreCalibration.fit(scores, correct)
    model.extractor.set_score_calibration(language, decoding, fitted)
    before, after = (expected_calibration_error(list(map(each, scores)), correct) for each in (earlier, fitted))
    return CalibrationReport(len(scores), sum(correct), before, after, len(examples) - len(kept))


def scored_entities(
    model: RetrieveAllModel, examples: Sequence[Example], language: str, calibrated: bool = True
) -> tuple[list[float], list[bool]]:
    """The scores of the entities that are extracted from labelled sentences, and whether each of them is correct.

    Args:
        model: The model.
        examples: The labelled sentences.
        language: Their language.
        calibrated: Whether to use the calibration that the adapter may have.
    """
    sentences = [example.sentence for example in examples]
    results = model.extractor.extract(sentences, Request(language=language, calibrated=calibrated))
    scores: list[float] = []
    correct: list[bool] = []
    for example, result in zip(examples, results, strict=True):
        labelled = {_place(example.sentence.entity(span)) for span in example.spans}
        scores += [entity.score for entity in result.entities]
        correct += [_place(entity) in labelled for entity in result.entities]
    return scores, correct


def expected_calibration_error(scores: Sequence[float], correct: Sequence[bool]) -> float:
    """The mean distance between the score and the share of correct entities, over ten bins, in percent.

    Args:
        scores: The scores of entities.
        correct: Whether each of them is correct.

    Examples:
        >>> expected_calibration_error([0.9] * 10, [True] * 8 + [False] * 2)
        10.0
    """
    bins = reliability(scores, correct)
    distance = sum(count * abs(score - share) for score, share, count in bins)
    return round(100 * distance / max(len(scores), 1), 2)


def reliability(scores: Sequence[float], correct: Sequence[bool]) -> list[tuple[float, float, int]]:
    """Mean score, share of correct entities, and number of entities, in up to ten bins of about equal size.

    Equal scores are in the same bin.

    Args:
        scores: The scores of entities.
        correct: Whether each of them is correct.
    """
    ordered = sorted(zip(scores, correct, strict=True), key=lambda pair: pair[0])
    bins, start = [], 0
    for number in range(1, _BINS + 1):
        end = number * len(ordered) // _BINS
        while 0 < end < len(ordered) and ordered[end][0] == ordered[end - 1][0]:
            end += 1
        if rows := ordered[start:end]:
            bins.append((sum(score for score, _ in rows) / len(rows), sum(right for _, right in rows) / len(rows), len(rows)))
        start = max(start, end)
    return bins


def _place(entity: Entity) -> tuple[int, int, str]:
    return entity.start, entity.end, entity.label
