"""Default learning rate, share of the initial adapter and share of tagging samples."""

from copy import copy
from dataclasses import replace

import pytest

from modeling_retrieveall import LanguageAdapter
from modeling_retrieveall.model.entities import Example
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.hyperparameters import Hyperparameters, choose_hyperparameters, choose_tags_share
from modeling_retrieveall.training.training_data import TrainingData
from tests.conftest import example


def new_data(sentences: int, label: str = "PER") -> TrainingData:
    return TrainingData("new", [example(f"Juma{n} yuko", (0, 1, label)) for n in range(sentences)], [], [label], 0, [])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (new_data(600), Hyperparameters(1e-3, 0.5)),
        (new_data(5000), Hyperparameters(1e-3, 0.5)),
        (new_data(150), Hyperparameters(5e-4, 0.12)),
        (new_data(6), Hyperparameters(3e-4, 0.01)),
        (new_data(600, "DATE"), Hyperparameters(1e-3, 0.0)),
        (new_data(150, "DATE"), Hyperparameters(5e-4, 0.0)),
    ],
)
def test_defaults_depend_on_the_number_of_sentences_and_on_new_entity_types(
    arguments: AdapterTrainingArguments, loaded_tiny_adapter: LanguageAdapter, data: TrainingData, expected: Hyperparameters
) -> None:
    assert choose_hyperparameters(arguments, loaded_tiny_adapter, [data]) == expected


def test_given_arguments_replace_the_defaults(arguments: AdapterTrainingArguments, loaded_tiny_adapter: LanguageAdapter) -> None:
    given = replace(arguments, learning_rate=2e-4, start_share=0.9)
    assert choose_hyperparameters(given, loaded_tiny_adapter, [new_data(600)]) == Hyperparameters(2e-4, 0.9)


def test_without_an_initial_adapter_there_is_no_share_of_it(arguments: AdapterTrainingArguments) -> None:
    assert choose_hyperparameters(arguments, None, [new_data(6)]) == Hyperparameters(1e-3, None)


def test_the_learning_rate_is_lower_if_the_initial_adapter_was_trained_on_the_sentences(
    arguments: AdapterTrainingArguments, loaded_tiny_adapter: LanguageAdapter
) -> None:
    known: list[Example] = loaded_tiny_adapter.index.examples
    data = replace(new_data(1), train=known)
    assert choose_hyperparameters(arguments, loaded_tiny_adapter, [data]) == Hyperparameters(5e-4, 0.5)


def test_tagging_is_trained_unless_the_initial_adapter_lacks_it(
    arguments: AdapterTrainingArguments, loaded_tiny_adapter: LanguageAdapter
) -> None:
    assert choose_tags_share(arguments, None) == choose_tags_share(arguments, loaded_tiny_adapter) == 0.75
    old = copy(loaded_tiny_adapter)
    old.manifest = replace(old.manifest, decodings=["generation"])
    assert choose_tags_share(arguments, old) == 0
    assert choose_tags_share(replace(arguments, gradient_checkpointing=True), None) == 0
    assert choose_tags_share(replace(arguments, tags_share=0.5), old) == 0.5
