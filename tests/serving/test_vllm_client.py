"""Decoding on a stand-in for vLLM gives the results of local decoding."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from typer.testing import CliRunner

from modeling_retrieveall import InputError, RetrieveAllModel
from modeling_retrieveall.cli.app import app
from modeling_retrieveall.model.outputs import Extraction
from modeling_retrieveall.serving.ebnf_grammar import CharacterFormat
from modeling_retrieveall.serving.vllm_client import ServerError
from modeling_retrieveall.serving.vllm_export import export, request_body
from tests.conftest import ROOT
from tests.fake_vllm_server import FakeVLLMServer
from tests.random_adapters import write_random_adapters

TEXTS = [
    "Angela Merkel besuchte Nairobi.",
    "",
    "Ada Lovelace lived in London. Graz liegt an der Mur.",
    'Der "Día" \\ 京都; = 1/2',
]
LANGUAGES = ["bg", "de", "en", "es", "ru", "ta"]


@pytest.fixture(scope="module")
def folder(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_adapters(tmp_path_factory.mktemp("adapters"), tiny_adapter)


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    exported = tmp_path_factory.mktemp("exported")
    done = CliRunner().invoke(app, ["export", "vllm", str(exported), "--model", str(folder), *TEXTS])
    assert done.exit_code == 0, done.output
    assert f"3 adapters and 4 requests in {exported}" in done.stdout
    return exported


@pytest.fixture(scope="module")
def stand_in(exported: Path, tiny_base: Path) -> FakeVLLMServer:
    return FakeVLLMServer(tiny_base, {language: exported / "adapters" / language for language in ("de", "en", "mul")})


@pytest.fixture(scope="module")
def url(stand_in: FakeVLLMServer) -> Iterator[str]:
    with stand_in.running() as url:
        yield url


@pytest.fixture
def model(folder: Path, url: str) -> RetrieveAllModel:
    """A model that decodes on the server."""
    model = RetrieveAllModel.from_pretrained(folder)
    model.use_server(url)
    return model


def requests(exported: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (exported / "requests.jsonl").read_text(encoding="utf-8").splitlines()]


# Export


def test_the_adapters_are_copied_unchanged(exported: Path, folder: Path) -> None:
    for language in ("de", "en", "mul"):
        copied = {file.name: file.read_bytes() for file in (exported / "adapters" / language).iterdir()}
        names = ("adapter_config.json", "adapter_model.safetensors")
        assert copied == {name: (folder / language / name).read_bytes() for name in names}


def test_the_launch_script_names_base_and_adapters(exported: Path, tiny_base: Path, tmp_path: Path) -> None:
    environment = with_vllm(tmp_path, 'printf "%s\\n" "$@"')
    printed = subprocess.run([exported / "serve.sh", "--port", "9"], env=environment, capture_output=True, text=True, check=True)
    line = printed.stdout.splitlines()
    assert line[:2] == ["serve", str(tiny_base)]
    modules = ["de=adapters/de", "en=adapters/en", "mul=adapters/mul"]
    assert line[line.index("--lora-modules") + 1 :] == [*modules, "--port", "9"]
    assert line[line.index("--max-lora-rank") + 1] == "8"
    assert line[line.index("--max-loras") + 1] == line[line.index("--max-cpu-loras") + 1] == "3"


def test_the_launch_script_names_the_base_that_the_model_has(folder: Path, tiny_base: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    model = RetrieveAllModel.from_pretrained(folder, base_model=str(copy))
    export(model, tmp_path / "served")
    assert f"serve {copy}" in (tmp_path / "served" / "serve.sh").read_text(encoding="utf-8")
    for language in list(model.languages):
        model.remove_language(language)
    with pytest.raises(InputError, match="The model has no languages, so there is nothing to export"):
        export(model, tmp_path / "other")


def with_vllm(folder: Path, command: str) -> dict[str, str]:
    """An environment in which ``vllm`` runs the given command."""
    (folder / "vllm").write_text(f"#!/bin/sh\n{command}\n")
    (folder / "vllm").chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def test_there_is_a_request_for_each_sentence(exported: Path, folder: Path) -> None:
    rows = requests(exported)
    assert [row["custom_id"] for row in rows] == ["0-0", "2-0", "2-1", "3-0"]
    local = RetrieveAllModel.from_pretrained(folder, decoding="generation")
    sentences = [sentence for result in local.extract(TEXTS, details=True) for sentence in result.sentences]
    assert [row["body"]["prompt"] for row in rows] == [sentence.details.prompt_ids for sentence in sentences]
    assert [row["body"]["model"] for row in rows] == [sentence.route.adapters[0] for sentence in sentences]
    for row, sentence in zip(rows, sentences, strict=True):
        assert (row["method"], row["url"], row["body"]["temperature"]) == ("POST", "/v1/completions", 0)
        assert row["body"]["max_tokens"] >= len(sentence.details.answer_ids)


def test_a_request_names_the_adapter_with_the_largest_weight(folder: Path) -> None:
    model = RetrieveAllModel.from_pretrained(folder, adapters_per_sentence=2, min_weight=0.0, when_unknown="nearest")
    window = model.prepare([TEXTS[0]], decoding="generation")[0][0]
    assert len(window.route.mixture) == 2
    assert (
        request_body(CharacterFormat(model.answers), window)["model"] == max(window.route.mixture.items(), key=lambda m: m[1])[0]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Bonn", "--file", "texts.txt"], "Give texts as arguments or a --file, not both."),
        (["--file", "no-such-file.txt"], "There is no file no-such-file.txt"),
        (["--language", "xx", "Bonn"], "There are: de, en, mul."),
    ],
)
def test_an_error_of_the_command_is_one_message_and_exit_code_2(
    folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = CliRunner().invoke(app, ["export", "vllm", str(tmp_path / "out"), "--model", str(folder), *arguments])
    assert done.exit_code == 2
    assert message in done.stderr


# Decoding


def test_decoding_on_the_server_loads_no_adapter_locally(model: RetrieveAllModel, stand_in: FakeVLLMServer) -> None:
    stand_in.requests.clear()
    results = model.extract(TEXTS, details=True)
    assert model.bank.resident == []
    sentences = [sentence for result in results for sentence in result.sentences]
    assert sorted(map(str, stand_in.requests)) == sorted(str(row["body"]) for row in requests_of(model))
    assert len(stand_in.requests) == len(sentences)
    assert any(result.entities for result in results)
    for result in results:
        assert all(result.text[e.start : e.end] == e.text and 0 <= e.score <= 1 for e in result.entities)
    assert [result.entities for result in model.extract(TEXTS)] == [result.entities for result in results]
    assert model.extract(TEXTS, language="en") != model.extract(TEXTS, language="de")  # the adapters give different results


def requests_of(model: RetrieveAllModel) -> list[dict[str, Any]]:
    characters = CharacterFormat(model.answers)
    return [{"body": request_body(characters, window)} for windows in model.prepare(TEXTS) for window in windows]


def test_an_exported_request_has_the_output_that_the_client_gets(exported: Path, url: str, model: RetrieveAllModel) -> None:
    client = OpenAI(base_url=url, api_key="none")
    sentences = [sentence for result in model.extract(TEXTS, details=True) for sentence in result.sentences]
    for row, sentence in zip(requests(exported), sentences, strict=True):
        completion: Any = client.post("/completions", cast_to=object, body=row["body"])
        assert completion["choices"][0]["token_ids"] == sentence.details.answer_ids


def test_requests_are_sent_concurrently(model: RetrieveAllModel, stand_in: FakeVLLMServer) -> None:
    stand_in.most_concurrent = 0
    model.extract(["Angela Merkel besuchte Nairobi."] * 12, language="de", batch_size=4)
    assert 1 < stand_in.most_concurrent <= 4


def test_a_missing_adapter_of_the_server_is_named(folder: Path, exported: Path, tiny_base: Path) -> None:
    model = RetrieveAllModel.from_pretrained(folder)
    with FakeVLLMServer(tiny_base, {"en": exported / "adapters" / "en"}).running() as url:
        model.use_server(url)
        with pytest.raises(ServerError, match=r"has no adapter 'de'\. It has: en\. Start it with the serve.sh"):
            model.extract(TEXTS[0], language="de")
        assert "de" in model.languages


def test_an_unreachable_server_is_reported(folder: Path) -> None:
    model = RetrieveAllModel.from_pretrained(folder)
    model.use_server("http://127.0.0.1:9/v1")
    with pytest.raises(ServerError, match=r"The request to the server http://127.0.0.1:9/v1 failed: Connection error"):
        model.extract(TEXTS[0])


@pytest.mark.parametrize(
    "completion",
    [
        {},
        {"choices": []},
        {"choices": [{"token_ids": None, "logprobs": {"token_logprobs": []}}]},
        {"choices": [{"token_ids": [5, 6], "logprobs": {"token_logprobs": [0.0, 0.0]}}]},
        {"choices": [{"token_ids": [5, 6], "logprobs": {"token_logprobs": [0.0]}}]},
        {"choices": [{"token_ids": [5, 6]}]},
        {"choices": [{"token_ids": [], "logprobs": {"token_logprobs": []}}]},
    ],
)
def test_an_invalid_response_is_reported_and_stops_further_requests(
    model: RetrieveAllModel, stand_in: FakeVLLMServer, monkeypatch: pytest.MonkeyPatch, completion: dict[str, Any]
) -> None:
    stand_in.requests.clear()
    monkeypatch.setattr(stand_in, "complete", lambda body: completion)
    with pytest.raises(ServerError, match="The server must support `structured_outputs`"):
        model.extract(TEXTS[:1] * 100, batch_size=2)
    assert len(stand_in.requests) < 50


# The real LLM, started by the launch script


@pytest.fixture(scope="module")
def shipped(embedded_base: str) -> RetrieveAllModel:
    # A server decodes each sentence with one adapter.
    return RetrieveAllModel.from_pretrained("shipped", languages=LANGUAGES, adapters_per_sentence=1)


@pytest.fixture(scope="module")
def shipped_url(shipped: RetrieveAllModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    exported = tmp_path_factory.mktemp("shipped")
    assert export(shipped, exported).adapters == len(shipped.adapters)
    environment = with_vllm(tmp_path_factory.mktemp("bin"), f'exec {sys.executable} -m tests.fake_vllm_server "$@"')
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [exported / "serve.sh", "--dtype", "float32", "--port", str(port)]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while server.poll() is None and socket.socket().connect_ex(("127.0.0.1", port)):
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}/v1"
    server.terminate()
    server.wait()


def test_the_shipped_adapters_give_the_same_results_on_the_server(shipped: RetrieveAllModel, shipped_url: str) -> None:
    texts = (ROOT / "examples" / "demo.txt").read_text(encoding="utf-8").splitlines()[: len(LANGUAGES)]
    texts += [shipped.adapters[language].index.examples[0].sentence.text for language in LANGUAGES]
    here = shipped.extract(texts, decoding="generation", details=True)
    shipped.use_server(shipped_url)
    there = shipped.extract(texts, decoding="generation", details=True)
    assert sorted(result.route.language for result in here[: len(LANGUAGES)]) == LANGUAGES
    assert list(map(places, there)) == list(map(places, here))
    for ours, theirs in zip(here, there, strict=True):
        assert [e.score for e in theirs.entities] == pytest.approx([e.score for e in ours.entities], abs=0.05)
        assert [s.details.answer_ids for s in theirs.sentences] == [s.details.answer_ids for s in ours.sentences]


def places(result: Extraction) -> list[tuple[int, int, str]]:
    return [(entity.start, entity.end, entity.label) for entity in result.entities]
