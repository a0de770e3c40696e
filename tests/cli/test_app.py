"""Help, version and the options that precede a command."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.logging import is_progress_bar_enabled

from modeling_retrieveall import RetrieveAllModel, __version__
from modeling_retrieveall.cli.app import app
from tests.cli.conftest import TEXT, Run

SLOW_PACKAGES = {"torch", "transformers", "huggingface_hub", "datasets", "pyarrow", "numpy"}


def test_every_command_has_help(run: Run) -> None:
    for command in ("extract", "evaluate", "base", "train", "demo"):
        code, output, _ = run(command, "--help")
        assert code == 0
        assert "--" in output


def test_help_fits_a_screen_and_every_command_shows_an_example(run: Run) -> None:
    output = run("--help")[1]
    assert len(output.splitlines()) <= 48
    for command in app.registered_commands:
        name = command.name or command.callback.__name__  # type: ignore[union-attr]
        assert name == "train" or "Example" in run(name, "--help")[1], name


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["extract", "--help"], 0),
        (["collection", "list", "--help"], 0),
        (["extract", "--wrong"], 2),
        (["train", "--wrong"], 2),
    ],
)
def test_help_and_wrong_flags_do_not_import_slow_packages(arguments: list[str], exit_code: int) -> None:
    code = f"""
import sys
from modeling_retrieveall.cli.app import app
try:
    app({arguments})
except SystemExit as exit:
    print(exit.code, file=sys.stderr)
print(*{SLOW_PACKAGES} & set(sys.modules), sep=", ", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-2:] == [str(exit_code), ""]


def test_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version") == (0, f"retrieveall {__version__}\n", "")


def test_the_package_can_be_run_as_a_module() -> None:
    command = [sys.executable, "-m", "modeling_retrieveall.cli", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"retrieveall {__version__}\n"


def test_quiet_hides_warnings_and_progress_bars(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(*_: Any, **__: Any) -> Any:
        warnings.warn("something odd", stacklevel=2)
        return loaded

    loaded = RetrieveAllModel.from_pretrained(model)
    monkeypatch.setattr(RetrieveAllModel, "from_pretrained", warn)
    assert "something odd" in run("extract", TEXT)[2] and is_progress_bar_enabled()
    assert run("--quiet", "extract", TEXT)[2] == "" and not is_progress_bar_enabled()
