"""Sentences without an entity that are added to datasets with too few of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall.model.entities import Example, Sentence, Span
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.empty_sentences import empty_sentences, fragments
from modeling_retrieveall.training.training_data import load_training_data
from tests.conftest import SENTENCES


def named(number: int) -> Example:
    text = f"Am {number}. Mai reiste Angela Merkel mit dem Zug ab."
    return Example(Sentence.from_text(text), (Span(5, 7, "PER"),))


def test_fragments_are_the_parts_between_entities() -> None:
    example = Example(Sentence.from_text("Bonn, so heißt es, liegt am Rhein."), (Span(0, 1, "LOC"), Span(8, 9, "LOC")))
    assert [fragment.key for fragment in fragments([example])] == [", so heißt es , liegt am"]
    assert all(not fragment.spans for fragment in fragments([example]))
    assert fragments([Example(Sentence.from_text("Es regnet in den Bergen."), ())]) == []


@given(count=st.integers(1, 40), empty=st.integers(0, 40), share=st.floats(0, 0.6))
def test_the_share_is_reached_or_all_fragments_are_used(count: int, empty: int, share: float) -> None:
    examples = [named(n) for n in range(count)]
    examples += [Example(Sentence.from_text(f"Es regnet seit {n} Tagen."), ()) for n in range(empty)]
    added = empty_sentences(examples, share, "xx", 0)
    total = len(examples) + len(added)
    assert not any(example.spans for example in added)
    assert len({example.key for example in added}) == len(added)
    reached = (empty + len(added)) / total
    assert reached >= share - 0.5 / (1 - share) / total or len(added) >= count
    if empty / len(examples) >= share:
        assert added == []


def test_sentences_of_the_package_are_used_first() -> None:
    added = empty_sentences([named(n) for n in range(12)], 0.25, "de", 0)
    assert len(added) == 4
    assert not {example.key for example in added} & {fragment.key for fragment in fragments(named(n) for n in range(12))}


@pytest.mark.parametrize(("share", "added"), [(0.0, False), (0.3, True)])
def test_added_sentences_are_reported(share: float, added: bool) -> None:
    arguments = AdapterTrainingArguments(["sw"], [str(SENTENCES / "sw.conll")], "runs/sw", empty_share=share)
    data = load_training_data(arguments.dataset[0], arguments)
    assert bool(data.empty) == added
    assert ("empty_share=0 adds none" in data.summary()) == added
