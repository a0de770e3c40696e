"""``retrieveall calibrate`` on a tiny base LLM."""

import json
from pathlib import Path

from modeling_retrieveall import LanguageAdapter
from tests.cli.conftest import Run
from tests.conftest import SENTENCES


def test_the_calibrated_adapter_is_written(run: Run, model: Path, tmp_path: Path) -> None:
    data = SENTENCES / "de.conll"
    code, output, _ = run("calibrate", data, "--language", "de", "--model", model, "--output", tmp_path / "mine")
    assert code == 0
    assert "Their expected calibration error was" in output
    assert LanguageAdapter.load(tmp_path / "mine").manifest.score_calibration
    assert not LanguageAdapter.load(model).manifest.score_calibration
    code, _, error = run("calibrate", data, "--language", "de", "--model", model, "--output", tmp_path / "mine")
    assert code != 0
    assert "exists already" in error


def test_near_misses_are_printed_as_json(run: Run, model: Path) -> None:
    _, output, _ = run("extract", "Bonn", "--model", model, "--json", "--threshold", "1", "--near-misses", "0")
    assert json.loads(output)["near_misses"]
    code, _, error = run("extract", "Bonn", "--model", model, "--near-misses", "0.1")
    assert code == 2
    assert "--near-misses needs --json" in error
