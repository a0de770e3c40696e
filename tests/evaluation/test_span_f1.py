"""Evaluation of a model: scores, false entities, and the sentences that are left out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from modeling_retrieveall import Entity, Extraction, RetrieveAllModel, Route
from modeling_retrieveall.data.reader_types import DatasetError
from modeling_retrieveall.evaluation.span_f1 import evaluate, evaluate_examples
from modeling_retrieveall.model.entities import Sentence, Span, tags_from_entities
from modeling_retrieveall.model.outputs import SentenceResult
from tests.conftest import SENTENCES, example


def served(text: str) -> SentenceResult:
    return SentenceResult(0, len(text), Route.certain("de"))


class Oracle:
    """A stand-in for a model, which returns given entities."""

    adapters = ("de",)

    def __init__(self, entities: list[list[Entity]]) -> None:
        self.entities = entities

    def extract(self, texts: list[Sentence], **_: object) -> list[Extraction]:
        return [Extraction(row.text, found, [served(row.text)]) for row, found in zip(texts, self.entities, strict=True)]


def test_an_entity_is_correct_if_both_boundaries_and_its_type_are() -> None:
    examples = [example("Angela Merkel in Bonn", (0, 2, "PER"), (3, 4, "LOC")), example("Graz", (0, 1, "LOC"))]
    found = [
        [Entity("Angela Merkel", "PER", 0, 13), Entity("Bonn", "ORG", 17, 21)],  # one is correct, one has the wrong label
        [],
    ]
    report = evaluate_examples(Oracle(found), examples, "de")  # type: ignore[arg-type]
    assert (report.precision, report.recall, report.f1) == (50.0, 33.33, 40.0)
    assert report.per_type["PER"] == {"f1": 100.0, "precision": 100.0, "recall": 100.0, "support": 1}
    assert report.routing_accuracy == 100.0


def test_the_false_entity_rate_counts_sentences() -> None:
    examples = [example("guten Morgen"), example("es regnet"), example("es schneit"), example("Graz ruft", (0, 1, "LOC"))]
    found = [[Entity("guten", "PER", 0, 5), Entity("Morgen", "LOC", 6, 12)], [], [], [Entity("ruft", "PER", 5, 9)]]
    report = evaluate_examples(Oracle(found), examples, "de")  # type: ignore[arg-type]
    assert (report.false_entity_rate, report.n_without_entities) == (33.33, 3)
    report = evaluate_examples(Oracle(found[3:]), examples[3:], "de")  # type: ignore[arg-type]
    assert (report.false_entity_rate, report.n_without_entities) == (None, 0)


def test_no_entities_give_zeros() -> None:
    report = evaluate_examples(Oracle([[]]), [example("guten Morgen")], "de")  # type: ignore[arg-type]
    assert report.f1 == 0.0


def test_tags_from_entities_are_tags_of_words() -> None:
    sentence = Sentence.from_text("Angela Merkel in Bonn")
    assert tags_from_entities([sentence.entity(Span(0, 2, "PER"))], sentence) == ["B-PER", "I-PER", "O", "O"]


def test_sentences_that_the_adapter_has_seen_are_dropped(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> None:
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"))
    report = evaluate(model, str(SENTENCES / "de.conll"), "test", "de", oracle_routing=True, limit=10)
    assert report.n_test == 10 and report.n_dropped >= 20
    seen = tmp_path / "seen.conll"
    words = model.adapters["de"].index.examples[0].sentence.words
    seen.write_text("\n".join(f"{word.text}\tO" for word in words), encoding="utf-8")
    with pytest.raises(DatasetError, match="keep_duplicates=True"):
        evaluate(model, str(seen), "test", "de")
