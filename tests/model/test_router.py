"""A sentence is routed to the nearest language, whatever languages were added or removed before."""

import random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modeling_retrieveall.model.configuration_retrieveall import RetrieveAllConfig
from modeling_retrieveall.model.router import UNDETERMINED, Route, Router

HIDDEN = 8
LANGUAGES = ("de", "es", "ru", "sw", "ta")


def cluster(language: str, count: int = 30, spread: float = 0.2) -> Tensor:
    """Points around a corner per language, with a large common component as in the hidden states of an LLM."""
    generator = torch.Generator().manual_seed(LANGUAGES.index(language))
    centre = torch.full((HIDDEN,), 10.0)
    centre[LANGUAGES.index(language)] += 1.0
    return centre + spread * torch.randn(count, HIDDEN, generator=generator)


def queries(language: str) -> Tensor:
    return cluster(language, count=40)[30:]


KINDS = ("discriminant", "vote", "combined")


def empty_router(kind: str = "discriminant", fallback: str | None = None, **fields: Any) -> Router:
    # The clusters have only 8 dimensions, so LDA is not overconfident at temperature 1.
    router = Router(RetrieveAllConfig(router=kind, **{"routing_temperature": 1.0, **fields}))
    router.fallback = fallback
    return router


def router_of(*languages: str, kind: str = "discriminant", fallback: str | None = None, **fields: Any) -> Router:
    spread = fields.pop("spread", 0.2)
    router = empty_router(kind, fallback, **fields)
    for language in languages:
        router.add(language, cluster(language, spread=spread))
    return router


def routes(router: Router, sentences: Tensor) -> list[Route]:
    return router.route(sentences)[1]


def posterior_of(router: Router, sentences: Tensor, **given: Any) -> Tensor:
    return router.route(sentences, **given)[0]


def known(router: Router, sentences: Tensor, texts: list[str] | None = None) -> list[bool]:
    return [route.known for route in router.route(sentences, texts)[1]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sentence_is_routed_to_the_language_of_its_cluster(language: str, kind: str) -> None:
    for route in routes(router_of(*LANGUAGES, kind=kind), queries(language)):
        assert (route.language, route.mixture, route.known) == (language, {language: 1.0}, True)
        assert 0.8 < route.confidence <= 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_language_with_many_examples_does_not_attract_sentences_of_others(kind: str) -> None:
    router = empty_router(kind)
    router.add("de", cluster("de", count=3000))
    router.add("es", cluster("es", count=30))
    assert {route.language for route in routes(router, queries("es"))} == {"es"}


@pytest.mark.parametrize("kind", KINDS)
@given(languages=st.lists(st.sampled_from(LANGUAGES), min_size=1, unique=True), k=st.integers(1, 400), seed=st.integers(0, 1000))
def test_the_posterior_is_a_distribution_over_the_sorted_languages(kind: str, languages: list[str], k: int, seed: int) -> None:
    router = router_of(*languages, kind=kind, k_neighbours=k)
    sentences = 10 + torch.randn(5, HIDDEN, generator=torch.Generator().manual_seed(seed))
    posterior = posterior_of(router, sentences)
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
def test_any_order_of_adding_and_removing_gives_the_routes_of_a_fresh_router(
    kind: str, kept: list[str], detours: list[tuple[str, str]], rng: random.Random
) -> None:
    sentences = torch.cat([queries(language) for language in LANGUAGES])
    router = router_of(kind=kind)
    for step, language in detours:
        if step == "add":
            router.add(language, cluster(language, count=5))
        else:
            router.remove(language)
        routes(router, sentences[:1])
    steps = [("add", language) for language in kept] + [("remove", language) for language in set(LANGUAGES) - set(kept)]
    for step, language in rng.sample(sorted(steps), len(steps)):
        if step == "add":
            router.add(language, cluster(language))
        else:
            router.remove(language)
    assert routes(router, sentences) == routes(router_of(*kept, kind=kind), sentences)


def test_a_tie_goes_to_the_language_of_the_nearer_example() -> None:
    router = empty_router("vote", k_neighbours=2)
    router.add("de", torch.tensor([[1.0, 0.2]]))
    router.add("es", torch.tensor([[1.0, -0.1], [-3.0, 0.0]]))
    posterior = posterior_of(router, torch.tensor([[1.0, -0.1]]))
    assert router.route(torch.tensor([[1.0, -0.1]]))[1][0].language == "es"
    assert 0.5 < float(posterior[0, 1]) < 0.6


def test_the_tie_break_does_not_outweigh_a_vote() -> None:
    router = empty_router("vote", k_neighbours=3)
    router.add("de", torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    router.add("es", torch.tensor([[1.0, 0.5], [1.0, -0.5], [-2.0, 0.0]]))
    assert router.route(torch.tensor([[1.0, 0.0]]))[1][0].language == "es"


FAR = torch.full((1, HIDDEN), 50.0)


@pytest.mark.parametrize(
    ("when_unknown", "mixture"),
    [("nearest", {"es": 1.0}), ("mul", {"mul": 1.0}), ("both", {"es": 0.5, "mul": 0.5}), ("empty", {})],
)
def test_a_sentence_in_an_unknown_language_is_routed_as_configured(when_unknown: str, mixture: dict[str, float]) -> None:
    far = queries("es")[:1] + 20 * (queries("es")[:1] - cluster("de").mean(0))
    (route,) = routes(router_of("de", "es", fallback="mul", when_unknown=when_unknown), far)
    assert (route.known, route.language, route.mixture) == (False, "es", mixture)


@pytest.mark.parametrize("when_unknown", ["nearest", "mul", "both"])
def test_without_a_multilingual_adapter_the_nearest_language_is_used_for_unknown_ones(when_unknown: str) -> None:
    (route,) = routes(router_of("de", "es", when_unknown=when_unknown), FAR)
    assert not route.known
    assert route.mixture == {route.language: 1.0}


def test_a_sentence_in_a_script_of_no_language_is_unknown() -> None:
    router = empty_router()
    router.add("de", cluster("de"), frozenset({"LATIN"}))
    router.add("ru", cluster("ru"), frozenset({"CYRILLIC", "LATIN"}))
    middles = cluster("de").mean(0).expand(4, HIDDEN)
    assert known(router, middles, ["Bonn", "Бонн", "波恩", "1949"]) == [True, True, False, True]
    router.add("ta", cluster("ta"))
    assert known(router, middles[:1], ["波恩"]) == [True], "of what Tamil is written in nothing is said"


def test_one_unusual_sentence_of_a_document_is_not_unknown() -> None:
    router = router_of("de", "es")
    middle = cluster("de").mean(0)
    sentences = torch.stack([middle, middle, middle + 3 * (middle - cluster("es").mean(0)), middle, middle])
    assert [route.known for route in router.route(sentences)[1]] == [True, True, False, True, True]
    assert all(route.known for route in router.route(sentences, documents=[0] * 5)[1])


def test_adding_and_removing_languages_keeps_the_fallback() -> None:
    (route,) = routes(router_of("de", "es", fallback="mul", when_unknown="mul"), cluster("de").mean(0, keepdim=True))
    assert (route.known, route.mixture) == (True, {"de": 1.0})


def test_only_uncertain_sentences_get_several_adapters() -> None:
    router = router_of("de", "es", "ru", adapters_per_sentence=2, min_weight=0.2)
    between = (cluster("de").mean(0) + cluster("es").mean(0))[None] / 2
    (unsure,) = routes(router, between)
    assert set(unsure.adapters) == {"de", "es"}
    assert sum(unsure.weights) == pytest.approx(1)
    assert unsure.weights[0] >= unsure.weights[1] >= 0.2
    assert all(route.mixture == {"ru": 1.0} for route in routes(router, cluster("ru").mean(0, keepdim=True)))


def test_only_sentences_of_one_document_are_smoothed_together() -> None:
    router = router_of("de", "es", routing_temperature=4.0)
    between = (0.45 * cluster("de").mean(0) + 0.55 * cluster("es").mean(0))[None]
    sentences = torch.cat([queries("de")[:2], between, queries("de")[2:4]])
    alone = posterior_of(router, sentences, documents=[0, 1, 2, 3, 4])
    together = posterior_of(router, sentences, documents=[0, 0, 0, 0, 0])
    assert alone.argmax(-1).tolist() == [0, 0, 1, 0, 0]
    assert together.argmax(-1).tolist() == [0, 0, 0, 0, 0]
    torch.testing.assert_close(alone, posterior_of(router, sentences))


@pytest.mark.parametrize("kind", KINDS)
def test_a_prior_weights_languages_and_rules_out_those_without_weight(kind: str) -> None:
    router = router_of(*LANGUAGES, kind=kind)
    posterior = posterior_of(router, queries("de"), prior={"es": 1.0, "ru": 3.0})
    assert set(posterior.nonzero()[:, 1].tolist()) == {1, 2}
    odds = posterior_of(router, queries("de"), prior={"es": 1.0, "ru": 1.0})
    torch.testing.assert_close(posterior[:, 2] / posterior[:, 1], 3 * odds[:, 2] / odds[:, 1])


def test_with_a_prior_no_sentence_is_unknown() -> None:
    router = router_of(*LANGUAGES, fallback="mul", when_unknown="mul")
    far = 1000 * queries("de")
    assert {route.adapters for route in router.route(far)[1]} == {("mul",)}
    assert all(
        route.known and set(route.adapters) <= {"es", "ru"} for route in router.route(far, prior={"es": 1.0, "ru": 1.0})[1]
    )


def test_calibration_finds_the_temperature_and_the_99th_percentile_of_the_distances() -> None:
    router = router_of("de", "es", spread=1.0)
    held_out = {language: cluster(language, count=530, spread=1.0)[30:] for language in ("de", "es")}
    fitted = router.calibrate(held_out)
    assert fitted == {name: getattr(router.config, name) for name in ("routing_temperature", "max_distance")}
    sentences = torch.cat(list(held_out.values()))
    assert known(router, sentences).count(False) == 10
    found = posterior_of(router, sentences)
    right = found.argmax(-1) == torch.tensor([0] * 500 + [1] * 500)
    assert float(found.amax(-1).mean()) == pytest.approx(float(right.double().mean()), abs=0.03)
    assert router_of("de", kind="vote").calibrate({"de": queries("de")}) == {}


def test_well_separated_languages_and_a_single_language_are_calibrated() -> None:
    apart = router_of("de", "es")
    assert apart.calibrate({"de": queries("de"), "es": queries("es")})["routing_temperature"] == 1
    alone = router_of("de", routing_temperature=3.0)
    assert set(alone.calibrate({"de": queries("de")})) == {"max_distance"}
    assert alone.config.routing_temperature == 3


def test_every_language_has_the_same_weight_in_the_calibration() -> None:
    held_out = {"de": cluster("de", 430)[30:], "es": cluster("es", 430)[30:]}
    repeated = {"de": held_out["de"], "es": held_out["es"].repeat(9, 1)}
    assert router_of("de", "es").calibrate(repeated) == router_of("de", "es").calibrate(held_out)


def test_a_prior_counts_once_per_document_and_gives_no_nan() -> None:
    router = router_of("de", "es", "ru")
    between = ((cluster("de").mean(0) + cluster("es").mean(0)) / 2)[None].expand(20, HIDDEN)
    one = posterior_of(router, between[:1], prior={"de": 2.0, "es": 1.0})
    many = posterior_of(router, between, documents=[0] * 20, prior={"de": 2.0, "es": 1.0})
    even = posterior_of(router, between[:1], prior={"de": 1.0, "es": 1.0})
    assert float(one[0, 0] / one[0, 1]) == pytest.approx(2 * float(even[0, 0] / even[0, 1]))
    assert bool(many.isfinite().all())
    far = posterior_of(router, 1000 * queries("de"), prior={"es": 1.0, "ru": 1.0})
    assert bool(far.isfinite().all())


@pytest.mark.parametrize(("fallback", "adapters"), [(None, ()), ("mul", ("mul",))])
def test_without_languages_every_sentence_is_undetermined(fallback: str | None, adapters: tuple[str, ...]) -> None:
    found = routes(router_of(fallback=fallback), queries("de"))
    assert len(found) == 10
    assert set(found) == {Route(UNDETERMINED, adapters, (1.0,) * len(adapters), 0.0, False)}


def test_no_sentences_have_no_routes() -> None:
    assert routes(router_of("de", "es"), torch.zeros(0, HIDDEN)) == []
    assert routes(router_of(), torch.zeros(0, HIDDEN)) == []


def test_a_single_language_gets_every_sentence() -> None:
    assert all(route.mixture == {"de": 1.0} for route in routes(router_of("de"), queries("ta")))


def test_removing_an_unknown_language_changes_nothing() -> None:
    router = router_of("de", "es")
    before = routes(router, queries("de"))
    router.remove("ta")
    assert routes(router, queries("de")) == before


def test_a_language_without_examples_is_not_routed_to() -> None:
    router = router_of("de", "es")
    router.add("ta", torch.zeros(0, HIDDEN))
    assert {route.language for route in routes(router, queries("de"))} == {"de"}
    assert {route.language for route in routes(router, queries("es"))} == {"es"}


def test_a_given_language_is_certain_and_an_empty_text_has_no_adapter() -> None:
    assert Route.certain("de").mixture == {"de": 1.0}
    assert Route.certain("de").known
    assert Route.undetermined() == Route(UNDETERMINED, (), (), 0.0, False)
