"""Speed and F1 of extraction from running text: tags, generation, and PEFT with plain `generate`; and the time of each stage.

    python -m benchmarks.extraction --data ../shared/data --json benchmarks/results/extraction.json

The languages are mixed and routed. With ``--before FOLDER``, adapters of an earlier release are measured on the same sentences.
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.corpus import sample_sentences
from benchmarks.intervals import f1_columns
from benchmarks.options import Device, Json, Languages, Model, Number, OptionalData, benchmark
from benchmarks.peer import PeftPeer, parsed, peer_answers
from benchmarks.report import Metric, publish
from benchmarks.stages import LOOKUP, timed
from modeling_retrieveall import Entity, RetrieveAllModel
from modeling_retrieveall.annotation.worker_pool import WorkerPool
from modeling_retrieveall.data.labelled_data import sample_examples
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.evaluation.span_f1 import Predictions, unseen
from modeling_retrieveall.model.base_llm import native_dtype
from modeling_retrieveall.model.entities import Example, tags_from_entities, tags_from_spans

CORPORA = {
    **{"da": "uner/da_ddt", "de": "germeval2014/de", "en": "uner/en_ewt", "fi": "turku/fi", "hr": "uner/hr_set"},
    **{"pt": "uner/pt_bosque", "ru": "factrueval/ru", "sk": "uner/sk_snk", "sv": "uner/sv_talbanken", "ta": "multiner/ta"},
}
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
    of_language = {code: _sentences(loaded, data, code, number) for code in codes}
    examples = [example for code in codes for example in of_language[code]]
    rows = []
    if before:
        earlier = RetrieveAllModel.from_pretrained(before, device=device, dtype="float32")
        rows.append(_measured(BEFORE, earlier.extract, examples, batch_size))
    rows.append(_measured(GENERATED, functools.partial(loaded.extract, decoding="generation"), examples, batch_size))
    with timed() as seconds:
        rows.append(_measured(TAGS, functools.partial(loaded.extract, decoding="tags"), examples, batch_size))
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
    publish("Running text, from words to entities", [*_metrics(rows), *_shares(seconds)], rows, json_file)


def _sentences(model: RetrieveAllModel, data: Path | None, language: str, number: int) -> list[Example]:
    if data is None:
        return sample_sentences(language, number)
    return sample_examples(unseen(model, load_examples(str(data / CORPORA[language]), "test").examples), number, 0)


def _measured(name: str, extract: Callable[..., Any], examples: list[Example], batch_size: int) -> Row:
    words = [[word.text for word in example.sentence.words] for example in examples]
    extract(words[:batch_size], is_split_into_words=True, batch_size=batch_size)  # warm-up
    began = time.perf_counter()
    results = extract(words, is_split_into_words=True, batch_size=batch_size)
    return _row(name, examples, [result.entities for result in results], time.perf_counter() - began)


def _peer(model: RetrieveAllModel, of_language: dict[str, list[Example]], batch_size: int) -> list[Row]:
    """PEFT with the prompts of our generation and the language given, in mixed batches and in batches of one language."""
    codes = list(of_language)
    examples = [example for code in codes for example in of_language[code]]
    owners = [code for code in codes for _ in of_language[code]]
    prepared = model.prepare([example.sentence for example in examples], language=owners, decoding="generation")
    prompts = [[each.prompt.ids for each in sentences] for sentences in prepared]
    peer = PeftPeer(model, codes)
    peer.generate(prompts[0], owners[:1] * len(prompts[0]), 4)  # warm-up
    labels = model.adapters[codes[0]].manifest.entity_types
    rows = []
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
        Metric("speed, generation / PEFT, mixed batches", round(speed[GENERATED] / speed[MIXED], 1), "times", 3.0),
        Metric("speed, generation / PEFT, a language at a time", round(speed[GENERATED] / speed[GROUPED], 1), "times", 3.0),
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


def _shares(seconds: dict[str, float]) -> list[Metric]:
    """The share of each stage in the time of tags in float32, as far as stages were measured."""
    shares = {stage: 100 * spent / sum(seconds.values()) for stage, spent in seconds.items()}
    lookup = round(sum(shares.get(stage, 0.0) for stage in LOOKUP), 1)
    return [
        Metric("share of sentence vectors, routing and retrieval", lookup, "% of the time", 15.0, at_most=True),
        *(Metric(f"share of {stage}", round(share, 1), "% of the time") for stage, share in shares.items()),
    ]


if __name__ == "__main__":
    main()
