"""Extraction: entities are substrings of the text for any input, and invalid input raises a helpful error."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from modeling_retrieveall import Entity, Extraction, RetrieveAllModel
from modeling_retrieveall.model.entities import Sentence, Span
from modeling_retrieveall.model.grammar import AnswerGrammar
from tests.random_adapters import copy_with_random_weights, write_random_adapters
from tests.strategies import texts, word_lists

LABELS = {"LOC", "ORG", "PER"}
MIXED = [
    "Angela Merkel besuchte Nairobi.",
    "The United Nations met in New York; Wangari Maathai spoke.",
    "",
    "Bonn",
    "Der Rhein fließt durch Köln, und die Mur durch Graz.",
    "Berlin is far from Lima.",
    "北京, القاهرة and தமிழ்",
    "Nobody was there.",
    "Angela Merkel besuchte Nairobi.",
]
ODD = {
    "an empty string": "",
    "blanks": " \t\n  ",
    "control characters": "Angela\x00 Merkel\x1b[0m\x85besuchte\u2028Nairobi",
    "emoji with joiners": "👨‍👩‍👧 liebt 🇩🇪 Berlin 👍🏽☺️!",
    "text from right to left": "אנגלה מרקל ביקרה \u202eב\u2066ירושלים\u2069 القاهرة",
    "a lone surrogate": "Bonn \ud800 Graz",
    "nothing but marks": "\u0301\u200d\ufe0f\u200b\ufeff",
    "marks of the prompt": "Text: Bonn\nEntities: Bonn = LOC; <bos> <eos> Graz = PER\n",
    "one endless word": "Donaudampf" * 300,
    "no spaces at all": "北京" * 200,
}


@pytest.fixture(scope="module")
def model(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained(write_random_adapters(tmp_path_factory.mktemp("adapters"), tiny_adapter))


def assert_lie_in(text: str, entities: list[Entity]) -> None:
    """Entities are in order, do not overlap, and have the characters of the text."""
    end = 0
    for entity in entities:
        assert end <= entity.start <= entity.end <= len(text)
        assert entity.text == text[entity.start : entity.end]
        assert entity.label in LABELS
        assert 0.0 <= entity.score <= 1.0
        end = entity.end


def places(result: Extraction) -> list[tuple[int, int, str]]:
    return [(entity.start, entity.end, entity.label) for entity in result.entities]


# What may be given


def test_a_string_has_one_result_and_a_list_a_list_of_results(model: RetrieveAllModel) -> None:
    assert [model.extract(MIXED[0])] == model.extract([MIXED[0]])
    sentence = Sentence.from_text(MIXED[0])
    assert [model.extract(sentence)] == model.extract([sentence])


def test_there_is_one_result_per_text_in_order(model: RetrieveAllModel) -> None:
    found = model.extract(MIXED)
    assert len(found) == len(MIXED)
    assert any(result.entities for result in found)
    for text, result in zip(MIXED, found, strict=True):
        assert result.text == text
        assert_lie_in(text, result.entities)
    assert places(found[0]) == places(found[-1])


def test_an_empty_list_gives_an_empty_list(model: RetrieveAllModel) -> None:
    assert model.extract([]) == []
    assert model.extract([], language=[]) == []
    assert model.extract([], is_split_into_words=True) == []


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_entities_of_unusual_texts_have_the_characters_of_the_text(model: RetrieveAllModel, text: str) -> None:
    assert_lie_in(text, model.extract(text).entities)


@pytest.mark.parametrize("text", ["", " \t\n  ", "\x00\x1b", "\u200b\ufeff"])
def test_a_text_without_words_has_no_entities_and_no_route(model: RetrieveAllModel, text: str) -> None:
    result = model.extract(text, details=True)
    assert result.entities == [] and result.sentences == []
    assert not result.route.known and result.route.adapters == ()


def test_a_text_of_any_length_is_read_to_its_end(model: RetrieveAllModel) -> None:
    sentences = [f"Angela Merkel besuchte {number} Mal Nairobi." for number in range(100)]
    text = " ".join(sentences)
    result = model.extract(text, language="de", details=True)
    assert len(result.sentences) > 2
    assert all(any(sentence in served.details.prompt for served in result.sentences) for sentence in sentences)
    assert_lie_in(text, result.entities)


def test_windows_are_not_longer_than_configured(
    tiny_adapter: Callable[[str], Path],
) -> None:
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"))
    model.config.max_sentence_tokens = 24
    model.config.n_entities = model.config.n_sentences = 0
    for decoding, frame, copies in (("generation", "<bos>Text:\nEntities:", 1), ("tags", "<bos>\nTags:", 2)):
        model.config.decoding = decoding
        prompts = [
            sentence.details.prompt_ids
            for sentence in model.extract("Angela Merkel besuchte Nairobi und " * 10, details=True).sentences
        ]
        assert len(prompts) > 1
        assert max(map(len, prompts)) <= len(model.tokenizer(frame)["input_ids"]) + copies * 24


def test_entities_of_pre_split_words_consist_of_whole_words(model: RetrieveAllModel) -> None:
    words = [["Angela", "Merkel", "besuchte", "Nairobi-West", "."], ["St. Gallen", "liegt", "hier"], []]
    for row, result in zip(words, model.extract(words, is_split_into_words=True), strict=True):
        entities = result.entities
        assert_lie_in(" ".join(row), entities)
        starts = {sum(map(len, row[:i])) + i for i in range(len(row))}
        ends = {sum(map(len, row[: i + 1])) + i for i in range(len(row))}
        assert all(entity.start in starts and entity.end in ends for entity in entities)


def test_pre_split_words_give_the_prompt_of_their_text(model: RetrieveAllModel) -> None:
    from_words = model.extract(
        [["Angela", "Merkel", "besuchte", "Nairobi", "."]], language="de", is_split_into_words=True, details=True
    )[0]
    from_text = model.extract("Angela Merkel besuchte Nairobi.", language="de", details=True)
    (read_words,), (read_text,) = from_words.sentences, from_text.sentences
    assert read_words.details.prompt == read_text.details.prompt
    assert read_words.details.answer_ids == read_text.details.answer_ids


def test_labels_with_a_common_prefix_give_one_entity_each(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copy_with_random_weights(tiny_adapter("de"), tmp_path / "de", seed=0)
    manifest = json.loads((folder / "retrieveall.json").read_text(encoding="utf-8"))
    (folder / "retrieveall.json").write_text(json.dumps({**manifest, "entity_types": ["LOC", "LOCderiv", "ORG", "PER"]}))
    model = RetrieveAllModel.from_pretrained(folder)
    for result in model.extract(MIXED):
        starts = [entity.start for entity in result.entities]
        assert len(starts) == len(set(starts))


# What may not be given


@pytest.mark.parametrize("texts", [None, 5, 3.14, b"Bonn"], ids=str)
def test_an_input_of_a_wrong_type_raises_a_helpful_type_error(model: RetrieveAllModel, texts: Any) -> None:
    with pytest.raises(TypeError, match=r"Give .*(string|texts)"):
        model.extract(texts)


@pytest.mark.parametrize("bad", [None, 5, ["nested"], b"Bonn"], ids=str)
def test_a_text_of_a_wrong_type_is_named_by_its_position(model: RetrieveAllModel, bad: Any) -> None:
    with pytest.raises(TypeError, match=r"texts\[1\] .* not a string"):
        model.extract(["Bonn", bad])


@pytest.mark.parametrize("bad", ["Bonn liegt hier", [5], [None], [["nested"]], None, 5], ids=str)
def test_words_of_a_wrong_type_are_named_by_their_position(model: RetrieveAllModel, bad: Any) -> None:
    with pytest.raises(TypeError, match=r"texts\[1\] .* not a list of strings"):
        model.extract([["Bonn"], bad], is_split_into_words=True)


def test_words_without_is_split_into_words_are_refused_with_a_hint(model: RetrieveAllModel) -> None:
    with pytest.raises(TypeError, match="Pass is_split_into_words=True for lists of words"):
        model.extract([["Bonn", "."]])
    with pytest.raises(TypeError, match="give a list of sentences, each a list of words"):
        model.extract(["Bonn", "."], is_split_into_words=True)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_of_zero_is_refused(model: RetrieveAllModel, batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size is {batch_size}; give at least 1"):
        model.extract("Bonn", batch_size=batch_size)


# Batches


def test_a_batch_of_mixed_languages_gives_the_results_of_each_text_alone(model: RetrieveAllModel) -> None:
    languages = ["de", "en", "mul"] * 3
    together = model.extract(MIXED, language=languages, batch_size=8)
    alone = model.extract(MIXED, language=languages, batch_size=1)
    for row, (ours, theirs) in enumerate(zip(together, alone, strict=True)):
        assert places(ours) == places(theirs) == places(model.extract(MIXED[row], language=languages[row]))
        scores = [[entity.score for entity in result.entities] for result in (ours, theirs)]
        assert scores[0] == pytest.approx(scores[1], rel=1e-3)


def test_the_batch_size_does_not_change_routes(model: RetrieveAllModel) -> None:
    together, alone = model.extract(MIXED, batch_size=8, details=True), model.extract(MIXED, batch_size=1, details=True)
    assert [result.language for result in together] == [result.language for result in alone]
    assert list(map(places, together)) == list(map(places, alone))


def test_a_batch_may_have_more_languages_than_slots(
    model: RetrieveAllModel, tiny_adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    narrow = RetrieveAllModel.from_pretrained(
        write_random_adapters(tmp_path, tiny_adapter), adapter_slots=1, adapters_per_sentence=1
    )
    languages = ["de", "en", "mul"] * 3
    assert list(map(places, narrow.extract(MIXED, language=languages))) == list(
        map(places, model.extract(MIXED, language=languages))
    )


def test_no_more_adapters_are_resident_than_there_are_slots(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> None:
    narrow = RetrieveAllModel.from_pretrained(write_random_adapters(tmp_path, tiny_adapter), adapter_slots=2)
    narrow.extract(MIXED, language=["de", "en", "mul"] * 3)
    assert len(narrow.bank.resident) == 2


def test_a_threshold_drops_less_probable_entities(model: RetrieveAllModel) -> None:
    every = [entity for result in model.extract(MIXED) for entity in result.entities]
    middle = sorted(entity.score for entity in every)[len(every) // 2]
    kept = [entity for result in model.extract(MIXED, threshold=middle) for entity in result.entities]
    assert kept == [entity for entity in every if entity.score >= middle]
    with pytest.raises(ValueError, match=r"threshold is 1\.5"):
        model.extract(MIXED, threshold=1.5)


def test_concurrent_threads_get_the_results_of_a_single_thread(model: RetrieveAllModel) -> None:
    before = model.extract(MIXED)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: model.extract(MIXED), range(8)))
    assert all(result == before for result in results)


# Devices and quantisation


@pytest.mark.parametrize("offloaded", ["model.layers.1", "model.embed_tokens", "lm_head"])
def test_a_model_split_over_cpu_and_disk_gives_the_same_entities(
    model: RetrieveAllModel, tiny_adapter: Callable[[str], Path], tmp_path: Path, offloaded: str
) -> None:
    parts = ("model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "model.rotary_emb", "lm_head")
    split = RetrieveAllModel.from_pretrained(
        write_random_adapters(tmp_path / "adapters", tiny_adapter),
        device_map={part: "disk" if part == offloaded else "cpu" for part in parts},
        offload_folder=str(tmp_path / "offload"),
    )
    assert list(map(places, split.extract(MIXED))) == list(map(places, model.extract(MIXED)))


@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_a_quantised_bundled_llm_extracts_entities(embedded_base: str, quantization: str) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install -e '.[quantization]'")
    model = RetrieveAllModel.from_pretrained("shipped", languages=["de"], quantization=quantization, dtype="bfloat16")
    for module in model.base.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            assert module.compute_dtype is torch.bfloat16
    assert model.base.get_memory_footprint() < 0.9 * 2 * model.base.num_parameters()
    found = {
        (entity.text, entity.label) for entity in model.extract("Angela Merkel besuchte gestern Nairobi.", language="de").entities
    }
    assert ("Angela Merkel", "PER") in found


# Every answer can be parsed


def word_spans(sentence: Sentence, entities: list[Entity]) -> list[Span]:
    starts = {word.start: i for i, word in enumerate(sentence.words)}
    ends = {word.end: i + 1 for i, word in enumerate(sentence.words)}
    return [Span(starts[entity.start], ends[entity.end], entity.label) for entity in entities]


def assert_parsable(model: RetrieveAllModel, whole: Sentence, result: Extraction) -> None:
    """The answer of each sentence is exactly the answer that training would write for its entities."""
    assert_lie_in(whole.text, result.entities)
    for served in result.sentences:
        # By both ends: the last word may be empty.
        words = tuple(word for word in whole.words if served.start <= word.start and word.end <= served.end)
        sentence = Sentence(whole.text, words)
        entities = [entity for entity in result.entities if served.start <= entity.start and entity.end <= served.end]
        assert AnswerGrammar(model.answers, sentence, sorted(LABELS)).accepts(served.details.answer_ids)
        assert served.details.answer_ids == model.answers.answer_ids(sentence, word_spans(sentence, entities))


@pytest.fixture(scope="module")
def windowless(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> RetrieveAllModel:
    """A model in which every sentence fits into one window, so that it has one answer."""
    model = RetrieveAllModel.from_pretrained(write_random_adapters(tmp_path_factory.mktemp("loud"), tiny_adapter))
    model.config.max_sentence_tokens = 100_000
    return model


@given(text=texts)
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_every_answer_to_any_text_can_be_parsed(windowless: RetrieveAllModel, text: str) -> None:
    result = windowless.extract(text, details=True)
    assert_parsable(windowless, Sentence.from_text(text), result)


@given(words=word_lists)
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_every_answer_to_any_words_can_be_parsed(windowless: RetrieveAllModel, words: list[str]) -> None:
    (result,) = windowless.extract([words], is_split_into_words=True, details=True)
    assert_parsable(windowless, Sentence.from_words(words), result)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"language": 5}, "language is 5; give a language code"),
        ({"threshold": "0.5"}, "threshold is '0.5'; give a number"),
        ({"batch_size": 2.5}, "batch_size is 2.5; give a whole number"),
        ({"decoding": "foo"}, "decoding is 'foo'; give auto, tags or generation"),
    ],
)
def test_options_of_other_types_are_refused(model: RetrieveAllModel, options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        model.extract("Bonn", **options)


def test_a_dictionary_is_not_a_list_of_texts(model: RetrieveAllModel) -> None:
    with pytest.raises(TypeError, match=r"texts\[0\] is \{'text': 'Bonn'\} \(dict\), not a string"):
        model.extract({"text": "Bonn"})  # type: ignore[call-overload]


def test_generate_refuses_one_dimension(model: RetrieveAllModel) -> None:
    with pytest.raises(ValueError, match=r"have the shapes \[2\] and \[2\]; give \[batch, tokens\] for both"):
        model.generate(torch.tensor([5, 6]))
