"""Examples longer than a window are split like texts in use, or refused before the base LLM loads."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall import LanguageAdapter
from modeling_retrieveall.data.example_splitting import split_into_windows, split_long_examples
from modeling_retrieveall.data.reader_types import DatasetError
from modeling_retrieveall.model.entities import Example, Sentence, Span
from modeling_retrieveall.training import setup
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.trainer import train
from modeling_retrieveall.training.training_data import load_training_data
from tests.conftest import SENTENCES
from tests.strategies import spans_within


def without_empty_lines(language: str) -> str:
    lines = (SENTENCES / f"{language}.conll").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.strip()) + "\n"


@pytest.mark.parametrize("language", ["sw", "zh", "bn", "hr"])
def test_a_file_without_empty_lines_is_split_into_sentences(
    arguments: AdapterTrainingArguments, tmp_path: Path, language: str
) -> None:
    file = tmp_path / "noblank.conll"
    file.write_text(without_empty_lines(language), encoding="utf-8")
    whole = replace(arguments, language=[language], max_train_samples=None, max_eval_samples=0)
    lessons = load_training_data(str(file), replace(whole, dataset=[str(file)]))
    cut = lessons.train
    assert f"1 blocks of words were split into {len(cut)} sentences" in lessons.summary()
    own = load_training_data(str(SENTENCES / f"{language}.conll"), whole).train
    assert sum(len(e.spans) for e in cut) == sum(len(e.spans) for e in own)
    assert [w.text for e in cut for w in e.sentence.words] == [w.text for e in own for w in e.sentence.words]
    assert len(cut) > len(own) / 2 and max(len(e.sentence.words) for e in cut) <= 256


def test_a_file_without_any_sentence_end_is_refused_before_the_base_loads(
    arguments: AdapterTrainingArguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "noblank.conll"
    file.write_text("Bonn\tB-LOC\nund\tO\n" * 200, encoding="utf-8")
    monkeypatch.setattr(setup, "load_base", lambda *_, **__: pytest.fail("the base LLM was loaded"))
    with pytest.raises(
        DatasetError, match=r"noblank\.conll has one sentence of 400 words \(Bonn und .*Put an empty line after each sentence"
    ):
        train(replace(arguments, dataset=[str(file)]))


def test_a_long_list_is_split_into_windows_for_training(arguments: AdapterTrainingArguments, tmp_path: Path) -> None:
    file = tmp_path / "list.conll"
    sentences = (SENTENCES / "sw.conll").read_text(encoding="utf-8")
    file.write_text(sentences + "\n" + "Bonn\tB-LOC\nna\tO\n" * 150, encoding="utf-8")
    run = replace(arguments, dataset=[str(file)], max_train_samples=None, max_eval_samples=0, num_train_epochs=0)
    adapter = LanguageAdapter.load(train(run))
    bonn = [e for e in adapter.index.examples if e.sentence.words[0].text in ("Bonn", "na")]
    assert len(bonn) > 1 and all(span.label == "LOC" for e in bonn for span in e.spans)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), spans_within(n))), st.integers(1, 20), st.data())
def test_windows_contain_only_whole_entities(labelled: tuple[int, list[Span]], limit: int, data: st.DataObject) -> None:
    length, spans = labelled
    counts = data.draw(st.lists(st.integers(1, 4), min_size=length, max_size=length))
    example = Example(Sentence.from_words([f"w{i}" for i in range(length)]), tuple(spans))
    for window in split_into_windows(example, counts, limit):
        first = int(window.sentence.words[0].text[1:])
        inside = range(first, first + len(window.sentence.words))
        assert sum(counts[i] for i in inside) <= limit
        touching = [s for s in spans if s.start in inside or s.end - 1 in inside or (s.start < first < s.end)]
        assert list(window.spans) == [Span(s.start - first, s.end - first, s.label) for s in touching]


def test_short_examples_are_not_split() -> None:
    examples = [Example(Sentence.from_text("Bonn ruft. Graz auch."), (Span(0, 1, "LOC"),))]
    assert split_long_examples(examples, "de", "x") == examples


def test_an_entity_is_never_split() -> None:
    words = ["St", ".", "Gallen", "ruft", "."] * 80
    spans = tuple(Span(i * 5, i * 5 + 3, "LOC") for i in range(80))
    cut = split_long_examples([Example(Sentence.from_words(words), spans)], "de", "x")
    assert len(cut) == 80 and all(e.spans == (Span(0, 3, "LOC"),) for e in cut)


@pytest.mark.parametrize("label", ["A;B", "A=B", "x" * 65, "A\u2028B"])
def test_an_invalid_label_is_refused_with_its_line_before_the_base_loads(
    arguments: AdapterTrainingArguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: str
) -> None:
    file = tmp_path / "labels.conll"
    file.write_text(f"Bonn\tB-{label}\nruft\tO\n", encoding="utf-8")
    monkeypatch.setattr(setup, "load_base", lambda *_, **__: pytest.fail("the base LLM was loaded"))
    with pytest.raises(
        DatasetError, match=r"labels\.conll, line 1, word 'Bonn': .* is not a label.* Rename the label in the data"
    ):
        train(replace(arguments, dataset=[str(file)]))


def test_more_labels_than_an_adapter_may_have_are_refused(arguments: AdapterTrainingArguments, tmp_path: Path) -> None:
    file = tmp_path / "labels.conll"
    file.write_text("".join(f"w\tB-L{n}\n\n" for n in range(1001)), encoding="utf-8")
    with pytest.raises(DatasetError, match="1,001 labels"):
        load_training_data(str(file), arguments)
