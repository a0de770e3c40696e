"""``retrieveall evaluate`` on a tiny base LLM."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.conftest import SENTENCES


def test_evaluate_writes_its_report(run: Run, model: Path, tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"
    dataset = SENTENCES / "de.conll"
    code, output, _ = run("evaluate", "--model", model, "--dataset", dataset, "--language", "de", "--json", report_file)
    report = json.loads(report_file.read_text())
    assert code == 0
    assert {"f1", "precision", "recall", "per_type", "n_test", "n_dropped", "sentences_per_second"} <= set(report)
    dropped = report["n_dropped"]
    assert dropped >= 20  # those that the adapter was trained on, and those without an entity that were added
    assert f"{dropped} of the training data left out" in output
    kept = tmp_path / "kept.json"
    run("evaluate", "--model", model, "--dataset", dataset, "--language", "de", "--keep-duplicates", "--json", kept)
    assert json.loads(kept.read_text())["n_test"] == report["n_test"] + dropped


@pytest.mark.parametrize(("language", "has_adapter"), [("de", True), ("fr", False)])
def test_evaluate_suggests_oracle_routing_if_there_is_an_adapter_of_the_language(
    run: Run, model: Path, tiny_adapter: Any, language: str, has_adapter: bool
) -> None:
    russian = "--add", tiny_adapter("ru"), "--dataset", SENTENCES / "ru.conll", "--limit", "8"
    _, output, _ = run("evaluate", "--model", model, *russian, "--language", language)
    hint = "to decode all of them with the adapter of de." if has_adapter else "The model has no adapter for fr."
    assert hint in " ".join(output.split())
