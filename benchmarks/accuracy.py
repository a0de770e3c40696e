"""F1 of the shipped adapters, with routing and with the right adapter. Sentences that an adapter was trained on are dropped.

python -m benchmarks.accuracy --data ../shared/data --limit 250 --dtype bfloat16 --json benchmarks/results/accuracy.json
"""

import time
from statistics import mean
from typing import Annotated, Any

import torch
import typer

from benchmarks.options import Data, Dtype, Json, KeepDuplicates, Languages, Model, benchmark
from benchmarks.report import Metric, publish
from benchmarks.study.datasets import FOLDERS, hub_name
from modeling_retrieveall import LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.evaluation.span_f1 import Report, evaluate
from modeling_retrieveall.hub.cards import write_card

GOALS = {"de": 83.0, "ru": 85.0, "ta": 73.0}
FIRST = {"bg", "de", "en", "es", "ru", "ta"}


@benchmark(languages="de,ta", limit=4, keep_duplicates=True)
def main(
    data: Data,
    model: Model = "shipped",
    languages: Languages = "bg,de,en,es,ru,ta",
    limit: Annotated[int | None, typer.Option(help="Number of test sentences of each language. Default: all.")] = None,
    keep_duplicates: KeepDuplicates = False,
    dtype: Dtype = "float32",
    write_cards: Annotated[
        bool, typer.Option("--write-cards", help="Write the results into the model cards of the adapters.")
    ] = False,
    json_file: Json = None,
) -> None:
    began = time.perf_counter()
    loaded = RetrieveAllModel.from_pretrained(model, dtype=getattr(torch, dtype))
    rows: list[dict[str, Any]] = []
    for language in languages.split(","):
        dataset = str(data / FOLDERS[language])
        for oracle in (True, False):
            report = evaluate(
                loaded, dataset, "test", language, oracle_routing=oracle, keep_duplicates=keep_duplicates, limit=limit
            )
            rows.append(
                {
                    "language": language,
                    "routing": "oracle" if oracle else "routed",
                    "F1": report.f1,
                    "precision": report.precision,
                    "recall": report.recall,
                    "routed right": report.routing_accuracy,
                    "n_test": report.n_test,
                    "n_dropped": report.n_dropped,
                    "sentences/s": report.sentences_per_second,
                }
            )
            print(rows[-1], flush=True)
            if oracle and write_cards:
                _write_card(loaded.adapters[language], report)
    publish("Strict typed span F1, test sentences", _metrics(rows), rows, json_file)
    print(f"{time.perf_counter() - began:.0f} s")


def _write_card(adapter: LanguageAdapter, report: Report) -> None:
    adapter.manifest.metrics = [{"dataset": hub_name(adapter.language), "split": "test", **report.to_dict()}]
    adapter.save_index(adapter.path)
    write_card(adapter)


def _metrics(rows: list[dict[str, Any]]) -> list[Metric]:
    oracle = {row["language"]: row["F1"] for row in rows if row["routing"] == "oracle"}
    routed = [row["F1"] for row in rows if row["routing"] == "routed"]
    metrics = [Metric(f"F1 {language}, oracle routing", f1, "%", GOALS.get(language)) for language, f1 in oracle.items()]
    metrics.append(Metric("mean F1, oracle routing", round(mean(oracle.values()), 2), "%"))
    if oracle.keys() >= FIRST:
        metrics.append(Metric("mean F1 of the first six, oracle routing", round(mean(oracle[x] for x in FIRST), 2), "%", 80.0))
    metrics.append(Metric("mean F1, routed", round(mean(routed), 2), "%"))
    return metrics


if __name__ == "__main__":
    main()
