"""Requests per second and latency of the HTTP server with 1, 8 and 64 clients, beside `extract` on the same texts.

python -m benchmarks.serving --data ../shared/data --json benchmarks/results/serving.json
"""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import torch
import typer
import uvicorn

from benchmarks.corpus import RUNNING_TEXT, labelled_sentences
from benchmarks.options import Dtype, Json, Languages, Model, Number, OptionalData, Quantization, benchmark
from benchmarks.report import Metric, publish
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.serving.http_server import create_app

_SECONDS = 600
Row = dict[str, Any]


@benchmark(languages="da,de", number=4, clients="1,4")
def main(
    data: OptionalData = None,
    model: Model = "shipped",
    languages: Languages = "da,de,hr,pt,ru,ta",
    number: Number = 64,
    clients: Annotated[str, typer.Option(help="Numbers of clients, separated by commas.")] = "1,8,64",
    dtype: Dtype = "float32",
    quantization: Quantization = None,
    json_file: Json = None,
) -> None:
    loaded = RetrieveAllModel.from_pretrained(model, dtype=getattr(torch, dtype), quantization=quantization)
    texts = [
        text
        for of_language in zip(*(_texts(loaded, data, code, number) for code in languages.split(",")), strict=False)
        for text in of_language
    ]
    loaded.extract(texts[:8])  # loads the adapters
    began = time.perf_counter()
    loaded.extract(texts)
    speed = len(texts) / (time.perf_counter() - began)
    rows: list[Row] = [{"system": "extract", "clients": None, "texts/s": speed, "p50, s": None, "p95, s": None}]
    with _served(loaded) as url:
        rows += [_load(url, texts, count) for count in map(int, clients.split(","))]
    for row in rows:
        row["share of extract"] = row["texts/s"] / rows[0]["texts/s"]
    rounded = [{name: round(v, 3) if isinstance(v, float) else v for name, v in row.items()} for row in rows]
    highest = Metric("throughput with the most clients, as a share of extract", rounded[-1]["share of extract"], "", 0.85)
    publish("The server, one text in a request", [highest], rounded, json_file)


def _texts(model: RetrieveAllModel, data: Path | None, language: str, number: int) -> list[str]:
    return [example.sentence.text for example in labelled_sentences(model, data, language, number, RUNNING_TEXT)]


@contextmanager
def _served(model: RetrieveAllModel) -> Iterator[str]:
    """The URL of a server in a thread of this process."""
    server = uvicorn.Server(uvicorn.Config(create_app(model), log_level="error"))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def _load(url: str, texts: Sequence[str], clients: int) -> Row:
    """Sends each text in a request of its own; each client sends its next one after the response to the last one."""
    with httpx.Client(base_url=url, timeout=_SECONDS, limits=httpx.Limits(max_connections=clients)) as client:

        def request(text: str) -> float:
            began = time.perf_counter()
            response = client.post("/extract", json={"text": text})
            response.raise_for_status()
            assert response.json()["results"][0]["text"] == text
            return time.perf_counter() - began

        began = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            seconds = list(pool.map(request, texts))
        passed = time.perf_counter() - began
    median, slow = np.percentile(seconds, [50, 95]).tolist()
    return {"system": "server", "clients": clients, "texts/s": len(texts) / passed, "p50, s": median, "p95, s": slow}


if __name__ == "__main__":
    main()
