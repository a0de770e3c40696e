"""Calibrated scores, and near misses."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall import LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.evaluation.calibration import (
    calibrate_scores,
    expected_calibration_error,
    reliability,
    scored_entities,
)
from modeling_retrieveall.evaluation.span_f1 import unseen
from modeling_retrieveall.model.entities import Span
from modeling_retrieveall.model.errors import AdapterError, InputError, InputTypeError
from modeling_retrieveall.model.score_calibration import ScoreCalibration
from modeling_retrieveall.model.tagging import _near_misses
from tests.adapter_folders import copy_adapter, edit_manifest
from tests.conftest import SENTENCES

TEXT = "Angela Merkel besuchte im Mai das Rathaus von Nairobi."


def test_fitted_scores_are_calibrated() -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.rand(4000, generator=generator, dtype=torch.float64)
    correct = (torch.rand(4000, generator=generator) < true).tolist()
    too_sure = torch.sigmoid(3 * true.logit() + 1).tolist()
    fitted = ScoreCalibration.fit(too_sure, correct)
    assert expected_calibration_error(too_sure, correct) > 10
    assert expected_calibration_error([fitted(score) for score in too_sure], correct) < 3
    assert (fitted.slope, fitted.intercept) == pytest.approx((1 / 3, -1 / 3), abs=0.05)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_any_fit_keeps_the_order_and_the_range(entities: list[tuple[float, bool]]) -> None:
    fitted = ScoreCalibration.fit([score for score, _ in entities], [right for _, right in entities])
    scores = [fitted(score) for score in (0.0, 0.1, 0.5, 0.9, 1.0)]
    assert scores == sorted(scores)
    assert all(0 <= score <= 1 for score in scores)


@pytest.mark.parametrize("numbers", [(100.0, 100.0), (100.0, -100.0)])
def test_no_allowed_calibration_overflows(numbers: tuple[float, float]) -> None:
    assert all(0 <= ScoreCalibration(*numbers)(score) <= 1 for score in (0.0, 1e-9, 0.5, 1.0))


def test_a_fit_is_within_the_limits_of_manifests() -> None:
    fitted = ScoreCalibration.fit([0.499, 0.501] * 5000, [False, True] * 5000)
    assert 0 < fitted.slope <= 100
    assert abs(fitted.intercept) <= 100


def test_without_evidence_scores_stay() -> None:
    assert ScoreCalibration()(0.7) == pytest.approx(0.7)


LABELS = ["LOC", "PER"]


def test_near_misses_by_hand() -> None:
    # O, B-LOC, B-PER, I-LOC, I-PER
    probabilities = torch.tensor(
        [[0.6, 0.0, 0.4, 0.0, 0.0], [0.5, 0.0, 0.1, 0.0, 0.4], [0.0, 1.0, 0.0, 0.0, 0.0], [0.96, 0.04, 0.0, 0.0, 0.0]]
    )
    scores = {found.span: round(found.score, 3) for found in _near_misses([0, 0, 1, 0], probabilities.tolist(), LABELS)}
    assert scores == {Span(0, 1, "PER"): 0.24, Span(1, 2, "PER"): 0.1}


@pytest.fixture
def model(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> RetrieveAllModel:
    copy_adapter(tiny_adapter("de"), tmp_path / "adapters" / "de", decodings=["tags"], n_entities=0, n_sentences=0)
    return RetrieveAllModel.from_pretrained(tmp_path / "adapters")


def test_near_misses_are_returned_on_request_and_overlap_with_no_entity(model: RetrieveAllModel) -> None:
    assert model.extract(TEXT).near_misses is None
    assert "near_misses" not in model.extract(TEXT).to_dict()
    result = model.extract(TEXT, near_misses=0.0)
    assert result.entities == model.extract(TEXT).entities
    assert result.near_misses is not None
    spans = sorted((each.start, each.end) for each in [*result.entities, *result.near_misses])
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    everything = model.extract(TEXT, threshold=1.0, near_misses=0.0)
    assert everything.entities == []
    assert everything.near_misses is not None
    assert set(result.entities) <= set(everything.near_misses)
    assert all(each.label == "PER" for each in model.extract(TEXT, labels=["PER"], near_misses=0.0).near_misses or [])
    assert len(everything.to_dict()["near_misses"]) == len(everything.near_misses)


@pytest.mark.parametrize(("value", "error"), [(-0.1, InputError), (1.5, InputError), ("high", InputTypeError)])
def test_near_misses_is_a_probability(model: RetrieveAllModel, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"near_misses is {value!r}"):
        model.extract(TEXT, near_misses=value)  # type: ignore[call-overload]


def test_a_calibration_changes_scores_only_and_is_saved(model: RetrieveAllModel, tmp_path: Path) -> None:
    examples = load_examples(str(SENTENCES / "de.conll"), "train").examples
    before = model.extract(TEXT, language="de").entities
    report = calibrate_scores(model, examples, "de")
    assert report.n_entities >= 20
    assert report.n_dropped == len(examples) - len(unseen(model, examples))
    assert report.error_after <= report.error_before
    after = model.extract(TEXT, language="de").entities
    assert [(e.text, e.label) for e in after] == [(e.text, e.label) for e in before]
    assert [e.score for e in after] != [e.score for e in before]
    again = calibrate_scores(model, examples, "de")  # fitted to the scores of the model, not to calibrated ones
    assert (again.error_before, again.error_after) == (report.error_after, report.error_after)
    model.save_pretrained(tmp_path / "saved")
    loaded = RetrieveAllModel.from_pretrained(tmp_path / "saved")
    assert loaded.extract(TEXT, language="de").entities == after
    assert scored_entities(loaded, examples[:10], "de") == scored_entities(model, examples[:10], "de")


def test_too_few_entities_are_refused_and_nothing_changes(model: RetrieveAllModel) -> None:
    with pytest.raises(InputError, match="0 correct and 0 wrong entities were extracted; at least 10 of each are needed"):
        calibrate_scores(model, [], "de")
    assert not model.adapters["de"].edited


def test_the_error_of_equal_scores_is_that_of_their_mean() -> None:
    assert expected_calibration_error([0.9] * 10, [True] * 8 + [False] * 2) == 10
    assert expected_calibration_error([0.9] * 1000, [True] * 900 + [False] * 100) == 0
    assert expected_calibration_error([], []) == 0
    bins = reliability([0.2, 0.4] * 10, [False, True] * 10)
    assert [(round(score, 3), share, count) for score, share, count in bins] == [(0.2, 0.0, 10), (0.4, 1.0, 10)]


@pytest.mark.parametrize(
    "numbers", [[1.0], [1.0, float("nan")], "10", [None, 0.0], [10**300, 0], [0.0, 0.0], [-1.0, 0.0], [1.0, 1e9], [True, False]]
)
def test_a_damaged_calibration_is_refused(model: RetrieveAllModel, tmp_path: Path, numbers: object) -> None:
    edit_manifest(tmp_path / "adapters" / "de", score_calibration={"tags": numbers})
    with pytest.raises(AdapterError, match=r"score_calibration is .*, not a slope above 0"):
        LanguageAdapter.load(tmp_path / "adapters" / "de")
