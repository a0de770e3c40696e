"""One type for each name in a text."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.integrations.spacy_component import RetrieveAllComponent
from modeling_retrieveall.model.backends import LocalBackend, PreparedSentence
from modeling_retrieveall.model.consistent_labels import shared
from modeling_retrieveall.model.decoding import Answer
from modeling_retrieveall.model.entities import Sentence, Span
from modeling_retrieveall.model.errors import InputError
from modeling_retrieveall.model.pipeline_retrieveall import RetrieveAllPipeline
from modeling_retrieveall.model.tagging import tag_answers
from tests.adapter_folders import copy_adapter
from tests.strategies import spans_within

LABELS = ["LOC", "PER"]
OUTSIDE, B_LOC, B_PER, I_LOC, I_PER = range(5)
TEXT = "Jordan traf Petra. Später lief jordan davon. Er flog nach JORDAN."


def sentences(*texts: str) -> list[Sentence]:
    """The sentences of one text."""
    whole = Sentence.from_words([word for text in texts for word in text.split()])
    ends = list(accumulate(len(text.split()) for text in texts))
    return [whole.slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def tags(*words: dict[int, float], labels: Sequence[str] = LABELS) -> Tensor:
    """Log-probabilities ``[words, tags]``; the rest of each word's probability is that of O."""
    numbers = range(1 + 2 * len(labels))
    rows = [[1 - sum(word.values()) if tag == OUTSIDE else word.get(tag, 0.0) for tag in numbers] for word in words]
    return torch.tensor(rows).clamp(min=1e-6).log()


def test_an_unsure_occurrence_follows_the_others() -> None:
    sure, unsure, none = {B_PER: 0.98}, {B_PER: 0.3, B_LOC: 0.6}, {}
    before = [tags(sure, none), tags(none, sure), tags(unsure)]
    after = shared(before, sentences("Jordan lief", "Dann Jordan", "Jordan"), [[Span(0, 1, "PER")], [Span(1, 2, "PER")], []])
    assert [int(row.argmax()) for row in (after[0][0], after[1][1], after[2][0])] == [B_PER, B_PER, B_PER]
    mean = (0.98 + 0.98 + 0.3) / 3
    assert after[2][0, B_PER].exp() == pytest.approx(0.25 * 0.3 + 0.75 * mean, abs=1e-5)


def test_a_sure_occurrence_keeps_its_tags() -> None:
    before = [tags({B_PER: 0.7, B_LOC: 0.2}), tags({B_PER: 0.9}), tags({B_LOC: 0.9})]
    after = shared(
        before, sentences("Jordan", "Jordan", "Jordan"), [[Span(0, 1, "PER")], [Span(0, 1, "PER")], [Span(0, 1, "LOC")]]
    )
    assert [int(row[0].argmax()) for row in after] == [B_PER, B_PER, B_LOC]


def test_an_occurrence_that_was_missed_is_found() -> None:
    before = [tags({B_PER: 0.98}, {I_PER: 0.98}), tags({B_PER: 0.98}, {I_PER: 0.98}), tags({B_PER: 0.4}, {I_PER: 0.4})]
    texts = sentences("Rose Kennedy", "Rose Kennedy", "Rose Kennedy")
    after = shared(before, texts, [[Span(0, 2, "PER")], [Span(0, 2, "PER")], []])
    assert [int(word.argmax()) for word in after[2]] == [B_PER, I_PER]


def test_a_name_in_the_overlap_of_two_windows_counts_once() -> None:
    whole = Sentence.from_words(["dann", "kam", "Merkel", "nach", "Bonn"])
    windows = [whole.slice(0, 3), whole.slice(2, 5)]
    near_the_edge, inside = tags({}, {}, {B_PER: 0.1}), tags({B_PER: 0.6}, {}, {})
    found = [[], [Span(0, 1, "PER")]]
    for before, after in zip((near_the_edge, inside), shared([near_the_edge, inside], windows, found), strict=True):
        torch.testing.assert_close(after, before)
    later = Sentence.from_words(["dann", "kam", "Merkel", "nach", "Bonn", "und", "Merkel"]).slice(6, 7)
    after = shared([near_the_edge, inside, tags({B_PER: 0.9})], [*windows, later], [*found, [Span(0, 1, "PER")]])
    expected = 0.25 * 0.9 + 0.75 * (0.9 + 0.1) / 2  # both windows have it at an edge, so the first one counts
    assert after[2][0, B_PER].exp() == pytest.approx(expected, abs=1e-5)
    assert after[0][2, B_PER] == after[1][0, B_PER]


@pytest.mark.parametrize("others", range(1, 12))
def test_a_sure_occurrence_keeps_its_tags_among_any_number_of_others(others: int) -> None:
    before = [tags({B_LOC: 0.99}), *(tags({B_PER: 0.9}) for _ in range(others))]
    after = shared(before, sentences(*["Jordan"] * (1 + others)), [[Span(0, 1, "LOC")], *[[Span(0, 1, "PER")]] * others])
    torch.testing.assert_close(after[0], before[0])
    before = [tags({B_LOC: 0.99}), *(tags({}) for _ in range(others))]
    after = shared(before, sentences("US", *["us"] * others), [[Span(0, 1, "LOC")], *[[]] * others])
    torch.testing.assert_close(after[0], before[0])


@pytest.mark.parametrize("other", ["Ile\u0301", "IL\u00c9", "Il\u00ad\u00e9"])
def test_names_are_compared_without_case_in_composed_form(other: str) -> None:
    before = [tags({B_LOC: 0.98}), tags({B_LOC: 0.4})]
    after = shared(before, sentences("Il\u00e9", other), [[Span(0, 1, "LOC")], []])
    assert after[1][0, B_LOC] > before[1][0, B_LOC]


def test_a_part_of_a_longer_name_is_no_occurrence() -> None:
    before = [tags({B_PER: 0.9}), tags({B_LOC: 0.9}, {I_LOC: 0.9})]
    after = shared(before, sentences("Jordan", "Jordan Valley"), [[Span(0, 1, "PER")], [Span(0, 2, "LOC")]])
    assert all(one.equal(other) for one, other in zip(before, after, strict=True))


@st.composite
def texts(draw: st.DrawFn) -> tuple[list[Sentence], list[Tensor], list[list[Span]]]:
    words = draw(st.lists(st.lists(st.sampled_from(["a", "A", "b", "c"]), min_size=1, max_size=5), min_size=1, max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    probabilities = [torch.randn(len(each), 5, generator=generator).mul(3).log_softmax(-1) for each in words]
    listed = sentences(*map(" ".join, words))
    return listed, probabilities, [draw(spans_within(len(each))) for each in words]


@given(texts())
def test_the_result_are_probabilities_and_only_repeated_names_change(
    drawn: tuple[list[Sentence], list[Tensor], list[list[Span]]],
) -> None:
    listed, before, spans = drawn
    originals = [each.clone() for each in before]
    after = shared(before, listed, spans)
    assert all(one.equal(other) for one, other in zip(before, originals, strict=True))
    names = {
        word.text.casefold()
        for row, found in zip(listed, spans, strict=True)
        for s in found
        for word in row.words[s.start : s.end]
    }
    for sentence, old, new in zip(listed, before, after, strict=True):
        torch.testing.assert_close(new.exp().sum(-1), torch.ones(len(old)))
        changed = (old != new).any(-1).tolist()
        assert {word.text.casefold() for word, differs in zip(sentence.words, changed, strict=True) if differs} <= names
    if len(listed) == 1 and len({word.text.casefold() for word in listed[0].words}) == len(listed[0].words):
        assert after[0].equal(before[0])


@given(texts(), st.randoms())
def test_the_order_of_the_sentences_does_not_matter(
    drawn: tuple[list[Sentence], list[Tensor], list[list[Span]]], random: Any
) -> None:
    order = list(range(len(drawn[0])))
    random.shuffle(order)
    after = shared(drawn[1], drawn[0], drawn[2])
    shuffled = shared(*([part[i] for i in order] for part in (drawn[1], drawn[0], drawn[2])))
    for place, i in enumerate(order):
        torch.testing.assert_close(shuffled[place], after[i])


@pytest.fixture(scope="module")
def model(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> RetrieveAllModel:
    folder = tmp_path_factory.mktemp("adapters")
    for language in ("de", "mul"):
        copy_adapter(tiny_adapter(language), folder / language, decodings=["tags", "generation"])
    return RetrieveAllModel.from_pretrained(folder)


def set_probabilities(model: RetrieveAllModel, monkeypatch: pytest.MonkeyPatch, *of_jordan: dict[str, float]) -> None:
    """Sets the tag probabilities of each occurrence of Jordan; all other words are no entity."""

    def decode(backend: LocalBackend, prepared: list[PreparedSentence], *arguments: Any) -> list[Answer]:
        probabilities = iter(of_jordan)
        answers = []
        for each in prepared:
            words = [next(probabilities) if word.text.casefold() == "jordan" else {} for word in each.window.sentence.words]
            of_words = tags(
                *({1 + each.labels.index(label): p for label, p in word.items()} for word in words), labels=each.labels
            )
            answers += tag_answers([of_words], [each.window.sentence], each.labels, model.answers)
        return answers

    monkeypatch.setattr(LocalBackend, "decode", decode)


def types(model: RetrieveAllModel, text: str | list[str], **options: Any) -> list[list[str]]:
    results = model.extract([text] if isinstance(text, str) else text, language="de", **options)
    return [[entity.label for entity in result.entities] for result in results]


def test_a_name_has_one_type_in_a_text(model: RetrieveAllModel, monkeypatch: pytest.MonkeyPatch) -> None:
    set_probabilities(model, monkeypatch, {"PER": 0.92}, {"PER": 0.9}, {"LOC": 0.6, "PER": 0.3})
    assert types(model, TEXT) == [["PER", "PER", "LOC"]]
    set_probabilities(model, monkeypatch, {"PER": 0.92}, {"PER": 0.9}, {"LOC": 0.6, "PER": 0.3})
    assert types(model, TEXT, consistent_labels=True) == [["PER", "PER", "PER"]]


def test_the_pipeline_and_the_spacy_component_take_the_option(model: RetrieveAllModel, monkeypatch: pytest.MonkeyPatch) -> None:
    set_probabilities(model, monkeypatch, {"PER": 0.92}, {"PER": 0.9}, {"LOC": 0.6, "PER": 0.3})
    groups = RetrieveAllPipeline(model)(TEXT, language="de", consistent_labels=True)
    assert [group["entity_group"] for group in groups] == ["PER"] * 3
    set_probabilities(model, monkeypatch, {"PER": 0.92}, {"PER": 0.9}, {"LOC": 0.6, "PER": 0.3})
    component = RetrieveAllComponent(model, threshold=0.0, batch_size=16, consistent_labels=True)
    assert [span.label_ for span in component(spacy.blank("xx")(TEXT)).ents] == ["PER"] * 3


def test_other_texts_do_not_count(model: RetrieveAllModel, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = TEXT.split(". ")
    set_probabilities(model, monkeypatch, {"PER": 0.92}, {"PER": 0.9}, {"LOC": 0.6, "PER": 0.3})
    assert types(model, parts, consistent_labels=True) == [["PER"], ["PER"], ["LOC"]]


def test_scores_and_near_misses_are_those_of_the_shared_probabilities(
    model: RetrieveAllModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_probabilities(model, monkeypatch, {"PER": 0.9}, {"PER": 0.8}, {"PER": 0.06})
    result = model.extract(TEXT, language="de", consistent_labels=True, near_misses=0.3)
    mean = (0.9 + 0.8 + 0.06) / 3
    assert [entity.score for entity in result.entities] == pytest.approx(
        [0.25 * own + 0.75 * mean for own in (0.9, 0.8)], abs=1e-3
    )
    assert [near.score for near in result.near_misses or []] == pytest.approx([0.25 * 0.06 + 0.75 * mean], abs=1e-3)


def test_without_repeated_names_nothing_changes(model: RetrieveAllModel) -> None:
    for text in ("Bonn", "", "Angela Merkel besuchte Nairobi."):
        assert model.extract(text, consistent_labels=True) == model.extract(text)


def test_generated_answers_are_refused(model: RetrieveAllModel) -> None:
    with pytest.raises(InputError, match="`consistent_labels` needs tags, but this model generates"):
        model.extract(TEXT, language="de", decoding="generation", consistent_labels=True)
