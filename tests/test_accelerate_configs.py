"""The configuration files in examples/accelerate are ones that Accelerate reads; the one for CPUs is launched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file

from modeling_retrieveall.lora_files import LORA_WEIGHTS
from modeling_retrieveall.manifest import read_manifest
from modeling_retrieveall.training.arguments import TrainingArguments
from modeling_retrieveall.training.sharding import shard
from tests.conftest import ROOT, SENTENCES

CONFIGS = sorted((ROOT / "examples" / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_accelerate_reads_it(file: Path) -> None:
    config = load_config_from_file(str(file))
    assert config.num_processes >= 2
    assert f"--config_file examples/accelerate/{file.name}" in file.read_text(encoding="utf-8")


LAUNCH = ("accelerate.commands.launch", "--config_file", "examples/accelerate/cpu.yaml", "-m")


def learn(tiny_base: Path, *arguments: str, launched: bool = True) -> None:
    command = [
        sys.executable, "-m", *(LAUNCH if launched else ()),
        "modeling_retrieveall.training.trainer", "--base", str(tiny_base), "--init", "none", "--epochs", "1",
        "--max_train_examples", "16", "--max_validation_examples", "0", "--encoder_layer", "1", "--mixed_precision", "no",
        *arguments,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_one_for_cpus_trains_with_two_processes(tiny_base: Path, tmp_path: Path) -> None:
    learn(tiny_base, "--language", "sw", "--dataset", str(SENTENCES / "sw.conll"), "--output", str(tmp_path / "sw"))
    assert read_manifest(tmp_path / "sw").training["processes"] == 2


def test_languages_are_shared_out_among_two_processes(tiny_base: Path, tmp_path: Path) -> None:
    files = [str(SENTENCES / f"{language}.conll") for language in ("sw", "de")]
    learn(tiny_base, "--shard_languages", "--language", "sw,de", "--dataset", *files, "--output", str(tmp_path / "all"))
    shared = [read_manifest(tmp_path / "all" / language).training for language in ("sw", "de")]
    assert [run["processes"] for run in shared] == [1, 1]
    # Each is learned as it would be alone.
    learn(tiny_base, "--language", "de", "--dataset", files[1], "--output", str(tmp_path / "de"), launched=False)
    alone, sharded = (load_file(folder / LORA_WEIGHTS) for folder in (tmp_path / "de", tmp_path / "all" / "de"))
    assert all(torch.equal(sharded[name], weights) for name, weights in alone.items())


@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_languages_are_not_shared_out_where_models_are_split(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "true")
    with pytest.raises(ValueError, match="splits one model over all processes"):
        shard([])


def test_one_language_is_not_shared_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to shard: --language is sw alone"):
        TrainingArguments(language="sw", dataset=["sw.conll"], output=str(tmp_path), shard_languages=True)
