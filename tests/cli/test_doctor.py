"""``retrieveall doctor`` and the metadata it reads."""

import pytest

from modeling_retrieveall.cli import doctor, extras
from modeling_retrieveall.cli.extras import extra_of
from tests.cli.conftest import Run


def test_doctor_lists_versions_devices_and_missing_packages(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, output, _ = run("doctor")
    assert code == 0
    assert all(name in output for name in ("retrieveall", "torch", "CPU", "embedded LLM", "Hub"))
    assert "missing" not in output
    found = doctor._installed
    monkeypatch.setattr(doctor, "_installed", lambda name: None if name == "spacy" else found(name))
    assert 'spacy for spaCy pipelines: pip install "retrieveall[spacy]"' in run("doctor")[1]


def test_the_extra_of_a_module_is_read_from_the_metadata() -> None:
    assert [extra_of(name) for name in ("ray", "gradio", "bitsandbytes", "gguf", "openai", "seqeval", "spacy")] == [
        "ray",
        "demo",
        "quantization",
        "embedded",
        "vllm",
        "train",
        "spacy",
    ]
    assert extra_of("torch") is None and extra_of("nowhere") is None


def test_a_checkout_that_is_not_installed_requires_nothing_it_could_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "PACKAGE", "no-such-package")
    assert list(extras.requirements()) == []


def test_every_extra_has_a_purpose() -> None:
    assert {extra for _, extra in extras.requirements()} - {""} <= doctor._PURPOSES.keys()
