"""Errors, interrupts and the encoding of the output."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.data.text_files import use_utf8_output
from tests.cli.conftest import TEXT, Run


def test_debug_adds_the_traceback_of_an_error(run: Run, tmp_path: Path) -> None:
    job = "annotate", tmp_path / "none.txt", tmp_path / "out.jsonl"
    code, _, errors = run(*job)
    assert code == 2 and "There is no file" in errors and "Traceback" not in errors
    code, _, errors = run("--debug", *job)
    assert code == 2 and "There is no file" in errors and "Traceback" in errors


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["extract", "--model", "{base}", TEXT], "give it as --base."),
        (["extract", "--model", "{model}", "--dtype", "int3", TEXT], "--dtype is 'int3'; give auto"),
        (["extract", "--model", "{model}", "--threshold", "7", TEXT], "--threshold is 7.0; give a probability"),
        (["annotate", "{tmp}/in.csv", "{tmp}/in.jsonl"], "has no column 'text'. Its columns are: 'a', 'b'. Set --column to one"),
        (["annotate", "{tmp}/in.csv", "{tmp}/there.jsonl", "--column", "a"], "already exists. Set --overwrite to replace it"),
        (["annotate", "{tmp}/in.csv", "{tmp}/in.jsonl", "--order", "best"], "--order is 'best'; give source or uncertain."),
        (["convert", "{tmp}/in.conll", "{tmp}/out.jsonl"], "does not decide the format. Set --to to one of spacy"),
        (["convert", "{tmp}/in.conll", "{tmp}/out.jsonl", "--to", "doccano"], "Set --tags-column to 2"),
        (["export", "vllm", "{tmp}", "--model", "{model}"], "set --overwrite to replace an earlier export"),
        (["push", "{model}", "ann/x", "--create-pr", "--collection", "ann/y"], "--collection and --create-pr cannot be combined"),
    ],
)
def test_errors_name_the_options_of_the_command(
    run: Run, model: Path, tiny_base: Path, tmp_path: Path, command: list[str], message: str
) -> None:
    (tmp_path / "in.csv").write_text("a,b\nBonn,Graz\n", encoding="utf-8")
    (tmp_path / "there.jsonl").touch()
    (tmp_path / "in.conll").write_text("Bonn B-LOC B-LOC\nruft O B-PER\n", encoding="utf-8")
    code, _, errors = run(*[word.format(model=model, base=tiny_base, tmp=tmp_path) for word in command])
    assert code == 2 and message in errors.replace("\n", " ")


def test_ctrl_c_prints_one_line_and_exits_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(RetrieveAllModel, "from_pretrained", interrupted)
    code, _, errors = run("extract", TEXT)
    assert (code, errors) == (130, "Interrupted.\n")


RUSSIAN = "Шопен родился в Польше."


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["extract", "--model", "MODEL", "--conll", RUSSIAN], "родился\t"),
        (["extract", "--model", "MODEL", RUSSIAN], RUSSIAN),
        (["extract", "--model", "MODEL", "--explain", RUSSIAN], RUSSIAN),
        (["extract", "--help"], "Шопен"),
        (["annotate", "Тексты.txt", "out.jsonl"], "There is no file Тексты.txt"),
    ],
)
def test_redirected_output_is_utf_8_for_any_system_encoding(model: Path, command: list[str], shown: str) -> None:
    arguments = [str(model) if part == "MODEL" else part for part in command]
    done = subprocess.run(
        [sys.executable, "-m", "modeling_retrieveall.cli.app", *arguments],
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
        capture_output=True,
    )
    assert done.returncode == (2 if command[0] == "annotate" else 0), done.stderr.decode()
    assert shown in (done.stderr if command[0] == "annotate" else done.stdout).decode("utf-8")


def test_a_terminal_keeps_its_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    streams = [io.TextIOWrapper(buffer, encoding="cp1252") for buffer in (Terminal(), io.BytesIO())]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    use_utf8_output()
    for stream in streams:
        stream.write("ä Ш \ud800")
        stream.flush()
    assert [stream.buffer.getvalue() for stream in streams] == [b"\xe4 \\u0428 \\ud800", "ä Ш \\ud800".encode()]  # type: ignore[attr-defined]
