"""F1 on whole documents, with and without one type for each name (``consistent_labels``).

    python -m benchmarks.consistency --data ../shared/data --json benchmarks/results/consistency.json

The corpora do not say where their documents begin, but keep the order of the sentences. So a document is a number of consecutive
sentences: most of them are from one article or from several about the same event. The adapters must have learned tags.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.corpus import adapter_of
from benchmarks.intervals import f1_gain_interval, f1_interval
from benchmarks.options import Data, Dtype, Model, Quantization, Rows, benchmark
from benchmarks.report import Metric, publish, read_rows, write_json
from modeling_retrieveall import Entity, RetrieveAllModel
from modeling_retrieveall.data.detokenization import detokenize_example
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.evaluation.scores import SpanCounts
from modeling_retrieveall.evaluation.span_f1 import unseen
from modeling_retrieveall.model.entities import Example

Row = dict[str, Any]
Place = tuple[int, int, str]
"""Start, end and label of an entity."""


@dataclass(frozen=True)
class Document:
    """Consecutive sentences of a corpus as one text, and its labelled entities."""

    text: str
    entities: frozenset[Place]


@benchmark(corpora="panx/de", documents=2, size=8)
def main(
    data: Data,
    model: Model = "shipped",
    corpora: Annotated[str, typer.Option(help="Corpora, separated by commas.")] = "slavicner/ru",
    split: Annotated[str, typer.Option(help="Split of the corpora.")] = "test",
    documents: Annotated[int, typer.Option(help="Number of documents of each corpus.")] = 40,
    size: Annotated[int, typer.Option(help="Number of sentences of a document.")] = 25,
    dtype: Dtype = "float32",
    quantization: Quantization = None,
    json_file: Rows = Path("benchmarks/results/consistency.json"),
) -> None:
    rows = read_rows(json_file)
    for corpus in corpora.split(","):
        if corpus not in {row["corpus"] for row in rows}:
            loaded = RetrieveAllModel.from_pretrained(model, dtype=getattr(torch, dtype), quantization=quantization)
            examples = unseen(loaded, load_examples(str(data / corpus), split).examples)
            texts = list(islice(_documents(examples, size), documents))
            rows.append({"corpus": corpus, **_measured(loaded, texts, adapter_of(loaded, corpus))})
            write_json(metrics(rows), rows, json_file)
    publish("One type for each name", metrics(rows), rows, None)


def _documents(examples: Sequence[Example], size: int) -> Iterator[Document]:
    for first in range(0, len(examples), size):
        text, entities = "", set()
        for example in examples[first : first + size]:
            sentence, labelled = detokenize_example(example)
            entities |= {(len(text) + each.start, len(text) + each.end, each.label) for each in labelled}
            text += f"{sentence}\n"
        yield Document(text, frozenset(entities))


def _measured(model: RetrieveAllModel, documents: Sequence[Document], language: str) -> Row:
    texts = [document.text for document in documents]
    row: Row = {"language": language, "documents": len(documents), "entities": sum(len(each.entities) for each in documents)}
    counts = {}
    for name, consistent in (("alone", False), ("consistent", True)):
        results = model.extract(texts, language=language, decoding="tags", consistent_labels=consistent)
        found = [result.entities for result in results]
        counts[name] = [_counts(entities, document) for entities, document in zip(found, documents, strict=True)]
        low, high = f1_interval(counts[name])
        row |= {f"F1, {name}": _f1(counts[name]), f"low, {name}": low, f"high, {name}": high}
        row[f"names with several types, {name}"] = sum(map(_names_with_several_types, found))
    low, high = f1_gain_interval(counts["alone"], counts["consistent"])
    return {**row, "gain": round(row["F1, consistent"] - row["F1, alone"], 2), "low, gain": low, "high, gain": high}


def _counts(entities: Sequence[Entity], document: Document) -> SpanCounts:
    places = {(entity.start, entity.end, entity.label) for entity in entities}
    return SpanCounts(len(places & document.entities), len(places), len(document.entities))


def _f1(counts: Sequence[SpanCounts]) -> float:
    correct, predicted, labelled = (sum(numbers) for numbers in zip(*counts, strict=True))
    return round(float(200 * correct / max(predicted + labelled, 1)), 2)


def _names_with_several_types(entities: Sequence[Entity]) -> int:
    types: dict[str, set[str]] = defaultdict(set)
    for entity in entities:
        types[entity.text.casefold()].add(entity.label)
    return sum(len(labels) > 1 for labels in types.values())


def metrics(rows: Sequence[Row]) -> list[Metric]:
    """The lowest gain in F1 of all corpora."""
    return [Metric("lowest gain in F1", min(row["gain"] for row in rows), "points", 0.0)]


if __name__ == "__main__":
    main()
