"""`Dataset.map`: the cache key depends on everything that can change a result, and several processes can share the work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, load_dataset
from datasets.fingerprint import Hasher

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.annotation.datasets_map import annotator
from modeling_retrieveall.annotation.readers import RecordError
from modeling_retrieveall.model.errors import InputError
from tests.adapter_folders import copy_adapter
from tests.annotation.test_annotate import CapitalsModel
from tests.random_adapters import copy_with_random_weights
from tests.scripts import run_script

TEXTS = ["Angela Merkel besuchte Nairobi.", "Ada Lovelace lived in London.", "Bonn"] * 2


@pytest.fixture(scope="module")
def folder(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_with_random_weights(tiny_adapter("de"), tmp_path_factory.mktemp("adapters") / "de", 1)


@pytest.fixture(scope="module")
def model(folder: Path) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained(folder)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS), encoding="utf-8")
    return load_dataset("text", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))


def test_a_second_call_uses_the_cache(model: RetrieveAllModel, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first = dataset.map(annotator(model), batched=True)
    monkeypatch.setattr(type(model), "extract", None)
    second = dataset.map(annotator(model), batched=True)
    assert second._fingerprint == first._fingerprint and second[:] == first[:]


def test_the_fingerprint_changes_with_everything_that_can_change_a_result(
    model: RetrieveAllModel, folder: Path, tmp_path: Path
) -> None:
    def fingerprint(model: RetrieveAllModel, **settings: Any) -> str:
        hashed: str = Hasher.hash(annotator(model, **settings))
        return hashed

    first = copy_with_random_weights(folder, tmp_path / "de", 2)
    before = fingerprint(RetrieveAllModel.from_pretrained(first))
    assert fingerprint(RetrieveAllModel.from_pretrained(first)) == before
    changed = [
        fingerprint(RetrieveAllModel.from_pretrained(first), threshold=0.5),
        fingerprint(RetrieveAllModel.from_pretrained(first), column="body"),
        fingerprint(RetrieveAllModel.from_pretrained(first, n_sentences=1)),
        fingerprint(RetrieveAllModel.from_pretrained(first, dtype="bfloat16")),
        fingerprint(model),
    ]
    (first / "adapter_model.safetensors").touch()  # as if an adapter had been trained into the same folder again
    changed.append(fingerprint(RetrieveAllModel.from_pretrained(first)))
    assert len({before, *changed}) == 1 + len(changed)


def test_single_examples_and_batches_give_the_same_results(model: RetrieveAllModel) -> None:
    texts = Dataset.from_dict({"text": TEXTS})
    assert texts.map(annotator(model))[:] == texts.map(annotator(model), batched=True)[:]
    words = Dataset.from_dict({"tokens": [text.split() for text in TEXTS]})
    assert words.map(annotator(model))[:] == words.map(annotator(model), batched=True)[:]


@pytest.mark.parametrize(
    ("column", "columns", "expected"),
    [
        ("words", {"words": [["In", "Bonn"], [], ["Graz"]], "tags": [[0, 1], [], [1]]}, [["In", "Bonn"], [], ["Graz"]]),
        ("words", {"words": [["In", "Bonn"], None], "id": [1, 2]}, [["In", "Bonn"], []]),
        (None, {"text": [["In", "Bonn"], ["Graz"]]}, [["In", "Bonn"], ["Graz"]]),
        (None, {"text": ["Bonn", None, ""], "id": [1, 2, 3]}, [["Bonn"], [], []]),
        (None, {"tokens": ["In Bonn", "Graz"]}, [["In", "Bonn"], ["Graz"]]),
    ],
)
def test_an_example_is_not_taken_for_a_batch(column: str | None, columns: dict[str, list[Any]], expected: list[Any]) -> None:
    dataset, annotate = Dataset.from_dict(columns), annotator(CapitalsModel(), column)
    batched = dataset.map(annotate, batched=True, load_from_cache_file=False)
    assert [[entity["text"] for entity in row["entities"]] for row in batched] == expected
    assert dataset.map(annotate, load_from_cache_file=False)[:] == batched[:]


def test_a_streamed_dataset_is_annotated_in_batches_or_one_by_one() -> None:
    annotate = annotator(CapitalsModel())
    for columns in ({"text": ["In Bonn", "Graz", None]}, {"tokens": [["In", "Bonn"], ["Graz"], None]}):
        streamed = Dataset.from_dict({**columns, "id": [1, 2, 3]}).to_iterable_dataset()
        rows = list(streamed.map(annotate, batched=True))
        assert rows == list(streamed.map(annotate))
        assert [[entity["text"] for entity in row["entities"]] for row in rows] == [["In", "Bonn"], ["Graz"], []]
    words = Dataset.from_dict({"words": [["In", "Bonn"]], "id": [1]}).to_iterable_dataset()
    with pytest.raises(InputError, match="Call `map` with batched=True"):
        list(words.map(annotator(CapitalsModel(), "words")))


def test_near_misses_add_the_column_uncertainty(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> None:
    copy_adapter(tiny_adapter("de"), tmp_path / "adapters" / "de", decodings=["tags"])
    annotate = annotator(RetrieveAllModel.from_pretrained(tmp_path / "adapters"), near_misses=0.0)
    dataset = Dataset.from_dict({"text": TEXTS})
    result = dataset.map(annotate, batched=True)
    assert result.column_names == ["text", "entities", "language", "known", "uncertainty"]
    assert all(0 <= value <= 1 for value in result["uncertainty"])
    assert dataset.map(annotate)[:] == result[:]
    with pytest.raises(RecordError, match="already has 'uncertainty'"):
        Dataset.from_dict({"text": TEXTS, "uncertainty": range(len(TEXTS))}).map(annotate, batched=True)


def test_another_process_computes_the_same_fingerprint_and_two_processes_give_the_same_results(
    model: RetrieveAllModel, folder: Path, tmp_path: Path
) -> None:
    script = """
        import sys
        from datasets import Dataset
        from datasets.fingerprint import Hasher
        from modeling_retrieveall import RetrieveAllModel
        from modeling_retrieveall.annotation.datasets_map import annotator

        if __name__ == "__main__":
            texts = Dataset.from_dict({"text": ["Angela Merkel besuchte Nairobi.", "Bonn", "Graz"] * 2})
            annotate = annotator(RetrieveAllModel.from_pretrained(sys.argv[1]), threshold=0.5)
            assert texts.map(annotate, batched=True, num_proc=2)[:] == texts.map(annotate, batched=True)[:]
            print(Hasher.hash(annotate))
    """
    assert run_script(script, tmp_path, folder).split()[-1] == Hasher.hash(annotator(model, threshold=0.5))
