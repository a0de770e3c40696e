"""Speed and F1 of extraction from running text: tags, generation, and PEFT with plain `generate`; and the time of each stage.

    python -m benchmarks.extraction --data ../shared/data --json benchmarks/results/extraction.json

The languages are mixed and routed. With ``--before FOLDER``, adapters of an earlier release are measured on the same sentences.
"""

import functools
import time
from collections.abc import Callable
from typing import Annotated, Any

import torch
import typer

from benchmarks.corpus import RUNNING_TEXT, labelled_sentences
from benchmarks.intervals import F1_COLUMNS, f1_columns
from benchmarks.options import Device, Json, Languages, Model, Number, OptionalData, benchmark
from benchmarks.peer import PeftPeer, parsed, peer_answers
from benchmarks.report import Metric, publish
from benchmarks.stages import LOOKUP, timed
from modeling_retrieveall import Entity, RetrieveAllModel
from modeling_retrieveall.annotation.worker_pool import WorkerPool
from modeling_retrieveall.evaluation.span_f1 import Predictions
from modeling_retrieveall.model.base_llm import native_dtype
from modeling_retrieveall.model.entities import Example, tags_from_entities, tags_from_spans

SAME = "generation, the sentences of PEFT with their languages"
BEFORE, GENERATED, TAGS, INT8, WORKERS = "earlier adapters", "generation", "tags", "tags, int8", "tags, int8, two processes"
MIXED, GROUPED = "PEFT and generate, mixed batches", "PEFT and generate, a language at a time"
Row = dict[str, Any]


@benchmark(languages="da,de", number=4, peer_number=2)
def main(
    data: OptionalData = None,
    model: Model = "shipped",
    before: Annotated[str | None, typer.Option(help="Folder of adapters of an earlier release.")] = None,
    languages: Languages = "da,de,hr,pt,ru,ta",
    number: Number = 167,
    peer_number: Annotated[int, typer.Option(help="Number of sentences of each language for PEFT, which is slow.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Sentences in a batch, for all systems.")] = 16,
    device: Device = "cpu",
    json_file: Json = None,
) -> None:
    codes = languages.split(",")
    load: Callable[..., Any] = functools.partial(RetrieveAllModel.from_pretrained, model, device=device)
    loaded = load(dtype="float32")
    of_language = {code: labelled_sentences(loaded, data, code, number, RUNNING_TEXT) for code in codes}
    examples = [example for code in codes for example in of_language[code]]
    rows = []
    if before:
        earlier = RetrieveAllModel.from_pretrained(before, device=device, dtype="float32")
        rows.append(_measured(BEFORE, earlier.extract, examples, batch_size))
    rows.append(_measured(GENERATED, functools.partial(loaded.extract, decoding="generation"), examples, batch_size))
    rows.append(_measured(TAGS, functools.partial(loaded.extract, decoding="tags"), examples, batch_size))
    shares = _shares(loaded, examples, batch_size)
    rows += _peer(loaded, {code: of_language[code][:peer_number] for code in codes}, batch_size)
    del loaded
    if native_dtype(device) is torch.bfloat16:
        extract = functools.partial(load(dtype="bfloat16").extract, decoding="tags")
        rows.append(_measured("tags, bfloat16", extract, examples, batch_size))
    if device == "cpu":
        int8: Callable[..., Any] = functools.partial(load, dtype="float32", quantization="int8")
        rows.append(_measured(INT8, functools.partial(int8().extract, decoding="tags"), examples, batch_size))
        with WorkerPool(int8, workers=2) as pool:
            rows.append(_measured(WORKERS, functools.partial(pool.extract, decoding="tags"), examples, batch_size))
    metrics = [*_metrics(rows), *shares]
    if data is None:  # the adapters know these sentences, so their F1 would be meaningless
        metrics = [metric for metric in metrics if not metric.name.startswith("F1")]
        rows = [{name: value for name, value in row.items() if name not in F1_COLUMNS} for row in rows]
    publish("Running text, from words to entities", metrics, rows, json_file)


def _measured(
    name: str, extract: Callable[..., Any], examples: list[Example], batch_size: int, language: list[str] | None = None
) -> Row:
    words = [[word.text for word in example.sentence.words] for example in examples]
    options: dict[str, Any] = {"is_split_into_words": True, "batch_size": batch_size}
    extract(words[:batch_size], language=language and language[:batch_size], **options)  # warm-up
    began = time.perf_counter()
    results = extract(words, language=language, **options)
    return _row(name, examples, [result.entities for result in results], time.perf_counter() - began)


def _peer(model: RetrieveAllModel, of_language: dict[str, list[Example]], batch_size: int) -> list[Row]:
    """Generation, and PEFT with the same prompts in mixed batches and in batches of one language; the language is given."""
    codes = list(of_language)
    examples = [example for code in codes for example in of_language[code]]
    owners = [code for code in codes for _ in of_language[code]]
    prepared = model.prepare([example.sentence for example in examples], language=owners, decoding="generation")
    prompts = [[each.prompt.ids for each in sentences] for sentences in prepared]
    peer = PeftPeer(model, codes)
    peer.generate(prompts[0], owners[:1] * len(prompts[0]), 4)  # warm-up
    labels = model.adapters[codes[0]].manifest.entity_types
    ours = functools.partial(model.extract, decoding="generation")
    rows = [_measured(SAME, ours, examples, batch_size, language=owners)]
    for name, by_language in ((MIXED, False), (GROUPED, True)):
        began = time.perf_counter()
        answers = peer_answers(peer, prompts, owners, batch_size, by_language, answer_tokens=128)
        seconds = time.perf_counter() - began
        found = [parsed(answer, example.sentence, labels) for answer, example in zip(answers, examples, strict=True)]
        rows.append(_row(name, examples, found, seconds))
    return rows


def _row(name: str, examples: list[Example], found: list[list[Entity]], seconds: float) -> Row:
    predictions = Predictions(
        labelled=[tags_from_spans(example.spans, len(example.sentence.words)) for example in examples],
        predicted=[tags_from_entities(each, example.sentence) for each, example in zip(found, examples, strict=True)],
        routed_correctly=None,
        seconds=seconds,
    )
    words = sum(len(example.sentence.words) for example in examples)
    return {
        "what": name,
        "sentences/s": round(len(examples) / seconds, 2),
        **f1_columns(predictions),
        "false entities, %": predictions.report().false_entity_rate,
        "sentences": len(examples),
        "words in a sentence": round(words / len(examples), 1),
    }


def _metrics(rows: list[Row]) -> list[Metric]:
    speed = {row["what"]: row["sentences/s"] for row in rows}
    f1 = {row["what"]: row["F1"] for row in rows}
    best = max(speed[name] for name in speed if name.startswith(TAGS))
    metrics = [
        Metric("speed, best of tags / PEFT, mixed batches", round(best / speed[MIXED], 1), "times", 10.0),
        Metric("speed, generation / PEFT, mixed batches", round(speed[SAME] / speed[MIXED], 1), "times", 3.0),
        Metric("speed, generation / PEFT, a language at a time", round(speed[SAME] / speed[GROUPED], 1), "times", 3.0),
        Metric("F1, generation - best of PEFT", round(f1[SAME] - max(f1[MIXED], f1[GROUPED]), 2), "points", 0.0),
    ]
    if INT8 in speed:
        metrics += [
            Metric("speed, int8 / float32", round(speed[INT8] / speed[TAGS], 2), "times"),
            Metric("speed, two processes / one", round(speed[WORKERS] / speed[INT8], 2), "times"),
            Metric("F1, int8 - float32", round(f1[INT8] - f1[TAGS], 2), "points", -0.3),
        ]
    if BEFORE in speed:
        metrics += [
            Metric("speed, tags / earlier adapters, both float32", round(speed[TAGS] / speed[BEFORE], 2), "times", 3.0),
            Metric("speed, best of tags / earlier adapters", round(best / speed[BEFORE], 2), "times", 5.0),
            Metric("F1, tags - earlier adapters", round(f1[TAGS] - f1[BEFORE], 2), "points", -0.3),
        ]
    return metrics


def _shares(model: RetrieveAllModel, examples: list[Example], batch_size: int) -> list[Metric]:
    """The share of each stage in the time of tags in float32."""
    words = [[word.text for word in example.sentence.words] for example in examples]
    began = time.perf_counter()
    with timed() as seconds:
        model.extract(words, is_split_into_words=True, decoding="tags", batch_size=batch_size)
    total = time.perf_counter() - began
    shares = {stage: 100 * spent / total for stage, spent in seconds.items()}
    lookup = round(sum(shares.get(stage, 0.0) for stage in LOOKUP), 1)
    return [
        Metric("share of sentence vectors, routing and retrieval", lookup, "% of the time", 15.0, at_most=True),
        *(Metric(f"share of {stage}", round(share, 1), "% of the time") for stage, share in shares.items()),
    ]


if __name__ == "__main__":
    main()
