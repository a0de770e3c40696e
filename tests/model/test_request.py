"""The entity types and scores that a call asks for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modeling_retrieveall import Entity, InputError, InputTypeError, RetrieveAllModel
from tests.random_adapters import write_random_adapters

TEXTS = ["Angela Merkel besuchte Nairobi.", "Wangari Maathai spoke in New York.", "Bonn, Graz und Wien"]
LABELS = ["LOC", "ORG", "PER"]
scores = st.floats(0, 1)


@pytest.fixture(scope="module")
def model(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained(write_random_adapters(tmp_path_factory.mktemp("adapters"), tiny_adapter))


@pytest.fixture(scope="module")
def everything(model: RetrieveAllModel) -> list[list[Entity]]:
    return [result.entities for result in model.extract(TEXTS)]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    labels=st.none() | st.lists(st.sampled_from(LABELS), unique=True),
    threshold=scores | st.dictionaries(st.sampled_from(LABELS), scores),
)
def test_labels_and_threshold_select_among_all_entities(
    model: RetrieveAllModel, everything: list[list[Entity]], labels: list[str] | None, threshold: Any
) -> None:
    def least(label: str) -> float:
        return threshold.get(label, 0) if isinstance(threshold, dict) else threshold

    expected = [
        [each for each in entities if (labels is None or each.label in labels) and each.score >= least(each.label)]
        for entities in everything
    ]
    assert [result.entities for result in model.extract(TEXTS, labels=labels, threshold=threshold)] == expected


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": "PER"}, InputTypeError, r"labels is 'PER'; give a list of entity types, such as \[\"PER\"\]"),
        ({"labels": ["PERSON"]}, InputError, "No adapter has the entity type 'PERSON'. There are: LOC, ORG, PER"),
        ({"threshold": {"GPE": 0.5}}, InputError, "No adapter has the entity type 'GPE'"),
        ({"threshold": {"PER": 2}}, InputError, "give a probability between 0 and 1"),
        ({"threshold": {"PER": "high"}}, InputTypeError, "give a number, or numbers by entity type"),
    ],
)
def test_entity_types_and_thresholds_are_checked(
    model: RetrieveAllModel, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.extract(TEXTS, **options)
