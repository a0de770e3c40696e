"""A model on disk: the files that ``save_pretrained`` writes, and the folders that ``from_pretrained`` reads."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modeling_retrieveall import AdapterError, RetrieveAllConfig, RetrieveAllModel
from modeling_retrieveall.model import base_llm
from tests.conftest import write_tiny_base
from tests.random_adapters import write_random_adapters

TEXTS = ["Angela Merkel besuchte Nairobi.", "The United Nations met in New York.", "Bonn", ""]
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin", "*.gguf")


@pytest.fixture(scope="module")
def adapters(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_adapters(tmp_path_factory.mktemp("adapters"), tiny_adapter)


@pytest.fixture
def model(adapters: Path) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained(adapters)


# Saving and loading


def test_a_replaced_base_llm_is_not_stored_and_given_again(adapters: Path, tiny_base: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    model = RetrieveAllModel.from_pretrained(adapters, base_model=str(copy))
    model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved/config.json").read_text(encoding="utf-8"))["base_model"] == str(tiny_base)
    assert RetrieveAllModel.from_pretrained(tmp_path / "saved").base.name_or_path == str(tiny_base)
    again = RetrieveAllModel.from_pretrained(tmp_path / "saved", base_model=str(copy))
    assert again.base.name_or_path == str(copy)
    assert again.extract(TEXTS) == model.extract(TEXTS)


def test_a_saved_model_extracts_the_same_entities(model: RetrieveAllModel, tmp_path: Path) -> None:
    model.config.n_sentences = 1
    model.save_pretrained(tmp_path)
    loaded = RetrieveAllModel.from_pretrained(tmp_path)
    assert list(loaded.languages) == list(model.languages)
    for name in RetrieveAllConfig.changeable() | {"base_model", "base_revision"}:
        assert getattr(loaded.config, name) == getattr(model.config, name)
    assert loaded.extract(TEXTS, details=True) == model.extract(TEXTS, details=True)


def test_a_saved_model_can_be_moved(model: RetrieveAllModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert RetrieveAllModel.from_pretrained(tmp_path / "there").extract(TEXTS) == model.extract(TEXTS)


def test_no_base_weights_and_no_adapter_config_are_written_at_the_root(model: RetrieveAllModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    assert (tmp_path / "config.json").is_file()
    assert not (tmp_path / "adapter_config.json").exists()
    assert not [file for pattern in WEIGHTS for file in tmp_path.rglob(pattern) if file.name != "adapter_model.safetensors"]
    assert sorted(file.name for file in (tmp_path / "adapters").iterdir()) == ["de", "en", "mul"]


def test_saving_into_the_models_own_folder_works(model: RetrieveAllModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = RetrieveAllModel.from_pretrained(tmp_path)
    again.remove_language("en")
    again.save_pretrained(tmp_path)
    assert list(RetrieveAllModel.from_pretrained(tmp_path).languages) == ["de", "mul"]


def test_a_model_computes_in_the_requested_dtype(adapters: Path) -> None:
    model = RetrieveAllModel.from_pretrained(adapters, dtype=torch.bfloat16)
    assert model.base.dtype == torch.bfloat16
    assert len(model.extract(TEXTS)) == len(TEXTS)


# Choosing


@pytest.mark.parametrize(
    ("languages", "loaded"), [(["de"], ["de", "mul"]), ("en", ["en", "mul"]), (["mul"], ["mul"]), ([], ["mul"])]
)
def test_selected_languages_are_loaded_together_with_the_multilingual_adapter(
    adapters: Path, languages: Any, loaded: list[str]
) -> None:
    assert list(RetrieveAllModel.from_pretrained(adapters, languages=languages).languages) == loaded


def test_an_unknown_language_is_an_error_that_lists_the_known_ones(adapters: Path) -> None:
    with pytest.raises(ValueError, match=r"No adapter for language 'sw'\. There are: de, en, mul\."):
        RetrieveAllModel.from_pretrained(adapters, languages=["de", "sw"])


def test_the_folder_of_one_adapter_is_loaded_as_a_model(adapters: Path) -> None:
    assert list(RetrieveAllModel.from_pretrained(adapters / "de").languages) == ["de"]
    assert list(RetrieveAllModel.from_pretrained(str(adapters / "de")).languages) == ["de"]


def test_the_number_of_slots_is_configurable(adapters: Path) -> None:
    model = RetrieveAllModel.from_pretrained(adapters, adapter_slots=2)
    assert model.config.adapter_slots == model.bank.slots == 2


def test_the_base_can_be_loaded_from_another_folder(
    adapters: Path, tiny_base: Path, tmp_path: Path, model: RetrieveAllModel
) -> None:
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    assert RetrieveAllModel.from_pretrained(adapters, base_model=str(copy)).extract(TEXTS) == model.extract(TEXTS)


def test_the_path_of_the_base_may_begin_with_the_home_folder(
    adapters: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_base, tmp_path / "copy")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RetrieveAllModel.from_pretrained(adapters, base_model="~/copy").base.name_or_path == str(tmp_path / "copy")


# What cannot be loaded


def test_a_missing_base_lists_the_possible_values(adapters: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"could not be loaded.*Give 'embedded/gemma-3-270m'") as caught:
        RetrieveAllModel.from_pretrained(adapters, base_model=str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_a_base_that_does_not_fit_into_memory_is_reported(adapters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(base_llm.AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(MemoryError, match=r"does not fit into the memory of the device\. Load it with quantization='4bit'"):
        RetrieveAllModel.from_pretrained(adapters)


def test_a_base_of_another_hidden_size_is_refused(adapters: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"hidden size 32, the model 16"):
        RetrieveAllModel.from_pretrained(adapters, base_model=str(write_tiny_base(tmp_path, hidden=16)))


def test_a_missing_adapter_of_a_saved_model_is_named_in_the_error(model: RetrieveAllModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    shutil.rmtree(tmp_path / "adapters" / "de")
    with pytest.raises(AdapterError, match="adapters/de"):
        RetrieveAllModel.from_pretrained(tmp_path)
    assert list(RetrieveAllModel.from_pretrained(tmp_path, languages=["en"]).languages) == ["en", "mul"]


def test_a_base_llm_is_not_a_model(tiny_base: Path) -> None:
    with pytest.raises(AdapterError, match="give it as `base_model`"):
        RetrieveAllModel.from_pretrained(tiny_base)


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="retrieveall train"):
        RetrieveAllModel.from_pretrained(tmp_path / "nowhere")


def test_a_window_too_small_for_prompt_and_answer_raises_an_error_with_the_numbers(adapters: Path) -> None:
    with pytest.raises(ValueError, match=r"reads 2048 tokens.*may take 2192"):
        RetrieveAllModel.from_pretrained(adapters, max_sentence_tokens=1000)
