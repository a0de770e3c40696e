"""``retrieveall annotate`` on a tiny base LLM."""

from pathlib import Path
from typing import Any

import pytest

from modeling_retrieveall import RetrieveAllModel
from tests.cli.conftest import TEXT, Run


def test_annotate_reports_records_without_text(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "Bonn"}\n{"text": null, "language": "de"}\n', encoding="utf-8")
    command = "annotate", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--model", model
    code, _, errors = run(*command)
    assert code == 2 and "Set --prefix, for example to 'retrieveall_'." in " ".join(errors.split())
    code, output, _ = run(*command, "--prefix", "retrieveall_")
    assert code == 0 and output.startswith("2 records in ") and "1 of them without text" in " ".join(output.split())


def test_an_interrupted_annotation_can_be_resumed(run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    (tmp_path / "texts.txt").write_text(TEXT, encoding="utf-8")
    job = "annotate", tmp_path / "texts.txt", tmp_path / "out.jsonl", "--model", model
    with monkeypatch.context() as patch:
        patch.setattr(RetrieveAllModel, "extract", interrupted)
        code, _, errors = run(*job)
    assert code == 130 and errors.startswith("Interrupted. The finished part is kept")
    assert run(*job)[0] == 0
