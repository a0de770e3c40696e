"""``retrieveall convert``, and the options that name columns."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modeling_retrieveall.cli.app import app
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.evaluation.span_f1 import evaluate
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.training_data import load_training_data
from tests.conftest import SENTENCES

SW = SENTENCES / "sw.conll"


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(
    ("to", "name"),
    [("doccano", "x.jsonl"), ("label-studio", "x.json"), ("prodigy", "x.jsonl"), ("jsonl", "x.jsonl"), ("conll", "x.tsv")],
)
def test_labelled_sentences_survive_a_round_trip_through_a_format(tmp_path: Path, to: str, name: str) -> None:
    code, output, _ = run("convert", SW, tmp_path / name, "--to", to)
    assert (code, output) == (0, f"128 records in {tmp_path / name}\n")
    code, *_ = run("convert", tmp_path / name, tmp_path / "back.conll")
    assert code == 0
    own, back = load_examples(str(SW), "train"), load_examples(str(tmp_path / "back.conll"), "train")
    assert [len(e.spans) for e in back.examples] == [len(e.spans) for e in own.examples]
    assert ["".join(w.text for w in e.sentence.words) for e in back.examples] == [
        "".join(w.text for w in e.sentence.words) for e in own.examples
    ]


def test_output_of_annotate_becomes_predictions_of_label_studio(tmp_path: Path) -> None:
    source = tmp_path / "entities.jsonl"
    entity = {"text": "Nyeri", "label": "LOC", "start": 0, "end": 5, "score": 0.5}
    source.write_text(json.dumps({"id": 7, "text": "Nyeri!", "entities": [entity], "language": "sw", "known": True}) + "\n")
    assert run("convert", source, tmp_path / "tasks.json", "--to", "label-studio")[0] == 0
    (task,) = json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8"))
    assert task["data"] == {"id": 7, "language": "sw", "known": True, "text": "Nyeri!"}
    assert task["predictions"][0]["result"][0]["value"]["labels"] == ["LOC"] and "annotations" not in task


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.jsonl"], "The name x.jsonl does not decide the format. Set --to to one of spacy, doccano, prodigy, jsonl."),
        (["x.json", "--to", "doccano"], "x.json has the suffix '.json'; files of doccano have .jsonl"),
        (
            ["x.jsonl", "--to", "brat"],
            "no format 'brat'. Choose one of doccano, label-studio, prodigy, spacy, conll, jsonl",
        ),
        ([SW, "--to", "conll"], "exists already. Give --overwrite"),
        (["x.conll", "--tags-column", "9"], "has no column '9', only 1, 2"),
    ],
)
def test_an_error_is_one_message_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[object], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, errors = run("convert", SW, *arguments)
    assert code == 2 and message in errors
    assert not list(tmp_path.iterdir())


def test_a_file_is_not_converted_into_itself(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"text": "Bonn", "label": [[0, 4, "LOC"]]}\n')
    code, _, errors = run("convert", file, file, "--to", "spacy", "--overwrite")
    assert code == 2 and "cannot be replaced" in errors
    assert file.read_text() == '{"text": "Bonn", "label": [[0, 4, "LOC"]]}\n'


def test_a_sentence_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_text(json.dumps({"tokens": ["Bonn", "a\tb"], "tags": ["B-LOC", "O"]}) + "\n")
    code, _, errors = run("convert", tmp_path / "odd.jsonl", tmp_path / "odd.conll")
    assert code == 2 and r"Sentence 1 cannot be written as CoNLL: 'a\tb' cannot be written" in errors
    assert [file.name for file in tmp_path.iterdir()] == ["odd.jsonl"]


def test_train_reads_the_named_columns(arguments: AdapterTrainingArguments, tmp_path: Path) -> None:
    file = tmp_path / "ints.jsonl"
    file.write_text('{"w": ["Nyeri", "ni"], "t": [5, 0], "label": "x"}\n' * 30)
    arguments.tokens_column, arguments.tags_column = "w", "t"
    arguments.tag_names = "O,B-PER,I-PER,B-ORG,I-ORG,B-LOC,I-LOC"
    lessons = load_training_data(str(file), arguments)
    assert lessons.labels == ["LOC", "ORG", "PER"] and lessons.train[0].spans[0].label == "LOC"


def test_the_summary_lists_what_reading_changed(arguments: AdapterTrainingArguments, tmp_path: Path) -> None:
    file = tmp_path / "doccano.jsonl"
    file.write_text('{"text": "Nyeri ni mji.", "label": [[0, 6, "LOC"]]}\n' * 30)
    lines = load_training_data(str(file), arguments).summary().splitlines()
    assert "(30 LOC)" in lines[0] or "(24 LOC)" in lines[0]
    assert lines[1].startswith("mentions with white space at their ends, which was cut off: 30, such as 'Nyeri ' (")


def test_evaluate_warns_about_labels_that_the_model_lacks(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> None:
    from modeling_retrieveall import RetrieveAllModel

    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"))
    file = tmp_path / "onto.jsonl"
    file.write_text('{"text": "Anna ist in Bonn.", "label": [[0, 4, "PERSON"], [12, 16, "GPE"]]}\n')
    with pytest.warns(
        UserWarning, match=r"labels GPE, PERSON, which no adapter of the model predicts \(they predict LOC, ORG, PER\)"
    ):
        report = evaluate(model, str(file), "test", "de")
    assert report.n_test == 1 and report.per_type["GPE"]["support"] == 1
