"""The configuration files in examples/accelerate are ones that Accelerate reads; the one for CPUs is launched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from modeling_retrieveall.manifest import read_manifest
from tests.conftest import ROOT, SENTENCES

CONFIGS = sorted((ROOT / "examples" / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_accelerate_reads_it(file: Path) -> None:
    config = load_config_from_file(str(file))
    assert config.num_processes >= 2
    assert f"--config_file examples/accelerate/{file.name}" in file.read_text(encoding="utf-8")


def test_the_one_for_cpus_trains_with_two_processes(tiny_base: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file", "examples/accelerate/cpu.yaml",
        "-m", "modeling_retrieveall.training.trainer", "--language", "sw", "--dataset", str(SENTENCES / "sw.conll"),
        "--output", str(tmp_path / "sw"), "--base", str(tiny_base), "--init", "none", "--epochs", "1",
        "--max_train_examples", "16", "--max_validation_examples", "0", "--encoder_layer", "1", "--mixed_precision", "no",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_manifest(tmp_path / "sw").training["processes"] == 2
