"""The adapter that a run starts from, and the arguments that must fit it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modeling_retrieveall import InputError, LanguageAdapter
from modeling_retrieveall.training import setup
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.initial_adapter import check_initial_adapter
from modeling_retrieveall.training.trainer import train


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rank": 4}, r"rank is 4, but the initial adapter .*mul has 8\. Omit `rank`, or set init_adapter='none'\."),
        ({"lora_alpha": 32}, r"lora_alpha is 32, but the initial adapter .*mul has 16\. Omit `lora_alpha`"),
        ({"rank": 8, "lora_alpha": 8}, r"lora_alpha is 8, but the initial adapter .*mul has 16\."),
    ],
)
def test_another_rank_or_alpha_than_that_of_the_initial_adapter_is_refused_before_the_base_loads(
    arguments: AdapterTrainingArguments,
    tiny_adapter: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
    message: str,
) -> None:
    run = replace(arguments, init_adapter=str(tiny_adapter("mul")), **given)
    monkeypatch.setattr(setup, "load_base", lambda *_, **__: pytest.fail("the base LLM was loaded"))
    with pytest.raises(InputError, match=message):
        train(run)


def test_the_rank_and_alpha_of_the_initial_adapter_may_be_given(
    arguments: AdapterTrainingArguments, loaded_tiny_adapter: LanguageAdapter
) -> None:
    check_initial_adapter(replace(arguments, rank=8, lora_alpha=16), loaded_tiny_adapter)


@pytest.mark.parametrize(
    ("given", "expected"), [({}, (8, 16)), ({"rank": 4}, (4, 16)), ({"rank": 256, "lora_alpha": 512}, (256, 512))]
)
def test_without_an_initial_adapter_rank_and_alpha_are_used(
    arguments: AdapterTrainingArguments, given: dict[str, Any], expected: tuple[int, int]
) -> None:
    run = replace(arguments, num_train_epochs=0, max_eval_samples=0, **given)
    record = LanguageAdapter.load(train(run)).manifest.training
    assert (record["rank"], record["lora_alpha"]) == expected
