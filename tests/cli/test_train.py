"""``retrieveall train`` and ``retrieveall base`` on a tiny base LLM."""

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import TEXT, Run
from tests.conftest import SENTENCES


def test_the_command_that_train_prints_uses_what_it_has_written(run: Run, tiny_base: Path, tmp_path: Path) -> None:
    settings = ["--base-model", tiny_base, "--init-adapter", "none", "--num-train-epochs", 1, "--max_train_samples", 10]
    settings += ["--encoder-layer", 1, "--mixed-precision", "no"]
    code, output, _ = run(
        "train", "--language", "sw", "--dataset", SENTENCES / "sw.conll", "--output-dir", tmp_path / "sw", *settings
    )
    assert code == 0
    (command,) = re.findall("Use it:  retrieveall (.*)", output)
    *words, text = shlex.split(command)
    assert (words[0], text) == ("extract", "...")
    assert run(*words, "--json", TEXT)[0] == 0


@pytest.mark.parametrize(
    ("mistyped", "message"),
    [
        (["--learningrate", "1"], "There is no option --learningrate. Did you mean --learning-rate?"),
        (["--langauge=sw"], "There is no option --langauge. Did you mean --language?"),
        (["--lr", "1"], "There is no option --lr. --help lists all options."),
        (["--debug"], "There is no option --debug. Put it before the command: retrieveall --debug train."),
        (["--language", "sw", "yo"], "There are 2 languages and 1 datasets; each language needs one dataset."),
        (["--language", "sw", "sw"], "The language sw is given twice."),
        (["--batch-size", "0"], "--batch-size is 0, but must be at least 1."),
    ],
)
def test_a_mistyped_option_of_train_is_named(run: Run, tmp_path: Path, mistyped: list[str], message: str) -> None:
    given = ["--language", "sw", "--dataset", "sw.conll", "--output-dir", str(tmp_path / "sw")]
    code, _, error = run("train", *given, *mistyped)
    assert code == 2 and error.startswith(f"Error: {message}")


def test_base_describes_the_model(run: Run, tiny_base: Path) -> None:
    code, output, _ = run("base", tiny_base)
    assert code == 0
    assert "LlamaForCausalLM" in output
