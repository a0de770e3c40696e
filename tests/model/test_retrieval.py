"""Retrieval returns the most similar distinct mentions and sentences above the threshold, never the sentence itself."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from modeling_retrieveall.model.encoder import SentenceVectors
from modeling_retrieveall.model.entities import Example
from modeling_retrieveall.model.retrieval import ExampleIndex, Retrieved
from tests.conftest import example

NO_THRESHOLD = -100.0
CITIES = ("Bonn", "Graz", "Lima", "Oslo", "Riga", "Rom")


def at(*degrees: float) -> Tensor:
    """Points on a unit circle far from the origin, like hidden states."""
    return torch.tensor([[5.0 + math.cos(math.radians(d)), 5.0 + math.sin(math.radians(d))] for d in degrees])


def city(name: str, label: str = "LOC") -> Example:
    return example(f"{name} liegt hier.", (0, 1, label))


def index_of(examples: list[Example], *degrees: float) -> ExampleIndex:
    """An index whose examples have one mention each, with the vector of its sentence."""
    return ExampleIndex(examples, at(*degrees), at(*degrees))


def query(degrees: float, *words: float) -> SentenceVectors:
    return SentenceVectors(at(degrees)[0], at(*(words or (degrees,))))


def search(
    index: ExampleIndex, asked: SentenceVectors, limit: int = 10, factor: float = NO_THRESHOLD, exclude: str | None = None
) -> Retrieved:
    return index.search(asked, limit, limit, factor, factor, exclude)


def mentions_of(found: Retrieved) -> list[str]:
    return [hit.item.text for hit in found.mentions]


def sentences_of(found: Retrieved) -> list[str]:
    return [hit.item.sentence.words[0].text for hit in found.examples]


FOUR_CORNERS = index_of([city(name) for name in CITIES[:4]], 0, 90, 180, 270)


def test_hits_are_sorted_by_their_centred_cosine() -> None:
    found = search(FOUR_CORNERS, query(10))
    assert mentions_of(found) == sentences_of(found) == ["Bonn", "Graz", "Oslo", "Lima"]
    expected = [math.cos(math.radians(d)) for d in (10, 80, 100, 170)]
    assert [hit.similarity for hit in found.mentions] == pytest.approx(expected, abs=1e-5)
    assert [hit.similarity for hit in found.examples] == pytest.approx(expected, abs=1e-5)


def test_the_similarity_of_a_mention_is_that_of_the_most_similar_word() -> None:
    found = search(FOUR_CORNERS, query(10, 95, 175), limit=2)
    assert mentions_of(found) == ["Graz", "Lima"]
    assert sentences_of(found) == ["Bonn", "Graz"]


@given(st.integers(0, 5), st.integers(0, 5))
def test_not_more_than_n_results_are_returned(n_entities: int, n_sentences: int) -> None:
    found = FOUR_CORNERS.search(query(10), n_entities, n_sentences, NO_THRESHOLD, NO_THRESHOLD)
    assert (len(found.mentions), len(found.examples)) == (min(n_entities, 4), min(n_sentences, 4))


@given(
    st.lists(st.floats(0, 359), min_size=2, max_size=6),
    st.floats(0, 359),
    st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]),
)
def test_exactly_the_results_over_the_threshold_are_returned(degrees: list[float], asked: float, factor: float) -> None:
    vectors = at(*degrees)
    centre = vectors.mean(0)
    similarities = normalize(vectors - centre, dim=-1) @ normalize(at(asked)[0] - centre, dim=0)
    threshold = float(similarities.mean() + factor * similarities.std(correction=0))
    found = search(index_of([city(name) for name in CITIES[: len(degrees)]], *degrees), query(asked), factor=factor)
    for names in (mentions_of(found), sentences_of(found)):
        for name, similarity in zip(CITIES, similarities.tolist(), strict=False):
            if abs(similarity - threshold) > 1e-4:
                assert (name in names) == (similarity > threshold)


def test_mentions_and_sentences_have_separate_thresholds() -> None:
    found = FOUR_CORNERS.search(query(10), 4, 4, entity_threshold=1.0, sentence_threshold=NO_THRESHOLD)
    assert (len(found.mentions), len(found.examples)) == (1, 4)


@pytest.mark.parametrize("seed", range(20))
def test_the_better_of_two_is_exactly_at_the_threshold_and_returned(seed: int) -> None:
    vectors = torch.randn(3, 64, generator=torch.Generator().manual_seed(seed))
    index = ExampleIndex([city("Bonn"), city("Graz")], vectors[:2], vectors[:2])
    found = search(index, SentenceVectors(vectors[2], vectors[2:]), factor=1.0)
    assert (len(found.mentions), len(found.examples)) == (1, 1)


def test_a_mention_of_several_sentences_is_returned_once() -> None:
    examples = [example("Bonn ruht.", (0, 1, "LOC")), example("Bonn wacht.", (0, 1, "LOC")), city("Bonn", "ORG"), city("Graz")]
    found = search(index_of(examples, 0, 5, 20, 180), query(0))
    assert [(hit.item.text, hit.item.span.label) for hit in found.mentions] == [("Bonn", "LOC"), ("Bonn", "ORG"), ("Graz", "LOC")]
    assert found.mentions[0].item.example.sentence.text == "Bonn ruht."


def test_a_sentence_that_is_several_times_in_the_index_is_returned_once() -> None:
    found = search(index_of([city("Bonn"), city("Bonn"), city("Graz")], 0, 5, 180), query(0))
    assert sentences_of(found) == ["Bonn", "Graz"]


@pytest.mark.parametrize("copies", [3, 8, 40])
def test_duplicates_of_the_nearest_do_not_displace_the_next(copies: int) -> None:
    examples = [example(f"Bonn ruht {i} Tage.", (0, 1, "LOC")) for i in range(copies)] + [city("Graz"), city("Lima")]
    index = ExampleIndex(examples, at(*[0.0] * copies, 10, 180), at(*[0.0] * copies, 10, 180))
    assert mentions_of(search(index, query(0), limit=2)) == ["Bonn", "Graz"]


@given(st.integers(1, 6), st.sampled_from([NO_THRESHOLD, -1.0, 0.0, 1.0]))
def test_the_excluded_example_its_duplicates_and_their_mentions_are_never_returned(limit: int, factor: float) -> None:
    examples = [city("Bonn"), city("Graz"), city("Bonn"), city("Lima"), city("Bonn", "ORG")]
    found = search(index_of(examples, 0, 60, 1, 180, 2), query(0), limit, factor, exclude=examples[0].key)
    assert "Bonn" not in mentions_of(found) + sentences_of(found)


def test_a_mention_of_the_excluded_example_is_returned_from_another_sentence() -> None:
    examples = [city("Bonn"), example("Bonn ruht.", (0, 1, "LOC")), city("Graz")]
    found = search(index_of(examples, 0, 20, 180), query(0), exclude=examples[0].key)
    assert [hit.item.example.sentence.text for hit in found.mentions] == ["Bonn ruht.", "Graz liegt hier."]


def test_excluding_the_only_example_leaves_nothing() -> None:
    index = index_of([city("Bonn")], 0)
    assert search(index, query(0), exclude=city("Bonn").key) == Retrieved([], [])


def test_an_unknown_key_excludes_nothing() -> None:
    assert search(FOUR_CORNERS, query(10), exclude="Rom ist fern .") == search(FOUR_CORNERS, query(10))


def test_an_excluded_example_does_not_affect_the_threshold() -> None:
    # With or without the excluded example, the threshold is above 1, so nothing is returned.
    examples = [city(name) for name in CITIES]
    index = index_of(examples, 0, 0, 30, 350, 150, 150)
    assert search(index, query(0), factor=1.0) == Retrieved([], [])
    assert search(index, query(0), factor=1.0, exclude=examples[0].key) == Retrieved([], [])


def test_an_empty_index_finds_nothing() -> None:
    index = ExampleIndex.build([], [])
    assert search(index, query(0)) == Retrieved([], [])
    assert search(index, query(0), exclude="Bonn") == Retrieved([], [])


def test_an_index_without_mentions_still_finds_sentences() -> None:
    index = ExampleIndex([example("Es regnet."), example("Es schneit.")], at(0, 180), torch.zeros(0, 2))
    found = search(index, query(0))
    assert found.mentions == []
    assert [hit.item.sentence.text for hit in found.examples] == ["Es regnet.", "Es schneit."]


def test_an_index_without_mention_vectors_finds_sentences_and_takes_further_examples() -> None:
    index = ExampleIndex([city("Bonn"), city("Graz")], at(0, 180), torch.zeros(0, 2))
    grown = index.with_added([city("Lima")], [query(90, 90, 90, 90)])
    assert len(grown.mentions) == 3 and len(grown.mention_vectors) == 0
    for each in (index, grown, grown.without([city("Graz").units])):
        found = search(each, query(0))
        assert found.mentions == [] and found.examples[0].item == city("Bonn")


def test_a_sentence_without_words_retrieves_no_mentions() -> None:
    found = search(FOUR_CORNERS, SentenceVectors(at(10)[0], torch.zeros(0, 2)))
    assert found.mentions == []
    assert len(found.examples) == 4


def test_an_index_is_built_from_the_mean_vectors_of_its_mentions() -> None:
    examples = [example("Angela Merkel kam.", (0, 2, "PER")), example("Es regnet.")]
    vectors = [SentenceVectors(at(0)[0], at(0, 40, 90, 180)), SentenceVectors(at(180)[0], at(1, 2, 3))]
    index = ExampleIndex.build(examples, vectors)
    assert [mention.text for mention in index.mentions] == ["Angela Merkel"]
    torch.testing.assert_close(index.mention_vectors, at(0, 40).mean(0, keepdim=True))
    torch.testing.assert_close(index.sentence_vectors, at(0, 180))


def test_half_precision_vectors_are_searched_in_full_precision() -> None:
    examples = [city(name) for name in CITIES[:4]]
    index = ExampleIndex(examples, at(0, 90, 180, 270).half(), at(0, 90, 180, 270).half())
    assert mentions_of(search(index, query(10))) == ["Bonn", "Graz", "Oslo", "Lima"]


@pytest.mark.parametrize(("sentences", "mentions"), [(1, 2), (3, 2), (2, 1), (2, 3), (0, 0), (0, 2)])
def test_vectors_that_do_not_match_the_examples_raise_an_error(sentences: int, mentions: int) -> None:
    with pytest.raises(ValueError, match=f"2 examples with 2 mentions, but {sentences} sentence and {mentions} mention vectors"):
        ExampleIndex([city("Bonn"), city("Graz")], torch.zeros(sentences, 2), torch.zeros(mentions, 2))


def test_building_from_fewer_vectors_than_examples_raises_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ExampleIndex.build([city("Bonn"), city("Graz")], [query(0)])


def test_the_threshold_equals_that_of_an_index_without_the_excluded_example() -> None:
    names, degrees = CITIES[:4], (0, 20, 40, 180)
    with_it, without_it = index_of([city(n) for n in names], *degrees), index_of([city(n) for n in names[1:]], *degrees[1:])
    for index in (with_it, without_it):  # the centre of both, so that only the threshold can differ
        index._sentence_mean = index._mention_mean = at(0)[0] * 0 + 5
        index._sentences = index._mentions = normalize(index.sentence_vectors - 5, dim=-1)
    key = with_it.examples[0].key
    for factor in (0.0, 0.5, 1.0):
        excluding = search(with_it, query(5), factor=factor, exclude=key)
        assert mentions_of(excluding) == mentions_of(search(without_it, query(5), factor=factor))
        assert sentences_of(excluding) == sentences_of(search(without_it, query(5), factor=factor))


def test_an_index_with_only_the_excluded_example_returns_nothing() -> None:
    index = index_of([city("Bonn")], 0)
    found = search(index, query(0), exclude=index.examples[0].key)
    assert not found.mentions and not found.examples
