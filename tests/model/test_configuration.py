"""Every field of the configuration takes effect when it is set on a loaded model, or says why it cannot."""

import json
import warnings
from collections.abc import Callable
from copy import deepcopy
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from modeling_retrieveall import InputError, RetrieveAllConfig, RetrieveAllModel, UnknownLanguageError
from modeling_retrieveall.model import language_adapter
from tests.loud_adapters import write_loud_adapters

TEXTS = [
    "Angela Merkel besuchte Nairobi.",
    "Ada Lovelace lived in London. Graz liegt an der Mur.",
    "Der Rhein fließt durch Köln und Bonn, sagte Heinrich Heine in Paris.",
]


@pytest.fixture(scope="module")
def folder(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_loud_adapters(tmp_path_factory.mktemp("loud"), tiny_adapter)


@pytest.fixture
def model(folder: Path) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained(folder)


def seen(model: RetrieveAllModel) -> list[Any]:
    """All that the fields of the configuration can change in what is served."""
    return [
        [
            (
                sentence.start,
                sentence.end,
                sentence.details.prompt_ids,
                {language: round(share, 6) for language, share in sentence.details.posterior.items()},
                sentence.route.known,
                [(name, round(weight, 6)) for name, weight in sentence.route.mixture.items()],
            )
            for sentence in result.sentences
        ]
        for result in model.extract(TEXTS, details=True)
    ]


LIVE: dict[str, Any] = {
    "n_entities": 0,
    "n_sentences": 0,
    "entity_threshold": 9.0,
    "sentence_threshold": 9.0,
    "router": "vote",
    "routing_temperature": 500.0,
    "k_neighbours": 1,
    "stay_probability": 0.0,
    "adapters_per_sentence": 1,
    "min_weight": 0.9,
    "max_distance": 0.0,
    "max_example_tokens": 5,
    "max_sentence_tokens": 12,
    "decoding": "generation",
}
FIXED: dict[str, Any] = {
    "base_model": "someone/other",
    "base_revision": "f" * 40,
    "adapters": {"de": "adapters/de"},
    "encoder_layer": 0,
    "adapter_slots": 4,
    "max_batch_tokens": 16,
}
OTHERWISE = {"when_unknown", "max_rank", "batch_size", "collection"}  # each has a test of its own


def test_every_field_is_tested_here() -> None:
    assert LIVE.keys() | FIXED.keys() | OTHERWISE == set(signature(RetrieveAllConfig.__init__).parameters) - {"self", "kwargs"}


@pytest.mark.parametrize("name", LIVE)
@pytest.mark.parametrize("assign", [True, False])
def test_a_new_value_takes_effect_at_the_next_call_as_if_it_was_loaded_with(folder: Path, name: str, assign: bool) -> None:
    # Settings under which the value makes a difference for the few examples of the tiny base.
    setting: dict[str, Any] = {"when_unknown": "both", "max_distance": 100.0, "min_weight": 0.0}
    model = RetrieveAllModel.from_pretrained(folder, **setting)
    before = seen(model)
    if assign:
        setattr(model.config, name, LIVE[name])
    else:
        model.config.change({name: LIVE[name]})
    after = seen(model)
    assert after != before
    assert after == seen(RetrieveAllModel.from_pretrained(folder, **setting | {name: LIVE[name]}))
    model.config.change({name: getattr(RetrieveAllModel.from_pretrained(folder, **setting).config, name)})
    assert seen(model) == before


@pytest.mark.parametrize("name", FIXED)
def test_what_a_model_is_built_from_cannot_be_changed_on_it(model: RetrieveAllModel, name: str) -> None:
    before = getattr(model.config, name)
    changes: list[Callable[[], None]] = [
        lambda: setattr(model.config, name, FIXED[name]),
        lambda: model.config.change({"n_entities": 1, name: FIXED[name]}),
    ]
    for change in changes:
        with pytest.raises(InputError, match=f"{name} cannot be changed after loading"):
            change()
    assert getattr(model.config, name) == before and model.config.n_entities == RetrieveAllConfig().n_entities
    setattr(model.config, name, before)  # the same value is no change
    with pytest.raises(InputError):
        deepcopy(model.config).change({name: FIXED[name]})


def test_the_configuration_of_a_model_cannot_be_replaced(model: RetrieveAllModel) -> None:
    with pytest.raises(InputError, match=r"model\.config\.change"):
        model.config = RetrieveAllConfig()


def test_the_other_fields(model: RetrieveAllModel, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model.config.max_distance = 0.0
    model.config.when_unknown = "empty"
    assert [result.entities for result in model.extract(TEXTS)] == [[], [], []]
    model.config.when_unknown = "error"
    with pytest.raises(UnknownLanguageError):
        model.extract(TEXTS)
    sizes: list[int] = []
    model.config.decoding = "generation"
    decoder = model._extractor.backend.decoder
    decode = decoder.decode

    def counted(prompts: Any, *rest: Any) -> Any:
        sizes.append(len(prompts))
        return decode(prompts, *rest)

    monkeypatch.setattr(decoder, "decode", counted)
    model.config.batch_size = 1
    model.extract(TEXTS, language="de")
    assert set(sizes) == {1}
    model.remove_language("de")
    model.config.max_rank = 1
    with pytest.raises(ValueError, match="max_rank is 1"):
        model.add_language(folder / "de")
    model.config.collection = "ann/mine-64f9a55bb3115b4f513ec026"
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["collection"] == model.config.collection


@pytest.mark.parametrize(
    ("name", "value"),
    [("router", "lda"), ("k_neighbours", 0), ("n_entities", -1), ("n_entities", "6"), ("min_weight", 2), ("when_unknown", None)],
)
def test_a_value_that_cannot_be_used_is_refused_when_it_is_set(model: RetrieveAllModel, name: str, value: Any) -> None:
    for config in (model.config, RetrieveAllConfig()):
        before = getattr(config, name)
        with pytest.raises(InputError, match=name):
            setattr(config, name, value)
        assert getattr(config, name) == before


def test_values_that_need_one_another_are_set_together(model: RetrieveAllModel) -> None:
    config = RetrieveAllConfig()
    with pytest.raises(InputError, match="adapter_slots"):
        config.adapters_per_sentence = 100
    config.change({"adapters_per_sentence": 100, "adapter_slots": 200})
    assert (config.adapters_per_sentence, config.adapter_slots) == (100, 200)


def test_a_prompt_that_does_not_fit_the_base_is_refused(model: RetrieveAllModel) -> None:
    model.config.max_sentence_tokens = 100_000
    model.extract(TEXTS[0], language="de")
    with pytest.raises(InputError, match="Lower max_example_tokens or max_sentence_tokens"):
        model.extract("Nairobi " * 2000, language="de")


def test_a_loaded_configuration_is_saved_as_it_is(model: RetrieveAllModel, tmp_path: Path) -> None:
    model.config.router, model.config.k_neighbours = "vote", 3
    model.save_pretrained(tmp_path)
    data = json.loads((tmp_path / "config.json").read_text())
    assert not [name for name in data if name.startswith("_")]
    assert (data["router"], data["k_neighbours"]) == ("vote", 3)
    assert RetrieveAllModel.from_pretrained(tmp_path).config.router == "vote"


def test_more_examples_than_an_adapter_was_trained_with_are_warned_of(folder: Path) -> None:
    model = RetrieveAllModel.from_pretrained(folder, n_entities=10)
    with pytest.warns(UserWarning, match=r"n_entities is 10, but .*: de \(6\), en \(6\), mul \(6\)\.") as caught:
        model.extract(TEXTS)
    assert caught[0].filename == __file__
    model.config.change({"n_entities": 6, "n_sentences": 3})
    with pytest.warns(UserWarning, match="n_sentences is 3"):
        model.extract(TEXTS, details=True)
    model.config.n_sentences = 2
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.extract(TEXTS)


def test_lora_weights_are_read_once_at_first_use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, checked = [], []
    read_lora, check_finite = language_adapter.read_lora, language_adapter.check_finite

    def counted(path: Path, dtype: Any) -> Any:
        if dtype is not None:
            read.append(path.name)
        return read_lora(path, dtype)

    def counted_check(path: Path, weights: Any) -> None:
        checked.append(path.name)
        check_finite(path, weights)

    monkeypatch.setattr(language_adapter, "read_lora", counted)
    monkeypatch.setattr(language_adapter, "check_finite", counted_check)
    model = RetrieveAllModel.from_pretrained(folder)
    assert not read
    for _ in range(2):
        model.extract(TEXTS, language=["de", "en", "mul"])
        assert sorted(read) == sorted(checked) == ["de", "en", "mul"]
