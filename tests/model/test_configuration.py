"""A field of the configuration takes effect when it is changed on a loaded model, or an error says why it cannot change."""

import json
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from modeling_retrieveall import InputError, InputTypeError, RetrieveAllConfig, RetrieveAllModel, UnknownLanguageError
from modeling_retrieveall.model import language_adapter
from tests.random_adapters import write_random_adapters

TEXTS = [
    "Angela Merkel besuchte Nairobi.",
    "Ada Lovelace lived in London. Graz liegt an der Mur.",
    "Der Rhein fließt durch Köln und Bonn, sagte Heinrich Heine in Paris.",
]


@pytest.fixture(scope="module")
def folder(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_adapters(tmp_path_factory.mktemp("adapters"), tiny_adapter)


@pytest.fixture
def model(folder: Path) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained(folder)


def seen(model: RetrieveAllModel) -> list[Any]:
    """Everything in the results that fields of the configuration can change."""
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
OTHERWISE = {"when_unknown", "match_weight", "max_rank", "batch_size", "collection"}  # each has a test of its own


def test_every_configuration_field_has_a_test() -> None:
    assert LIVE.keys() | FIXED.keys() | OTHERWISE == RetrieveAllConfig.field_names()


@pytest.mark.parametrize("name", LIVE)
@pytest.mark.parametrize("assign", [True, False])
def test_a_changed_field_acts_like_one_the_model_was_loaded_with(folder: Path, name: str, assign: bool) -> None:
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
def test_a_field_that_the_model_is_built_from_cannot_be_changed(model: RetrieveAllModel, name: str) -> None:
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


def test_the_remaining_fields_take_effect(
    model: RetrieveAllModel, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.config.max_distance = 0.0
    model.config.when_unknown = "empty"
    assert [result.entities for result in model.extract(TEXTS)] == [[], [], []]
    model.config.when_unknown = "error"
    with pytest.raises(UnknownLanguageError):
        model.extract(TEXTS)
    sizes: list[int] = []
    model.config.decoding = "generation"
    decoder = model.extractor.backend.decoder
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
def test_an_invalid_value_is_refused_when_it_is_set(model: RetrieveAllModel, name: str, value: Any) -> None:
    for config in (model.config, RetrieveAllConfig()):
        before = getattr(config, name)
        with pytest.raises(InputError, match=name):
            setattr(config, name, value)
        assert getattr(config, name) == before


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_entities", "6", "n_entities is '6'; give a whole number from 0 to 1,000,000"),
        ("n_entities", 1.5, "n_entities is 1.5; give a whole number from 0 to 1,000,000"),
        ("n_entities", True, "n_entities is True; give a whole number"),
        ("stay_probability", 1.1, "stay_probability is 1.1; give a number from 0 to 1"),
        ("max_distance", float("nan"), "max_distance is nan; give a number from 0"),
        ("adapter_slots", 5000, "adapter_slots is 5000; give a whole number from 1 to 4,096"),
        ("router", "lda", "router is 'lda'; give one of 'discriminant', 'vote', 'combined'"),
        ("router", [], "router is \\[\\]; give one of"),
        ("adapters", {"de": 5}, "adapters is .*; give a value of type dict\\[str, str\\]"),
        ("base_revision", 5, "base_revision is 5; give a value of type str | None"),
        ("adapters_per_sentence", 17, "may need 17 adapters, but adapter_slots is 16"),
    ],
)
def test_an_error_states_the_value_and_what_the_field_accepts(name: str, value: Any, message: str) -> None:
    config = RetrieveAllConfig()
    before = getattr(config, name)
    changes: list[Callable[[], object]] = [
        lambda: RetrieveAllConfig(**{name: value}),
        lambda: setattr(config, name, value),
        lambda: config.change({"batch_size": 1, name: value}),
        lambda: RetrieveAllConfig.from_dict({**config.to_dict(), name: value}),
    ]
    for change in changes:
        with pytest.raises(InputError, match=message):
            change()
    assert (getattr(config, name), config.batch_size) == (before, RetrieveAllConfig().batch_size)


def test_a_whole_number_is_accepted_where_a_fraction_may_be() -> None:
    assert RetrieveAllConfig(entity_threshold=-1, max_distance=2).entity_threshold == -1


def test_a_misspelt_field_cannot_be_changed() -> None:
    config = RetrieveAllConfig()
    with pytest.raises(InputTypeError, match="no field 'n_entites'; did you mean 'n_entities'"):
        config.change({"n_entites": 3})
    with pytest.raises(InputTypeError, match=r"no field 'colour'\.$"):
        config.change({"colour": 3})
    config.set_in_use()
    with pytest.raises(InputTypeError, match="no field 'ruoter'; did you mean 'router'"):
        config.ruoter = "vote"


def test_configurations_do_not_share_their_adapters() -> None:
    RetrieveAllConfig().adapters["de"] = "adapters/de"
    assert RetrieveAllConfig().adapters == {}


def test_fields_that_depend_on_each_other_are_changed_together(model: RetrieveAllModel) -> None:
    config = RetrieveAllConfig()
    with pytest.raises(InputError, match="adapter_slots"):
        config.adapters_per_sentence = 100
    config.change({"adapters_per_sentence": 100, "adapter_slots": 200})
    assert (config.adapters_per_sentence, config.adapter_slots) == (100, 200)


def test_a_prompt_too_long_for_the_base_is_refused(model: RetrieveAllModel) -> None:
    model.config.max_sentence_tokens = 100_000
    model.extract(TEXTS[0], language="de")
    with pytest.raises(InputError, match="Lower max_example_tokens or max_sentence_tokens"):
        model.extract("Nairobi " * 2000, language="de")


def test_changed_fields_are_saved(model: RetrieveAllModel, tmp_path: Path) -> None:
    model.config.router, model.config.k_neighbours = "vote", 3
    model.save_pretrained(tmp_path)
    data = json.loads((tmp_path / "config.json").read_text())
    assert not [name for name in data if name.startswith("_")]
    assert (data["router"], data["k_neighbours"]) == ("vote", 3)
    assert RetrieveAllModel.from_pretrained(tmp_path).config.router == "vote"


def test_more_examples_than_the_adapter_was_trained_with_cause_a_warning(folder: Path) -> None:
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
