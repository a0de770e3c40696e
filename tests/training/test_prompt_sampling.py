"""Training samples: retrieved examples in the prompt, never the sentence itself; batches contain every sample."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from modeling_retrieveall.model.answer_format import AnswerFormat
from modeling_retrieveall.model.configuration_retrieveall import RetrieveAllConfig
from modeling_retrieveall.model.encoder import SentenceVectors
from modeling_retrieveall.model.entities import Example
from modeling_retrieveall.model.retrieval import ExampleIndex
from modeling_retrieveall.training.prompt_sampling import PromptSampler, Sample, split_by_length
from tests.conftest import example

CITIES = ["Bonn", "Graz", "Lima", "Oslo", "Riga", "Rom", "Bern", "Kiew"]
EXAMPLES = [example(f"{city} liegt am Fluss.", (0, 1, "LOC")) for city in CITIES]
TWICE = [*EXAMPLES, *EXAMPLES, example("Bonn liegt am Fluss.", (0, 1, "ORG"))]


@pytest.fixture(scope="module")
def tiny_answers(tiny_base: Path) -> AnswerFormat:
    return AnswerFormat(AutoTokenizer.from_pretrained(tiny_base))


def vectors_of(examples: Sequence[Example]) -> list[SentenceVectors]:
    """One direction per city, so that a sentence is most similar to itself and its duplicates."""
    torch.manual_seed(0)
    direction = {example.key: torch.randn(16) for example in EXAMPLES}
    return [SentenceVectors(direction[e.key], direction[e.key].repeat(len(e.sentence.words), 1)) for e in examples]


def sampler(
    answers: AnswerFormat, examples: Sequence[Example], share: float = 1.0, seed: int = 0, tags_share: float = 0.0
) -> PromptSampler:
    """A sampler without thresholds and limits, which includes everything that it may in the prompts."""
    config = RetrieveAllConfig(
        n_entities=20, n_sentences=20, entity_threshold=-100.0, sentence_threshold=-100.0, max_example_tokens=10_000
    )
    made = PromptSampler(answers, config, share, tags_share, ["LOC"], seed)
    vectors = vectors_of(examples)
    made.add(examples, vectors, ExampleIndex.build(examples, vectors))
    return made


def drawn(sampler: PromptSampler, epoch: int) -> list[Sample]:
    """All samples of an epoch."""
    return [sample for batch in sampler.epoch(epoch, 4) for sample in batch]


def read(answers: AnswerFormat, sample: Sample) -> tuple[str, str, str]:
    """The retrieved examples of a sample, its sentence, and its answer."""
    beginning = sample.labels.count(-100)
    prompt = answers.tokenizer.decode(sample.ids[:beginning]).removeprefix("<bos>")
    shown, _, question = prompt.rpartition("Text: ")
    return shown, question.removesuffix("\nEntities:"), answers.tokenizer.decode(sample.ids[beginning:])


def city_of(question: str) -> str:
    return question.partition(" ")[0]


# Prompts


@pytest.mark.parametrize("examples", [EXAMPLES, TWICE], ids=["distinct", "with exact duplicates"])
def test_a_prompt_never_contains_its_sentence_or_a_duplicate_as_an_example(
    tiny_answers: AnswerFormat, examples: list[Example]
) -> None:
    samples = drawn(sampler(tiny_answers, examples), 0)
    assert len(samples) == len(examples)
    for sample in samples:
        shown, question, _ = read(tiny_answers, sample)
        assert city_of(question) not in shown


def test_a_prompt_contains_all_other_sentences_and_entities(tiny_answers: AnswerFormat) -> None:
    for sample in drawn(sampler(tiny_answers, EXAMPLES), 0):
        shown, question, _ = read(tiny_answers, sample)
        for city in CITIES:
            assert shown.count(f"{city} = LOC") == (0 if city == city_of(question) else 2)
            assert shown.count(f"Text: {city} liegt am Fluss.") == (0 if city == city_of(question) else 1)


def test_the_answer_belongs_to_the_sentence(tiny_answers: AnswerFormat) -> None:
    for sample in drawn(sampler(tiny_answers, EXAMPLES), 0):
        _, question, answer = read(tiny_answers, sample)
        assert question == f"{city_of(question)} liegt am Fluss."
        assert answer == f" {city_of(question)} = LOC\n"


def test_datasets_retrieve_only_from_their_own_index(tiny_answers: AnswerFormat) -> None:
    mixed = sampler(tiny_answers, EXAMPLES[:4])
    others = vectors_of(EXAMPLES[4:])
    mixed.add(EXAMPLES[4:], others, ExampleIndex.build(EXAMPLES[4:], others))
    assert len(mixed) == len(EXAMPLES)
    for sample in drawn(mixed, 0):
        shown, question, _ = read(tiny_answers, sample)
        foreign = CITIES[4:] if city_of(question) in CITIES[:4] else CITIES[:4]
        assert shown and not any(city in shown for city in foreign)


def test_the_prompt_of_a_single_sentence_has_no_examples(tiny_answers: AnswerFormat) -> None:
    (sample,) = drawn(sampler(tiny_answers, EXAMPLES[:1]), 0)
    assert read(tiny_answers, sample)[0] == ""


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 250, 390), (1.0, 640, 640)])
def test_the_share_of_samples_with_examples_is_as_configured(
    tiny_answers: AnswerFormat, share: float, least: int, most: int
) -> None:
    made = sampler(tiny_answers, EXAMPLES, share)
    shown = [read(tiny_answers, sample)[0] for epoch in range(80) for sample in drawn(made, epoch)]
    assert least <= sum(map(bool, shown)) <= most


# Random draws


def test_an_epoch_is_the_same_for_the_same_seed(tiny_answers: AnswerFormat) -> None:
    first, second = sampler(tiny_answers, EXAMPLES, 0.5, seed=3), sampler(tiny_answers, EXAMPLES, 0.5, seed=3)
    assert drawn(first, 1) == drawn(second, 1)
    drawn(second, 0)
    assert drawn(first, 1) == drawn(second, 1)


def test_epochs_and_seeds_differ(tiny_answers: AnswerFormat) -> None:
    made = sampler(tiny_answers, EXAMPLES, 0.5, seed=3)
    assert drawn(made, 0) != drawn(made, 1)
    assert drawn(made, 0) != drawn(sampler(tiny_answers, EXAMPLES, 0.5, seed=4), 0)


def test_the_order_differs_between_epochs(tiny_answers: AnswerFormat) -> None:
    made = sampler(tiny_answers, EXAMPLES)
    assert len({tuple(read(tiny_answers, s)[1] for s in drawn(made, epoch)) for epoch in range(5)}) == 5


def test_every_epoch_contains_every_sentence_once(tiny_answers: AnswerFormat) -> None:
    made = sampler(tiny_answers, EXAMPLES, 0.5)
    for epoch in range(3):
        assert sorted(city_of(read(tiny_answers, s)[1]) for s in drawn(made, epoch)) == sorted(CITIES)


# Batches

samples_of_any_length = st.lists(
    st.builds(Sample, st.lists(st.just(5), max_size=60), st.lists(st.just(6), min_size=1, max_size=9))
)


@given(batch=samples_of_any_length, max_tokens=st.integers(1, 200))
def test_micro_batches_contain_every_sample_once_and_keep_their_limits(batch: list[Sample], max_tokens: int) -> None:
    parts = split_by_length(batch, max_tokens)
    assert Counter(id(s) for part in parts for s in part) == Counter(map(id, batch))
    for part in parts:
        padded = max(map(len, part)) * len(part)
        assert len(part) == 1 or padded <= max_tokens
        assert sum(map(len, part)) >= 0.75 * padded


@given(batch=samples_of_any_length)
def test_samples_of_a_micro_batch_have_similar_lengths(batch: list[Sample]) -> None:
    ranges = sorted((min(map(len, part)), max(map(len, part))) for part in split_by_length(batch, 100))
    assert all(longest <= shortest for (_, longest), (shortest, _) in pairwise(ranges))
