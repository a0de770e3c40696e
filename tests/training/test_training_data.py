"""The training and validation sentences of a run."""

from dataclasses import replace
from typing import Any

import datasets
import pytest
from datasets import Dataset

from modeling_retrieveall import DatasetError
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.training_data import load_training_data

TRAIN = Dataset.from_dict({"tokens": [[f"Stadt{n}"] for n in range(20)], "tags": [["B-LOC"]] * 20})
VALIDATION = Dataset.from_dict({"tokens": [["Nairobi"], ["Kisumu"]], "tags": [["B-LOC"], ["B-LOC"]]})


@pytest.fixture
def run(arguments: AdapterTrainingArguments) -> AdapterTrainingArguments:
    return replace(arguments, max_train_samples=None, empty_share=0)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits that are loaded, in this order, from a dataset of the Hub with the splits ``train`` and ``validation``."""
    names: list[str] = []

    def load_dataset(*_: Any, split: str) -> Dataset:
        names.append(split)
        return {"train": TRAIN, "validation": VALIDATION}[split]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_: ["train", "validation"])
    return names


def test_each_split_of_a_dataset_of_the_hub_is_loaded_once(run: AdapterTrainingArguments, loaded: list[str]) -> None:
    data = load_training_data("ann/ner", run)
    assert (len(data.train), [example.key for example in data.validation]) == (20, ["Nairobi", "Kisumu"])
    assert loaded == ["train", "validation"]


def test_sentences_are_held_out_if_a_dataset_of_the_hub_has_no_validation_split(
    run: AdapterTrainingArguments, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_: ["train", "test"])
    data = load_training_data("ann/ner", run)
    assert (len(data.train), len(data.validation), loaded) == (18, 2, ["train"])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Dataset.from_dict({"tokens": [["Nairobi"]], "tags": [["X-LOC"]]}), "tag 'X-LOC' is not BIO"),
        (TimeoutError("The Hub did not answer"), "Could not load dataset 'ann/ner': The Hub did not answer"),
    ],
)
def test_a_validation_split_that_cannot_be_read_is_not_replaced_by_training_sentences(
    run: AdapterTrainingArguments,
    loaded: list[str],
    monkeypatch: pytest.MonkeyPatch,
    broken: Dataset | TimeoutError,
    message: str,
) -> None:
    def load_dataset(*_: Any, split: str) -> Dataset:
        if split == "train":
            return TRAIN
        if isinstance(broken, TimeoutError):
            raise broken
        return broken

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DatasetError, match=message):
        load_training_data("ann/ner", run)
