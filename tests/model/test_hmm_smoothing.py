"""Smoothing changes the language of uncertain sentences, but not of certain ones."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modeling_retrieveall.model.hmm_smoothing import smooth_posteriors


def posteriors(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def even(languages: int) -> Tensor:
    return torch.full((languages,), 1 / languages, dtype=torch.float64).log()


def by_enumeration(log_likelihoods: Tensor, prior: Tensor, stay: float) -> Tensor:
    """The posteriors as a sum over all sequences of languages."""
    count, languages = log_likelihoods.shape
    sums = torch.zeros(count, languages, dtype=torch.float64)
    for path in itertools.product(range(languages), repeat=count):
        likelihood = prior[path[0]] * torch.tensor([float(log_likelihoods[i, x]) for i, x in enumerate(path)]).sum().exp()
        for here, following in itertools.pairwise(path):
            likelihood = likelihood * (stay * (here == following) + (1 - stay) * prior[following])
        for i, x in enumerate(path):
            sums[i, x] += likelihood
    return sums / sums.sum(-1, keepdim=True)


@given(st.integers(1, 4), st.integers(2, 3), st.floats(0.05, 0.95), st.integers(0, 1000))
def test_it_equals_the_sum_over_all_sequences_of_languages(count: int, languages: int, stay: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(count, languages, generator=generator).double().log_softmax(-1)
    prior = torch.rand(languages, generator=generator).double() + 0.1
    prior = prior / prior.sum()
    torch.testing.assert_close(
        smooth_posteriors(own, prior.log(), stay).exp(), by_enumeration(own, prior, stay), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("count", [1, 2, 5, 50])
def test_a_prior_counts_once_however_many_uninformative_sentences_there_are(count: int) -> None:
    said = smooth_posteriors(
        torch.zeros(count, 2, dtype=torch.float64), torch.tensor([2 / 3, 1 / 3], dtype=torch.float64).log(), 0.9
    ).exp()
    torch.testing.assert_close(said, torch.tensor([[2 / 3, 1 / 3]] * count, dtype=torch.float64))


def test_a_ruled_out_language_stays_impossible_without_nan() -> None:
    own = posteriors([0.99, 0.005, 0.005], [0.98, 0.01, 0.01])
    said = smooth_posteriors(own, torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64).log(), 0.9).exp()
    torch.testing.assert_close(said, torch.tensor([[0.0, 0.5, 0.5]] * 2, dtype=torch.float64))
    alone = smooth_posteriors(own, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).log(), 0.9).exp()
    assert alone.tolist() == [[0.0, 1.0, 0.0]] * 2


def test_an_uninformative_sentence_takes_the_language_of_its_neighbours() -> None:
    own = posteriors([0.99, 0.01], [0.4, 0.6], [0.99, 0.01])
    assert smooth_posteriors(own, even(own.shape[1]), 0.9).argmax(-1).tolist() == [0, 0, 0]


def test_a_change_of_language_within_a_document_is_followed() -> None:
    own = posteriors(*[[0.95, 0.05]] * 3, *[[0.05, 0.95]] * 3)
    assert smooth_posteriors(own, even(own.shape[1]), 0.9).argmax(-1).tolist() == [0, 0, 0, 1, 1, 1]


def test_a_certain_sentence_keeps_its_language() -> None:
    own = posteriors([0.97, 0.03], [1e-6, 1 - 1e-6], [0.97, 0.03])
    assert smooth_posteriors(own, even(own.shape[1]), 0.9).argmax(-1).tolist() == [0, 1, 0]


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (5, 1), (0, 0)])
def test_a_single_sentence_is_not_smoothed(shape: tuple[int, int]) -> None:
    own = torch.zeros(shape)
    torch.testing.assert_close(smooth_posteriors(own, torch.zeros(own.shape[1]), 0.9), own.log_softmax(-1))


def test_a_long_document_stays_finite() -> None:
    own = torch.randn(5000, 17, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    assert smooth_posteriors(own, even(own.shape[1]), 0.9).isfinite().all()
