"""LDA equals its definition, and does not depend on the order in which languages were added and removed."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modeling_retrieveall.model.lda import DIMENSIONS, LinearDiscriminant, project, shrink_covariance

HIDDEN = 6
LANGUAGES = ("de", "es", "ru", "sw", "ta")


def cluster(language: str, count: int = 40) -> Tensor:
    """Points around a mean per language, with a large variance in one uninformative direction."""
    generator = torch.Generator().manual_seed(LANGUAGES.index(language))
    points = 0.3 * torch.randn(count, HIDDEN, generator=generator)
    points[:, 0] *= 40
    points[:, 1 + LANGUAGES.index(language)] += 1.0
    return 5 + points


def discriminant_of(*languages: str) -> LinearDiscriminant:
    discriminant = LinearDiscriminant()
    for language in languages:
        discriminant.add(language, cluster(language))
    return discriminant


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_direction_with_variance_in_all_languages_has_little_weight(language: str) -> None:
    best = discriminant_of(*LANGUAGES).distances(cluster(language)).argmin(-1)
    assert (best == LANGUAGES.index(language)).double().mean() > 0.85


@given(
    st.lists(st.sampled_from(LANGUAGES), unique=True, min_size=1),
    st.lists(st.tuples(st.booleans(), st.sampled_from(LANGUAGES)), max_size=10),
    st.randoms(use_true_random=False),
)
def test_the_result_does_not_depend_on_the_order_of_adding_and_removing(
    kept: list[str], detours: list[tuple[bool, str]], rng: random.Random
) -> None:
    sentences = torch.cat([cluster(language, count=3) for language in LANGUAGES])
    discriminant = discriminant_of("de")
    for added, language in detours:
        if added:
            discriminant.add(language, cluster(language, count=7))
        else:
            discriminant.remove(language)
    for language in rng.sample(LANGUAGES, len(LANGUAGES)):
        if language in kept:
            discriminant.add(language, cluster(language))
        else:
            discriminant.remove(language)
    assert discriminant.languages == sorted(kept)
    assert torch.equal(discriminant.distances(sentences), discriminant_of(*sorted(kept)).distances(sentences))


def test_one_sentence_per_language_gives_finite_distances() -> None:
    discriminant = LinearDiscriminant()
    for language in ("de", "es"):
        discriminant.add(language, cluster(language, count=1))
    assert discriminant.distances(cluster("ru")).isfinite().all()


def test_identical_sentences_give_finite_distances() -> None:
    discriminant = LinearDiscriminant()
    discriminant.add("de", torch.ones(9, HIDDEN))
    discriminant.add("es", torch.zeros(9, HIDDEN))
    assert discriminant.distances(torch.ones(1, HIDDEN)).isfinite().all()


def test_distances_are_mahalanobis_distances() -> None:
    discriminant = discriminant_of(*LANGUAGES)
    points = [cluster(language).double() for language in LANGUAGES]
    scatter = torch.stack([(p - p.mean(0)).T @ (p - p.mean(0)) for p in points]).sum(0)
    inverse = torch.linalg.inv(shrink_covariance(scatter, sum(len(p) - 1 for p in points)))
    away = points[0][:, None] - torch.stack([p.mean(0) for p in points])
    expected = torch.einsum("slh,hg,slg->sl", away, inverse, away).sqrt()
    torch.testing.assert_close(discriminant.distances(cluster("de")), expected, rtol=1e-4, atol=1e-4)


def test_shrinkage_follows_chen_et_al() -> None:
    """Equation 23 with traces, for a scatter matrix with a constant diagonal."""
    generator = torch.Generator().manual_seed(3)
    points = (torch.randn(30, HIDDEN, generator=generator) @ torch.randn(HIDDEN, HIDDEN, generator=generator)).double()
    points = points / points.square().mean(0).sqrt()
    sample, n, p = points.T @ points / 30, 30, HIDDEN
    square, trace = (sample @ sample).trace(), sample.trace()
    share = ((1 - 2 / p) * square + trace**2) / ((n + 1 - 2 / p) * (square - trace**2 / p))
    assert 0 < share < 1
    expected = (1 - share) * sample + share * trace / p * torch.eye(p)
    torch.testing.assert_close(shrink_covariance(points.T @ points, 30), expected)


def test_a_language_of_huge_variance_does_not_change_the_other_distances() -> None:
    discriminant = discriminant_of("de", "es", "ru")
    huge = 1000 * torch.randn(20, HIDDEN, generator=torch.Generator().manual_seed(9))
    discriminant.add("ta", huge)
    distances = discriminant.distances(cluster("es"))
    assert (distances.argmin(-1) == 1).double().mean() > 0.85


def test_with_many_sentences_there_is_hardly_any_shrinkage() -> None:
    points = (
        torch.randn(20_000, HIDDEN, generator=torch.Generator().manual_seed(0)).double()
        @ torch.randn(HIDDEN, HIDDEN, generator=torch.Generator().manual_seed(1)).double()
    )
    scatter = points.T @ points
    torch.testing.assert_close(shrink_covariance(scatter, 20_000), scatter / 20_000, rtol=0.02, atol=0.02)


def test_projecting_wide_vectors_keeps_their_distances() -> None:
    vectors = torch.randn(20, 4096, generator=torch.Generator().manual_seed(0))
    projected = project(vectors)
    assert projected.shape == (20, DIMENSIONS)
    ratio = torch.pdist(projected) / torch.pdist(vectors.double())
    assert float(ratio.min()) > 0.75 and float(ratio.max()) < 1.25


def test_the_projection_never_changes() -> None:
    signs = project(torch.eye(DIMENSIONS + 1))[:3, :6].sign().int().tolist()
    assert signs == [[1, 1, -1, -1, -1, -1], [-1, 1, 1, 1, 1, 1], [-1, 1, 1, 1, -1, 1]]
