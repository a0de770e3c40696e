r"""What retrieved examples and the start from `mul` each add: four adapters a language, the same data, the same test sentences.

    python -m benchmarks.ablation --data ../shared/data/panx --mul runs/mul --runs runs/ablation \
        --json benchmarks/results/ablation.json

Adapters that are in ``--runs`` already are not trained again, so an interrupted run goes on where it stopped.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.report import Figure, publish
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.training.arguments import TrainingArguments
from modeling_retrieveall.training.evaluation import evaluate
from modeling_retrieveall.training.resuming import is_interrupted
from modeling_retrieveall.training.trainer import train

VARIANTS = {
    "mul + retrieved": {"init": "mul", "retrieved": True},
    "mul": {"init": "mul", "retrieved": False},
    "nothing + retrieved": {"init": "none", "retrieved": True},
    "nothing": {"init": "none", "retrieved": False},
}


def main(
    data: Annotated[Path, typer.Option(help="Folder with a dataset folder for each language.")],
    mul: Annotated[Path, typer.Option(help="Folder of the shared adapter to start from.")],
    runs: Annotated[Path, typer.Option(help="Folder of the trained adapters.")],
    languages: Annotated[str, typer.Option(help="Languages, separated by commas.")] = "de,ta",
    train_examples: Annotated[int, typer.Option(help="Training sentences of each language.")] = 600,
    limit: Annotated[int, typer.Option(help="Test sentences of each language.")] = 300,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16, for the evaluation.")] = "float32",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None,
) -> None:
    rows: list[dict[str, Any]] = []
    for language in languages.split(","):
        row: dict[str, Any] = {"language": language}
        for name, variant in VARIANTS.items():
            folder = runs / f"{language}-{name.replace(' ', '').replace('+', '-')}"
            start = str(mul) if variant["init"] == "mul" else "none"
            _train(language, data / language, folder, start, bool(variant["retrieved"]), train_examples)
            row[name] = _f1(folder, mul, data / language, language, bool(variant["retrieved"]), limit, dtype)
            print(language, name, row[name], flush=True)
        rows.append(row)
    publish(f"F1, oracle routing, {train_examples} training sentences", _figures(rows), rows, json_file)


def _train(language: str, dataset: Path, folder: Path, start: str, retrieved: bool, examples: int) -> None:
    if folder.is_dir():
        return
    train(
        TrainingArguments(
            language=language,
            dataset=[str(dataset)],
            output=str(folder),
            init=start,
            max_train_examples=examples,
            max_validation_examples=0,
            knowledge_share=TrainingArguments.knowledge_share if retrieved else 0.0,
            resume=is_interrupted(str(folder)),
        )
    )


def _f1(folder: Path, mul: Path, dataset: Path, language: str, retrieved: bool, limit: int, dtype: str) -> float:
    model = RetrieveAllModel.from_pretrained(folder, dtype=getattr(torch, dtype))
    # With `mul` beside it, all four are measured on the same sentences: those that neither of them was trained on.
    model.add_language(mul)
    if not retrieved:
        model.config.n_entities = model.config.n_sentences = 0
    report = evaluate(model, str(dataset), "test", language, oracle_routing=True, limit=limit)
    return float(report.f1)


def _figures(rows: list[dict[str, Any]]) -> list[Figure]:
    def mean_gain(better: str, worse: str) -> float:
        return round(float(sum(row[better] - row[worse] for row in rows)) / len(rows), 2)

    return [
        Figure("retrieved examples add, started from mul", mean_gain("mul + retrieved", "mul"), "F1 points"),
        Figure("retrieved examples add, started from nothing", mean_gain("nothing + retrieved", "nothing"), "F1 points"),
        Figure("mul adds, with retrieved examples", mean_gain("mul + retrieved", "nothing + retrieved"), "F1 points"),
        Figure("mul adds, without retrieved examples", mean_gain("mul", "nothing"), "F1 points"),
    ]


if __name__ == "__main__":
    typer.run(main)
