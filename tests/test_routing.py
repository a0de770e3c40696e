"""Sentences go to the language whose examples lie nearest, whatever came or went before."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modeling_retrieveall.configuration_retrieveall import RetrieveAllConfig
from modeling_retrieveall.routing import UNDETERMINED, Route, Router

HIDDEN = 8
LANGUAGES = ("de", "es", "ru", "sw", "ta")


def cluster(language: str, count: int = 30, spread: float = 0.2) -> Tensor:
    """Points around the language's own corner, with the large common component that hidden states of an LLM have."""
    generator = torch.Generator().manual_seed(LANGUAGES.index(language))
    centre = torch.full((HIDDEN,), 10.0)
    centre[LANGUAGES.index(language)] += 1.0
    return centre + spread * torch.randn(count, HIDDEN, generator=generator)


def queries(language: str) -> Tensor:
    return cluster(language, count=40)[30:]


KINDS = ("discriminant", "vote")


def empty_router(kind: str = "discriminant", fallback: str | None = None, **numbers: float) -> Router:
    # The clusters have 8 dimensions, in which the discriminant is not too sure of itself.
    router = Router(RetrieveAllConfig(router=kind, **{"routing_temperature": 1.0, **numbers}))
    router.fallback = fallback
    return router


def router_of(*languages: str, kind: str = "discriminant", fallback: str | None = None, **numbers: float) -> Router:
    router = empty_router(kind, fallback, **numbers)
    for language in languages:
        router.add(language, cluster(language))
    return router


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sentence_goes_to_the_language_of_its_cluster(language: str, kind: str) -> None:
    for route in router_of(*LANGUAGES, kind=kind).route(queries(language)):
        assert (route.language, route.mixture, route.known) == (language, {language: 1.0}, True)
        assert 0.8 < route.confidence <= 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_language_of_many_examples_does_not_swallow_the_others(kind: str) -> None:
    router = empty_router(kind)
    router.add("de", cluster("de", count=3000))
    router.add("es", cluster("es", count=30))
    assert {route.language for route in router.route(queries("es"))} == {"es"}


@pytest.mark.parametrize("kind", KINDS)
@given(languages=st.lists(st.sampled_from(LANGUAGES), min_size=1, unique=True), k=st.integers(1, 400), seed=st.integers(0, 1000))
def test_the_posterior_is_a_distribution_over_the_sorted_languages(kind: str, languages: list[str], k: int, seed: int) -> None:
    router = router_of(*languages, kind=kind, k_neighbours=k)
    sentences = 10 + torch.randn(5, HIDDEN, generator=torch.Generator().manual_seed(seed))
    posterior = router.posterior(sentences)
    assert router.languages == sorted(languages)
    assert posterior.shape == (5, len(languages))
    assert bool((posterior >= 0).all())
    torch.testing.assert_close(posterior.sum(-1), torch.ones(5, dtype=posterior.dtype))


@pytest.mark.parametrize("kind", KINDS)
@given(
    kept=st.lists(st.sampled_from(LANGUAGES), unique=True),
    detours=st.lists(st.tuples(st.sampled_from(["add", "remove"]), st.sampled_from(LANGUAGES)), max_size=10),
    rng=st.randoms(use_true_random=False),
)
def test_adding_and_removing_in_any_order_gives_the_routes_of_a_fresh_router(
    kind: str, kept: list[str], detours: list[tuple[str, str]], rng: random.Random
) -> None:
    sentences = torch.cat([queries(language) for language in LANGUAGES])
    router = router_of(kind=kind)
    for step, language in detours:
        if step == "add":
            router.add(language, cluster(language, count=5))
        else:
            router.remove(language)
        router.route(sentences[:1])
    steps = [("add", language) for language in kept] + [("remove", language) for language in set(LANGUAGES) - set(kept)]
    for step, language in rng.sample(sorted(steps), len(steps)):
        if step == "add":
            router.add(language, cluster(language))
        else:
            router.remove(language)
    assert router.route(sentences) == router_of(*kept, kind=kind).route(sentences)


def test_a_tie_goes_to_the_language_of_the_nearer_example() -> None:
    router = empty_router("vote", k_neighbours=2, min_confidence=0.0)
    router.add("de", torch.tensor([[1.0, 0.2]]))
    router.add("es", torch.tensor([[1.0, -0.1], [-3.0, 0.0]]))
    posterior = router.posterior(torch.tensor([[1.0, -0.1]]))
    assert router.route(torch.tensor([[1.0, -0.1]]))[0].language == "es"
    assert 0.5 < float(posterior[0, 1]) < 0.6


def test_a_clear_vote_is_not_outweighed_by_near_examples() -> None:
    router = empty_router("vote", k_neighbours=3, min_confidence=0.0)
    router.add("de", torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    router.add("es", torch.tensor([[1.0, 0.5], [1.0, -0.5], [-2.0, 0.0]]))
    assert router.route(torch.tensor([[1.0, 0.0]]))[0].language == "es"


def test_an_unsure_vote_is_marked_unknown_and_served_by_the_fallback() -> None:
    between = (cluster("de").mean(0) + cluster("es").mean(0) + cluster("ru").mean(0))[None] / 3
    route = router_of(*LANGUAGES, min_confidence=1.01, fallback="mul").route(between)[0]
    assert (route.known, route.mixture) == (False, {"mul": 1.0})
    assert route.language in LANGUAGES
    assert 0 < route.confidence < 1


def test_an_unsure_vote_without_fallback_is_served_by_the_likeliest_language() -> None:
    route = router_of("de", "es", min_confidence=1.01).route(queries("es"))[0]
    assert (route.known, route.language, route.mixture) == (False, "es", {"es": 1.0})


def test_a_sure_vote_does_not_touch_the_fallback() -> None:
    route = router_of("de", "es", fallback="mul").route(queries("de"))[0]
    assert (route.known, route.mixture) == (True, {"de": 1.0})


@pytest.mark.parametrize(("fallback", "adapters"), [(None, ()), ("mul", ("mul",))])
def test_without_languages_every_sentence_is_undetermined(fallback: str | None, adapters: tuple[str, ...]) -> None:
    routes = router_of(fallback=fallback).route(queries("de"))
    assert len(routes) == 10
    assert set(routes) == {Route(UNDETERMINED, adapters, (1.0,) * len(adapters), 0.0, False)}


def test_no_sentences_have_no_routes() -> None:
    assert router_of("de", "es").route(torch.zeros(0, HIDDEN)) == []
    assert router_of().route(torch.zeros(0, HIDDEN)) == []


def test_one_language_alone_gets_every_sentence() -> None:
    assert all(route.language == "de" and route.known for route in router_of("de").route(queries("ta")))


def test_removing_a_language_that_is_not_there_changes_nothing() -> None:
    router = router_of("de", "es")
    before = router.route(queries("de"))
    router.remove("ta")
    assert router.route(queries("de")) == before


def test_a_language_without_examples_has_no_vote_and_leaves_the_others_theirs() -> None:
    router = router_of("de", "es")
    router.add("ta", torch.zeros(0, HIDDEN))
    assert {route.language for route in router.route(queries("de"))} == {"de"}
    assert {route.language for route in router.route(queries("es"))} == {"es"}


def test_a_language_named_by_the_caller_is_certain_and_an_empty_text_goes_nowhere() -> None:
    assert Route.certain("de").mixture == {"de": 1.0}
    assert Route.certain("de").known
    assert Route.nowhere() == Route(UNDETERMINED, (), (), 0.0, False)
