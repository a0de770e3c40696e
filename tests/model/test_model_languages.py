"""Languages are added and removed without an effect on the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from modeling_retrieveall import AdapterError, Extraction, InputError, LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.model.extractor import Extractor
from modeling_retrieveall.model.retrieval import ExampleIndex
from tests.adapter_folders import copy_adapter, edit_manifest
from tests.conftest import SENTENCES
from tests.random_adapters import copy_with_random_weights, write_random_adapters

GERMAN = ["Angela Merkel besuchte Nairobi.", "Der Rhein fließt durch Köln.", "Die Mur fließt durch Graz, nicht durch Bonn."]
ENGLISH = ["The United Nations met in New York.", "Wangari Maathai spoke.", "Nobody was there."]


@pytest.fixture
def folder(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> Path:
    return write_random_adapters(tmp_path, tiny_adapter)


@pytest.fixture
def model(folder: Path) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained(folder)


def answered(results: list[Extraction]) -> list[tuple[Any, ...]]:
    """The complete results of each text except for the posteriors of its languages."""
    sentences = [
        [(s.route.mixture, s.details.retrieved, s.details.prompt, s.details.answer_ids) for s in result.sentences]
        for result in results
    ]
    return [(result.entities, served) for result, served in zip(results, sentences, strict=True)]


# Naming the language


def test_languages_are_listed_in_order(model: RetrieveAllModel) -> None:
    assert list(model.languages) == ["de", "en", "mul"]


def test_a_language_can_be_given_for_all_texts_or_for_each(model: RetrieveAllModel) -> None:
    assert [result.language for result in model.extract(GERMAN, language="en")] == ["en", "en", "en"]
    results = model.extract(GERMAN, language=["mul", "de", "en"], details=True)
    assert [r.route.mixture for r in results] == [{"mul": 1.0}, {"de": 1.0}, {"en": 1.0}]
    assert all(r.route.known and r.route.confidence == 1.0 for r in results)


def test_each_language_gives_its_own_results(model: RetrieveAllModel) -> None:
    assert model.extract(GERMAN, language="de") != model.extract(GERMAN, language="en")


@pytest.mark.parametrize("languages", ["xx", ["de", "xx", "en"]])
def test_an_unknown_language_raises_an_error_that_lists_the_known_ones(model: RetrieveAllModel, languages: Any) -> None:
    with pytest.raises(ValueError, match=r"No adapter for language 'xx'\. There are: de, en, mul\."):
        model.extract(GERMAN, language=languages)


@pytest.mark.parametrize("languages", [[], ["de"], ["de"] * 4])
def test_a_wrong_number_of_languages_is_refused(model: RetrieveAllModel, languages: list[str]) -> None:
    with pytest.raises(ValueError, match=f"There are 3 texts and {len(languages)} languages"):
        model.extract(GERMAN, language=languages)


def test_examples_and_labels_belong_to_the_language(model: RetrieveAllModel) -> None:
    english = {example.key for example in model.adapters["en"].index.examples}
    for result in model.extract(GERMAN, language="en", details=True):
        assert {hit.item.key for sentence in result.sentences for hit in sentence.details.retrieved.examples} <= english


# Adding


def test_adding_a_language_leaves_the_others_bit_for_bit_the_same(folder: Path) -> None:
    model = RetrieveAllModel.from_pretrained(folder, languages=["de"])
    before = model.extract(GERMAN, language="de", details=True), model.extract(ENGLISH, language="mul", details=True)
    assert model.add_language(folder / "en") == "en"
    model.extract(ENGLISH, language="en")
    after = model.extract(GERMAN, language="de", details=True), model.extract(ENGLISH, language="mul", details=True)
    assert [answered(results) for results in after] == [answered(results) for results in before]


def test_texts_still_routed_to_one_language_keep_bit_for_bit_the_same_results(folder: Path) -> None:
    model = RetrieveAllModel.from_pretrained(folder, languages=["de"])
    own = [
        e.sentence.text for code in ("de", "en") for e in load_examples(str(SENTENCES / f"{code}.conll"), "train").examples[:12]
    ]
    before = {text: model.extract(text, details=True) for text in GERMAN + ENGLISH + own}
    model.add_language(folder / "en")
    after = {text: model.extract(text, details=True) for text in before}
    stayed = [text for text, results in after.items() if results.route.adapters == ("de",)]
    assert stayed and len(stayed) < len(after)
    assert answered([after[text] for text in stayed]) == answered([before[text] for text in stayed])


def test_adding_a_language_again_replaces_it(
    model: RetrieveAllModel, tiny_adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    before = model.extract(GERMAN, language="de", details=True)
    other = copy_with_random_weights(tiny_adapter("de"), tmp_path / "other", seed=9)
    model.add_language(other)
    assert list(model.languages) == ["de", "en", "mul"]
    assert answered(model.extract(GERMAN, language="de", details=True)) != answered(before)


def test_a_model_without_languages_finds_nothing_until_one_is_added(folder: Path) -> None:
    model = RetrieveAllModel.from_pretrained(folder / "de")
    model.remove_language("de")
    assert list(model.languages) == []
    assert [result.entities for result in model.extract(GERMAN)] == [[], [], []]
    with pytest.raises(ValueError, match="There are: none"):
        model.extract(GERMAN, language="de")
    model.add_language(folder / "de")
    assert any(result.entities for result in model.extract(GERMAN))


@pytest.mark.parametrize(
    "changes",
    [
        {"base_model": "other/base"},
        {"base_revision": "f00d"},
        {"hidden_size": 33},
        {"encoder_layer": 2},
        {"prompt_version": 0},
    ],
)
def test_an_adapter_of_another_base_is_refused_and_the_model_still_works(
    model: RetrieveAllModel, tiny_adapter: Callable[[str], Path], tmp_path: Path, changes: dict[str, Any]
) -> None:
    before = answered(model.extract(GERMAN + ENGLISH, details=True))
    for language in ("sw", "de"):
        other = edit_manifest(
            copy_with_random_weights(tiny_adapter("de"), tmp_path / f"other-{language}", seed=9), language=language, **changes
        )
        with pytest.raises(AdapterError, match=r"has .* the model|not \[n, 33\]") as caught:
            model.add_language(other)
        assert str(other) in str(caught.value) and str(next(iter(changes.values()))) in str(caught.value)
    assert list(model.languages) == ["de", "en", "mul"]
    assert answered(model.extract(GERMAN + ENGLISH, details=True)) == before


def test_an_adapter_whose_vectors_do_not_fit_is_refused_and_the_model_still_works(
    model: RetrieveAllModel, tiny_adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    before = answered(model.extract(GERMAN + ENGLISH, details=True))
    other = edit_manifest(copy_with_random_weights(tiny_adapter("de"), tmp_path / "other", seed=9), language="sw")
    vectors = load_file(other / "retrieval.safetensors")
    save_file({**vectors, "sentences": vectors["sentences"][:, :31].contiguous()}, other / "retrieval.safetensors")
    with pytest.raises(AdapterError):
        model.add_language(other)
    assert list(model.languages) == ["de", "en", "mul"]
    assert answered(model.extract(GERMAN + ENGLISH, details=True)) == before


def test_a_language_with_damaged_weights_is_refused_when_it_is_added(
    model: RetrieveAllModel, tiny_adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    before = answered(model.extract(GERMAN, language="de", details=True))
    other = edit_manifest(copy_with_random_weights(tiny_adapter("de"), tmp_path / "other", seed=9), language="sw")
    (other / "adapter_model.safetensors").write_bytes(b"\x00")
    with pytest.raises(AdapterError, match="cannot be read"):
        model.add_language(other)
    assert list(model.languages) == ["de", "en", "mul"]
    assert answered(model.extract(GERMAN, language="de", details=True)) == before


def test_a_language_of_other_shapes_is_refused_when_it_is_added(
    model: RetrieveAllModel, tiny_adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    other = edit_manifest(copy_with_random_weights(tiny_adapter("de"), tmp_path / "other", seed=9), language="sw")
    weights = load_file(other / "adapter_model.safetensors")
    save_file({name: torch.zeros(3, 5) for name in weights}, other / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match="another base LLM"):
        model.add_language(other)
    assert list(model.languages) == ["de", "en", "mul"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_weights_of_a_language_do_not_affect_the_others(
    model: RetrieveAllModel, tiny_adapter: Callable[[str], Path], tmp_path: Path, value: float
) -> None:
    before = answered(model.extract(GERMAN, language="de", details=True))
    other = edit_manifest(copy_with_random_weights(tiny_adapter("de"), tmp_path / "other", seed=9), language="sw")
    weights = load_file(other / "adapter_model.safetensors")
    next(iter(weights.values()))[0, 0] = value
    save_file(weights, other / "adapter_model.safetensors")
    model.add_language(other)
    with pytest.raises(AdapterError, match="not all finite"):
        model.extract(GERMAN, language="sw")
    assert answered(model.extract(GERMAN, language="de", details=True)) == before


def test_a_language_without_examples_does_not_take_part_in_routing(
    model: RetrieveAllModel, tiny_adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    before = answered(model.extract(GERMAN + ENGLISH, details=True))
    other = edit_manifest(copy_with_random_weights(tiny_adapter("de"), tmp_path / "other", seed=9), language="sw")
    adapter = LanguageAdapter.load(other)
    empty = ExampleIndex([], torch.zeros(0, 32), torch.zeros(0, 32))
    LanguageAdapter(adapter.manifest, empty, torch.zeros(0, 32), adapter.training_hashes, other).save_index(other)
    model.add_language(other)
    assert answered(model.extract(GERMAN + ENGLISH, details=True)) == before
    assert len(model.extract(GERMAN, language="sw")) == 3


# Removing


def test_removing_a_language_leaves_the_others_bit_for_bit_the_same(model: RetrieveAllModel) -> None:
    before = answered(model.extract(GERMAN, language="de", details=True))
    model.extract(ENGLISH, language="en")
    model.remove_language("en")
    assert list(model.languages) == ["de", "mul"] and "en" not in model.bank
    assert answered(model.extract(GERMAN, language="de", details=True)) == before
    assert all(r.language == "de" for r in model.extract(ENGLISH, details=True))


def test_removing_and_adding_a_language_restores_it(model: RetrieveAllModel, folder: Path) -> None:
    before = model.extract(GERMAN + ENGLISH, details=True)
    model.remove_language("en")
    model.add_language(folder / "en")
    after = model.extract(GERMAN + ENGLISH, details=True)
    assert answered(after) == answered(before)
    assert [r.route for r in after] == [r.route for r in before]


def test_removing_an_unknown_language_raises_an_error_that_lists_the_known_ones(model: RetrieveAllModel) -> None:
    with pytest.raises(ValueError, match=r"'xx'\. There are: de, en, mul\."):
        model.remove_language("xx")
    assert list(model.languages) == ["de", "en", "mul"]


def test_a_language_that_is_removed_during_a_call_is_an_error(model: RetrieveAllModel, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Extractor._read

    def read_and_remove(self: Extractor, *arguments: Any) -> Any:
        result = read(self, *arguments)
        model.remove_language("en")  # as another thread could do before the lock is taken
        return result

    monkeypatch.setattr(Extractor, "_read", read_and_remove)
    with pytest.raises(InputError, match="'en'"):
        model.extract(ENGLISH, language="en")


def test_a_model_with_mul_alone_splits_texts_into_sentences(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> None:
    copy_adapter(tiny_adapter("en"), tmp_path / "mul", language="mul")
    alone = RetrieveAllModel.from_pretrained(tmp_path)
    assert len(alone.extract("Anna lives in Bonn. Her brother lives in Paris.").sentences) == 2


def test_sentences_of_unknown_languages_use_the_multilingual_adapter_if_present(model: RetrieveAllModel) -> None:
    model.config.change({"max_distance": 0.0, "when_unknown": "mul"})
    result = model.extract(GERMAN[0], details=True)
    assert not result.route.known and result.route.adapters == ("mul",)
    model.remove_language("mul")
    result = model.extract(GERMAN[0], details=True)
    assert not result.route.known and result.route.adapters[0] == result.route.language


def test_norwegian_is_understood_as_bokmal(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> None:
    for language in ("nb", "en"):
        copy_adapter(tiny_adapter("en"), tmp_path / language, language=language)
    model = RetrieveAllModel.from_pretrained(tmp_path, languages=["no", "en"])
    assert list(model.languages) == ["en", "nb"]
    text = "Wangari Maathai besøkte Bergen."
    assert model.extract(text, language="no") == model.extract(text, language="nb")
    assert model.extract(text, prior={"no": 1}).language == "nb"
    model.remove_language("no")
    with pytest.raises(InputError, match="No adapter for language 'no'"):
        model.extract(text, language="no")
