"""Many languages with many labelled examples: the share of time for routing and retrieval, memory, and the time to add them.

    python -m benchmarks.index_size --model shipped --json benchmarks/results/index_size.json

The examples of the model's languages are repeated, with noise on their vectors, up to the requested number. Prompts contain the
nearest sentences, also with adapters that were trained without them, because only the time is measured.
"""

import time
from dataclasses import replace
from typing import Annotated
from unittest.mock import patch

import psutil  # type: ignore[import-untyped]
import torch
import typer
from torch import Tensor

from benchmarks.options import Json, Model, benchmark
from benchmarks.report import Metric, publish
from benchmarks.stages import timed
from modeling_retrieveall import LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.model.base_llm import native_dtype
from modeling_retrieveall.model.manifest import Manifest
from modeling_retrieveall.model.retrieval import ExampleIndex

_NOISE = 0.05  # share of a vector's length; keeps the copies of an example apart


@benchmark(languages=4, examples=2_000, sentences=4)
def main(
    model: Model = "shipped",
    languages: Annotated[int, typer.Option(help="Number of languages; those of the model are repeated.")] = 17,
    examples: Annotated[int, typer.Option(help="Number of indexed examples of all languages together.")] = 200_000,
    sentences: Annotated[int, typer.Option(help="Number of sentences to extract from.")] = 100,
    json_file: Json = None,
) -> None:
    loaded = RetrieveAllModel.from_pretrained(model, dtype=native_dtype())
    own = [loaded.adapters[code] for code in loaded.languages if code != "mul"]
    texts = [example.sentence.text for adapter in own for example in adapter.index.examples][:: max(1, len(own))][:sentences]
    before = _memory()
    seconds = [_add(loaded, own[n % len(own)], f"x-{n}", examples // languages) for n in range(languages)]
    for adapter in own:
        loaded.remove_language(adapter.language)
    loaded.extract(texts[:2])  # warm-up
    began = time.perf_counter()
    with timed() as spent:
        loaded.extract(texts)
    total = time.perf_counter() - began
    spent["all stages and the rest"] = total
    rows = [{"stage": stage, "milliseconds a sentence": round(1000 * t / len(texts), 2)} for stage, t in spent.items()]
    indexed = sum(len(adapter.index.examples) for adapter in loaded.adapters.values())
    results = [
        Metric("examples indexed", indexed, ""),
        Metric(
            "share of routing and retrieval in the time of extraction",
            round(100 * (spent["routing"] + spent["retrieval"]) / total, 1),
            "%",
            15,
            at_most=True,
        ),
        Metric("adding a language, once encoded", round(max(seconds), 2), "s", 1, at_most=True),
        Metric("adding all languages", round(sum(seconds), 1), "s", 10, at_most=True),
        Metric("memory of the indexes", round((_memory() - before) / 1e9, 2), "GB", 2, at_most=True),
    ]
    publish(f"{len(texts)} sentences, {languages} languages", results, rows, json_file)


def _add(model: RetrieveAllModel, adapter: LanguageAdapter, name: str, count: int) -> float:
    """Adds ``count`` copies of an adapter's examples as a new language; returns the seconds it takes."""
    times = -(-count // len(adapter.index.examples))
    index = adapter.index
    multiplied = (list(index.examples) * times, _noisy(index.sentence_vectors, times), _noisy(index.mention_vectors, times))
    manifest = replace(adapter.manifest, n_sentences=Manifest.n_sentences)
    began = time.perf_counter()
    larger = LanguageAdapter(manifest, ExampleIndex(*multiplied), adapter.routing_vectors, adapter.training_hashes, adapter.path)
    _ = larger.index.known_mentions  # built at first use
    with patch.object(LanguageAdapter, "language", name):
        model.registry.add(larger)
    model.router.route(adapter.sentence_vectors()[:1])
    return time.perf_counter() - began


def _memory() -> int:
    """Bytes of memory that this process occupies."""
    return int(psutil.Process().memory_info().rss)


def _noisy(vectors: Tensor, times: int) -> Tensor:
    repeated = vectors.float().repeat(times, 1)
    lengths = repeated.norm(dim=-1, keepdim=True) / repeated.shape[1] ** 0.5
    noise = torch.randn(repeated.shape, generator=torch.Generator().manual_seed(0))
    return torch.add(repeated, noise * lengths, alpha=_NOISE).half()


if __name__ == "__main__":
    main()
