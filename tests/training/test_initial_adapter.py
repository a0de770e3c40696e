"""The adapter that a run starts from, and the arguments that must fit it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modeling_retrieveall import InputError, LanguageAdapter
from modeling_retrieveall.model.embedded_llm import EMBEDDED_BASE
from modeling_retrieveall.training import setup
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.initial_adapter import check_initial_adapter, load_initial_adapter
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


def test_a_shipped_adapter_is_named_by_its_language_unless_there_is_such_a_folder(
    tiny_adapter: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = load_initial_adapter("de", "de", EMBEDDED_BASE)
    assert shipped is not None and shipped.language == "de" and shipped.manifest.base_model == EMBEDDED_BASE
    check_initial_adapter(AdapterTrainingArguments(language=["de"], dataset=["de.conll"], output_dir="out"), shipped)
    own = tiny_adapter("de")
    (tmp_path / "de").symlink_to(own)
    found = load_initial_adapter("de", "de", LanguageAdapter.load(own).manifest.base_model)
    assert found is not None and found.path.resolve() == own.resolve()
