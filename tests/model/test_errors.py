"""A problem that the user can fix is reported in one line; a bug of the package keeps its traceback."""

import ast
import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import modeling_retrieveall
from modeling_retrieveall import RetrieveAllError, RetrieveAllModel
from modeling_retrieveall.cli.app import app
from modeling_retrieveall.model import errors
from tests.conftest import ROOT, SENTENCES

PACKAGE = Path(modeling_retrieveall.__file__).parent
ERRORS = [name for name in modeling_retrieveall.__all__ if name.endswith("Error") and name != "RetrieveAllError"]
TEXT = "Angela Merkel besuchte Nairobi."

# Modules whose errors are turned into an AdapterError or a ServerError, or report the misuse of an internal class.
INTERNAL = {
    "model.configuration_retrieveall",
    "model.example_files",
    "model.grammar",
    "model.language_adapter",
    "model.lora_bank",
    "model.lora_files",
    "model.manifest",
    "model.retrieval",
    "model.untrusted_files",
    "model.vector_files",
    "serving.ebnf_grammar",
}


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_has_the_base_class_and_a_built_in_class_and_is_in_the_tree(name: str) -> None:
    error = getattr(modeling_retrieveall, name)
    assert issubclass(error, RetrieveAllError)
    assert issubclass(error, ValueError | TypeError | OSError | ImportError | ArithmeticError)
    assert name in (inspect.getdoc(errors) or "")
    copied = pickle.loads(pickle.dumps(error("what was wrong")))
    assert type(copied) is error and str(copied) == "what was wrong"


def test_the_tree_names_the_module_and_the_built_in_class_of_every_error() -> None:
    tree = inspect.getdoc(errors) or ""
    for name in ERRORS:
        error = getattr(modeling_retrieveall, name)
        (line,) = [line for line in tree.splitlines() if re.search(rf"── {name}\b", line)]
        assert error.__module__.removeprefix("modeling_retrieveall.").replace(".", "/") + ".py: " in line
        if error.__bases__[0] is RetrieveAllError:
            assert error.__bases__[1].__name__ in line.split()


def test_no_error_class_is_missing_from_the_tree() -> None:
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error") and not node.name.startswith("_"):
                assert node.name in (inspect.getdoc(errors) or ""), f"{file.name}: {node.name}"
                assert node.name in modeling_retrieveall.__all__, f"{file.name}: {node.name}"


def test_no_module_raises_built_in_errors_for_user_input() -> None:
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            raised = node.exc.func if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) else None
            bare = isinstance(raised, ast.Name) and raised.id in ("ValueError", "TypeError", "ImportError")
            if bare and module not in INTERNAL:
                found.append(f"{module}:{node.lineno} raises {ast.unparse(raised)}")
    assert not found, "Raise InputError, InputTypeError or MissingPackageError of errors.py instead"


@pytest.mark.parametrize(
    "fault", [ValueError("x"), TypeError("x"), ImportError("x"), ModuleNotFoundError("x", name="nowhere"), ZeroDivisionError("x")]
)
def test_a_bug_of_the_package_is_not_reported_as_a_user_error(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    def broken(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(RetrieveAllModel, "from_pretrained", broken)
    result = CliRunner().invoke(app, ["extract", TEXT])
    assert result.exception is fault and result.exit_code == 1


def test_the_traceback_of_a_bug_is_printed() -> None:
    code = "from modeling_retrieveall.cli import app, extract; extract.load = lambda *_: 1 + 'x'; app.app(['extract', 'Bonn'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and "TypeError: unsupported operand" in done.stderr and "Traceback" in done.stderr


@pytest.mark.parametrize("package", ["ray", "gradio", "datasets", "openai"])
def test_a_missing_optional_package_is_reported_in_one_line_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError(f"No module named '{package}.data'", name=f"{package}.data")

    monkeypatch.setattr(RetrieveAllModel, "from_pretrained", missing)
    result = CliRunner().invoke(app, ["extract", TEXT])
    assert result.exit_code == 2 and 'pip install "retrieveall[' in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["extract", "--device", "cuda:99", TEXT],
        ["extract", "--device", "mps:7", TEXT],
        ["extract", "--device", "xpu", TEXT],
        ["extract", "--device", "cpu:x", TEXT],
        ["extract", "--dtype", "int8", TEXT],
        ["extract", "--quantization", "3bit", TEXT],
        ["extract", "--prior", "de=x", TEXT],
        ["extract", "--json", "--conll", TEXT],
        ["extract", "--model", "no/such/model", TEXT],
        ["extract", "--file", "no-such-file"],
        ["extract", "--document", TEXT],
        ["train", "--language", "sw", "--dataset", "sw.conll", "--output-dir", "{tmp}/sw", "--quantization", "3bit"],
        ["train", "--language", "S W", "--dataset", "sw.conll", "--output-dir", "{tmp}/sw"],
        ["train", "--language", "sw", "--dataset", "{sw}", "--output-dir", "{tmp}/sw", "--mixed_precision", "fp99"],
        ["train", "--language", "sw", "--dataset", "{sw}", "--output-dir", "{tmp}/sw", "--report_to", "nobody"],
        ["train", "--language", "sw", "--dataset", "{sw}", "--output-dir", "{tmp}/sw", "--base-model", "{tmp}"],
        ["evaluate", "--dataset", "{sw}", "--language", "sw", "--json", "{tmp}"],
        ["evaluate", "--dataset", "{tmp}", "--language", "sw"],
        ["pull", "nothing"],
        ["push", "{tmp}", "ann/x"],
        ["collection", "add", "nothing", "ann/x"],
        ["annotate", "no-such-file.jsonl", "{tmp}/out.jsonl"],
        ["annotate", "{sw}", "{tmp}/out.jsonl", "--engine", "spark"],
        ["export", "vllm", "{sw}"],
        ["base", "{tmp}"],
    ],
)
def test_a_user_error_is_reported_in_one_line(command: list[str], tmp_path: Path, embedded_base: str) -> None:
    filled = [word.format(tmp=tmp_path, sw=SENTENCES / "sw.conll") for word in command]
    result = CliRunner().invoke(app, filled)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ") and "Traceback" not in result.output, result.output


def test_damaged_base_weights_are_reported_in_one_line(tiny_base: Path, tmp_path: Path) -> None:
    for file in tiny_base.iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[:1000] if file.suffix == ".safetensors" else content)
    result = CliRunner().invoke(app, ["base", str(tmp_path)])
    assert result.exit_code == 2 and "could not be loaded" in result.stderr
