"""What the tests of the command line share: a runner, and an adapter of the tiny base LLM."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modeling_retrieveall.cli.app import app

Run = Callable[..., tuple[int, str, str]]
TEXT = "Angela Merkel besuchte Nairobi."


@pytest.fixture
def run() -> Run:
    """Runs a command in this process; gives its exit code, standard output and standard error."""

    def call(*arguments: object, stdin: str | bytes | None = None) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return call


@pytest.fixture
def model(tiny_adapter: Callable[[str], Path]) -> Path:
    """Folder of the German adapter of the tiny base LLM."""
    return tiny_adapter("de")
