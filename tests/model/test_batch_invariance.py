"""The result of a text does not depend on the other texts in its batch."""

import random

import pytest

from modeling_retrieveall import Extraction, RetrieveAllModel
from modeling_retrieveall.annotation.readers import read_records
from tests.conftest import SENTENCES, SHIPPED_LANGUAGES

FEW = ["bn", "de", "ru", "sw", "ta", "zh"]
ALL = [*FEW, *(language for language in SHIPPED_LANGUAGES if language not in FEW)]
MOST = 1e-4
"""Tolerance of probabilities: other shapes change the order of float32 sums."""


def texts(languages: list[str], a_language: int) -> list[str]:
    """Sentences, short and long texts, and nearly empty texts, in many scripts."""
    listed = ["", "Bonn", " \n", "…"]
    for language in languages:
        sentences = [" ".join(record.text) for record in read_records(str(SENTENCES / f"{language}.conll"))]
        for i in range(a_language):
            listed.append(" ".join(sentences[i * 4 : i * 4 + 1 + (i + len(listed)) % 3]))
    return listed


@pytest.fixture(scope="module")
def model(embedded_base: str) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained("shipped")


def assert_alike(result: Extraction, alone: Extraction) -> None:
    assert [(e.start, e.end, e.label) for e in result.entities] == [(e.start, e.end, e.label) for e in alone.entities]
    assert [e.score for e in result.entities] == pytest.approx([e.score for e in alone.entities], abs=MOST)
    for here, there in zip(result.sentences, alone.sentences, strict=True):
        assert (here.start, here.end) == (there.start, there.end)
        assert here.details.answer_ids == there.details.answer_ids and here.details.prompt == there.details.prompt
        assert (here.route.adapters, here.route.language, here.route.known) == (
            there.route.adapters,
            there.route.language,
            there.route.known,
        )
        assert here.route.weights == pytest.approx(there.route.weights, abs=MOST)
        assert here.details.posterior == pytest.approx(there.details.posterior, abs=MOST)


def check(model: RetrieveAllModel, listed: list[str], batch_sizes: list[int]) -> None:
    alone = {text: model.extract(text, batch_size=1, details=True) for text in listed}
    for seed, batch_size in enumerate(batch_sizes):
        neighbours = random.Random(seed).sample(listed, len(listed) if seed % 2 else 2 * len(listed) // 3)
        for text, result in zip(neighbours, model.extract(neighbours, batch_size=batch_size, details=True), strict=True):
            assert_alike(result, alone[text])


def test_results_do_not_depend_on_batch_size_or_neighbours(model: RetrieveAllModel) -> None:
    check(model, texts(FEW, 1), [7, 64])


@pytest.mark.slow
def test_results_of_many_texts_do_not_depend_on_batch_size_or_neighbours(model: RetrieveAllModel) -> None:
    check(model, texts(ALL, 3), [2, 7, 64, 1, 3])
