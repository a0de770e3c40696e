"""The configuration files in examples/accelerate are ones that Accelerate reads; those that need no GPUs are launched."""

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
from modeling_retrieveall.training.arguments import TrainingArguments
from modeling_retrieveall.training.fsdp import check_launch, check_split
from modeling_retrieveall.training.trainer import train
from tests.conftest import ROOT, SENTENCES

CONFIGS = sorted((ROOT / "examples" / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_accelerate_reads_it(file: Path) -> None:
    config = load_config_from_file(str(file))
    assert config.num_processes >= 2
    assert f"--config_file examples/accelerate/{file.name}" in file.read_text(encoding="utf-8")


TRAINER = "modeling_retrieveall.training.trainer"


def learn(base: Path, *arguments: str, config: str | None = "cpu", module: str = TRAINER, **environment: str) -> str:
    """Trains in a process of its own, launched by a configuration if one is named; what it printed."""
    file = f"examples/accelerate/{config}.yaml"
    launch = ["accelerate.commands.launch", "--config_file", file, "--num_processes", "2", "--mixed_precision", "no", "-m"]
    command = [
        sys.executable, "-m", *(launch if config else ()), module, "--base", str(base), "--init", "none", "--epochs", "1",
        "--max_train_examples", "16", "--max_validation_examples", "0", "--encoder_layer", "1", "--mixed_precision", "no",
        *arguments,
    ]  # fmt: skip
    environment = {"OMP_NUM_THREADS": "1", **(environment or {"ACCELERATE_USE_CPU": "true"})}
    done = subprocess.run(command, env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def data(*languages: str) -> list[str]:
    return ["--language", ",".join(languages), "--dataset", *(str(SENTENCES / f"{language}.conll") for language in languages)]


def test_the_one_for_cpus_trains_one_language_after_another_with_two_processes(tiny_base: Path, tmp_path: Path) -> None:
    learn(tiny_base, *data("sw", "de"), "--output", str(tmp_path / "all"))
    assert [read_manifest(tmp_path / "all" / language).training["processes"] for language in ("sw", "de")] == [2, 2]


def test_languages_are_shared_out_among_two_processes(tiny_base: Path, tmp_path: Path) -> None:
    learn(tiny_base, "--shard_languages", *data("sw", "de"), "--output", str(tmp_path / "all"))
    shared = [read_manifest(tmp_path / "all" / language).training for language in ("sw", "de")]
    assert [run["processes"] for run in shared] == [1, 1]
    # Each is learned as it would be alone.
    learn(tiny_base, *data("de"), "--output", str(tmp_path / "de"), config=None)
    assert apart(tmp_path / "de", tmp_path / "all" / "de") == 0


def apart(one: Path, other: Path) -> float:
    """The largest difference between the weights of two adapters."""
    weights, others = load_file(one / LORA_WEIGHTS), load_file(other / LORA_WEIGHTS)
    assert weights.keys() == others.keys()
    return max(float((weights[name].float() - others[name].float()).abs().max()) for name in weights)


@pytest.fixture(scope="module")
def tied_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose output layer is its embeddings, as the embedded LLM's is; FSDP must keep the two together."""
    folder = Path(shutil.copytree(tiny_base, tmp_path_factory.mktemp("tied") / "base"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    return folder


@pytest.mark.parametrize("config", ["fsdp", "deepspeed"])
def test_those_that_split_train_the_same_adapter(config: str, tied_base: Path, tmp_path: Path) -> None:
    if config == "deepspeed":
        pytest.importorskip("deepspeed", reason="pip install setuptools wheel && pip install --no-build-isolation deepspeed")
    settings = [*data("sw"), "--epochs", "6", "--gradient_accumulation", "2", "--batch_size", "2"]
    settings += ["--max_gradient_norm", "0.01", "--learning_rate", "0.01"]  # low and high enough to tell who clips
    split = {"config": config, "module": "tests.sharded_on_cpu", "ACCELERATE_TORCH_DEVICE": "cpu", "DS_ACCELERATOR": "cpu"}
    told = learn(tied_base, *settings, "--output", str(tmp_path / "split"), **split)
    assert ("F1 is not measured where FSDP splits the base" in told) == (config == "fsdp")
    learn(tied_base, *settings, "--output", str(tmp_path / "whole"))
    of_split, of_whole = (read_manifest(tmp_path / name).training for name in ("split", "whole"))
    assert (of_split["processes"], of_split["steps"]) == (2, of_whole["steps"])
    assert of_split["loss"] == pytest.approx(of_whole["loss"], abs=1e-3)
    # They are written in bfloat16, whose steps are 5e-4 here; where gradients are clipped otherwise they are 0.05 apart.
    assert apart(tmp_path / "split", tmp_path / "whole") < 1e-3


@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_languages_are_not_shared_out_where_models_are_split(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "true")
    files = [str(SENTENCES / f"{language}.conll") for language in ("sw", "de")]
    run = TrainingArguments(language="sw,de", dataset=files, output="runs", shard_languages=True)
    with pytest.raises(ValueError, match="splits one model over all processes"):
        train(run)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"patience": 2}, "neither measured nor saved before its end. Leave out --patience"),
        ({"checkpoint_steps": 5}, "Leave out --checkpoint_steps"),
        ({"quantize": "4bit"}, "FSDP cannot split weights of 4bit. Leave out --quantize"),
    ],
)
def test_what_fsdp_cannot_do_is_refused_at_once(asked: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = TrainingArguments(language="sw", dataset=[str(SENTENCES / "sw.conll")], output="runs/sw", **asked)
    check_split(run)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match=told):
        train(run)


ZERO_3 = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=3))


@pytest.mark.parametrize(
    ("launched", "told"),
    [
        ({"distributed_type": DistributedType.MULTI_CPU}, "Accelerate splits models on GPUs alone"),
        ({"distributed_type": DistributedType.FSDP, "is_fsdp2": False}, "Give fsdp_version: 2"),
        ({"distributed_type": DistributedType.DEEPSPEED, "state": ZERO_3}, "ZeRO 3 splits the base"),
    ],
)
def test_launches_that_no_lora_can_be_gathered_from_are_refused(
    launched: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_deepspeed = launched["distributed_type"] is DistributedType.DEEPSPEED
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED" if is_deepspeed else "ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match=told):
        check_launch(cast(Accelerator, SimpleNamespace(**launched)))


def test_one_language_is_not_shared_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to shard: --language is sw alone"):
        TrainingArguments(language="sw", dataset=["sw.conll"], output=str(tmp_path), shard_languages=True)
