"""The functions that read untrusted files refuse what exceeds a limit, and accept everything up to it."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from modeling_retrieveall import AdapterError
from modeling_retrieveall.model import untrusted_files
from modeling_retrieveall.model.untrusted_files import (
    LIMITS,
    Limits,
    check_files,
    compile_module_pattern,
    errors_name_file,
    is_folder_reference,
    read_json,
)


def test_json_is_read_up_to_its_size_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "retrieveall.json"
    file.write_text(json.dumps({"language": "de"}), encoding="utf-8")
    size = file.stat().st_size
    monkeypatch.setattr(untrusted_files, "LIMITS", replace(LIMITS, json_bytes=size))
    assert read_json(file) == {"language": "de"}
    file.write_text(json.dumps({"language": "de"}) + " ", encoding="utf-8")
    with pytest.raises(ValueError, match=f"more than {size} bytes"):
        read_json(file)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[]", "does not hold a JSON object"),
        (b"null", "does not hold a JSON object"),
        (b'{"language": "\xc4"}', "utf-8"),
        (b"\xff\xfe{\x00}\x00", "utf-8"),  # UTF-16, which json.loads would accept
        (b"[" * 100_000, "nested too deeply"),
        (b"{", "Expecting"),
    ],
)
def test_json_that_is_not_an_object_in_utf8_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("q_proj", "model.layers.0.self_attn.q_proj", True),
        ("q_proj", "model.layers.0.self_attn.my_q_proj", False),
        (r"layers\.0\.(q|k)_proj", "model.layers.0.q_proj", True),
        (r"layers\.0\.(q|k)_proj", "model.layers.10.q_proj", False),
    ],
)
def test_a_module_pattern_matches_the_end_of_a_name_as_in_peft(pattern: str, name: str, matches: bool) -> None:
    assert bool(compile_module_pattern(pattern).match(name)) == matches


@pytest.mark.parametrize("pattern", ["(a+)+$", "a*", "a?", "a{9}", "(", "(.|.)" * 11, "a)(b"])
def test_a_module_pattern_with_repetition_or_many_alternatives_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="no repetition"):
        compile_module_pattern(pattern)


@pytest.mark.parametrize("reference", ["de", "adapters/de", "adapters/zh-Hant", "a.b/c_d"])
def test_a_folder_inside_the_model_is_a_folder_reference(reference: str) -> None:
    assert is_folder_reference(reference)


@pytest.mark.parametrize("reference", ["", "/etc", "..", "../de", "a/../../b", "a//b", "https://x.org", "a b", "[a](b)", "de\n"])
def test_a_path_that_leaves_the_folder_or_contains_markup_is_not_a_folder_reference(reference: str) -> None:
    assert not is_folder_reference(reference)


def test_missing_and_large_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    check_files(tmp_path, {"a": 5})
    with pytest.raises(AdapterError, match=f"{re.escape(str(tmp_path))}: a has 5 bytes; at most 4 are read"):
        check_files(tmp_path, {"a": 4})
    with pytest.raises(AdapterError, match="is incomplete: b is missing"):
        check_files(tmp_path, {"a": 5, "b": 5})


def test_an_error_of_a_library_becomes_one_printable_line_of_bounded_length(tmp_path: Path) -> None:
    with pytest.raises(AdapterError) as caught, errors_name_file(tmp_path / "x"):
        raise OSError("line\n\x1b[2J" + "x" * 10_000)
    assert str(caught.value).isprintable() and len(str(caught.value)) < LIMITS.error_characters + 200
    assert str(caught.value).startswith(f"{tmp_path / 'x'} cannot be read: line")


def test_an_adapter_error_is_passed_on_unchanged(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"^as it is$"), errors_name_file(tmp_path / "x"):
        raise AdapterError("as it is")


def test_every_limit_is_documented() -> None:
    assert all(f" {field.name}: " in (Limits.__doc__ or "") for field in fields(Limits))
