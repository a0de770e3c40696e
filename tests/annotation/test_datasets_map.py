"""`Dataset.map`: results are found again in its cache by what made them, and several processes share the work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, load_dataset
from datasets.fingerprint import Hasher

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.annotation.datasets_map import annotator
from tests.loud_adapters import loud_copy
from tests.scripts import run_script

TEXTS = ["Angela Merkel besuchte Nairobi.", "Ada Lovelace lived in London.", "Bonn"] * 2


@pytest.fixture(scope="module")
def folder(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return loud_copy(tiny_adapter("de"), tmp_path_factory.mktemp("loud") / "de", 1)


@pytest.fixture(scope="module")
def model(folder: Path) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained(folder)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS), encoding="utf-8")
    return load_dataset("text", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))


def test_a_second_call_takes_what_is_cached(model: RetrieveAllModel, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first = dataset.map(annotator(model), batched=True)
    monkeypatch.setattr(type(model), "explain", None)
    second = dataset.map(annotator(model), batched=True)
    assert second._fingerprint == first._fingerprint and second[:] == first[:]


def test_the_fingerprint_changes_with_all_that_may_change_a_result(model: RetrieveAllModel, folder: Path, tmp_path: Path) -> None:
    def fingerprint(model: RetrieveAllModel, **settings: Any) -> str:
        hashed: str = Hasher.hash(annotator(model, **settings))
        return hashed

    first = loud_copy(folder, tmp_path / "de", 2)
    before = fingerprint(RetrieveAllModel.from_pretrained(first))
    assert fingerprint(RetrieveAllModel.from_pretrained(first)) == before
    changed = [
        fingerprint(RetrieveAllModel.from_pretrained(first), threshold=0.5),
        fingerprint(RetrieveAllModel.from_pretrained(first), column="body"),
        fingerprint(RetrieveAllModel.from_pretrained(first, n_sentences=1)),
        fingerprint(RetrieveAllModel.from_pretrained(first, dtype="bfloat16")),
        fingerprint(model),
    ]
    (first / "adapter_model.safetensors").touch()  # as if trained again into the same folder
    changed.append(fingerprint(RetrieveAllModel.from_pretrained(first)))
    assert len({before, *changed}) == 1 + len(changed)


def test_single_examples_give_what_batches_give(model: RetrieveAllModel) -> None:
    texts = Dataset.from_dict({"text": TEXTS})
    assert texts.map(annotator(model))[:] == texts.map(annotator(model), batched=True)[:]
    words = Dataset.from_dict({"tokens": [text.split() for text in TEXTS]})
    assert words.map(annotator(model))[:] == words.map(annotator(model), batched=True)[:]


def test_another_process_has_the_same_fingerprint_and_two_share_the_work(
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
