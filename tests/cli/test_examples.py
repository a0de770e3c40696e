"""``retrieveall examples`` on a tiny base LLM."""

import shutil
from pathlib import Path

import pytest

from modeling_retrieveall import LanguageAdapter
from tests.cli.conftest import Run

CORRECTED = "Zzyzx B-PER\nwohnt O\nin O\nQqxland B-LOC\n. O\n\nHeute O\nregnet O\nes O\n. O\n"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    file = tmp_path / "corrected.conll"
    file.write_text(CORRECTED, encoding="utf-8")
    return file


@pytest.fixture
def copied(model: Path, tmp_path: Path) -> Path:
    shutil.copytree(model, tmp_path / "de")
    return tmp_path / "de"


def keys(folder: Path) -> list[str]:
    return [example.key for example in LanguageAdapter.load(folder).index.examples]


def test_examples_are_added_listed_and_removed(run: Run, copied: Path, dataset: Path) -> None:
    before = keys(copied)
    code, output, _ = run("examples", "add", dataset, "--language", "de", "--model", copied)
    assert code == 0
    assert "Added 2 of 2 examples" in output
    assert keys(copied) == [*before, "Zzyzx wohnt in Qqxland .", "Heute regnet es ."]
    _, output, _ = run("examples", "add", dataset, "--language", "de", "--model", copied)
    assert "Added 0 of 2 examples" in output
    _, output, _ = run("examples", "list", "--language", "de", "--model", copied, "--limit", 2)
    assert "Zzyzx = PER, Qqxland = LOC" in " ".join(output.split())
    assert f"2 of {len(before) + 2} examples" in output
    _, output, _ = run("examples", "remove", dataset, "--language", "de", "--model", copied)
    assert "Removed 2 examples" in output
    assert keys(copied) == before


def test_the_changed_adapter_can_be_written_to_another_folder(run: Run, model: Path, dataset: Path, tmp_path: Path) -> None:
    before = keys(model)
    run("examples", "add", dataset, "--language", "de", "--model", model, "--output", tmp_path / "mine")
    assert keys(model) == before
    assert len(keys(tmp_path / "mine")) == len(before) + 2
    code, _, _ = run("extract", "Zzyzx wohnt in Qqxland.", "--model", tmp_path / "mine")
    assert code == 0


def test_an_adapter_at_the_output_is_not_replaced(run: Run, copied: Path, model: Path, dataset: Path) -> None:
    before = keys(copied)
    code, _, error = run("examples", "add", dataset, "--language", "de", "--model", model, "--output", copied)
    assert code != 0
    assert (
        f"give --model {copied} without --output" in " ".join(error.split()).replace("- ", "-").replace("/ ", "/")
        or "exists" in error
    )
    assert keys(copied) == before


def test_a_card_that_was_edited_by_hand_is_kept(run: Run, copied: Path, dataset: Path) -> None:
    run("examples", "add", dataset, "--language", "de", "--model", copied)
    assert f"{len(keys(copied))} labelled examples" in (copied / "README.md").read_text(encoding="utf-8")
    (copied / "README.md").write_text("# My adapter\n", encoding="utf-8")
    run("examples", "remove", dataset, "--language", "de", "--model", copied)
    assert (copied / "README.md").read_text(encoding="utf-8") == "# My adapter\n"


def test_the_listed_examples_can_be_removed(run: Run, copied: Path, tmp_path: Path) -> None:
    before = keys(copied)
    _, output, _ = run("examples", "list", "--language", "de", "--model", copied, "--limit", 3, "--json")
    (tmp_path / "some.jsonl").write_text(output, encoding="utf-8")
    _, output, _ = run("examples", "remove", tmp_path / "some.jsonl", "--language", "de", "--model", copied)
    assert "Removed 3 examples" in output
    assert keys(copied) == before[:-3]


def test_an_adapter_in_the_package_is_not_changed(run: Run, dataset: Path) -> None:
    code, _, error = run("examples", "add", dataset, "--language", "de")
    assert code == 2
    assert "Give --output with a folder for the changed adapter" in " ".join(error.split())


def test_an_unknown_language_is_named(run: Run, model: Path) -> None:
    code, _, error = run("examples", "list", "--language", "xx", "--model", model)
    assert code == 2
    assert "No adapter for language 'xx'" in error
