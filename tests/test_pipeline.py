"""The pipeline of transformers, from a model's folder alone: what goes in streams, and comes out in order."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from modeling_retrieveall import RetrieveAllModel
from tests.loud_adapters import write_loud_adapters

TEXTS = ["Angela Merkel besuchte Nairobi.", "", "Ada Lovelace lived in London. Graz liegt an der Mur."] * 7


@pytest.fixture(scope="module")
def folder(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    adapters = write_loud_adapters(tmp_path_factory.mktemp("loud"), tiny_adapter)
    RetrieveAllModel.from_pretrained(adapters).save_pretrained(saved := tmp_path_factory.mktemp("saved"))
    return saved


@pytest.fixture(scope="module")
def extractor(folder: Path) -> Any:
    return pipeline("retrieveall-ner", model=str(folder), trust_remote_code=True)


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[list[dict[str, Any]]]:
    model = RetrieveAllModel.from_pretrained(folder)
    return [
        [{"entity_group": e.label, "score": e.score, "word": e.text, "start": e.start, "end": e.end} for e in entities]
        for entities in model.extract(TEXTS)
    ]


def without_language(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in group.items() if name != "language"} for group in groups]


def assert_alike(found: list[list[dict[str, Any]]], expected: list[list[dict[str, Any]]]) -> None:
    assert len(found) == len(expected)
    for groups, same in zip(found, expected, strict=True):
        assert [{**group, "score": 0} for group in without_language(groups)] == [{**group, "score": 0} for group in same]
        assert [group["score"] for group in groups] == pytest.approx([group["score"] for group in same], abs=1e-4)


def test_a_text_gives_its_groups_and_their_languages(extractor: Any, expected: list[list[dict[str, Any]]]) -> None:
    groups = extractor(TEXTS[2])
    assert_alike([groups], [expected[2]])
    assert {group["language"] for group in groups} <= {"de", "en"}
    forced = [group for text in TEXTS[:3] for group in extractor(text, languages="en")]
    assert {group["language"] for group in forced} == {"en"}


@pytest.mark.parametrize("task", ["token-classification", "ner"])
def test_the_example_that_the_hub_shows_works(folder: Path, expected: list[list[dict[str, Any]]], task: str) -> None:
    assert_alike([pipeline(task, model=str(folder), trust_remote_code=True)(TEXTS[2])], [expected[2]])


def test_lists_generators_and_datasets_give_the_same_in_order(extractor: Any, expected: list[list[dict[str, Any]]]) -> None:
    assert_alike(extractor(TEXTS, batch_size=4), expected)
    assert_alike(list(extractor(text for text in TEXTS)), expected)
    assert_alike(list(extractor(KeyDataset(Dataset.from_dict({"text": TEXTS}), "text"))), expected)
    assert extractor([]) == []


def test_a_stream_is_read_as_its_results_are(extractor: Any) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "Bonn"

    results = extractor(endless(), batch_size=2)
    assert read == 0
    next(results)
    assert read == 32


def test_an_argument_that_it_does_not_take_is_named(extractor: Any) -> None:
    with pytest.raises(TypeError, match="The pipeline got aggregation_strategy; it takes batch_size"):
        extractor(TEXTS[0], aggregation_strategy="simple")


def test_the_code_is_not_run_without_trust(folder: Path) -> None:
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        pipeline("retrieveall-ner", model=str(folder))
