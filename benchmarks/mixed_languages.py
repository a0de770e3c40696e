"""Throughput of a batch of 16 sentences in 1, 2, 4, 8 and 16 languages, compared with `adapter_names` of PEFT.

All languages are copies of one adapter, so the batches differ only in their number of adapters.

    python -m benchmarks.mixed_languages --data ../shared/data --json benchmarks/results/mixed_languages.json
"""

import functools
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
from benchmarks.options import Device, Dtype, Json, Model, OptionalData, benchmark
from benchmarks.peer import PeftPeer
from benchmarks.report import Metric, publish
from modeling_retrieveall import RetrieveAllModel

DECODINGS = ("tags", "generation")


@benchmark(numbers="1,8", batch_size=8, repeats=1)
def main(
    data: OptionalData = None,
    model: Model = "shipped",
    language: Annotated[str, typer.Option(help="Language whose adapter and sentences are used.")] = "de",
    numbers: Annotated[
        str, typer.Option(help="Numbers of languages in a batch, separated by commas. They must include 1 and 8.")
    ] = "1,2,4,8,16",
    batch_size: Annotated[int, typer.Option(help="Number of sentences in the batch.")] = 16,
    repeats: Annotated[int, typer.Option(help="Number of measurements; the median is reported.")] = 5,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    json_file: Json = None,
) -> None:
    loaded = RetrieveAllModel.from_pretrained(model, languages=[language], dtype=getattr(torch, dtype)).to(device)
    words = [[word.text for word in e.sentence.words] for e in labelled_sentences(loaded, data, language, batch_size)]
    with tempfile.TemporaryDirectory() as folder:
        codes = [loaded.add_language(path) for path in copies(loaded.adapters[language].path, Path(folder), batch_size)]
        results = loaded.extract(words, language=language, is_split_into_words=True, details=True, decoding="generation")
        details = [sentence.details for result in results for sentence in result.sentences[:1] if sentence.details]
        prompts = [each.prompt_ids for each in details]
        longest = max(len(each.answer_ids) for each in details)
        rows: list[dict[str, Any]] = [{"languages": int(number)} for number in numbers.split(",")]
        for row in rows:
            rows_languages = [codes[i % row["languages"]] for i in range(batch_size)]

            for decoding in DECODINGS:
                ours = functools.partial(
                    loaded.extract, words, language=rows_languages, is_split_into_words=True, decoding=decoding
                )
                ours()  # warm-up
                row[f"{decoding}, sentences/s"] = round(batch_size / _median(ours, repeats), 2)
        peer = PeftPeer(loaded, codes)
        for row in rows:
            rows_languages = [codes[i % row["languages"]] for i in range(batch_size)]
            peer.generate(prompts, rows_languages, 4)  # warm-up
            # PEFT may generate as many tokens as our longest answer has, so that answers that never end do not distort the ratio.
            seconds = _median(lambda: peer.generate(prompts, rows_languages, longest), min(repeats, 2))  # noqa: B023
            row["PEFT, sentences/s"] = round(batch_size / seconds, 2)
    for row in rows:
        for name in (*DECODINGS, "PEFT"):
            row[f"{name} / one language"] = round(row[f"{name}, sentences/s"] / rows[0][f"{name}, sentences/s"], 2)
    eight = next(row for row in rows if row["languages"] == 8)
    ratio = eight["generation, sentences/s"] / eight["PEFT, sentences/s"]
    metrics = [
        *(Metric(f"throughput of 8 languages / of one, {name}", eight[f"{name} / one language"], "", 0.9) for name in DECODINGS),
        Metric("throughput of 8 languages / of one, PEFT", eight["PEFT / one language"], ""),
        Metric("8 languages, generation / PEFT", round(ratio, 2), "times"),
    ]
    publish(f"A batch of {batch_size} sentences", metrics, rows, json_file)


def _median(work: Callable[[], Any], repeats: int) -> float:
    """The median time of several runs, in seconds."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return median(seconds)


if __name__ == "__main__":
    main()
