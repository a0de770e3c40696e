"""Models whose adapters come from the Hub: pinned, from collections, private, offline."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants

from modeling_retrieveall import AdapterError, InputTypeError, RetrieveAllModel
from modeling_retrieveall.model.hub_files import HubError, HubUnreachableError
from tests.local_hub import LocalHub
from tests.published import TINY, commit_folder, publish, publish_changed

TEXT = "Angela Merkel besuchte Nairobi."
PIN = re.compile(r"ann/tiny-(de|en|mul)@[0-9a-f]{40}")


def fetched(hub: LocalHub, name: str) -> list[str]:
    """The repositories from which a file was requested."""
    return [call.path.split("/resolve/")[0].strip("/") for call in hub.requests if call.path.endswith(name)]


def test_a_collection_is_loaded_as_a_model_with_each_language_pinned(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de", "en", "mul")
    model = RetrieveAllModel.from_pretrained(collection=slug)
    assert list(model.languages) == ["de", "en", "mul"]
    assert all(PIN.fullmatch(source) for source in model.languages.values())
    assert RetrieveAllModel.from_pretrained(slug).languages == model.languages


def test_adapters_from_the_hub_extract_the_same_entities_as_from_folders(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de")
    ours = RetrieveAllModel.from_pretrained(collection=slug).extract([TEXT], language="de")
    assert ours == RetrieveAllModel.from_pretrained(tiny_adapter("de")).extract([TEXT], language="de")


def test_weights_are_downloaded_once_when_a_language_is_first_needed(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de", "en")
    hub.requests.clear()
    model = RetrieveAllModel.from_pretrained(collection=slug)
    assert set(fetched(hub, "retrieval.safetensors")) == {"ann/tiny-de", "ann/tiny-en"}
    assert fetched(hub, "adapter_model.safetensors") == []
    model.extract([TEXT], language="de")
    assert set(fetched(hub, "adapter_model.safetensors")) == {"ann/tiny-de"}
    hub.requests.clear()
    model.extract([TEXT], language="de")
    assert hub.requests == []


def test_only_the_requested_languages_are_fetched(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de", "en", "mul")
    hub.requests.clear()
    assert list(RetrieveAllModel.from_pretrained(slug, languages=["de"]).languages) == ["de", "mul"]
    assert "ann/tiny-en" not in fetched(hub, "retrieval.safetensors")
    with pytest.raises(ValueError, match=r"No adapter for language 'sw'. There are: de, en, mul"):
        RetrieveAllModel.from_pretrained(slug, languages=["sw"])


def test_a_saved_model_pins_its_adapters_and_takes_new_languages_from_the_collection(
    hub: LocalHub, tiny_adapter: TINY, tmp_path: Path
) -> None:
    slug = publish(tiny_adapter, "de")
    model = RetrieveAllModel.from_pretrained(collection=slug)
    model.save_pretrained(tmp_path / "model")
    saved = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (saved["adapters"], saved["collection"]) == (dict(model.languages), slug)
    assert not (tmp_path / "model" / "adapters").exists()
    publish_changed(tiny_adapter, "de", "ann/tiny-de", slug, tmp_path / "newer", training={"sentences": 1})
    publish(tiny_adapter, "en")
    again = RetrieveAllModel.from_pretrained(tmp_path / "model")
    assert again.languages["de"] == model.languages["de"]
    assert list(again.languages) == ["de", "en"]
    assert list(RetrieveAllModel.from_pretrained(tmp_path / "model", collection=None).languages) == ["de"]


def test_adapters_from_folders_are_pushed_inside_the_model_repository(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path) -> None:
    slug = publish(tiny_adapter, "de")
    model = RetrieveAllModel.from_pretrained(collection=slug)
    model.add_language(tiny_adapter("en"))
    pushed = model.push_to_hub("ann/tiny-model")
    files = hub.store.find("model", "ann/tiny-model", "ann").at("main").files
    assert "adapters/en/adapter_model.safetensors" in files and not any(name.startswith("adapters/de") for name in files)
    again = RetrieveAllModel.from_pretrained("ann/tiny-model", collection=None)
    assert again.languages == {"de": model.languages["de"], "en": f"ann/tiny-model@{pushed.commit}/adapters/en"}
    assert again.extract([TEXT], language="en") == model.extract([TEXT], language="en")
    again.save_pretrained(tmp_path / "saved")
    saved = RetrieveAllModel.from_pretrained(tmp_path / "saved", collection=None)
    assert saved.languages == {"de": model.languages["de"], "en": str(tmp_path / "saved/adapters/en")}
    assert saved.extract([TEXT], language="en") == model.extract([TEXT], language="en")


def test_a_model_repository_is_loaded_at_the_requested_revision(hub: LocalHub, tiny_adapter: TINY) -> None:
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"))
    first = model.push_to_hub("ann/tiny-model").commit
    model.add_language(tiny_adapter("en"))
    model.push_to_hub("ann/tiny-model")
    assert list(RetrieveAllModel.from_pretrained("ann/tiny-model").languages) == ["de", "en"]
    assert list(RetrieveAllModel.from_pretrained("ann/tiny-model", revision=first).languages) == ["de"]


def test_a_model_at_a_commit_hash_has_only_its_pinned_adapters(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de")
    commit = RetrieveAllModel.from_pretrained(collection=slug).push_to_hub("ann/tiny-model").commit
    publish(tiny_adapter, "en")
    assert list(RetrieveAllModel.from_pretrained("ann/tiny-model", revision=commit).languages) == ["de"]
    assert list(RetrieveAllModel.from_pretrained("ann/tiny-model").languages) == ["de", "en"]
    other = publish(tiny_adapter, "mul", title="Others")
    given = RetrieveAllModel.from_pretrained("ann/tiny-model", revision=commit, collection=other)
    assert list(given.languages) == ["de", "mul"]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("language", "languages"), ("n_sentence", "n_sentences"), ("tokens", "token"), ("quantisation", "quantization")],
)
def test_a_misspelt_argument_is_named_with_the_right_spelling(tiny_adapter: TINY, wrong: str, right: str) -> None:
    with pytest.raises(TypeError, match=f"got '{wrong}'; did you mean '{right}'"):
        RetrieveAllModel.from_pretrained(tiny_adapter("de"), **{wrong: 1})


@pytest.mark.parametrize("argument", [{"force_download": True}, {"proxies": {"https": "localhost"}}, {"subfolder": "de"}])
def test_an_argument_without_effect_is_refused(tiny_adapter: TINY, argument: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"does not support {next(iter(argument))}"):
        RetrieveAllModel.from_pretrained(tiny_adapter("de"), **argument)


@pytest.mark.parametrize("argument", [{"base_revision": "abc"}, {"adapters": {"de": "de"}}])
def test_a_field_that_the_stored_configuration_decides_is_refused(tiny_adapter: TINY, argument: dict[str, Any]) -> None:
    with pytest.raises(InputTypeError, match=f"does not accept {next(iter(argument))}, which the stored configuration decides"):
        RetrieveAllModel.from_pretrained(tiny_adapter("de"), **argument)


def test_an_argument_that_the_base_llm_does_not_have_is_named(tiny_adapter: TINY) -> None:
    with pytest.raises(InputTypeError, match=r"The base LLM .* could not be loaded: .*no_such_argument"):
        RetrieveAllModel.from_pretrained(tiny_adapter("de"), no_such_argument=1)


def test_an_adapter_repository_is_a_model_of_one_language_and_can_be_added(hub: LocalHub, tiny_adapter: TINY) -> None:
    publish(tiny_adapter, "de", "en")
    model = RetrieveAllModel.from_pretrained("ann/tiny-de")
    commit = hub.store.find("model", "ann/tiny-en", "ann").at("main").oid
    assert model.add_language("ann/tiny-en", revision="main") == "en"
    assert model.languages["en"] == f"ann/tiny-en@{commit}"
    assert model.add_language(f"ann/tiny-en@{commit}") == "en"


def test_unusable_items_of_a_collection_are_skipped_with_one_warning_that_names_each(
    hub: LocalHub, tiny_adapter: TINY, tmp_path: Path
) -> None:
    slug = publish(tiny_adapter, "de")
    model = RetrieveAllModel.from_pretrained("ann/tiny-de")
    model.push_to_hub("ann/tiny-model")
    api = HfApi()
    api.create_repo("ann/empty")
    api.create_repo("ann/data", repo_type="dataset")
    api.add_collection_item(slug, "ann/empty", "model")
    api.add_collection_item(slug, "ann/data", "dataset")
    publish_changed(tiny_adapter, "en", "ann/other-base", slug, tmp_path / "a", base_model="other/base")
    publish_changed(tiny_adapter, "en", "ann/newer", slug, tmp_path / "b", schema_version=99)
    with pytest.warns(UserWarning, match="Skipped 4 of the model's adapters") as caught:
        loaded = RetrieveAllModel.from_pretrained("ann/tiny-model", collection=slug)
    assert list(loaded.languages) == ["de"]
    (warning,) = [str(w.message) for w in caught if "Skipped" in str(w.message)]
    empty, data, newer, other = warning.splitlines()[1:]
    assert "ann/empty is not a language adapter: it has no retrieveall.json" in empty
    assert "the dataset ann/data is not a language adapter" in data
    assert "ann/newer@" in newer and "schema 99; this release reads up to 1" in newer
    assert "ann/other-base@" in other and "base LLM 'other/base'" in other
    with pytest.raises((AdapterError, HubError), match="ann/"):
        RetrieveAllModel.from_pretrained("ann/tiny-model", collection=slug, strict=True)


def test_a_model_of_a_collection_has_the_base_of_most_of_its_adapters(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path) -> None:
    slug = publish(tiny_adapter, "mul")
    publish_changed(tiny_adapter, "en", "ann/other-base", slug, tmp_path / "a", base_model="other/base")
    publish(tiny_adapter, "de")
    with pytest.warns(UserWarning, match="ann/other-base@.* has base LLM 'other/base'"):
        assert list(RetrieveAllModel.from_pretrained(collection=slug).languages) == ["de", "mul"]


@pytest.mark.parametrize(
    "changes",
    [
        {"adapters": [1]},
        {"adapters": "x"},
        {"adapters": {"de": 5}},
        {"k_neighbours": "x"},
        {"k_neighbours": 0},
        {"when_unknown": "guess"},
        {"min_weight": 1.5},
        {"adapters_per_sentence": 2, "adapter_slots": 1},
        {"when_unknown": "both", "adapter_slots": 1},
        {"max_rank": None},
        {"n_entities": -1},
        {"entity_threshold": "high"},
        {"adapter_slots": 10**12},
        {"batch_size": True},
        {"base_model": ["x"]},
        {"base_revision": 5},
        {"collection": {"a": 1}},
        {"router": "x"},
        {"router": ["vote"]},
        {"routing_temperature": 0},
    ],
    ids=str,
)
def test_wrong_types_in_a_configuration_raise_one_clear_error(hub: LocalHub, changes: dict[str, object]) -> None:
    config = json.dumps({"model_type": "retrieveall"} | changes).encode()
    HfApi().create_repo("ann/model")
    HfApi().create_commit("ann/model", [CommitOperationAdd("config.json", config)], commit_message="x")
    with pytest.raises(AdapterError, match=r"ann/model@\w+/config.json cannot be read: "):
        RetrieveAllModel.from_pretrained("ann/model")


def test_a_pinned_adapter_takes_precedence_and_two_without_a_pin_are_an_error(
    hub: LocalHub, tiny_adapter: TINY, tmp_path: Path
) -> None:
    slug = publish(tiny_adapter, "de")
    RetrieveAllModel.from_pretrained(collection=slug).push_to_hub("ann/tiny-model")
    publish_changed(tiny_adapter, "de", "ann/rival", slug, tmp_path / "rival", training={"sentences": 1})
    with pytest.raises(
        AdapterError, match=rf"ann/tiny-de@.* and ann/rival@.* both have the language 'de'.*remove {slug} ann/rival"
    ):
        RetrieveAllModel.from_pretrained(collection=slug)
    loaded = RetrieveAllModel.from_pretrained("ann/tiny-model", collection=slug)
    assert loaded.languages["de"].startswith("ann/tiny-de@")


def test_a_pin_without_a_target_is_skipped_and_an_error_if_its_language_is_requested(hub: LocalHub, tiny_adapter: TINY) -> None:
    publish(tiny_adapter, "de", "en")
    model = RetrieveAllModel.from_pretrained("ann/tiny-de")
    model.add_language("ann/tiny-en")
    model.push_to_hub("ann/tiny-model")
    HfApi().delete_repo("ann/tiny-en")
    for cached in Path(constants.HF_HUB_CACHE).glob("models--ann--tiny-en/snapshots/*/*"):
        cached.unlink()
    with pytest.warns(UserWarning, match="no repository ann/tiny-en"):
        assert list(RetrieveAllModel.from_pretrained("ann/tiny-model").languages) == ["de"]
    with pytest.raises(AdapterError, match="no repository ann/tiny-en"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        RetrieveAllModel.from_pretrained("ann/tiny-model", languages=["en"])


def test_only_their_owner_can_load_a_private_model_and_its_private_adapters(hub: LocalHub, tiny_adapter: TINY) -> None:
    publish(tiny_adapter, "de")
    RetrieveAllModel.from_pretrained("ann/tiny-de").push_to_hub("ann/tiny-model")
    for repository in ("ann/tiny-de", "ann/tiny-model"):
        HfApi().update_repo_settings(repository, private=True)
    with pytest.raises(HubError, match=r"ann/tiny-model on the Hub, or it is private"):
        RetrieveAllModel.from_pretrained("ann/tiny-model", token="hf_ben", cache_dir=constants.HF_HOME + "/ben")
    model = RetrieveAllModel.from_pretrained("ann/tiny-model", token="hf_ann")
    assert model.extract([TEXT], language="de") is not None


def test_a_gated_adapter_is_skipped_with_the_reason_without_access(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de", "en")
    hub.store.find("model", "ann/tiny-en", "ann").gated = "manual"
    with pytest.warns(UserWarning, match="ann/tiny-en is gated, and this user has no access"):
        model = RetrieveAllModel.from_pretrained(collection=slug, token="hf_ben", cache_dir=constants.HF_HOME + "/ben")
    assert list(model.languages) == ["de"]


@pytest.mark.parametrize("how", ["environment", "argument"])
def test_everything_works_offline_after_a_first_load_and_use(
    hub: LocalHub, tiny_adapter: TINY, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    slug = publish(tiny_adapter, "de", "en")
    RetrieveAllModel.from_pretrained(collection=slug).push_to_hub("ann/tiny-model")
    before = RetrieveAllModel.from_pretrained("ann/tiny-model")
    found = before.extract([TEXT], language="de")
    hub.requests.clear()
    if how == "environment":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    after = RetrieveAllModel.from_pretrained("ann/tiny-model", local_files_only=how == "argument")
    assert after.languages == before.languages
    assert after.extract([TEXT], language="de") == found
    with pytest.raises(
        HubUnreachableError, match=r"no local folder ann/tiny-en\. The cache does not have all files.*retrieveall pull"
    ):
        after.extract([TEXT], language="en")
    assert hub.requests == []


def test_a_repository_without_a_model_names_the_missing_file(hub: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    commit_folder(tmp_path, "ann/notes")
    with pytest.raises(HubError, match=r"ann/notes: retrieveall.json is missing"):
        RetrieveAllModel.from_pretrained("ann/notes")


@pytest.mark.parametrize("reference", ["../../elsewhere", "/etc", "adapters/../../x", ""])
def test_a_model_repository_cannot_refer_to_a_folder_outside_of_it(hub: LocalHub, reference: str) -> None:
    config = {"model_type": "retrieveall", "adapters": {"de": reference}}
    HfApi().create_repo("ann/model")
    HfApi().create_commit("ann/model", [CommitOperationAdd("config.json", json.dumps(config).encode())], commit_message="x")
    with pytest.raises(AdapterError, match=r"ann/model@.*config.json names .* for 'de'"):
        RetrieveAllModel.from_pretrained("ann/model")


@pytest.mark.parametrize("fault", ["not an adapter", "gated", "deleted"])
def test_an_adapter_skipped_online_is_skipped_offline(
    hub: LocalHub, tiny_adapter: TINY, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    slug = publish(tiny_adapter, "de", "en")
    RetrieveAllModel.from_pretrained("ann/tiny-de").push_to_hub("ann/tiny-model", collection=slug)
    if fault == "not an adapter":
        HfApi().create_repo("ann/notes")
        HfApi().add_collection_item(slug, "ann/notes", "model")
    elif fault == "gated":
        hub.store.find("model", "ann/tiny-en", "ann").gated = "manual"
    else:
        HfApi().delete_repo("ann/tiny-en")
    here: dict[str, object] = {"token": "hf_ben", "cache_dir": constants.HF_HOME + "/ben"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        online = RetrieveAllModel.from_pretrained("ann/tiny-model", **here)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert RetrieveAllModel.from_pretrained("ann/tiny-model", **here).languages == online.languages


@pytest.mark.parametrize(
    "changes",
    [{"num_labels": 10**9}, {"update": 5}, {"attn_implementation": "evil/kernel"}, {"dtype": "evil"}, {"id2label": 5}],
    ids=str,
)
def test_only_the_own_fields_of_a_configuration_are_read(hub: LocalHub, tiny_adapter: TINY, changes: dict[str, object]) -> None:
    RetrieveAllModel.from_pretrained(tiny_adapter("de")).push_to_hub("ann/model")
    config = json.loads(hub.store.find("model", "ann/model", "ann").at("main").files["config.json"].content) | changes
    HfApi().create_commit("ann/model", [CommitOperationAdd("config.json", json.dumps(config).encode())], commit_message="x")
    assert list(RetrieveAllModel.from_pretrained("ann/model").languages) == ["de"]
