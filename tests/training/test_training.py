"""Training for real, on a tiny base: one process or two, from nothing or from another adapter, interrupted and resumed."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from modeling_retrieveall import AdapterError, InputError, LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.data.labelled import DatasetError, load_examples
from modeling_retrieveall.model.encoder import SentenceEncoder
from modeling_retrieveall.model.language_adapter import sentence_hash
from modeling_retrieveall.training import trainer, training_data
from modeling_retrieveall.training.arguments import TrainingArguments
from modeling_retrieveall.training.loop import Loop, collate
from modeling_retrieveall.training.prompt_sampling import Sample
from modeling_retrieveall.training.trainer import train
from modeling_retrieveall.training.training_data import draw_lessons
from tests.conftest import SENTENCES, weights, write_tiny_base

SW = str(SENTENCES / "sw.conll")


def test_a_trained_adapter_is_complete_and_serves_at_once(arguments: TrainingArguments) -> None:
    folder = train(arguments)
    expected = ["README.md", "adapter_config.json", "adapter_model.safetensors", "examples.parquet"]
    expected += ["retrieval.safetensors", "retrieveall.json", "training.png"]
    assert sorted(file.name for file in folder.iterdir()) == expected
    assert "](training.png)" in (folder / "README.md").read_text(encoding="utf-8")
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == arguments.base
    adapter = LanguageAdapter.load(folder)
    assert adapter.manifest.entity_types == ["LOC", "ORG", "PER"]
    assert len(adapter.index.examples) == 24
    # Sentences without an entity were added to these; they are no examples.
    assert {sentence_hash(e.key) for e in adapter.index.examples} < set(adapter.training_hashes.tolist())
    assert adapter.manifest.decodings == ["tags", "generation"]
    assert any(tensor.abs().sum() > 0 for name, tensor in weights(folder).items() if "lora_B" in name)
    model = RetrieveAllModel.from_pretrained(folder)
    assert model.languages.keys() == {"sw"}
    assert model.extract("Wangari Maathai alizaliwa Nyeri.").language in model.languages
    assert not Path(f"{arguments.output}.checkpoint").exists()


def test_the_same_seed_gives_the_same_adapter(arguments: TrainingArguments, tmp_path: Path) -> None:
    first = weights(train(arguments))
    second = weights(train(replace(arguments, output=str(tmp_path / "again"))))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_best_epoch_is_kept_and_training_stops_when_none_is_better(
    arguments: TrainingArguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([10.0, 50.0, 40.0, 30.0, 60.0])
    monkeypatch.setattr(trainer._Training, "_validation_f1", lambda self: next(figures))
    folder = train(replace(arguments, epochs=5, patience=2, learning_rate=1e-3))
    record = json.loads((folder / "retrieveall.json").read_text())["training"]
    assert record["f1_curve"] == [[1, 10.0], [2, 50.0], [3, 40.0], [4, 30.0]]
    figures = iter([10.0, 50.0, 0.0, 0.0, 0.0])
    monkeypatch.setattr(Loop, "_is_over", lambda self: self.state.epoch == 2)
    # The schedule depends on the epochs asked for, so the second epoch of five is compared with the second of five.
    second = weights(train(replace(arguments, output=str(tmp_path / "second"), epochs=5, learning_rate=1e-3)))
    assert all(torch.equal(second[name], tensor) for name, tensor in weights(folder).items())


def test_validation_while_training_measures_the_adapter_as_it_will_serve(arguments: TrainingArguments) -> None:
    folder = train(replace(arguments, epochs=1, patience=1))
    manifest = json.loads((folder / "retrieveall.json").read_text())
    assert manifest["training"]["f1_curve"] == [[1, manifest["metrics"][0]["f1"]]]


def test_accumulated_batches_are_one_step_of_the_optimizer(arguments: TrainingArguments) -> None:
    run = replace(arguments, gradient_accumulation=2, tags_share=1, empty_share=0)
    record = json.loads((train(run) / "retrieveall.json").read_text())["training"]
    assert record["loss_curve"][-1][0] == 2 * 2  # 24 sentences an epoch, 16 a step


@pytest.mark.parametrize("accumulated", [1, 2])
def test_what_is_learned_does_not_depend_on_how_much_is_computed_at_once(
    arguments: TrainingArguments, tmp_path: Path, accumulated: int
) -> None:
    run = replace(arguments, gradient_accumulation=accumulated, knowledge_share=1.0)
    whole, parts = train(run), train(replace(run, output=str(tmp_path / "parts"), max_batch_tokens=1))
    assert _apart(weights(whole), weights(parts)) < 0.02
    losses = [LanguageAdapter.load(folder).manifest.training["loss"] for folder in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


def test_the_number_of_steps_can_be_limited(arguments: TrainingArguments) -> None:
    record = json.loads((train(replace(arguments, max_steps=4)) / "retrieveall.json").read_text())["training"]
    assert record["loss_curve"][-1][0] == 4


def test_checkpointed_gradients_are_the_same_gradients(arguments: TrainingArguments, tmp_path: Path) -> None:
    arguments = replace(arguments, tags_share=0)
    plain = weights(train(arguments))
    twice = weights(train(replace(arguments, output=str(tmp_path / "twice"), gradient_checkpointing=True)))
    assert all(torch.allclose(tensor.float(), twice[name].float(), atol=1e-3) for name, tensor in plain.items())


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_a_quantised_base_learns(arguments: TrainingArguments, tmp_path: Path, bits: str) -> None:
    base = write_tiny_base(tmp_path / "base", hidden=64)  # bitsandbytes packs 64 weights at a time
    folder = train(replace(arguments, base=str(base), quantize=bits, learning_rate=1e-2))
    record = json.loads((folder / "retrieveall.json").read_text())["training"]
    assert record["quantize"] == bits
    assert record["loss_curve"][-1][1] < record["loss_curve"][0][1]
    assert RetrieveAllModel.from_pretrained(folder).extract("Wangari Maathai alizaliwa Nyeri.") is not None


def test_what_is_learned_from_is_told(arguments: TrainingArguments, tmp_path: Path) -> None:
    file = tmp_path / "sw.conll"
    file.write_text("Nyeri\tB-LOC\n\nNgozi\tB-PER\nOkonjo\tI-PRE\n", encoding="utf-8")
    told = draw_lessons(str(file), replace(arguments, max_validation_examples=0)).summary().splitlines()
    assert told[0] == f"{file}: 2 sentences to learn from, 2 words each on average (1 LOC, 1 PER, 1 PRE); 0 to measure on"
    assert told[1].startswith(f"A tag that does not fit its neighbours: {file}, line 4, word 'Okonjo'")


def test_several_languages_are_learned_one_after_another(arguments: TrainingArguments, tmp_path: Path) -> None:
    both = replace(
        arguments, language="sw,de", dataset=[SW, str(SENTENCES / "de.conll")], output=str(tmp_path / "both"), epochs=1
    )
    assert list(RetrieveAllModel.from_pretrained(train(both)).languages) == ["de", "sw"]
    alone = train(replace(both, language="sw", dataset=[SW], output=str(tmp_path / "alone")))
    assert all(torch.equal(tensor, weights(tmp_path / "both" / "sw")[name]) for name, tensor in weights(alone).items())


def test_losses_go_to_a_tracker(arguments: TrainingArguments, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(replace(arguments, report_to="tensorboard"))
    assert list(Path(f"{arguments.output}.logs").rglob("events.out.tfevents.*"))


def test_vectors_are_encoded_once(arguments: TrainingArguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVEALL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(training_data, "_WORTH_KEEPING", 1)
    unmeasured = replace(arguments, max_validation_examples=0)
    first = weights(train(unmeasured))
    monkeypatch.setattr(SentenceEncoder, "encode", lambda *_: pytest.fail("the sentences were encoded again"))
    again = weights(train(replace(unmeasured, output=str(tmp_path / "again"))))
    assert all(torch.equal(first[name], tensor) for name, tensor in again.items())


def test_the_cache_of_vectors_keeps_those_used_last(
    tiny_adapter: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRIEVEALL_CACHE", str(tmp_path / "cache"))
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"))
    monkeypatch.setattr(training_data, "_WORTH_KEEPING", 1)
    examples = load_examples(SW, "train").examples[:40]
    folder = tmp_path / "cache" / "vectors"

    def encode(number: int) -> str:
        """Encodes other sentences; the name of the file that they are kept in."""
        before = set(folder.glob("*"))
        training_data.encoded(model, examples[number : number + 10])
        return "".join(file.name for file in set(folder.glob("*")) - before)

    names = [encode(number) for number in range(3)]
    size = max(file.stat().st_size for file in folder.iterdir())
    monkeypatch.setattr(training_data, "_MOST_CACHED_BYTES", 3 * size + size // 2)
    assert encode(0) == ""  # found, so used last
    names.append(encode(3))
    assert {file.name for file in folder.iterdir()} == {names[0], names[2], names[3]}
    monkeypatch.setattr(training_data, "_MOST_CACHED_BYTES", 1)
    names.append(encode(4))
    assert [file.name for file in folder.iterdir()] == [names[4]]


def test_a_batch_that_does_not_fit_into_memory_says_what_to_lower(
    arguments: TrainingArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA out of memory.")

    monkeypatch.setattr(Accelerator, "backward", out_of_memory)
    advice = r"Give a lower --max_batch_tokens \(now 4096\) or --gradient_checkpointing or --quantize 4bit"
    with pytest.raises(MemoryError, match=advice):
        train(replace(arguments, tags_share=0))
    with pytest.raises(MemoryError, match=r"Give a lower --max_batch_tokens \(now 4096\) or --quantize 4bit"):
        train(arguments)
    assert not Path(arguments.output).exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": -1}, "epochs is -1; give at least 0"),
        ({"max_steps": 0}, "max_steps is 0; give at least 1"),
        ({"gradient_accumulation": 0}, "gradient_accumulation is 0"),
        ({"knowledge_share": 2.0}, "knowledge_share is 2.0; give a share"),
        ({"tags_share": -0.1}, "tags_share is -0.1; give a share"),
        ({"empty_share": 1.0}, "empty_share is 1.0; give a share"),
        ({"gradient_checkpointing": True, "tags_share": 0.5}, "Lower max_batch_tokens instead, or set tags_share to 0"),
        ({"quantize": "2bit"}, "quantize is '2bit'; give 4bit or 8bit"),
        ({"patience": 1, "max_validation_examples": 0}, "patience needs validation sentences"),
        ({"language": "sw,de"}, "2 languages and 1 datasets"),
        ({"language": "Swahili!"}, "is no language code"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_at_once(
    arguments: TrainingArguments, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(arguments, **changes)


@pytest.mark.parametrize("sentences", [1, 2, 3])
def test_a_handful_of_sentences_is_enough(arguments: TrainingArguments, tmp_path: Path, sentences: int) -> None:
    file = tmp_path / "few.conll"
    file.write_text("Nairobi\tB-LOC\n\n" * sentences, encoding="utf-8")
    assert LanguageAdapter.load(train(replace(arguments, dataset=[str(file)]))).manifest.entity_types == ["LOC"]


def test_a_hundred_labels_are_learned_and_extracted(arguments: TrainingArguments, tmp_path: Path) -> None:
    file = tmp_path / "labels.conll"
    file.write_text("".join(f"Nairobi\tB-L{n}\n\n" for n in range(100)), encoding="utf-8")
    arguments = replace(arguments, dataset=[str(file)], max_train_examples=None, max_validation_examples=0, epochs=1)
    folder = train(arguments)
    assert len(LanguageAdapter.load(folder).manifest.entity_types) == 100
    for decoding in ("tags", "generation"):
        assert RetrieveAllModel.from_pretrained(folder, decoding=decoding).extract("Nairobi") is not None


def test_more_labels_than_the_vocabulary_has_tags_for_are_refused(arguments: TrainingArguments, tmp_path: Path) -> None:
    file = tmp_path / "labels.conll"
    file.write_text("".join(f"Nairobi\tB-L{n}\n\n" for n in range(200)), encoding="utf-8")
    arguments = replace(arguments, dataset=[str(file)], max_train_examples=None, max_validation_examples=0, epochs=1)
    with pytest.raises(InputError, match=r"200 labels need 401 tokens; the base LLM has 349. Set tags_share=0"):
        train(arguments)
    assert len(LanguageAdapter.load(train(replace(arguments, tags_share=0))).manifest.entity_types) == 200


def test_a_label_that_only_the_validation_sentences_have_is_named(
    arguments: TrainingArguments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.conll").write_text("Nairobi\tB-LOC\n\nMombasa\tB-LOC\n", encoding="utf-8")
    (data / "validation.conll").write_text("Kisumu\tB-LOC\n\nSafaricom\tB-ORG\n", encoding="utf-8")
    manifest = LanguageAdapter.load(train(replace(arguments, dataset=[str(data)]))).manifest
    assert "no training sentence has the labels ORG" in capsys.readouterr().out
    assert manifest.entity_types == ["LOC"]
    assert manifest.metrics[0]["per_type"]["ORG"]["support"] == 1


def test_the_steps_that_were_done_are_recorded(arguments: TrainingArguments) -> None:
    record = LanguageAdapter.load(train(replace(arguments, max_steps=2, max_validation_examples=0))).manifest.training
    assert (record["steps"], record["max_steps"], "epochs" in record) == (2, 2, False)


def test_a_language_starts_from_the_weights_of_another_adapter(
    arguments: TrainingArguments, tiny_adapter: Callable[[str], Path]
) -> None:
    start = tiny_adapter("mul")
    folder = train(replace(arguments, init=str(start), epochs=0))
    assert all(torch.equal(tensor, weights(start)[name]) for name, tensor in weights(folder).items())
    adapter = LanguageAdapter.load(folder)
    assert adapter.manifest.initialised_from == "mul"
    assert set(LanguageAdapter.load(start).training_hashes.tolist()) <= set(adapter.training_hashes.tolist())


@pytest.mark.parametrize(("sentences", "epochs"), [(1, 60), (25, 15), (100, 5), (600, 2), (10_000, 2)])
def test_few_sentences_are_read_more_often(arguments: TrainingArguments, sentences: int, epochs: int) -> None:
    assert replace(arguments, epochs=None).epochs_for(sentences) == epochs
    assert replace(arguments, epochs=3).epochs_for(sentences) == 3


def test_processes_share_the_steps_of_an_epoch(arguments: TrainingArguments) -> None:
    assert replace(arguments, epochs=None).epochs_for(50, processes=4) == 30


def test_processes_that_are_not_connected_do_not_train(arguments: TrainingArguments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were launched"):
        train(arguments)


def test_a_run_of_few_steps_has_their_loss(arguments: TrainingArguments) -> None:
    assert LanguageAdapter.load(train(replace(arguments, max_steps=1))).manifest.training["loss"] > 0


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


def test_an_adapter_is_replaced_only_when_that_is_wanted(arguments: TrainingArguments) -> None:
    train(replace(arguments, epochs=0))
    with pytest.raises(FileExistsError, match=r"holds an adapter already\. Choose another --output, or give --overwrite"):
        train(arguments)
    train(replace(arguments, overwrite=True))


def test_a_folder_of_something_else_is_not_replaced(arguments: TrainingArguments) -> None:
    Path(arguments.output).mkdir()
    (Path(arguments.output) / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="Choose another --output"):
        train(arguments)
    assert (Path(arguments.output) / "thesis.tex").exists()


def test_labels_stand_at_the_answers_alone() -> None:
    batch = collate([Sample([5, 6, 7], [-100, -100, 7]), Sample([5, 8, 9, 9], [-100, 8, 9, 9])])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 0], [5, 8, 9, 9]]
    assert batch["labels"].tolist() == [[-100, -100, 7, -100], [-100, 8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_two_processes_of_accelerate_give_the_adapter_that_one_gives(arguments: TrainingArguments, tmp_path: Path) -> None:
    output = tmp_path / "two"
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "modeling_retrieveall.training.trainer", "--language", "sw",
        "--dataset", SW, "--output", str(output), "--base", arguments.base, "--init", "none", "--epochs", "2",
        "--max_train_examples", "32", "--encoder_layer", "1", "--mixed_precision", "no",
    ]  # fmt: skip
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SENTENCES.parent.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = json.loads((output / "retrieveall.json").read_text())
    assert manifest["training"]["processes"] == 2
    # A step of two processes has one batch of each: the two batches that one process accumulates.
    one = train(replace(arguments, max_train_examples=32, gradient_accumulation=2))
    assert len(LanguageAdapter.load(output).index.examples) == len(LanguageAdapter.load(one).index.examples) == 32
    untrained = weights(train(replace(arguments, max_train_examples=32, epochs=0, output=str(tmp_path / "untrained"))))
    assert _apart(weights(one), weights(output)) < 0.02
    assert min(_apart(weights(one), untrained), _apart(weights(output), untrained)) > 0.5


def _apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The share of weights that differ by more than a quarter of what one step of the optimizer can move."""
    differing = [((tensor - other[name]).abs() > 2.5e-4).flatten() for name, tensor in one.items()]
    return float(torch.cat(differing).float().mean())


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_layers_learn_the_same(arguments: TrainingArguments, tmp_path: Path) -> None:
    arguments = replace(arguments, max_steps=3, patience=1)
    plain = weights(train(arguments))
    compiled = weights(train(replace(arguments, output=str(tmp_path / "compiled"), torch_compile=True)))
    assert all(torch.allclose(tensor.float(), compiled[name].float(), atol=1e-3) for name, tensor in plain.items())
