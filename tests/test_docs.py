"""Runs every block of `python` and `sh` in the documentation with the embedded LLM, and checks the output of `>>>` lines.

Blocks of `console` are not run: they need GPUs, clusters or datasets that the tests do not have.
"""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from tests.conftest import ROOT
from tests.local_hub import LocalHub

DOCS = ROOT / "docs"
PAGES = sorted(
    str(page.relative_to(DOCS))
    for page in DOCS.rglob("*.md")
    if re.search("^```(python|sh)$", page.read_text("utf-8"), re.MULTILINE)
)
SLOW = {f"how-to/{page}.md" for page in ("corpora", "correct", "hub", "little-memory", "many-gpus", "vllm")} | {"tutorial.md"}
"""Pages whose commands train or load the LLM several times."""


def run_in_shell(block: Example) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "100"}
    done = subprocess.run(["bash", "-euc", block.parsed], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{block.parsed}\n{done.stdout}\n{done.stderr}"


PARSER = Sybil(
    [
        PythonCodeBlockParser(doctest_optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE),
        CodeBlockParser("sh", run_in_shell),
    ]
)


@pytest.fixture(scope="module")
def swahili_adapter(embedded_base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter of the tutorial, after one step of training."""
    output = tmp_path_factory.mktemp("runs") / "sw"
    # In a separate process, because other tests of this process train in another precision.
    command = [
        "train",
        "--language",
        "sw",
        "--dataset",
        str(ROOT / "examples" / "sentences" / "sw.conll"),
        "--output-dir",
        str(output),
    ]
    command += ["--max-steps", "1", "--max-train-samples", "8", "--max-eval-samples", "0"]
    subprocess.run([sys.executable, "-m", "modeling_retrieveall.cli.app", *command], check=True)
    return output


@pytest.mark.parametrize("page", [pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else []) for page in PAGES])
def test_code_of_a_page_runs_and_prints_what_the_page_says(
    page: str, hub: LocalHub, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    if page == "how-to/hub.md":
        (tmp_path / "runs").symlink_to(request.getfixturevalue("swahili_adapter").parent)
    for block in PARSER.parse(DOCS / page).examples():
        block.evaluate()


def test_first_example_of_the_readme_prints_what_the_readme_says(embedded_base: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, output = re.findall(
        "```(?:python)?\n(.*?)```", (ROOT / "README.md").read_text("utf-8").partition("in Python")[2], re.DOTALL
    )[:2]
    exec(code, {})
    language, *entities = (line.split(" ") for line in capsys.readouterr().out.splitlines())
    expected_language, *expected = (line.split(" ") for line in output.splitlines())
    assert language == expected_language
    assert [entity[:-1] for entity in entities] == [entity[:-1] for entity in expected]
    # The last column is the score, which depends on the data type.
    assert [float(entity[-1]) for entity in entities] == pytest.approx([float(entity[-1]) for entity in expected], abs=0.05)


def test_documentation_has_no_symbolic_links() -> None:
    # Checkouts on Windows contain the path of a link instead of its target.
    assert [str(path) for path in DOCS.rglob("*") if path.is_symlink()] == []


@pytest.mark.parametrize("plot", ["interference.png", "new_language.png", "reproduction.png"])
def test_plots_are_those_of_the_latest_results(plot: str) -> None:
    assert (DOCS / "images" / plot).read_bytes() == (ROOT / "benchmarks" / "results" / plot).read_bytes()


def test_documentation_builds_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "RetrieveAllModel" in (tmp_path / "reference" / "index.html").read_text(encoding="utf-8")
