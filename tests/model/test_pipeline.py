"""The transformers pipeline, loaded from a model's folder: inputs may be streams, and results are in order."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset
from transformers.pipelines.token_classification import AggregationStrategy

from modeling_retrieveall import RetrieveAllModel
from tests.random_adapters import write_random_adapters

TEXTS = ["Angela Merkel besuchte Nairobi.", "", "Ada Lovelace lived in London. Graz liegt an der Mur."] * 7


@pytest.fixture(scope="module")
def folder(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    adapters = write_random_adapters(tmp_path_factory.mktemp("adapters"), tiny_adapter)
    RetrieveAllModel.from_pretrained(adapters).save_pretrained(saved := tmp_path_factory.mktemp("saved"))
    return saved


@pytest.fixture(scope="module")
def extractor(folder: Path) -> Any:
    return pipeline("retrieveall-ner", model=str(folder), trust_remote_code=True)


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[list[dict[str, Any]]]:
    model = RetrieveAllModel.from_pretrained(folder)
    return [
        [{"entity_group": e.label, "score": e.score, "word": e.text, "start": e.start, "end": e.end} for e in result.entities]
        for result in model.extract(TEXTS)
    ]


def without_language(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in group.items() if name != "language"} for group in groups]


def assert_alike(found: list[list[dict[str, Any]]], expected: list[list[dict[str, Any]]]) -> None:
    assert len(found) == len(expected)
    for groups, same in zip(found, expected, strict=True):
        assert [{**group, "score": 0} for group in without_language(groups)] == [{**group, "score": 0} for group in same]
        assert [group["score"] for group in groups] == pytest.approx([group["score"] for group in same], abs=1e-4)


def test_a_text_gives_entity_groups_with_their_languages(extractor: Any, expected: list[list[dict[str, Any]]]) -> None:
    groups = extractor(TEXTS[2])
    assert_alike([groups], [expected[2]])
    assert {group["language"] for group in groups} <= {"de", "en"}
    forced = [group for text in TEXTS[:3] for group in extractor(text, language="en")]
    assert {group["language"] for group in forced} == {"en"}


@pytest.mark.parametrize("task", ["token-classification", "ner"])
def test_the_code_snippet_of_the_hub_works(folder: Path, expected: list[list[dict[str, Any]]], task: str) -> None:
    assert_alike([pipeline(task, model=str(folder), trust_remote_code=True)(TEXTS[2])], [expected[2]])


def test_lists_generators_and_datasets_give_the_same_results_in_order(
    extractor: Any, expected: list[list[dict[str, Any]]]
) -> None:
    assert_alike(extractor(TEXTS, batch_size=4), expected)
    assert_alike(list(extractor(text for text in TEXTS)), expected)
    assert_alike(list(extractor(KeyDataset(Dataset.from_dict({"text": TEXTS}), "text"))), expected)
    assert extractor([]) == []


def test_a_stream_is_read_lazily(extractor: Any) -> None:
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


@pytest.mark.parametrize("task", ["ner", "token-classification", "retrieveall-ner"])
def test_arguments_of_other_token_classification_models_are_accepted(
    task: str, folder: Path, expected: list[list[dict[str, Any]]]
) -> None:
    arguments = {"aggregation_strategy": "simple", "device": "cpu", "batch_size": 2, "num_workers": 0, "stride": 8}
    extractor = pipeline(task, model=str(folder), trust_remote_code=True, **arguments)
    assert_alike(extractor(TEXTS), expected)
    assert list(extractor(TEXTS[2])[0]) == ["entity_group", "score", "word", "start", "end", "language"]


def test_every_supported_aggregation_strategy_gives_the_same_groups(extractor: Any, expected: list[list[dict[str, Any]]]) -> None:
    for name in ("simple", "first", "average", "max"):
        assert_alike([extractor(TEXTS[2], aggregation_strategy=name)], [expected[2]])
        assert_alike([extractor(TEXTS[2], aggregation_strategy=AggregationStrategy(name))], [expected[2]])
    assert_alike([extractor(TEXTS[2], grouped_entities=True, ignore_subwords=True)], [expected[2]])
    for asked in ({"aggregation_strategy": "none"}, {"grouped_entities": False}):
        with pytest.raises(ValueError, match="finds whole entities"):
            extractor(TEXTS[2], **asked)
    with pytest.raises(ValueError, match="aggregation_strategy is 'sample'; give one of 'simple'"):
        extractor(TEXTS[2], aggregation_strategy="sample")


def test_labels_are_ignored(extractor: Any, expected: list[list[dict[str, Any]]]) -> None:
    label = expected[2][0]["entity_group"]
    left = [[group for group in groups if group["entity_group"] != label] for groups in expected]
    assert_alike(extractor(TEXTS, ignore_labels=[label]), left)
    assert_alike(list(extractor(iter(TEXTS), ignore_labels=label)), left)


def test_pre_split_words_are_accepted(extractor: Any, folder: Path) -> None:
    words = [text.split() for text in TEXTS[2:4]]
    results = RetrieveAllModel.from_pretrained(folder).extract(words, is_split_into_words=True)
    places = [[(entity.start, entity.end, entity.label) for entity in result.entities] for result in results]

    def found(results: Any) -> list[list[tuple[int, int, str]]]:
        return [[(group["start"], group["end"], group["entity_group"]) for group in groups] for groups in results]

    assert found(extractor(words, is_split_into_words=True)) == places
    assert found(extractor(iter(words), is_split_into_words=True)) == places
    assert found(extractor(words[0], is_split_into_words=True)) == places[:1]  # a list of one, as in transformers
    with pytest.raises(ValueError, match="delimiter is '_'"):
        extractor(words, is_split_into_words=True, delimiter="_")


def test_a_loaded_model_is_accepted(folder: Path, expected: list[list[dict[str, Any]]]) -> None:
    assert_alike(pipeline("retrieveall-ner", model=RetrieveAllModel.from_pretrained(folder))(TEXTS), expected)


def test_an_unsupported_argument_is_named_in_the_error(extractor: Any) -> None:
    with pytest.raises(TypeError, match="The pipeline got offset_mapping, top_k; it takes aggregation_strategy, batch_size"):
        extractor(TEXTS[0], top_k=3, offset_mapping=[])


def test_remote_code_is_not_run_without_trust(folder: Path) -> None:
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        pipeline("retrieveall-ner", model=str(folder))
