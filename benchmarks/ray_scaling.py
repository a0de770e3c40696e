"""Annotation on Ray: sentences per second with one worker and with two.

    python -m benchmarks.ray_scaling --json benchmarks/results/ray_scaling.json

Only the time in which all workers annotate is measured, without start-up and without the end, when some workers are idle.
"""

import json
import os
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.corpus import sample_sentences
from benchmarks.options import Json, Languages, Model, Number, benchmark
from benchmarks.report import Metric, publish
from modeling_retrieveall import Extraction, RetrieveAllModel
from modeling_retrieveall.annotation.ray_engine import annotate_on_ray
from modeling_retrieveall.model.base_llm import native_dtype

Span = tuple[float, float, int]
"""Start and end time of a batch, and its number of texts."""


@benchmark(languages="de,ta", number=16, workers="1", batch_size=4)
def main(
    model: Model = "shipped",
    languages: Languages = "de,en,es,ru,bg,ta",
    number: Number = 200,
    workers: Annotated[str, typer.Option(help="Numbers of workers, separated by commas.")] = "1,2",
    cores: Annotated[int, typer.Option(help="Cores of each worker.")] = 1,
    batch_size: Annotated[int, typer.Option(help="Number of sentences decoded together.")] = 8,
    json_file: Json = None,
) -> None:
    sentences = [sample_sentences(language, number) for language in languages.split(",")]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in.txt")
        texts = [example.sentence.text for mixed in zip(*sentences, strict=True) for example in mixed]
        source.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        for count in map(int, workers.split(",")):
            stamps = Path(folder, str(count))
            stamps.mkdir()
            began = time.perf_counter()
            annotate_on_ray(
                partial(TimedModel, model, str(stamps)),
                str(source),
                f"{folder}/{count}.jsonl",
                workers=(count, count),
                cpus=cores,
                batch_size=batch_size,
            )
            rate = sentences_per_second(stamps, count)
            rows.append(
                {
                    "workers": count,
                    "cores each": cores,
                    "sentences": len(texts),
                    "seconds, with start and end": round(time.perf_counter() - began, 1),
                    "sentences/s": round(rate, 2),
                    "sentences/s and worker": round(rate / count, 2),
                }
            )
    publish("Annotation on Ray", _metrics(rows), rows, json_file)


class TimedModel:
    """A model that records the time and size of each batch, in one file for each process.

    Args:
        model: As for :meth:`RetrieveAllModel.from_pretrained`.
        folder: Folder of the files.
    """

    def __init__(self, model: str, folder: str) -> None:
        self.model = RetrieveAllModel.from_pretrained(model, dtype=native_dtype())
        self.languages = self.model.languages
        self.file = Path(folder, f"{os.getpid()}.jsonl")

    def extract(self, texts: list[str], **settings: Any) -> list[Extraction]:
        """See :meth:`RetrieveAllModel.extract`."""
        began = time.time()
        results = self.model.extract(texts, **settings)
        with self.file.open("a") as stream:
            stream.write(json.dumps((began, time.time(), len(results))) + "\n")
        return results


def sentences_per_second(folder: Path, workers: int) -> float:
    """Throughput of all workers together, from the start of the last worker to the end of the first one.

    Raises:
        ValueError: The workers did not all work at the same time.
    """
    spans: dict[str, list[Span]] = defaultdict(list)
    for file in folder.iterdir():
        spans[file.stem] += [json.loads(line) for line in file.read_text().splitlines()]
    began = max(min(span[0] for span in of_worker) for of_worker in spans.values())
    ended = min(max(span[1] for span in of_worker) for of_worker in spans.values())
    if len(spans) < workers or ended <= began:
        raise ValueError(
            f"Only {len(spans)} of {workers} workers annotated at the same time. Use more sentences: a larger --number."
        )

    def within(span: Span) -> float:
        return span[2] * max(min(span[1], ended) - max(span[0], began), 0) / (span[1] - span[0])

    return sum(within(span) for of_worker in spans.values() for span in of_worker) / (ended - began)


def _metrics(rows: list[dict[str, Any]]) -> list[Metric]:
    first, last = rows[0], rows[-1]
    metrics = [
        Metric(f"{row['workers']} workers of {row['cores each']} cores", row["sentences/s"], "sentences/s") for row in rows
    ]
    scale = round(last["sentences/s"] / first["sentences/s"], 2)
    return [*metrics, Metric(f"{last['workers']} workers against {first['workers']}", scale, "times")]


if __name__ == "__main__":
    main()
