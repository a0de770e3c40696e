"""Texts of any length are split into sentences, routed with their neighbours, and merged again, with details on request."""

import json
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from modeling_retrieveall import (
    Entity,
    Extraction,
    RetrieveAllModel,
    Route,
    SentenceDetails,
    SentenceResult,
    UnknownLanguageError,
)
from modeling_retrieveall.model import extractor
from modeling_retrieveall.model.documents import DocumentReader, checked_texts
from modeling_retrieveall.model.entities import Example, Mention, Sentence, Span
from modeling_retrieveall.model.extractor import _extraction
from modeling_retrieveall.model.known_mentions import MentionMatch
from modeling_retrieveall.model.outputs import KnownMention
from modeling_retrieveall.model.request import Request
from modeling_retrieveall.model.retrieval import Hit, Retrieved
from tests.random_adapters import write_random_adapters
from tests.strategies import texts

GERMAN = "Angela Merkel besuchte Nairobi. Sie flog am 3. Mai nach Bonn."
ENGLISH = "Ada Lovelace lived in London. She wrote about engines."


@pytest.fixture(scope="module")
def model(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained(write_random_adapters(tmp_path_factory.mktemp("adapters"), tiny_adapter))


@pytest.fixture
def reader(model: RetrieveAllModel) -> DocumentReader:
    return DocumentReader(model.answers, model.config)


def test_each_sentence_is_processed_separately_and_in_order(model: RetrieveAllModel) -> None:
    result = model.extract(f"{GERMAN}\n\n{ENGLISH}", details=True)
    sentences = [result.text[served.start : served.end] for served in result.sentences]
    assert sentences == [
        "Angela Merkel besuchte Nairobi.",
        "Sie flog am 3. Mai nach Bonn.",
        "Ada Lovelace lived in London.",
        "She wrote about engines.",
    ]
    for served, sentence in zip(result.sentences, sentences, strict=True):
        assert sentence in served.details.prompt
        assert sum(served.details.posterior.values()) == pytest.approx(1)
        assert list(served.details.posterior.values()) == sorted(served.details.posterior.values(), reverse=True)


def test_a_given_language_is_used_for_every_sentence(model: RetrieveAllModel) -> None:
    result = model.extract(f"{GERMAN} {ENGLISH}", language="en", details=True)
    assert {served.route for served in result.sentences} == {Route.certain("en")}
    assert all(served.details.posterior == {"en": 1.0} for served in result.sentences)


@given(text=texts)
@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
def test_every_word_of_a_text_is_in_exactly_one_sentence(reader: DocumentReader, text: str) -> None:
    windows = reader.windows(0, text, ["de", "en"])
    assert [word for window in windows for word in window.sentence.words] == list(Sentence.from_text(text).words)


def test_the_items_of_a_list_are_windows_in_any_language(reader: DocumentReader) -> None:
    text = "Angela Merkel\r\nOlaf Scholz\r\nBonn"
    for languages in (["de"], ["da", "de", "en", "th", "zh"]):
        assert [window.text for window in reader.windows(0, text, languages)] == ["Angela Merkel", "Olaf Scholz", "Bonn"]
    (window,) = reader.windows(0, "Angela\r\nMerkel besuchte Nairobi.", ["de", "en"])
    assert window.text == "Angela\r\nMerkel besuchte Nairobi."


def test_pre_split_words_stay_one_sentence(reader: DocumentReader) -> None:
    (window,) = reader.windows(0, Sentence.from_words(["Bonn", ".", "Graz", "."]), ["de"])
    assert window.text == "Bonn . Graz ."


def test_a_long_sentence_has_overlapping_windows_but_no_overlapping_entities(model: RetrieveAllModel) -> None:
    text = ", ".join(f"Angela Merkel und Graz {number}" for number in range(60))
    model.config.max_sentence_tokens, before = 48, model.config.max_sentence_tokens
    try:
        result = model.extract(text, language="de", details=True)
    finally:
        model.config.max_sentence_tokens = before
    assert any(first.end > second.start for first, second in zip(result.sentences, result.sentences[1:], strict=False))
    assert all(first.end <= second.start for first, second in zip(result.entities, result.entities[1:], strict=False))
    assert all(text[entity.start : entity.end] == entity.text for entity in result.entities)


# What the caller knows beforehand


def test_entities_of_overlapping_windows_are_merged_before_they_are_filtered() -> None:
    text = Sentence.from_words(["dann", "kam", "Berlin", "dran", "und", "dann"])
    windows = [text.slice(0, 4), text.slice(1, 6)]
    of_windows = [(window, [text.entity(Span(2, 3, label), 0.9)]) for window, label in zip(windows, ("LOC", "ORG"), strict=True)]
    (merged,) = _extraction(text, of_windows, [], [], Request()).entities
    for label in ("LOC", "ORG"):
        found = _extraction(text, of_windows, [], [], Request(labels=[label])).entities
        assert found == ([merged] if merged.label == label else [])


def test_a_prior_excludes_the_languages_it_does_not_name(model: RetrieveAllModel) -> None:
    results = model.extract([GERMAN, ENGLISH], prior={"en": 1}, details=True)
    assert all(served.details.posterior == {"en": 1.0} for result in results for served in result.sentences)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prior": {"xx": 1}}, "The prior names 'xx', but the model routes among de, en"),
        ({"prior": {"mul": 1}}, "The prior names 'mul', but"),
        ({"prior": {"de": -1}}, "give weights of at least 0"),
        ({"prior": {"de": 0}}, "give weights of at least 0"),
        ({"prior": {"de": float("nan")}}, "give weights of at least 0"),
        ({"prior": {"de": float("inf")}}, "give weights of at least 0"),
        ({"prior": {"de": 1}, "language": "de"}, "Give the language of the texts or a prior, not both"),
    ],
)
def test_an_invalid_prior_is_refused(model: RetrieveAllModel, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.extract(GERMAN, **arguments)


@pytest.mark.parametrize("prior", [["de"], "de", {"de": "2"}])
def test_a_prior_that_does_not_map_languages_to_numbers_is_refused(model: RetrieveAllModel, prior: object) -> None:
    with pytest.raises(TypeError, match="give languages and weights"):
        model.extract(GERMAN, prior=prior)  # type: ignore[arg-type]


# Unknown languages


def test_an_unknown_language_raises_an_error_if_configured(
    tiny_adapter: Callable[[str], Path],
) -> None:
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"), when_unknown="error")
    with pytest.raises(UnknownLanguageError, match=r"'我住在北京。' is in none of the languages de; the nearest is de\."):
        model.extract("我住在北京。")
    model.extract("我住在北京。", language="de")


def test_an_unknown_language_gives_no_entities_if_configured(tiny_adapter: Callable[[str], Path]) -> None:
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"), when_unknown="empty")
    result = model.extract("我住在北京。", details=True)
    assert result.entities == []
    assert (result.route.known, result.route.adapters) == (False, ())


def test_an_ambiguous_sentence_uses_adapters_and_examples_of_both_languages(model: RetrieveAllModel) -> None:
    settings = {"adapters_per_sentence": 2, "min_weight": 0.0, "entity_threshold": -9.0, "sentence_threshold": -9.0}
    before = {name: getattr(model.config, name) for name in settings}
    model.config.change(settings)
    try:
        result = model.extract("Ada Lovelace besuchte Bonn.", details=True)
    finally:
        model.config.change(before)
    (served,) = result.sentences
    assert set(served.route.adapters) == {"de", "en"}
    examples = {language: {e.key for e in model.adapters[language].index.examples} for language in ("de", "en")}
    pool = [hit for language in ("de", "en") for hit in model.adapters[language].index.examples]
    assert {hit.item.key for hit in served.details.retrieved.examples} <= {example.key for example in pool}
    assert len(served.details.retrieved.examples) == model.config.n_sentences
    similarities = [hit.similarity for hit in served.details.retrieved.examples]
    assert similarities == sorted(similarities, reverse=True)
    assert examples["de"] != examples["en"]


def test_calibration_is_kept_by_a_saved_model(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> None:
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"))
    model.add_language(tiny_adapter("en"))
    fitted = model.calibrate_router({"de": [GERMAN, ""], "en": [ENGLISH]})
    assert set(fitted) == {"routing_temperature", "max_distance"}
    model.save_pretrained(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text(encoding="utf-8"))
    assert {name: config[name] for name in fitted} == fitted
    for languages in ({}, {"xx": [GERMAN]}, {"de": [GERMAN]}):
        with pytest.raises(ValueError, match=r"the model routes among de, en\. Give some hundred sentences of each"):
            model.calibrate_router(languages)
    with pytest.raises(TypeError, match="Give a list of strings"):
        model.calibrate_router({"de": GERMAN, "en": ENGLISH})
    with pytest.raises(ValueError, match="There are no sentences of 'en'"):
        model.calibrate_router({"de": [GERMAN], "en": ["", " "]})


# What a result tells


def test_the_route_of_a_text_is_the_route_of_its_longest_part() -> None:
    def served(start: int, end: int, language: str) -> SentenceResult:
        return SentenceResult(start, end, Route.certain(language))

    assert Extraction("", [], [served(0, 5, "de"), served(6, 30, "en"), served(31, 40, "de")]).route.language == "en"
    assert Extraction("", [], []).route == Route.undetermined()


def test_an_entity_is_supported_by_the_retrieved_examples_that_mention_it() -> None:
    example = Example(Sentence.from_text("Graz liegt an der Mur."), (Span(0, 1, "LOC"), Span(4, 5, "LOC")))
    graz, mur = Hit(Mention(example, example.spans[0]), 0.9), Hit(Mention(example, example.spans[1]), 0.8)
    whole = Hit(example, 0.5)
    details = SentenceDetails({"de": 1.0}, Retrieved([graz, mur], [whole]), [], "", [])
    served = SentenceResult(0, 17, Route.certain("de"), details)
    entity = Entity("Graz", "LOC", 12, 16, 0.9)
    result = Extraction("Sie kam nach Graz", [entity], [served])
    assert result.support(entity) == [graz, whole]
    assert Extraction("Sie kam nach Graz", [entity], [served, served]).support(entity) == [graz, whole]
    assert result.support(Entity("Gra", "LOC", 12, 15)) == []
    assert result.support(Entity("GRAZ", "LOC", 12, 16)) == [graz, whole]
    assert result.to_dict(details=True)["entities"][0]["support"] == [
        {"text": "Graz", "label": "LOC", "similarity": 0.9},
        {
            "text": "Graz liegt an der Mur.",
            "entities": [
                {"text": "Graz", "label": "LOC", "start": 0, "end": 4, "score": 1.0},
                {"text": "Mur", "label": "LOC", "start": 18, "end": 21, "score": 1.0},
            ],
            "similarity": 0.5,
        },
    ]
    json.dumps(result.to_dict())


def test_known_mentions_are_described() -> None:
    sentence = Sentence.from_text("Nun wohnt er in New York.").slice(3, 7)
    known = KnownMention.from_match(MentionMatch(1, 3, {"ORG": 1, "LOC": 3, "PER": 1}, 7), sentence)
    assert known == KnownMention("New York", 16, 24, {"ORG": 1, "LOC": 3, "PER": 1}, 7)
    assert known.summary == "LOC 3, ORG 1, PER 1, no entity 2"
    assert replace(known, counts={"LOC": 7}).summary == "LOC 7"
    details = SentenceDetails({"de": 1.0}, Retrieved([], []), [], "", [], [known])
    result = Extraction("Nun wohnt er in New York.", [], [SentenceResult(0, 25, Route.certain("de"), details)])
    (row,) = json.loads(json.dumps(result.to_dict(details=True)))["sentences"]
    assert row["known_mentions"] == [
        {"text": "New York", "start": 16, "end": 24, "counts": {"ORG": 1, "LOC": 3, "PER": 1}, "occurrences": 7}
    ]


def test_a_long_text_is_processed_in_parts(model: RetrieveAllModel, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, sizes = model.encoder.encode_and_cache, []

    def counted(sentences: list[list[list[int]]], batch_size: int) -> list:
        sizes.append(len(sentences))
        return encode(sentences, batch_size)

    monkeypatch.setattr(model.encoder, "encode_and_cache", counted)
    text = "Bonn. " * 1500
    assert len(model.extract(text, language="de", details=True).sentences) == 1500
    assert sizes == [1024, 476]


def test_a_part_ends_between_texts(model: RetrieveAllModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractor, "_WINDOWS_AT_A_TIME", 5)
    texts = ["Bonn. Graz. Wien."] * 3
    alone = [model.extract(text, batch_size=1, details=True) for text in texts]
    together = model.extract(texts, batch_size=1, details=True)
    assert [[s.details.posterior for s in result.sentences] for result in together] == [
        [s.details.posterior for s in result.sentences] for result in alone
    ]


def test_a_sentence_without_an_adapter_does_not_reach_the_llm(
    tiny_adapter: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"), when_unknown="empty")
    monkeypatch.setattr(model.extractor.backend.decoder, "decode", None)
    assert model.extract("我住在北京。").entities == []


def test_a_short_call_does_not_wait_until_a_long_call_ends(model: RetrieveAllModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractor, "_WINDOWS_AT_A_TIME", 5)
    order: list[str] = []
    begun = threading.Event()
    decode = model.extractor._decode

    def slow(*arguments: Any) -> Any:
        decoded = decode(*arguments)
        begun.set()
        time.sleep(0.01)
        return decoded

    monkeypatch.setattr(model.extractor, "_decode", slow)
    long = threading.Thread(target=lambda: (model.extract("Bonn. " * 500, language="de", batch_size=1), order.append("long")))
    long.start()
    begun.wait()
    model.extract("Graz.", language="de", batch_size=1)
    order.append("short")
    long.join()
    assert order == ["short", "long"]


def test_a_text_of_one_megabyte_is_split_in_little_memory(reader: DocumentReader) -> None:
    text = "Angela Merkel besuchte Nairobi, und danach flog sie nach Bonn. " * (2**20 // 64)
    tracemalloc.start()
    windows = reader.windows(0, text, ["de", "en"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(len(window.sentence.words) for window in windows) == 12 * (2**20 // 64)
    assert peak < 150 * 2**20


def test_only_texts_and_lists_of_words_are_accepted() -> None:
    sentence = Sentence.from_text("Bonn")
    assert checked_texts("Bonn", False) == (["Bonn"], True)
    assert checked_texts(sentence, False) == ([sentence], True)
    assert checked_texts(iter(["Bonn", sentence]), False) == (["Bonn", sentence], False)
    assert checked_texts([["Bonn"], []], True) == ([Sentence.from_words(["Bonn"]), Sentence.from_words([])], False)
    with pytest.raises(TypeError, match=r"texts\[1\] is None"):
        checked_texts(["Bonn", None], False)
    assert torch.is_grad_enabled()
