"""Throughput of one batch of 16 sentences over 1, 2, 4, 8 and 16 languages, ours and PEFT's `adapter_names`.

All languages are copies of one adapter, so a batch differs from the next in nothing but the number of its adapters.

    python -m benchmarks.mixed_languages --data ../shared/data/panx --json benchmarks/results/mixed_languages.json
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer

from benchmarks.copies import copies
from benchmarks.corpus import labelled_sentences
from benchmarks.peer import PeftPeer
from benchmarks.report import Figure, publish
from modeling_retrieveall import RetrieveAllModel

BATCH = 16


def main(
    data: Annotated[Path | None, typer.Option(help="Folder with a dataset folder for each language.")] = None,
    model: Annotated[str, typer.Option(help="'shipped', or a folder of adapters.")] = "shipped",
    language: Annotated[str, typer.Option(help="The language whose adapter and sentences are taken.")] = "de",
    repeats: Annotated[int, typer.Option(help="Measurements of each; the median counts.")] = 5,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    quick: Annotated[bool, typer.Option("--quick", help="1 and 8 languages, three times ours and once PEFT's.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None,
) -> None:
    loaded = RetrieveAllModel.from_pretrained(model, languages=[language], dtype=getattr(torch, dtype)).to(device)
    words = [[word.text for word in e.sentence.words] for e in labelled_sentences(loaded, data, language, BATCH)]
    with tempfile.TemporaryDirectory() as folder:
        codes = [loaded.add_language(path) for path in copies(loaded.adapters[language].path, Path(folder), BATCH)]
        results = loaded.explain(words=words, languages=language)
        prompts = [result.prompt_ids[0] for result in results]
        longest = max(len(result.answers[0]) for result in results)
        numbers = [1, 8] if quick else [1, 2, 4, 8, 16]
        rows: list[dict[str, Any]] = [{"languages": number} for number in numbers]
        for row in rows:
            rows_languages = [codes[i % row["languages"]] for i in range(BATCH)]
            seconds = _median(lambda: loaded.extract(words=words, languages=rows_languages), 3 if quick else repeats)  # noqa: B023
            row["ours, sentences/s"] = round(BATCH / seconds, 2)
        peer = PeftPeer(loaded, codes[: numbers[-1]])
        for row in rows:
            rows_languages = [codes[i % row["languages"]] for i in range(BATCH)]
            # As many tokens as our longest answer takes, so that answers without an end do not weigh on the ratio.
            seconds = _median(lambda: peer.generate(prompts, rows_languages, longest), 1 if quick else min(repeats, 2))  # noqa: B023
            row["PEFT, sentences/s"] = round(BATCH / seconds, 2)
    for row in rows:
        row["ours / one language"] = round(row["ours, sentences/s"] / rows[0]["ours, sentences/s"], 2)
        row["PEFT / one language"] = round(row["PEFT, sentences/s"] / rows[0]["PEFT, sentences/s"], 2)
    eight = next(row for row in rows if row["languages"] == 8)
    figures = [
        Figure("throughput of 8 languages / of one, ours", eight["ours / one language"], "", 0.9),
        Figure("throughput of 8 languages / of one, PEFT", eight["PEFT / one language"], ""),
        Figure("8 languages, ours / PEFT", round(eight["ours, sentences/s"] / eight["PEFT, sentences/s"], 2), "times"),
    ]
    publish(f"A batch of {BATCH} sentences", figures, rows, json_file)


def _median(work: Callable[[], Any], repeats: int) -> float:
    """Seconds of the median run, after one that does not count."""
    work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return median(seconds)


if __name__ == "__main__":
    typer.run(main)
