"""How fast a run leaves its start, and how much of that stays."""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall import LanguageAdapter
from modeling_retrieveall.model.entities import Example
from modeling_retrieveall.training.arguments import TrainingArguments
from modeling_retrieveall.training.trainer import train
from modeling_retrieveall.training.training_data import Lessons
from modeling_retrieveall.training.weight_averaging import Departure, averaged, departure, tags_share
from tests.conftest import example, weights


def lessons(sentences: int, label: str = "PER") -> Lessons:
    return Lessons("new", [example(f"Juma{n} yuko", (0, 1, label)) for n in range(sentences)], [], [label], 0, [])


@pytest.mark.parametrize(
    ("learned", "expected"),
    [
        (lessons(600), Departure(1e-3, 0.5)),
        (lessons(5000), Departure(1e-3, 0.5)),
        (lessons(150), Departure(5e-4, 0.12)),
        (lessons(6), Departure(3e-4, 0.01)),
        (lessons(600, "DATE"), Departure(1e-3, 0.0)),
        (lessons(150, "DATE"), Departure(5e-4, 0.0)),
    ],
)
def test_few_sentences_and_new_types_decide_how_far_a_language_departs(
    arguments: TrainingArguments, loaded_tiny_adapter: LanguageAdapter, learned: Lessons, expected: Departure
) -> None:
    assert departure(arguments, loaded_tiny_adapter, [learned]) == expected


def test_what_is_asked_for_counts(arguments: TrainingArguments, loaded_tiny_adapter: LanguageAdapter) -> None:
    asked = replace(arguments, learning_rate=2e-4, start_share=0.9)
    assert departure(asked, loaded_tiny_adapter, [lessons(600)]) == Departure(2e-4, 0.9)


def test_without_a_start_nothing_of_it_stays(arguments: TrainingArguments) -> None:
    assert departure(arguments, None, [lessons(6)]) == Departure(1e-3, None)


def test_an_adapter_that_knows_the_sentences_is_departed_from_gently(
    arguments: TrainingArguments, loaded_tiny_adapter: LanguageAdapter
) -> None:
    known: list[Example] = loaded_tiny_adapter.index.examples
    assert departure(arguments, loaded_tiny_adapter, [replace(lessons(1), train=known)]) == Departure(5e-4, 0.5)


def test_tags_are_learned_unless_the_start_lacks_them(arguments: TrainingArguments, loaded_tiny_adapter: LanguageAdapter) -> None:
    assert tags_share(arguments, None) == tags_share(arguments, loaded_tiny_adapter) == 0.75
    old = copy(loaded_tiny_adapter)
    old.manifest = replace(old.manifest, decodings=["generation"])
    assert tags_share(arguments, old) == 0
    assert tags_share(replace(arguments, gradient_checkpointing=True), None) == 0
    assert tags_share(replace(arguments, tags_share=0.5), old) == 0.5


def test_a_finished_adapter_lies_between_what_was_learned_and_its_start(
    arguments: TrainingArguments, tiny_adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    start = tiny_adapter("mul")
    run = replace(arguments, init=str(start), epochs=1)
    whole, half, none = (
        weights(train(replace(run, start_share=share, output=str(tmp_path / str(share))))) for share in (0.0, 0.5, 1.0)
    )
    for name, tensor in weights(start).items():
        assert torch.equal(none[name], tensor)
        # All three are written in bfloat16, which keeps eight bits.
        assert torch.allclose(half[name].float(), (whole[name].float() + tensor.float()) / 2, rtol=2**-7, atol=1e-5)
    assert any(not torch.equal(whole[name], none[name]) for name in whole)
    assert LanguageAdapter.load(tmp_path / "0.5").manifest.training["start_share"] == 0.5


@given(own=st.floats(-4, 4), start=st.floats(-4, 4), share=st.floats(0, 1))
def test_averaging_stays_between_its_ends(own: float, start: float, share: float) -> None:
    found = float(averaged({"a": torch.tensor(own)}, {"a": torch.tensor(start)}, share)["a"])
    assert min(own, start) - 1e-5 <= found <= max(own, start) + 1e-5
    assert found == pytest.approx(own + share * (start - own), abs=1e-5)


def test_a_share_of_a_start_needs_one(arguments: TrainingArguments) -> None:
    with pytest.raises(ValueError, match="but the run starts from nothing"):
        train(replace(arguments, start_share=0.5))
