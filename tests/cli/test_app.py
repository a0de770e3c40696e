"""Help, version and the options that precede a command."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
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


def commands() -> Iterator[str]:
    """All commands, such as `collection list`, and the program itself as an empty string."""
    for group, prefix in [(app, ""), *((group.typer_instance, f"{group.name} ") for group in app.registered_groups)]:
        assert group is not None
        yield prefix.strip()
        yield from (f"{prefix}{command.name or command.callback.__name__}" for command in group.registered_commands)  # type: ignore[union-attr]


def test_help_version_and_wrong_options_do_not_import_slow_packages() -> None:
    # All in one process, so that the test is fast.
    helps = [([*command.split(), "--help"], 0) for command in commands()]
    others = [(["--version"], 0), (["extract", "--wrong"], 2), (["train", "--wrong"], 2), (["train"], 2)]
    code = f"""
import sys
from modeling_retrieveall.cli.app import app
for arguments, expected in {helps + others}:
    try:
        app(arguments)
    except SystemExit as exit:
        assert exit.code == expected, arguments
    assert not (found := {SLOW_PACKAGES} & set(sys.modules)), (arguments, found)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: ") + done.stdout.count("usage: ") == len(helps)


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
