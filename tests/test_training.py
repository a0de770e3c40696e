"""Training for real, on a tiny base: one process or two, from nothing or from another adapter, interrupted and resumed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from modeling_retrieveall import AdapterError, LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.language_adapter import sentence_hash
from modeling_retrieveall.training import trainer
from modeling_retrieveall.training.augmentation import Sample
from modeling_retrieveall.training.data import DatasetError, load_examples
from modeling_retrieveall.training.trainer import TrainingArguments, collate, train
from tests.conftest import SENTENCES, write_tiny_base

SW = str(SENTENCES / "sw.conll")


@pytest.fixture
def arguments(tiny_base: Path, tmp_path: Path) -> TrainingArguments:
    return TrainingArguments(
        language="sw",
        dataset=[SW],
        output=str(tmp_path / "sw"),
        base=str(tiny_base),
        init="none",
        epochs=2,
        max_train_examples=24,
        encoder_layer=1,
        mixed_precision="no",
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def test_a_trained_adapter_is_complete_and_serves_at_once(arguments: TrainingArguments) -> None:
    folder = train(arguments)
    expected = ["README.md", "adapter_config.json", "adapter_model.safetensors", "examples.parquet"]
    assert sorted(file.name for file in folder.iterdir()) == [*expected, "retrieval.safetensors", "retrieveall.json"]
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == arguments.base
    adapter = LanguageAdapter.load(folder)
    assert adapter.manifest.entity_types == ["LOC", "ORG", "PER"]
    assert len(adapter.index.examples) == 24
    assert {sentence_hash(e.key) for e in adapter.index.examples} == set(adapter.training_hashes.tolist())
    assert any(tensor.abs().sum() > 0 for name, tensor in weights(folder).items() if "lora_B" in name)
    model = RetrieveAllModel.from_pretrained(folder)
    assert model.languages.keys() == {"sw"}
    assert isinstance(model.extract("Wangari Maathai alizaliwa Nyeri."), list)
    assert not Path(f"{arguments.output}.checkpoint").exists()


def test_the_same_seed_gives_the_same_adapter(arguments: TrainingArguments, tmp_path: Path) -> None:
    first = weights(train(arguments))
    second = weights(train(replace(arguments, output=str(tmp_path / "again"))))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_resuming_gives_what_an_uninterrupted_run_gives(
    arguments: TrainingArguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights(train(replace(arguments, output=str(tmp_path / "whole"))))
    write_checkpoint = trainer._Training._write_checkpoint

    def interrupt_after_the_first(self: trainer._Training, epochs_done: int) -> None:
        write_checkpoint(self, epochs_done)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer._Training, "_write_checkpoint", interrupt_after_the_first)
        with pytest.raises(KeyboardInterrupt):
            train(arguments)
    assert not Path(arguments.output).exists()
    resumed = weights(train(replace(arguments, resume=True)))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_resuming_without_a_checkpoint_says_so(arguments: TrainingArguments) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        train(replace(arguments, resume=True))


def test_a_language_starts_from_the_weights_of_another_adapter(
    arguments: TrainingArguments, tiny_adapter: Callable[[str], Path]
) -> None:
    start = tiny_adapter("mul")
    folder = train(replace(arguments, init=str(start), epochs=0))
    assert all(torch.equal(tensor, weights(start)[name]) for name, tensor in weights(folder).items())
    adapter = LanguageAdapter.load(folder)
    assert adapter.manifest.initialised_from == "mul"
    assert set(LanguageAdapter.load(start).training_hashes.tolist()) <= set(adapter.training_hashes.tolist())


def test_a_start_from_another_base_is_refused(
    arguments: TrainingArguments, tiny_adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    other = write_tiny_base(tmp_path / "other", "qwen")
    with pytest.raises(AdapterError, match="was trained on"):
        train(replace(arguments, base=str(other), init=str(tiny_adapter("mul"))))


def test_another_architecture_trains_as_well(arguments: TrainingArguments, tmp_path: Path) -> None:
    folder = train(replace(arguments, base=str(write_tiny_base(tmp_path / "qwen", "qwen")), epochs=1))
    assert RetrieveAllModel.from_pretrained(folder).languages.keys() == {"sw"}


def test_a_dataset_without_entities_is_refused_before_the_base_loads(
    arguments: TrainingArguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "empty.conll"
    file.write_text("Habari\tO\n", encoding="utf-8")
    monkeypatch.setattr(trainer, "load_base", lambda *_, **__: pytest.fail("the base LLM was loaded"))
    with pytest.raises(DatasetError, match="nothing to learn"):
        train(replace(arguments, dataset=[str(file)]))


def test_a_folder_of_something_else_is_not_replaced(arguments: TrainingArguments) -> None:
    Path(arguments.output).mkdir()
    (Path(arguments.output) / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="Choose another --output"):
        train(arguments)
    assert (Path(arguments.output) / "thesis.tex").exists()


def test_labels_stand_at_the_answers_alone() -> None:
    batch = collate([Sample([5, 6], [7]), Sample([5], [8, 9, 9])])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 0], [5, 8, 9, 9]]
    assert batch["labels"].tolist() == [[-100, -100, 7, -100], [-100, 8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_accelerate_launches_two_processes(arguments: TrainingArguments, tmp_path: Path) -> None:
    output = tmp_path / "two"
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "modeling_retrieveall.training.trainer", "--language", "sw",
        "--dataset", SW, "--output", str(output), "--base", arguments.base, "--init", "none", "--epochs", "1",
        "--max_train_examples", "24", "--encoder_layer", "1", "--mixed_precision", "no",
    ]  # fmt: skip
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SENTENCES.parent.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = json.loads((output / "retrieveall.json").read_text())
    assert manifest["training"]["processes"] == 2
    assert len(LanguageAdapter.load(output).index.examples) == len(load_examples(SW, "train").examples[:24])
