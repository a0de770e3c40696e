"""Resolving the source of a model, and the errors when there are no adapters or they do not fit together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modeling_retrieveall.model import model_source
from modeling_retrieveall.model.configuration_retrieveall import RetrieveAllConfig
from modeling_retrieveall.model.errors import AdapterError
from modeling_retrieveall.model.model_source import SHIPPED, resolve_model
from tests.adapter_folders import copy_adapter


@pytest.fixture
def folders(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> Path:
    """A folder with two adapters, and with entries that are not adapters."""
    copy_adapter(tiny_adapter("de"), tmp_path / "german")
    copy_adapter(tiny_adapter("en"), tmp_path / "english")
    (tmp_path / "notes").mkdir()
    (tmp_path / "TEMPLATE.md").write_text("# Card", encoding="utf-8")
    return tmp_path


def test_a_saved_model_gives_its_configuration_and_its_adapters(tmp_path: Path) -> None:
    config = RetrieveAllConfig(
        base_model="some/base", base_revision="f00d", adapters={"de": "adapters/de", "en": "adapters/en"}, n_sentences=5
    )
    config.save_pretrained(tmp_path)
    found = resolve_model(tmp_path)
    assert found.adapters == {"de": tmp_path / "adapters/de", "en": tmp_path / "adapters/en"}
    assert (found.config.base_model, found.config.base_revision, found.config.n_sentences) == ("some/base", "f00d", 5)


def test_an_adapter_folder_resolves_to_a_model_of_one_language(tiny_adapter: Callable[[str], Path], tiny_base: Path) -> None:
    found = resolve_model(tiny_adapter("de"))
    assert found.adapters == {"de": tiny_adapter("de")}
    assert (found.config.base_model, found.config.encoder_layer) == (str(tiny_base), 1)


def test_a_folder_of_adapters_resolves_to_a_model_for_any_folder_names(folders: Path) -> None:
    assert resolve_model(folders).adapters == {"de": folders / "german", "en": folders / "english"}


def test_a_path_may_be_a_string_and_begin_with_a_tilde(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folders))
    assert resolve_model("~/german").adapters == {"de": folders / "german"}


def test_the_shipped_model_is_the_folder_of_shipped_adapters(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_source, "shipped_adapters", lambda: folders)
    assert sorted(resolve_model(SHIPPED).adapters) == ["de", "en"]


@pytest.mark.parametrize("source", ["/no/such/path", "no-such-name"])
def test_a_missing_path_is_named_and_the_possible_sources_are_listed(source: str, tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=rf"no model at '{source}'\. Give 'shipped', a folder written by `save_pretrained`"
    ):
        resolve_model(source)


def test_a_file_is_not_a_model(folders: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model at .*TEMPLATE\.md"):
        resolve_model(folders / "TEMPLATE.md")


def test_a_folder_without_adapters_names_the_missing_files(folders: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"neither config.json nor retrieveall.json.*Train an adapter") as caught:
        resolve_model(folders / "notes")
    assert str(folders / "notes") in str(caught.value)


def test_a_model_of_another_type_is_refused_with_advice_to_use_it_as_base(tiny_base: Path) -> None:
    with pytest.raises(
        AdapterError, match=r"type 'llama', not 'retrieveall'\. To use it as the base LLM, give it as `base_model`"
    ):
        resolve_model(tiny_base)


@pytest.mark.parametrize("content", ["{", "", "[]", "null"])
def test_a_damaged_configuration_is_named_in_the_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(AdapterError, match=r"config\.json|holds a model of type") as caught:
        resolve_model(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_two_adapters_of_one_language_are_both_named_in_the_error(folders: Path) -> None:
    copy_adapter(folders / "german", folders / "austrian")
    with pytest.raises(AdapterError, match=r"both have the language 'de'\. Remove one of them") as caught:
        resolve_model(folders)
    assert str(folders / "german") in str(caught.value) and str(folders / "austrian") in str(caught.value)


@pytest.mark.parametrize("changes", [{"base_model": "other/base"}, {"base_revision": "f00d"}, {"encoder_layer": 2}])
def test_adapters_of_different_bases_are_refused(folders: Path, changes: dict[str, Any]) -> None:
    copy_adapter(folders / "german", folders / "swahili", language="sw", **changes)
    with pytest.raises(AdapterError, match="different base LLMs or encoder layers") as caught:
        resolve_model(folders)
    assert str(next(iter(changes.values()))) in str(caught.value)


def test_a_damaged_adapter_among_several_is_named_in_the_error(folders: Path) -> None:
    (folders / "german" / "retrieveall.json").write_text("{", encoding="utf-8")
    with pytest.raises(AdapterError, match=r"german.*cannot be read"):
        resolve_model(folders)
