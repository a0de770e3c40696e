"""The command line as a user meets it, on a tiny base."""

import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.logging import is_progress_bar_enabled
from typer.testing import CliRunner

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.cli import doctor
from modeling_retrieveall.cli.app import app
from modeling_retrieveall.data.text_files import write_utf8
from tests.conftest import SENTENCES

TEXT = "Angela Merkel besuchte Nairobi."


@pytest.fixture
def run() -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: object, stdin: str | bytes | None = None) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return call


@pytest.fixture
def model(tiny_adapter: Callable[[str], Path]) -> Path:
    return tiny_adapter("de")


def test_json_has_one_object_a_text(run: Callable[..., tuple[int, str, str]], model: Path) -> None:
    code, output, _ = run("extract", "--model", model, "--json", TEXT, "")
    rows = [json.loads(line) for line in output.splitlines()]
    assert code == 0
    assert [row["text"] for row in rows] == [TEXT, ""]
    assert set(rows[0]) == {"text", "language", "known", "entities"}
    assert rows[0]["language"] == "de"
    assert (rows[1]["language"], rows[1]["known"], rows[1]["entities"]) == ("und", False, [])
    for entity in rows[0]["entities"]:
        assert set(entity) == {"text", "label", "start", "end", "score"}
        assert TEXT[entity["start"] : entity["end"]] == entity["text"]


def test_texts_come_from_a_file_or_from_standard_input(
    run: Callable[..., tuple[int, str, str]], model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes("Bonn\r\nÄgypten\x0bund\n\n".encode())
    expected = ["Bonn", "Ägypten\x0bund", ""]
    from_file = run("extract", "--model", model, "--json", "--file", file)[1]
    from_stdin = run("extract", "--model", model, "--json", stdin=file.read_bytes())[1]
    assert [json.loads(line)["text"] for line in from_file.splitlines()] == expected
    assert from_stdin == from_file


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_is_read_by_its_byte_order_mark(
    run: Callable[..., tuple[int, str, str]], model: Path, tmp_path: Path, encoding: str
) -> None:
    file, text = tmp_path / "texts.txt", "Bonn ruft.\r\nКиев тоже.\r\n"
    file.write_bytes(text.encode(encoding))
    for source in ({"stdin": file.read_bytes()}, {}):
        given = [] if source else ["--file", file]
        output = run("extract", "--model", model, "--json", *given, **source)[1]
        assert [json.loads(line)["text"] for line in output.splitlines()] == ["Bonn ruft.", "Киев тоже."]
    output = run("extract", "--model", model, "--json", "--document", "--file", file)[1]
    assert json.loads(output)["text"] == text


def test_another_encoding_is_refused_before_the_model_is_loaded(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes(b"Bonn\n" * 999 + "Köln ruft.\n".encode("cp1252"))
    for command in (["extract", "--file", file], ["annotate", file, tmp_path / "out.jsonl"]):
        code, output, errors = run(*command, "--model", tmp_path / "nothing")
        assert (code, output) == (2, "")
        assert "texts.txt, line 1000: byte 0xf6 is not UTF-8. Save the file as UTF-8." in " ".join(errors.split())
    code, output, errors = run("extract", "--model", tmp_path / "nothing", stdin=b"\xf6\n")
    assert (code, output) == (2, "") and "standard input, line 1: byte 0xf6 is not UTF-8" in errors


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
def test_redirected_output_is_utf_8_whatever_the_system_has(model: Path, command: list[str], shown: str) -> None:
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
    write_utf8()
    for stream in streams:
        stream.write("ä Ш \ud800")
        stream.flush()
    assert [stream.buffer.getvalue() for stream in streams] == [b"\xe4 \\u0428 \\ud800", "ä Ш \\ud800".encode()]  # type: ignore[attr-defined]


def test_annotate_says_what_it_has_passed_through(run: Callable[..., tuple[int, str, str]], model: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "Bonn"}\n{"text": null, "language": "de"}\n', encoding="utf-8")
    command = "annotate", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--model", model
    code, _, errors = run(*command)
    assert code == 2 and "Give the new ones a prefix, as in --prefix retrieveall_." in " ".join(errors.split())
    code, output, _ = run(*command, "--prefix", "retrieveall_")
    assert code == 0 and output.startswith("2 records in ") and "1 of them without text" in " ".join(output.split())


def test_conll_has_a_word_and_a_tag_a_line(run: Callable[..., tuple[int, str, str]], model: Path) -> None:
    _, output, _ = run("extract", "--model", model, "--conll", TEXT)
    lines = output.splitlines()
    assert [line.split("\t")[0] for line in lines[:-1]] == ["Angela", "Merkel", "besuchte", "Nairobi", "."]
    assert lines[-1] == ""


def test_explain_as_json_has_languages_examples_and_prompt_of_each_sentence(
    run: Callable[..., tuple[int, str, str]], model: Path
) -> None:
    code, output, _ = run("extract", "--model", model, "--explain", "--json", f"{TEXT} Graz liegt an der Mur.")
    result = json.loads(output)
    assert code == 0
    assert [result["text"][s["start"] : s["end"]] for s in result["sentences"]] == [TEXT, "Graz liegt an der Mur."]
    for sentence in result["sentences"]:
        assert sentence["posterior"] == {"de": 1.0} and sentence["adapters"] == {"de": 1.0}
        assert sentence["prompt"].endswith(f"Tags: {result['text'][sentence['start'] : sentence['end']]}")
    assert all(entity.keys() >= {"text", "label", "start", "end", "score", "support"} for entity in result["entities"])


def test_a_file_may_be_one_text(run: Callable[..., tuple[int, str, str]], model: Path, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text(f"{TEXT}\n\nGraz liegt\nan der Mur.\n", encoding="utf-8")
    _, output, _ = run("extract", "--model", model, "--json", "--document", "--file", file)
    (row,) = [json.loads(line) for line in output.splitlines()]
    assert row["text"] == file.read_text(encoding="utf-8")


def test_a_prior_rules_languages_out(run: Callable[..., tuple[int, str, str]], model: Path, tiny_adapter: Any) -> None:
    _, output, _ = run("extract", "--model", model, "--add", tiny_adapter("en"), "--prior", "en", "--json", TEXT)
    assert json.loads(output)["language"] == "en"


def test_explain_shows_route_and_prompt(run: Callable[..., tuple[int, str, str]], model: Path) -> None:
    _, output, _ = run("extract", "--model", model, "--explain", TEXT)
    assert "language de" in output
    assert f"Tags: {TEXT}" in output


def test_the_table_shows_text_and_language(run: Callable[..., tuple[int, str, str]], model: Path) -> None:
    _, output, _ = run("extract", "--model", model, "Bonn [/] [bold]")
    assert "Bonn [/] [bold]" in output
    assert "de" in output


def test_a_further_adapter_is_added(
    run: Callable[..., tuple[int, str, str]], model: Path, tiny_adapter: Callable[[str], Path]
) -> None:
    _, output, _ = run("extract", "--model", model, "--add", tiny_adapter("en"), "--language", "en", "--json", TEXT)
    assert json.loads(output)["language"] == "en"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--language", "xx", TEXT], "There are: de"),
        (["--json", "--conll", TEXT], "--conll excludes --json and --explain"),
        (["--conll", "--explain", TEXT], "--conll excludes --json and --explain"),
        (["--prior", "de=much", TEXT], "--prior is 'de=much'; give languages with weights"),
        (["--prior", "xx", TEXT], "Nothing is routed to 'xx'. There are: de."),
        (["--file", "no-such-file.txt"], "There is no file"),
        (["--add", "no-such-folder", TEXT], "is not a language adapter"),
        (["--dtype", "int3", TEXT], "give auto, float32"),
    ],
)
def test_an_error_is_one_message_and_exit_code_2(
    run: Callable[..., tuple[int, str, str]], model: Path, arguments: list[str], message: str
) -> None:
    code, output, errors = run("extract", "--model", model, *arguments)
    assert code == 2
    assert output == ""
    assert message in errors
    assert "Traceback" not in errors


def test_a_model_that_is_not_there_is_an_error(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, _, errors = run("extract", "--model", tmp_path / "nothing", TEXT)
    assert code == 2
    assert "There is no model" in errors


def test_evaluate_writes_its_report(run: Callable[..., tuple[int, str, str]], model: Path, tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"
    dataset = SENTENCES / "de.conll"
    code, output, _ = run("evaluate", "--model", model, "--dataset", dataset, "--language", "de", "--json", report_file)
    report = json.loads(report_file.read_text())
    assert code == 0
    assert {"f1", "precision", "recall", "per_type", "n_test", "n_dropped", "sentences_per_second"} <= set(report)
    dropped = report["n_dropped"]
    assert dropped >= 20  # those that the adapter was trained on, and those without an entity that were added
    assert f"{dropped} known ones dropped" in output
    kept = tmp_path / "kept.json"
    run("evaluate", "--model", model, "--dataset", dataset, "--language", "de", "--keep-duplicates", "--json", kept)
    assert json.loads(kept.read_text())["n_test"] == report["n_test"] + dropped


@pytest.mark.parametrize(("language", "hinted"), [("de", True), ("fr", False)])
def test_evaluate_names_the_adapter_that_would_serve_all_where_there_is_one(
    run: Callable[..., tuple[int, str, str]], model: Path, tiny_adapter: Any, language: str, hinted: bool
) -> None:
    russian = "--add", tiny_adapter("ru"), "--dataset", SENTENCES / "ru.conll", "--limit", "8"
    _, output, _ = run("evaluate", "--model", model, *russian, "--language", language)
    told = "With --oracle-routing the adapter of de serves all" if hinted else "There is no adapter for fr: others served"
    assert told in " ".join(output.split())


def test_train_learns_a_language_that_extract_uses(
    run: Callable[..., tuple[int, str, str]], tiny_base: Path, tmp_path: Path
) -> None:
    settings = ["--base", tiny_base, "--init", "none", "--epochs", 1, "--max_train_examples", 10, "--encoder_layer", 1]
    settings += ["--mixed_precision", "no"]
    code, output, _ = run(
        "train", "--language", "sw", "--dataset", SENTENCES / "sw.conll", "--output", tmp_path / "sw", *settings
    )
    assert code == 0
    assert "retrieveall extract --add" in output
    assert run("extract", "--model", tmp_path / "sw", "--json", TEXT)[0] == 0


def test_base_tells_what_it_is(run: Callable[..., tuple[int, str, str]], tiny_base: Path) -> None:
    code, output, _ = run("base", tiny_base)
    assert code == 0
    assert "LlamaForCausalLM" in output


def test_every_command_has_help(run: Callable[..., tuple[int, str, str]]) -> None:
    for command in ("extract", "evaluate", "base", "train", "demo"):
        code, output, _ = run(command, "--help")
        assert code == 0
        assert "--" in output


def test_an_error_is_a_line_and_its_traceback_is_there_for_the_asking(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    job = "annotate", tmp_path / "none.txt", tmp_path / "out.jsonl"
    code, _, errors = run(*job)
    assert code == 2 and "There is no file" in errors and "Traceback" not in errors
    code, _, errors = run("--debug", *job)
    assert code == 2 and "There is no file" in errors and "Traceback" in errors


def test_quiet_leaves_warnings_and_bars_away(
    run: Callable[..., tuple[int, str, str]], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn(*_: Any, **__: Any) -> Any:
        warnings.warn("something odd", stacklevel=2)
        return loaded

    loaded = RetrieveAllModel.from_pretrained(model)
    monkeypatch.setattr(RetrieveAllModel, "from_pretrained", warn)
    assert "something odd" in run("extract", TEXT)[2] and is_progress_bar_enabled()
    assert run("--quiet", "extract", TEXT)[2] == "" and not is_progress_bar_enabled()


def test_ctrl_c_is_one_line_and_its_own_exit_code(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(RetrieveAllModel, "from_pretrained", interrupted)
    code, _, errors = run("extract", TEXT)
    assert (code, errors) == (130, "Interrupted.\n")


def test_an_interrupted_annotation_says_that_it_goes_on(
    run: Callable[..., tuple[int, str, str]], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    (tmp_path / "texts.txt").write_text(TEXT, encoding="utf-8")
    job = "annotate", tmp_path / "texts.txt", tmp_path / "out.jsonl", "--model", model
    with monkeypatch.context() as patch:
        patch.setattr(RetrieveAllModel, "explain", interrupted)
        code, _, errors = run(*job)
    assert code == 130 and errors.startswith("Interrupted. What is finished is kept")
    assert run(*job)[0] == 0


@pytest.mark.parametrize(
    ("mistyped", "told"),
    [
        (["--learningrate", "1"], "There is no setting --learningrate. Is --learning_rate meant?"),
        (["--langauge=sw"], "There is no setting --langauge. Is --language meant?"),
        (["--lr", "1"], "There is no setting --lr. --help lists all."),
        (["--debug"], "There is no setting --debug. It stands before the command, as in retrieveall --debug train."),
        (["--language", "sw", "yo"], "'yo' belongs to no setting. Several languages are separated by commas"),
        (["--batch-size", "0"], "batch_size is 0; give at least 1."),
    ],
)
def test_a_mistyped_setting_of_the_training_is_named(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, mistyped: list[str], told: str
) -> None:
    given = ["--language", "sw", "--dataset", "sw.conll", "--output", str(tmp_path / "sw")]
    code, _, error = run("train", *given, *mistyped)
    assert code == 2 and error.startswith(f"Error: {told}")


def test_the_doctor_names_what_is_here_and_what_is_missing(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, output, _ = run("doctor")
    assert code == 0
    assert all(name in output for name in ("retrieveall", "torch", "CPU", "embedded LLM", "Hub"))
    assert "missing" not in output
    found = doctor._installed
    monkeypatch.setattr(doctor, "_installed", lambda name: None if name == "spacy" else found(name))
    assert 'spacy for spaCy pipelines: pip install "retrieveall[spacy]"' in run("doctor")[1]


def test_help_fits_a_screen_and_every_command_shows_an_example(run: Callable[..., tuple[int, str, str]]) -> None:
    output = run("--help")[1]
    assert len(output.splitlines()) <= 48
    for command in app.registered_commands:
        name = command.name or command.callback.__name__  # type: ignore[union-attr]
        assert name == "train" or "Example" in run(name, "--help")[1], name


def test_help_and_completion_do_not_wait_for_torch() -> None:
    code = "import sys, modeling_retrieveall.cli.app; print({'torch', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
