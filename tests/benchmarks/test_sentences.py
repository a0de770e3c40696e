"""The benchmark of sentence splitting runs, and its counts are right."""

import json
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Sequence, Value
from typer.testing import CliRunner

from benchmarks.sentences import Written, main
from modeling_retrieveall.model.entities import Example, Sentence, Span

FEATURES = Features({"tokens": Sequence(Value("string")), "ner_tags": Sequence(ClassLabel(names=["O", "B-PER", "I-PER"]))})
SENTENCE = ["Angela", "Merkel", "besuchte", "am", "3.", "Mai", "die", "Stadt", "Bonn", "."]


def test_benchmark_runs_at_its_smallest_size(tmp_path: Path) -> None:
    folder = tmp_path / "news" / "de"
    folder.mkdir(parents=True)
    rows = {"tokens": [SENTENCE] * 8, "ner_tags": [[1, 2, *([0] * (len(SENTENCE) - 2))]] * 8}
    Dataset.from_dict(rows, features=FEATURES).to_parquet(folder / "test.parquet")
    options = ["--quick", "--data", str(tmp_path), "--json"]
    before = ["--before", str(tmp_path / "first.json")]
    for arguments in ([*options, str(tmp_path / "first.json")], [*options, str(tmp_path / "second.json"), *before]):
        assert CliRunner().invoke(main, arguments).exit_code == 0
    (row,) = json.loads((tmp_path / "second.json").read_text(encoding="utf-8"))["rows"]
    assert (row["corpus"], row["language"], row["entities"]) == ("news/de", "de", 8)
    assert row["cut routed"] == row["spaced named"] == row["wrapped of many"] == 0
    assert row["F1 named"] == row["F1 of stops routed"] == row["F1 named before"] == 100


def test_cut_names_are_counted_and_wrapping_keeps_offsets() -> None:
    sentence = Sentence.from_words(["Ich", "wohne", "seit", "Langem", "in", "Bonn", ".", "Graz", "kenne", "ich", "."])
    written = Written.of(Example(sentence, (Span(5, 8, "LOC"),)))
    assert written.text == "Ich wohne seit Langem in Bonn. Graz kenne ich."
    assert written.cut_names(["de"]) == 1
    wrapped = written.wrapped(20)
    assert wrapped.text == "Ich wohne seit\nLangem in Bonn. Graz\nkenne ich."
    assert wrapped.names == written.names
