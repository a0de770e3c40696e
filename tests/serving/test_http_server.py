"""The HTTP server over real HTTP, with a tiny base LLM and with the embedded one."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modeling_retrieveall import (
    AdapterError,
    Extraction,
    HubError,
    HubNotCachedError,
    HubUnreachableError,
    InputError,
    InputTypeError,
    PrecisionError,
    RetrieveAllModel,
    ServerError,
    UnknownLanguageError,
)
from modeling_retrieveall.model.model_source import SHIPPED
from modeling_retrieveall.serving.http_server import create_app
from modeling_retrieveall.serving.server_limits import ServerLimits
from tests.conftest import ROOT
from tests.random_adapters import write_random_adapters
from tests.strategies import texts as any_texts

DEMO = (ROOT / "examples" / "demo.txt").read_text(encoding="utf-8").splitlines()
TEXTS = ["Angela Merkel besuchte Nairobi.", "Wangari Maathai spoke in New York.", "Bonn, Graz und Wien", ""]


@pytest.fixture(scope="module")
def folder(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_adapters(tmp_path_factory.mktemp("adapters"), tiny_adapter)


@pytest.fixture(scope="module")
def model(folder: Path) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained(folder)


@contextmanager
def served(model: Any, limits: ServerLimits | None = None, api_key: str | None = None) -> Iterator[httpx.Client]:
    """A client of a server that runs in a thread."""
    server = uvicorn.Server(uvicorn.Config(create_app(model, limits, api_key), port=0, log_level="critical"))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=30) as client:
        yield client
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def client(model: RetrieveAllModel) -> Iterator[httpx.Client]:
    with served(model, ServerLimits(body_bytes=10_000, texts=20, read_seconds=0.5)) as client:
        yield client


def metric(client: httpx.Client, name: str) -> float:
    """The value of a metric of the server, 0 if it has not been counted yet."""
    lines = client.get("/metrics").text.splitlines()
    return float(next((line.split()[-1] for line in lines if line.startswith(f"{name} ")), 0))


def spans(results: Any) -> list[list[tuple[str, str, int, int]]]:
    rows = [result.to_dict() if isinstance(result, Extraction) else result for result in results]
    return [[(e["text"], e["label"], e["start"], e["end"]) for e in row["entities"]] for row in rows]


def test_the_results_are_those_of_the_model(client: httpx.Client, model: RetrieveAllModel) -> None:
    response = client.post("/extract", json={"texts": TEXTS})
    assert response.status_code == 200
    assert spans(response.json()["results"]) == spans(model.extract(TEXTS))
    assert set(response.json()["results"][0]) == {"text", "language", "known", "entities"}
    one = client.post("/extract", json={"text": TEXTS[0], "language": "en"}).json()["results"]
    assert spans(one) == spans(model.extract(TEXTS[:1], language="en"))
    assert one[0]["language"] == "en"
    chosen = client.post("/extract", json={"texts": TEXTS, "labels": ["LOC"], "threshold": {"LOC": 0.1}}).json()["results"]
    assert spans(chosen) == spans(model.extract(TEXTS, labels=["LOC"], threshold={"LOC": 0.1}))


def test_requests_with_consistent_labels_are_processed_apart_from_others(client: httpx.Client, model: RetrieveAllModel) -> None:
    text = "Angela Merkel besuchte Nairobi. Nairobi liegt in Kenia. Dort traf Merkel Kenia und Bonn. Bonn, Graz und Wien."

    def entities(consistent: bool) -> Any:
        body = {"text": text, "language": "de", "consistent_labels": consistent}
        return client.post("/extract", json=body).json()["results"][0]["entities"]

    expected = [model.extract(text, language="de", consistent_labels=each).to_dict()["entities"] for each in (False, True)]
    assert expected[0] != expected[1]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(entities, [False, True] * 3)) == expected * 3


def test_each_of_many_clients_gets_its_own_results(client: httpx.Client, model: RetrieveAllModel) -> None:
    asked = [[TEXTS[(i + j) % 4] + f" {i}" for j in range(i % 3 + 1)] for i in range(64)]
    languages = [[None, "de", "en"][i % 3] for i in range(64)]

    def ask(i: int) -> Any:
        return client.post("/extract", json={"texts": asked[i], "language": languages[i]}).json()["results"]

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(ask, range(64)))
    for texts, language, results in zip(asked, languages, answers, strict=True):
        assert [result["text"] for result in results] == texts
        assert spans(results) == spans(model.extract(texts, language=language))


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 422, "give either text or texts"),
        ({"text": "a", "texts": ["a"]}, 422, "give either text or texts"),
        ({"text": "\ud800", "texts": ["\ud800"]}, 422, "give either text or texts"),
        ({"text": "a", "langauge": "de"}, 422, "Extra inputs are not permitted"),
        ({"text": "a", "language": "xx"}, 400, "No adapter for language 'xx'"),
        ({"texts": ["a", "b"], "language": ["de"]}, 400, "There are 2 texts and 1 languages"),
        ({"text": "a", "labels": ["PERSON"]}, 400, "No adapter has the entity type 'PERSON'"),
        ({"text": "a", "threshold": 2}, 400, "give a probability between 0 and 1"),
        ({"texts": ["a"] * 21}, 413, "The request has 21 texts; at most 20 are accepted"),
        ({"text": "a" * 10_000}, 413, "The request is larger than 10,000 bytes"),
    ],
)
def test_a_request_that_cannot_be_answered_says_why(client: httpx.Client, body: Any, status: int, message: str) -> None:
    response = client.post("/extract", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert response.status_code == status
    assert message in json.dumps(response.json()["detail"])


def test_a_number_that_json_does_not_have_is_refused(client: httpx.Client) -> None:
    for body in ('{"text": "a", "threshold": NaN}', '{"text": "a", "other": NaN}'):
        response = client.post("/extract", content=body, headers={"Content-Type": "application/json"})
        assert response.status_code in (400, 422), response.text


def test_a_slow_client_does_not_hold_up_others(client: httpx.Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port)) as slow:
        slow.sendall(b"POST /extract HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
        assert client.post("/extract", json={"text": TEXTS[0]}).status_code == 200
        assert b" 408 " in slow.recv(1000)


def test_a_client_that_disconnects_does_not_disturb_others(client: httpx.Client) -> None:
    body = json.dumps({"text": TEXTS[0]}).encode()
    for _ in range(5):
        with socket.create_connection((client.base_url.host, client.base_url.port)) as gone:
            head = (
                f"POST /extract HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            gone.sendall(head.encode() + body)
    assert client.post("/extract", json={"text": TEXTS[0]}).status_code == 200


def test_an_aborted_upload_is_no_error_of_the_server(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
    caplog.set_level(logging.ERROR, "uvicorn.error")
    failed = metric(client, 'retrieveall_requests_total{status="500"}')
    for _ in range(3):
        with socket.create_connection((client.base_url.host, client.base_url.port)) as gone:
            gone.sendall(b"POST /extract HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
            time.sleep(0.1)  # so that the server has begun to read the body
    assert client.post("/extract", json={"text": TEXTS[0]}).status_code == 200
    assert [record.getMessage() for record in caplog.records] == []
    assert metric(client, 'retrieveall_requests_total{status="500"}') == failed


@given(st.lists(any_texts, min_size=1, max_size=8))
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
def test_any_texts_give_the_results_of_the_model(client: httpx.Client, model: RetrieveAllModel, listed: list[str]) -> None:
    response = client.post("/extract", content=json.dumps({"texts": listed}), headers={"Content-Type": "application/json"})
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert [result["text"] for result in results] == listed
    assert spans(results) == spans(model.extract(listed))


def test_health_documentation_and_metrics(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "ok", "languages": ["de", "en", "mul"]}
    assert "/extract" in client.get("/openapi.json").json()["paths"]
    texts, requests = "retrieveall_texts_total", 'retrieveall_requests_total{status="200"}'
    before = metric(client, texts), metric(client, requests), metric(client, "retrieveall_seconds_count")
    client.post("/extract", json={"texts": TEXTS})
    after = metric(client, texts), metric(client, requests), metric(client, "retrieveall_seconds_count")
    assert after == (before[0] + len(TEXTS), before[1] + 1, before[2] + 1)


def test_an_api_key_is_required(model: RetrieveAllModel) -> None:
    with served(model, api_key="secret") as client:
        assert client.get("/health").status_code == 200
        for headers, status in (({}, 401), ({"Authorization": "Bearer wrong"}, 401), ({"Authorization": "Bearer secret"}, 200)):
            assert client.post("/extract", json={"text": "Bonn"}, headers=headers).status_code == status
            assert client.get("/metrics", headers=headers).status_code == status


class SlowModel:
    """A stand-in for a model that takes its time, and fails for one text."""

    languages = property(lambda self: {"de": "here"})
    extractor = property(lambda self: self)

    def checked(self, request: Any) -> Any:
        return request

    def extract(self, texts: list[str], request: Any, after_batch: Callable[[], None]) -> list[Extraction]:
        time.sleep(0.3)
        if "fail" in texts:
            raise MemoryError("A text does not fit into memory.")
        return [Extraction(text, [], []) for text in texts]


def test_too_many_waiting_texts_and_too_long_waits_are_refused() -> None:
    with served(SlowModel(), ServerLimits(queued_texts=2, wait_seconds=0.5)) as client, ThreadPoolExecutor(12) as pool:
        tasks = [pool.submit(client.post, "/extract", json={"texts": ["a", "b"]}) for _ in range(12)]
        statuses = sorted(task.result().status_code for task in tasks)
        assert set(statuses) <= {200, 429, 503} and 200 in statuses and 429 in statuses
        refused = next(task.result() for task in tasks if task.result().status_code == 429)
        assert refused.headers["Retry-After"] == "1"
        assert client.post("/extract", json={"text": "later"}).status_code == 200


def test_the_error_of_one_request_does_not_affect_others() -> None:
    with served(SlowModel()) as client, ThreadPoolExecutor(6) as pool:
        texts = ["first", "a", "fail", "b", "c", "d"]
        tasks = {text: pool.submit(client.post, "/extract", json={"text": text}) for text in texts}
        statuses = {text: task.result().status_code for text, task in tasks.items()}
    assert statuses == dict.fromkeys(texts, 200) | {"fail": 503}


class EndlessModel(SlowModel):
    """A stand-in for a model that never finishes a text of the name "endless"."""

    def extract(self, texts: list[str], request: Any, after_batch: Callable[[], None]) -> list[Extraction]:
        while "endless" in texts:
            time.sleep(0.01)
            after_batch()
        return [Extraction(text, [], []) for text in texts]


def test_a_request_that_has_waited_too_long_does_not_hold_up_others() -> None:
    with served(EndlessModel(), ServerLimits(wait_seconds=0.5)) as client:
        assert client.post("/extract", json={"text": "endless"}).status_code == 503
        assert client.post("/extract", json={"text": "short"}).status_code == 200


def test_a_batch_is_not_repeated_if_the_backend_cannot_be_reached() -> None:
    model = FailingModel(ServerError("no vLLM"))
    with served(model) as client, ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(client.post, "/extract", json={"text": "Bonn"}) for _ in range(8)]
        assert {task.result().status_code for task in tasks} == {503}
    assert model.calls <= 8


def test_an_empty_api_key_is_refused(model: RetrieveAllModel) -> None:
    with pytest.raises(InputError, match="`api_key` is empty"):
        create_app(model, api_key=" ")


class FailingModel(SlowModel):
    """A stand-in for a model that fails with an error for every text."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0

    def extract(self, texts: list[str], request: Any, after_batch: Callable[[], None]) -> list[Extraction]:
        self.calls += 1
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (InputError("a bad value"), 400, "a bad value"),
        (InputTypeError("a bad type"), 400, "a bad type"),
        (UnknownLanguageError("no language"), 400, "no language"),
        (HubUnreachableError("no Hub"), 503, "no Hub"),
        (HubNotCachedError("offline"), 503, "offline"),
        (ServerError("no vLLM"), 503, "no vLLM"),
        (HubError("no access"), 500, "The server failed: no access"),
        (AdapterError("a broken adapter"), 500, "The server failed: a broken adapter"),
        (PrecisionError("an overflow"), 500, "The server failed: an overflow"),
        (RuntimeError("a secret"), 500, "The server failed. Its log says why."),
    ],
)
def test_the_status_of_an_error_says_who_has_to_act_and_is_counted(error: Exception, status: int, message: str) -> None:
    with served(FailingModel(error)) as client:
        response = client.post("/extract", json={"text": "Bonn"})
        assert (response.status_code, response.json()) == (status, {"detail": message})
        assert metric(client, f'retrieveall_requests_total{{status="{status}"}}') == 1
        assert metric(client, "retrieveall_seconds_count") == 1


def test_sigterm_ends_the_server_after_accepted_requests_are_answered(folder: Path) -> None:
    _stopped_in_the_middle_of_load(str(folder), TEXTS * 20)


def test_sigterm_with_the_embedded_llm(embedded_base: str) -> None:
    _stopped_in_the_middle_of_load(SHIPPED, DEMO[:4])


def test_64_clients_with_the_embedded_llm_get_the_results_of_the_model(embedded_base: str) -> None:
    model = RetrieveAllModel.from_pretrained(SHIPPED)
    expected = spans(model.extract(DEMO))
    with served(model) as client, ThreadPoolExecutor(64) as pool:
        client.timeout = httpx.Timeout(300)
        answers = list(pool.map(lambda i: client.post("/extract", json={"text": DEMO[i % len(DEMO)]}).json(), range(64)))
    assert [spans(answer["results"]) for answer in answers] == [[expected[i % len(DEMO)]] for i in range(64)]


def _stopped_in_the_middle_of_load(model: str, texts: list[str]) -> None:
    """Stops a server while 16 clients wait for answers; each of them gets a whole answer or no connection."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "modeling_retrieveall.cli", "serve", "--model", model, "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                httpx.get(f"{url}/health")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        answered: list[int] = []

        def ask(number: int) -> None:
            try:
                with httpx.Client(timeout=120) as client:
                    answered.append(client.post(f"{url}/extract", json={"texts": texts}).status_code)
            except httpx.ConnectError:
                answered.append(0)  # the server had stopped accepting connections

        with ThreadPoolExecutor(16) as pool:
            tasks = [pool.submit(ask, number) for number in range(16)]
            while not any(task.done() for task in tasks) and "retrieveall_queued_texts 0.0" in httpx.get(f"{url}/metrics").text:
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            for task in tasks:
                task.result()  # raises if an accepted request got no response
        assert set(answered) <= {200, 0} and 200 in answered
        process.wait(timeout=120)
    finally:
        process.kill()
