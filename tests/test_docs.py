"""Every block of Python and shell in the documentation runs, with the real embedded LLM; `>>>` prints what it says it prints.

Blocks of `console` need what the tests do not have: GPUs, clusters, data that is not ours.
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
SLOW = {f"how-to/{page}.md" for page in ("corpora", "hub", "little-memory", "many-gpus", "vllm")} | {"tutorial.md"}
"""Pages whose commands train, or load the LLM again and again."""


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
def swahili(embedded_base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tutorial makes, after one step of training."""
    output = tmp_path_factory.mktemp("runs") / "sw"
    # In a process of its own: other tests of this one train in another precision.
    command = [
        "train",
        "--language",
        "sw",
        "--dataset",
        str(ROOT / "examples" / "sentences" / "sw.conll"),
        "--output",
        str(output),
    ]
    command += ["--max_steps", "1", "--max_train_examples", "8", "--max_validation_examples", "0"]
    subprocess.run([sys.executable, "-m", "modeling_retrieveall.cli.app", *command], check=True)
    return output


@pytest.mark.parametrize("page", [pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else []) for page in PAGES])
def test_the_code_of_a_page_does_what_the_page_says(
    page: str, hub: LocalHub, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    if page == "how-to/hub.md":
        (tmp_path / "runs").symlink_to(request.getfixturevalue("swahili").parent)
    for block in PARSER.parse(DOCS / page).examples():
        block.evaluate()


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "RetrieveAllModel" in (tmp_path / "reference" / "index.html").read_text(encoding="utf-8")
