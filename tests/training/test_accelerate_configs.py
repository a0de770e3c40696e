"""The configuration files in examples/accelerate: Accelerate can read them, and those that need no GPUs are launched."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from accelerate import Accelerator
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from modeling_retrieveall.model.lora_files import LORA_WEIGHTS
from modeling_retrieveall.model.manifest import read_manifest
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.fsdp import check_accelerator, check_arguments
from modeling_retrieveall.training.trainer import train
from tests.conftest import ROOT, SENTENCES

CONFIGS = sorted((ROOT / "examples" / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_accelerate_can_read_the_configuration(file: Path) -> None:
    config = load_config_from_file(str(file))
    assert config.num_processes >= 2
    assert f"--config_file examples/accelerate/{file.name}" in file.read_text(encoding="utf-8")


TRAINER = "modeling_retrieveall.training.trainer"


def launch(base: Path, *arguments: str, config: str | None = "cpu", module: str = TRAINER, **environment: str) -> str:
    """Trains in a new process, launched with a configuration if one is named; returns the output of the process."""
    file = f"examples/accelerate/{config}.yaml"
    launcher = ["accelerate.commands.launch", "--config_file", file, "--num_processes", "2", "--mixed_precision", "no", "-m"]
    command = [
        sys.executable, "-m", *(launcher if config else ()), module, "--base_model", str(base), "--init_adapter", "none",
        "--num_train_epochs", "1", "--max_train_samples", "16", "--max_eval_samples", "0", "--encoder_layer", "1",
        "--mixed_precision", "no",
        *arguments,
    ]  # fmt: skip
    environment = {"OMP_NUM_THREADS": "1", **(environment or {"ACCELERATE_USE_CPU": "true"})}
    done = subprocess.run(command, env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def data(*languages: str) -> list[str]:
    return ["--language", *languages, "--dataset", *(str(SENTENCES / f"{language}.conll") for language in languages)]


def test_two_processes_on_the_cpu_train_one_language_after_another(tiny_base: Path, tmp_path: Path) -> None:
    launch(tiny_base, *data("sw", "de"), "--output-dir", str(tmp_path / "all"))
    assert [read_manifest(tmp_path / "all" / language).training["processes"] for language in ("sw", "de")] == [2, 2]


def test_languages_are_distributed_over_two_processes(tiny_base: Path, tmp_path: Path) -> None:
    launch(tiny_base, "--shard_languages", *data("sw", "de"), "--output-dir", str(tmp_path / "all"))
    shared = [read_manifest(tmp_path / "all" / language).training for language in ("sw", "de")]
    assert [run["processes"] for run in shared] == [1, 1]
    # Each result is the same as without the other language.
    launch(tiny_base, *data("de"), "--output-dir", str(tmp_path / "de"), config=None)
    assert apart(tmp_path / "de", tmp_path / "all" / "de") == 0


def apart(one: Path, other: Path) -> float:
    """The largest difference between the weights of two adapters."""
    weights, others = load_file(one / LORA_WEIGHTS), load_file(other / LORA_WEIGHTS)
    assert weights.keys() == others.keys()
    return max(float((weights[name].float() - others[name].float()).abs().max()) for name in weights)


@pytest.fixture(scope="module")
def tied_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base LLM with tied input and output embeddings, like the embedded LLM; FSDP must keep them together."""
    folder = Path(shutil.copytree(tiny_base, tmp_path_factory.mktemp("tied") / "base"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    return folder


@pytest.mark.parametrize("config", ["fsdp", "deepspeed"])
def test_fsdp_and_deepspeed_train_the_same_adapter(config: str, tied_base: Path, tmp_path: Path) -> None:
    if config == "deepspeed":
        pytest.importorskip("deepspeed", reason="pip install setuptools wheel && pip install --no-build-isolation deepspeed")
    settings = [*data("sw"), "--num_train_epochs", "6", "--gradient_accumulation_steps", "2", "--batch_size", "2"]
    settings += ["--max_grad_norm", "0.01", "--learning_rate", "0.01"]  # so that clipping matters, and differences show
    split = {"config": config, "module": "tests.sharded_on_cpu", "ACCELERATE_TORCH_DEVICE": "cpu", "DS_ACCELERATOR": "cpu"}
    output = launch(tied_base, *settings, "--output-dir", str(tmp_path / "split"), **split)
    assert ("F1 is not measured with FSDP" in output) == (config == "fsdp")
    launch(tied_base, *settings, "--output-dir", str(tmp_path / "whole"))
    split_run, whole_run = (read_manifest(tmp_path / name).training for name in ("split", "whole"))
    assert (split_run["processes"], split_run["steps"]) == (2, whole_run["steps"])
    assert split_run["loss"] == pytest.approx(whole_run["loss"], abs=1e-3)
    # bfloat16 has steps of 5e-4 here; with other clipping the weights differ by 0.05.
    assert apart(tmp_path / "split", tmp_path / "whole") < 1e-3


@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_languages_are_not_distributed_where_models_are_split(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "true")
    files = [str(SENTENCES / f"{language}.conll") for language in ("sw", "de")]
    run = AdapterTrainingArguments(language=["sw", "de"], dataset=files, output_dir="runs", shard_languages=True)
    with pytest.raises(ValueError, match="splits one model over all processes"):
        train(run)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"early_stopping_patience": 2}, "early_stopping_patience is not supported with FSDP"),
        ({"save_steps": 5}, "save_steps is not supported with FSDP"),
        ({"quantization": "4bit"}, "FSDP cannot split 4bit weights. Train without quantization"),
    ],
)
def test_arguments_that_fsdp_does_not_support_are_refused(
    given: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = AdapterTrainingArguments(language=["sw"], dataset=[str(SENTENCES / "sw.conll")], output_dir="runs/sw", **given)
    check_arguments(run)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match=message):
        train(run)


ZERO_3 = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=3))


@pytest.mark.parametrize(
    ("launched", "message"),
    [
        ({"distributed_type": DistributedType.MULTI_CPU}, "Accelerate supports FSDP on GPUs only"),
        ({"distributed_type": DistributedType.FSDP, "is_fsdp2": False}, "Set fsdp_version: 2"),
        ({"distributed_type": DistributedType.DEEPSPEED, "state": ZERO_3}, "ZeRO 3 is not supported"),
    ],
)
def test_unsupported_launches_are_refused(launched: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    is_deepspeed = launched["distributed_type"] is DistributedType.DEEPSPEED
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED" if is_deepspeed else "ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match=message):
        check_accelerator(cast(Accelerator, SimpleNamespace(**launched)))


def test_one_language_is_not_distributed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`shard_languages` needs several languages, but sw is the only one"):
        AdapterTrainingArguments(language=["sw"], dataset=["sw.conll"], output_dir=str(tmp_path), shard_languages=True)
