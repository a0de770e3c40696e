"""Training runs on a tiny base LLM: results, arguments, errors and records."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from modeling_retrieveall import AdapterError, InputError, InputTypeError, LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.data.reader_types import DatasetError
from modeling_retrieveall.model.encoder import SentenceEncoder
from modeling_retrieveall.model.language_adapter import sentence_hash
from modeling_retrieveall.training import setup, vector_cache
from modeling_retrieveall.training.adapter_writer import AdapterWriter
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.loop import TrainingLoop, collate
from modeling_retrieveall.training.prompt_sampling import Sample
from modeling_retrieveall.training.trainer import train
from modeling_retrieveall.training.training_data import load_training_data
from tests.conftest import SENTENCES, weights, write_tiny_base

SW = str(SENTENCES / "sw.conll")


def test_a_trained_adapter_is_complete_and_can_be_loaded(arguments: AdapterTrainingArguments) -> None:
    folder = train(arguments)
    expected = ["README.md", "adapter_config.json", "adapter_model.safetensors", "examples.parquet"]
    expected += ["retrieval.safetensors", "retrieveall.json", "training.png"]
    assert sorted(file.name for file in folder.iterdir()) == expected
    assert "](training.png)" in (folder / "README.md").read_text(encoding="utf-8")
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == arguments.base_model
    adapter = LanguageAdapter.load(folder)
    assert adapter.manifest.entity_types == ["LOC", "ORG", "PER"]
    assert len(adapter.index.examples) == 24
    # The sentences without an entity that were added are not in the index.
    assert {sentence_hash(e.key) for e in adapter.index.examples} < set(adapter.training_hashes.tolist())
    assert adapter.manifest.decodings == ["tags", "generation"]
    assert any(tensor.abs().sum() > 0 for name, tensor in weights(folder).items() if "lora_B" in name)
    model = RetrieveAllModel.from_pretrained(folder)
    assert model.languages.keys() == {"sw"}
    assert model.extract("Wangari Maathai alizaliwa Nyeri.").language in model.languages
    assert not Path(f"{arguments.output_dir}.checkpoint").exists()


def test_the_same_seed_gives_the_same_adapter(arguments: AdapterTrainingArguments, tmp_path: Path) -> None:
    first = weights(train(arguments))
    second = weights(train(replace(arguments, output_dir=str(tmp_path / "again"))))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_early_stopping_keeps_the_best_epoch(
    arguments: AdapterTrainingArguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([10.0, 50.0, 40.0, 30.0, 60.0])
    monkeypatch.setattr(AdapterWriter, "validation_f1", lambda self: next(scores))
    folder = train(replace(arguments, num_train_epochs=5, early_stopping_patience=2, learning_rate=1e-3))
    record = json.loads((folder / "retrieveall.json").read_text())["training"]
    assert record["f1_curve"] == [[1, 10.0], [2, 50.0], [3, 40.0], [4, 30.0]]
    scores = iter([10.0, 50.0, 0.0, 0.0, 0.0])
    monkeypatch.setattr(TrainingLoop, "_should_stop_early", lambda self: self.state.epoch == 2)
    # The learning rate depends on the number of epochs, so this run also has five.
    second = weights(train(replace(arguments, output_dir=str(tmp_path / "second"), num_train_epochs=5, learning_rate=1e-3)))
    assert all(torch.equal(second[name], tensor) for name, tensor in weights(folder).items())


def test_validation_during_training_equals_the_final_evaluation(arguments: AdapterTrainingArguments) -> None:
    folder = train(replace(arguments, num_train_epochs=1, early_stopping_patience=1))
    manifest = json.loads((folder / "retrieveall.json").read_text())
    assert manifest["training"]["f1_curve"] == [[1, manifest["metrics"][0]["f1"]]]


def test_accumulated_batches_are_one_step_of_the_optimizer(arguments: AdapterTrainingArguments) -> None:
    run = replace(arguments, gradient_accumulation_steps=2, tags_share=1, empty_share=0)
    record = json.loads((train(run) / "retrieveall.json").read_text())["training"]
    assert record["loss_curve"][-1][0] == 2 * 2  # two epochs of 24 sentences, with 16 sentences per step


@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_result_does_not_depend_on_the_size_of_micro_batches(
    arguments: AdapterTrainingArguments, tmp_path: Path, accumulated: int
) -> None:
    run = replace(arguments, gradient_accumulation_steps=accumulated, examples_share=1.0)
    whole, parts = train(run), train(replace(run, output_dir=str(tmp_path / "parts"), max_batch_tokens=1))
    assert _apart(weights(whole), weights(parts)) < 0.02
    losses = [LanguageAdapter.load(folder).manifest.training["loss"] for folder in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


def test_the_number_of_steps_can_be_limited(arguments: AdapterTrainingArguments) -> None:
    record = json.loads((train(replace(arguments, max_steps=4)) / "retrieveall.json").read_text())["training"]
    assert record["loss_curve"][-1][0] == 4


def test_gradient_checkpointing_does_not_change_the_result(arguments: AdapterTrainingArguments, tmp_path: Path) -> None:
    arguments = replace(arguments, tags_share=0)
    plain = weights(train(arguments))
    twice = weights(train(replace(arguments, output_dir=str(tmp_path / "twice"), gradient_checkpointing=True)))
    assert all(torch.allclose(tensor.float(), twice[name].float(), atol=1e-3) for name, tensor in plain.items())


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_a_quantized_base_model_is_trained(arguments: AdapterTrainingArguments, tmp_path: Path, bits: str) -> None:
    base = write_tiny_base(tmp_path / "base", hidden=64)  # bitsandbytes packs 64 weights at a time
    folder = train(replace(arguments, base_model=str(base), quantization=bits, learning_rate=1e-2))
    record = json.loads((folder / "retrieveall.json").read_text())["training"]
    assert record["quantization"] == bits
    assert record["loss_curve"][-1][1] < record["loss_curve"][0][1]
    assert RetrieveAllModel.from_pretrained(folder).extract("Wangari Maathai alizaliwa Nyeri.") is not None


def test_the_summary_describes_the_training_data(arguments: AdapterTrainingArguments, tmp_path: Path) -> None:
    file = tmp_path / "sw.conll"
    file.write_text("Nyeri\tB-LOC\n\nNgozi\tB-PER\nOkonjo\tI-PRE\n", encoding="utf-8")
    lines = load_training_data(str(file), replace(arguments, max_eval_samples=0)).summary().splitlines()
    assert lines[0] == f"{file}: 2 training sentences with 2 words on average (1 LOC, 1 PER, 1 PRE), 0 validation sentences"
    assert lines[1].startswith(f"A tag that does not fit its neighbours: {file}, line 4, word 'Okonjo'")


def test_several_languages_are_trained_one_after_another(arguments: AdapterTrainingArguments, tmp_path: Path) -> None:
    both = replace(
        arguments,
        language=["sw", "de"],
        dataset=[SW, str(SENTENCES / "de.conll")],
        output_dir=str(tmp_path / "both"),
        num_train_epochs=1,
    )
    assert list(RetrieveAllModel.from_pretrained(train(both)).languages) == ["de", "sw"]
    alone = train(replace(both, language=["sw"], dataset=[SW], output_dir=str(tmp_path / "alone")))
    assert all(torch.equal(tensor, weights(tmp_path / "both" / "sw")[name]) for name, tensor in weights(alone).items())


def test_losses_go_to_a_tracker(arguments: AdapterTrainingArguments, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(replace(arguments, report_to="tensorboard"))
    assert list(Path(f"{arguments.output_dir}.logs").rglob("events.out.tfevents.*"))


def test_vectors_are_encoded_once_and_cached(
    arguments: AdapterTrainingArguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRIEVEALL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(vector_cache, "_MIN_SENTENCES", 1)
    unmeasured = replace(arguments, max_eval_samples=0)
    first = weights(train(unmeasured))
    monkeypatch.setattr(SentenceEncoder, "encode", lambda *_: pytest.fail("the sentences were encoded again"))
    again = weights(train(replace(unmeasured, output_dir=str(tmp_path / "again"))))
    assert all(torch.equal(first[name], tensor) for name, tensor in again.items())


def test_the_vector_cache_keeps_the_most_recently_used_files(
    tiny_adapter: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRIEVEALL_CACHE", str(tmp_path / "cache"))
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"))
    monkeypatch.setattr(vector_cache, "_MIN_SENTENCES", 1)
    examples = load_examples(SW, "train").examples[:40]
    folder = tmp_path / "cache" / "vectors"

    def encode(number: int) -> str:
        """Encodes ten sentences; returns the name of the new cache file, if any."""
        before = set(folder.glob("*"))
        vector_cache.encode_examples(model, examples[number : number + 10])
        return "".join(file.name for file in set(folder.glob("*")) - before)

    names = [encode(number) for number in range(3)]
    size = max(file.stat().st_size for file in folder.iterdir())
    monkeypatch.setattr(vector_cache, "_MAX_CACHE_BYTES", 3 * size + size // 2)
    assert encode(0) == ""  # found in the cache, so most recently used
    names.append(encode(3))
    assert {file.name for file in folder.iterdir()} == {names[0], names[2], names[3]}
    monkeypatch.setattr(vector_cache, "_MAX_CACHE_BYTES", 1)
    names.append(encode(4))
    assert [file.name for file in folder.iterdir()] == [names[4]]


def test_a_batch_that_does_not_fit_into_memory_is_reported_with_advice(
    arguments: AdapterTrainingArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA out of memory.")

    monkeypatch.setattr(Accelerator, "backward", out_of_memory)
    advice = r"Try a lower `max_batch_tokens` \(now 4096\) or gradient_checkpointing=True or quantization='4bit'"
    with pytest.raises(MemoryError, match=advice):
        train(replace(arguments, tags_share=0))
    with pytest.raises(MemoryError, match=r"Try a lower `max_batch_tokens` \(now 4096\) or quantization='4bit'"):
        train(arguments)
    assert not Path(arguments.output_dir).exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train_epochs": -1}, "num_train_epochs is -1, but must be at least 0"),
        ({"max_steps": 0}, "max_steps is 0, but must be at least 1"),
        ({"rank": 257}, "rank is 257, but must be at most 256"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps is 0"),
        ({"examples_share": 2.0}, "examples_share is 2.0, but must be between 0 and 1"),
        ({"tags_share": -0.1}, "tags_share is -0.1, but must be between 0 and 1"),
        ({"empty_share": 1.0}, "empty_share is 1.0, but must be at least 0 and below 1"),
        ({"gradient_checkpointing": True, "tags_share": 0.5}, "Lower `max_batch_tokens` instead, or set tags_share=0"),
        ({"quantization": "2bit"}, "quantization is '2bit', but must be '4bit', '8bit' or 'int8'"),
        ({"early_stopping_patience": 1, "max_eval_samples": 0}, "`early_stopping_patience` needs validation sentences"),
        ({"language": ["sw", "de"]}, "2 languages and 1 datasets"),
        ({"language": ["Swahili!"]}, "is not a language code"),
        ({"language": "sw"}, "language is the string 'sw', but must be a list"),
        ({"dataset": "sw.conll"}, "dataset is the string 'sw.conll', but must be a list"),
        ({"language": []}, "language is empty"),
    ],
)
def test_an_invalid_argument_is_refused_at_once(
    arguments: AdapterTrainingArguments, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((InputError, InputTypeError), match=re.escape(message)):
        replace(arguments, **changes)


@pytest.mark.parametrize("sentences", [1, 2, 3])
def test_very_few_sentences_can_be_trained_on(arguments: AdapterTrainingArguments, tmp_path: Path, sentences: int) -> None:
    file = tmp_path / "few.conll"
    file.write_text("Nairobi\tB-LOC\n\n" * sentences, encoding="utf-8")
    assert LanguageAdapter.load(train(replace(arguments, dataset=[str(file)]))).manifest.entity_types == ["LOC"]


def test_a_hundred_labels_can_be_trained_and_extracted(arguments: AdapterTrainingArguments, tmp_path: Path) -> None:
    file = tmp_path / "labels.conll"
    file.write_text("".join(f"Nairobi\tB-L{n}\n\n" for n in range(100)), encoding="utf-8")
    arguments = replace(arguments, dataset=[str(file)], max_train_samples=None, max_eval_samples=0, num_train_epochs=1)
    folder = train(arguments)
    assert len(LanguageAdapter.load(folder).manifest.entity_types) == 100
    for decoding in ("tags", "generation"):
        assert RetrieveAllModel.from_pretrained(folder, decoding=decoding).extract("Nairobi") is not None


def test_more_labels_than_the_vocabulary_has_tags_for_are_refused(arguments: AdapterTrainingArguments, tmp_path: Path) -> None:
    file = tmp_path / "labels.conll"
    file.write_text("".join(f"Nairobi\tB-L{n}\n\n" for n in range(200)), encoding="utf-8")
    arguments = replace(arguments, dataset=[str(file)], max_train_samples=None, max_eval_samples=0, num_train_epochs=1)
    with pytest.raises(InputError, match=r"200 labels need 401 tokens; the base LLM has 349. Train without tags"):
        train(arguments)
    assert len(LanguageAdapter.load(train(replace(arguments, tags_share=0))).manifest.entity_types) == 200


def test_a_label_that_occurs_only_in_validation_sentences_is_reported(
    arguments: AdapterTrainingArguments, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.conll").write_text("Nairobi\tB-LOC\n\nMombasa\tB-LOC\n", encoding="utf-8")
    (data / "validation.conll").write_text("Kisumu\tB-LOC\n\nSafaricom\tB-ORG\n", encoding="utf-8")
    manifest = LanguageAdapter.load(train(replace(arguments, dataset=[str(data)]))).manifest
    assert "the labels ORG occur in the validation sentences only" in caplog.text
    assert manifest.entity_types == ["LOC"]
    assert manifest.metrics[0]["per_type"]["ORG"]["support"] == 1


def test_the_manifest_records_max_steps_instead_of_epochs(arguments: AdapterTrainingArguments) -> None:
    record = LanguageAdapter.load(train(replace(arguments, max_steps=2, max_eval_samples=0))).manifest.training
    assert (record["steps"], record["max_steps"], "num_train_epochs" in record) == (2, 2, False)


def test_training_starts_from_the_weights_of_the_initial_adapter(
    arguments: AdapterTrainingArguments, tiny_adapter: Callable[[str], Path]
) -> None:
    start = tiny_adapter("mul")
    folder = train(replace(arguments, init_adapter=str(start), num_train_epochs=0))
    assert all(torch.equal(tensor, weights(start)[name]) for name, tensor in weights(folder).items())
    adapter = LanguageAdapter.load(folder)
    assert adapter.manifest.initialised_from == "mul"
    assert set(LanguageAdapter.load(start).training_hashes.tolist()) <= set(adapter.training_hashes.tolist())


@pytest.mark.parametrize(("sentences", "epochs"), [(1, 60), (25, 15), (100, 5), (600, 2), (10_000, 2)])
def test_few_sentences_have_more_epochs(arguments: AdapterTrainingArguments, sentences: int, epochs: int) -> None:
    assert replace(arguments, num_train_epochs=None).epochs_for(sentences) == epochs
    assert replace(arguments, num_train_epochs=3).epochs_for(sentences) == 3


def test_the_default_epochs_depend_on_the_number_of_processes(arguments: AdapterTrainingArguments) -> None:
    assert replace(arguments, num_train_epochs=None).epochs_for(50, processes=4) == 30


def test_unconnected_processes_are_refused(arguments: AdapterTrainingArguments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were launched"):
        train(arguments)


def test_a_run_of_one_step_records_its_loss(arguments: AdapterTrainingArguments) -> None:
    assert LanguageAdapter.load(train(replace(arguments, max_steps=1))).manifest.training["loss"] > 0


def test_an_initial_adapter_of_another_base_model_is_refused(
    arguments: AdapterTrainingArguments, tiny_adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    other = write_tiny_base(tmp_path / "other", "qwen")
    with pytest.raises(AdapterError, match="was trained on"):
        train(replace(arguments, base_model=str(other), init_adapter=str(tiny_adapter("mul"))))


def test_another_architecture_can_be_trained(arguments: AdapterTrainingArguments, tmp_path: Path) -> None:
    folder = train(replace(arguments, base_model=str(write_tiny_base(tmp_path / "qwen", "qwen")), num_train_epochs=1))
    assert RetrieveAllModel.from_pretrained(folder).languages.keys() == {"sw"}


def test_a_dataset_without_entities_is_refused_before_the_base_loads(
    arguments: AdapterTrainingArguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "empty.conll"
    file.write_text("Habari\tO\n", encoding="utf-8")
    monkeypatch.setattr(setup, "load_base", lambda *_, **__: pytest.fail("the base LLM was loaded"))
    with pytest.raises(DatasetError, match="nothing to train on"):
        train(replace(arguments, dataset=[str(file)]))


def test_an_adapter_is_replaced_only_with_overwrite(arguments: AdapterTrainingArguments) -> None:
    train(replace(arguments, num_train_epochs=0))
    with pytest.raises(
        FileExistsError, match=r"already contains an adapter\. Choose another `output_dir`, or set overwrite=True"
    ):
        train(arguments)
    train(replace(arguments, overwrite=True))


def test_a_folder_with_other_files_is_not_replaced(arguments: AdapterTrainingArguments) -> None:
    Path(arguments.output_dir).mkdir()
    (Path(arguments.output_dir) / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="Choose another `output_dir`"):
        train(arguments)
    assert (Path(arguments.output_dir) / "thesis.tex").exists()


def test_collate_pads_labels_with_the_ignored_index() -> None:
    batch = collate([Sample([5, 6, 7], [-100, -100, 7]), Sample([5, 8, 9, 9], [-100, 8, 9, 9])])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 0], [5, 8, 9, 9]]
    assert batch["labels"].tolist() == [[-100, -100, 7, -100], [-100, 8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_two_processes_give_the_same_adapter_as_one(arguments: AdapterTrainingArguments, tmp_path: Path) -> None:
    output = tmp_path / "two"
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "modeling_retrieveall.training.trainer", "--language", "sw",
        "--dataset", SW, "--output-dir", str(output), "--base-model", arguments.base_model, "--init-adapter", "none",
        "--num-train-epochs", "2", "--max-train-samples", "32", "--encoder-layer", "1", "--mixed-precision", "no",
    ]  # fmt: skip
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SENTENCES.parent.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = json.loads((output / "retrieveall.json").read_text())
    assert manifest["training"]["processes"] == 2
    # A step of two processes has one batch of each, like the two accumulated batches of one process.
    one = train(replace(arguments, max_train_samples=32, gradient_accumulation_steps=2))
    assert len(LanguageAdapter.load(output).index.examples) == len(LanguageAdapter.load(one).index.examples) == 32
    untrained = weights(
        train(replace(arguments, max_train_samples=32, num_train_epochs=0, output_dir=str(tmp_path / "untrained")))
    )
    assert _apart(weights(one), weights(output)) < 0.02
    assert min(_apart(weights(one), untrained), _apart(weights(output), untrained)) > 0.5


def _apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The share of weights that differ by more than a quarter of the largest change in one optimizer step."""
    differing = [((tensor - other[name]).abs() > 2.5e-4).flatten() for name, tensor in one.items()]
    return float(torch.cat(differing).float().mean())


@pytest.mark.parametrize("quantization", [pytest.param(None, marks=pytest.mark.slow), "int8"])
@pytest.mark.parametrize(("backend", "layers"), [("aot_eager", 1), pytest.param("inductor", 2, marks=pytest.mark.slow)])
def test_compilation_does_not_change_the_result(
    arguments: AdapterTrainingArguments,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    layers: int,
    quantization: str | None,
) -> None:
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("this backend of torch.compile needs a C++ compiler")
    # "aot_eager" traces the layers and their gradients as the default backend does, but does not compile C++ code for minutes.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    base = str(write_tiny_base(tmp_path / "base", layers=layers))
    arguments = replace(arguments, base_model=base, max_steps=3, early_stopping_patience=1, quantization=quantization)
    limit = torch._dynamo.config.recompile_limit
    plain = weights(train(arguments))
    compiled = weights(train(replace(arguments, output_dir=str(tmp_path / "compiled"), torch_compile=True)))
    if quantization:  # a rounding error of a compiled layer can change the quantised value of the next layer's input
        assert _apart(plain, compiled) < 0.02
    else:
        assert all(torch.allclose(tensor.float(), compiled[name].float(), atol=1e-3) for name, tensor in plain.items())
    assert torch._dynamo.config.recompile_limit == limit
