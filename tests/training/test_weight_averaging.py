"""Averaging of the trained weights with those of the initial adapter."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall import LanguageAdapter
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.trainer import train
from modeling_retrieveall.training.weight_averaging import average_weights
from tests.conftest import weights


def test_final_weights_are_between_the_trained_and_the_initial_ones(
    arguments: AdapterTrainingArguments, tiny_adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    initial = tiny_adapter("mul")
    run = replace(arguments, init_adapter=str(initial), num_train_epochs=1)
    trained, half, unchanged = (
        weights(train(replace(run, start_share=share, output_dir=str(tmp_path / str(share))))) for share in (0.0, 0.5, 1.0)
    )
    for name, tensor in weights(initial).items():
        assert torch.equal(unchanged[name], tensor)
        # All three are written in bfloat16, which has eight bits of precision.
        assert torch.allclose(half[name].float(), (trained[name].float() + tensor.float()) / 2, rtol=2**-7, atol=1e-5)
    assert any(not torch.equal(trained[name], unchanged[name]) for name in trained)
    assert LanguageAdapter.load(tmp_path / "0.5").manifest.training["start_share"] == 0.5


@given(trained=st.floats(-4, 4), initial=st.floats(-4, 4), share=st.floats(0, 1))
def test_an_average_is_between_its_ends(trained: float, initial: float, share: float) -> None:
    average = float(average_weights({"a": torch.tensor(trained)}, {"a": torch.tensor(initial)}, share)["a"])
    assert min(trained, initial) - 1e-5 <= average <= max(trained, initial) + 1e-5
    assert average == pytest.approx(trained + share * (initial - trained), abs=1e-5)


def test_start_share_requires_an_initial_adapter(arguments: AdapterTrainingArguments) -> None:
    with pytest.raises(ValueError, match="but there is no initial adapter"):
        train(replace(arguments, start_share=0.5))
