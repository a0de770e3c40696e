"""Annotation on Ray: sentences a second of one worker, and of two.

    python -m benchmarks.ray_scaling --json benchmarks/results/ray_scaling.json

Measured while all workers annotate: neither their start nor the end, when one has nothing left, counts.
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

from benchmarks.corpus import own_sentences
from benchmarks.options import Json, Languages, Model, Number, benchmark
from benchmarks.report import Figure, publish
from modeling_retrieveall import Extraction, RetrieveAllModel
from modeling_retrieveall.annotation.ray_engine import annotate_on_ray
from modeling_retrieveall.model.base_llm import native_dtype

Span = tuple[float, float, int]
"""When texts were begun and ended, and how many they were."""


@benchmark(languages="de,ta", number=16, workers="1", batch_size=4)
def main(
    model: Model = "shipped",
    languages: Languages = "de,en,es,ru,bg,ta",
    number: Number = 200,
    workers: Annotated[str, typer.Option(help="How many workers, run after run.")] = "1,2",
    cores: Annotated[int, typer.Option(help="Cores of each worker.")] = 1,
    batch_size: Annotated[int, typer.Option(help="Sentences decoded together.")] = 8,
    json_file: Json = None,
) -> None:
    sentences = [own_sentences(language, number) for language in languages.split(",")]
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
                partial(Stamped, model, str(stamps)),
                str(source),
                f"{folder}/{count}.jsonl",
                workers=(count, count),
                cpus=cores,
                batch_size=batch_size,
            )
            rate = sentences_a_second(stamps, count)
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
    publish("Annotation on Ray", _figures(rows), rows, json_file)


class Stamped:
    """A model that writes down, in a file of its process, when it annotated how many texts.

    Args:
        model: As for :meth:`RetrieveAllModel.from_pretrained`.
        folder: Where the file is.
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


def sentences_a_second(folder: Path, workers: int) -> float:
    """Of all workers together, from when the last began until the first had done its last part.

    Raises:
        ValueError: They did not all work at the same time.
    """
    spans: dict[str, list[Span]] = defaultdict(list)
    for file in folder.iterdir():
        spans[file.stem] += [json.loads(line) for line in file.read_text().splitlines()]
    began = max(min(span[0] for span in of_worker) for of_worker in spans.values())
    ended = min(max(span[1] for span in of_worker) for of_worker in spans.values())
    if len(spans) < workers or ended <= began:
        raise ValueError(f"{len(spans)} of {workers} workers shared the sentences. Give more of them with --number.")

    def within(span: Span) -> float:
        return span[2] * max(min(span[1], ended) - max(span[0], began), 0) / (span[1] - span[0])

    return sum(within(span) for of_worker in spans.values() for span in of_worker) / (ended - began)


def _figures(rows: list[dict[str, Any]]) -> list[Figure]:
    first, last = rows[0], rows[-1]
    figures = [
        Figure(f"{row['workers']} workers of {row['cores each']} cores", row["sentences/s"], "sentences/s") for row in rows
    ]
    scale = round(last["sentences/s"] / first["sentences/s"], 2)
    return [*figures, Figure(f"{last['workers']} workers against {first['workers']}", scale, "times")]


if __name__ == "__main__":
    main()
