"""F1 of the shipped adapters on PAN-X, routed and with the right adapter; sentences that an adapter has seen are dropped.

python -m benchmarks.accuracy --data ../shared/data/panx --limit 500 --json benchmarks/results/accuracy.json
"""

import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.report import Figure, publish
from modeling_retrieveall import LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.publishing.cards import write_card
from modeling_retrieveall.training.evaluation import Report, evaluate

GOALS = {"de": 83.0, "ru": 85.0, "ta": 73.0}


def main(
    data: Annotated[Path, typer.Option(help="Folder with a dataset folder for each language.")],
    model: Annotated[str, typer.Option(help="'shipped', or a folder of adapters.")] = "shipped",
    languages: Annotated[str, typer.Option(help="Languages, separated by commas.")] = "de,en,es,ru,bg,ta",
    limit: Annotated[int | None, typer.Option(help="Test sentences of each language; all when not given.")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    write_cards: Annotated[bool, typer.Option("--write-cards", help="Put the figures into the adapters' cards.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="50 sentences a language.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None,
) -> None:
    began = time.perf_counter()
    loaded = RetrieveAllModel.from_pretrained(model, dtype=getattr(torch, dtype))
    rows: list[dict[str, Any]] = []
    for language in languages.split(","):
        for oracle in (True, False):
            report = evaluate(loaded, str(data / language), "test", language, oracle_routing=oracle, limit=50 if quick else limit)
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
    publish("Strict typed span F1, PAN-X test", _figures(rows), rows, json_file)
    print(f"{time.perf_counter() - began:.0f} s")


def _write_card(adapter: LanguageAdapter, report: Report) -> None:
    adapter.manifest.metrics = [{"dataset": f"unimelb-nlp/wikiann:{adapter.language}", "split": "test", **report.to_dict()}]
    adapter.save_knowledge(adapter.path)
    write_card(adapter)


def _figures(rows: list[dict[str, Any]]) -> list[Figure]:
    oracle = {row["language"]: row["F1"] for row in rows if row["routing"] == "oracle"}
    routed = [row["F1"] for row in rows if row["routing"] == "routed"]
    figures = [Figure(f"F1 {language}, oracle routing", f1, "%", GOALS.get(language)) for language, f1 in oracle.items()]
    mean = round(sum(oracle.values()) / len(oracle), 2)
    figures.append(Figure("mean F1, oracle routing", mean, "%", 80.0 if len(oracle) == 6 else None))
    figures.append(Figure("mean F1, routed", round(sum(routed) / len(routed), 2), "%"))
    return figures


if __name__ == "__main__":
    typer.run(main)
