r"""How much retrieved examples and starting from `mul` each add: four adapters for each language, on the same data.

    python -m benchmarks.ablation --data ../shared/data --mul runs/mul --runs runs/ablation \
        --json benchmarks/results/ablation.json

Adapters that exist in ``--runs`` are not trained again, so an interrupted run can resume.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.options import Base, Data, Dtype, Epochs, Json, KeepDuplicates, Languages, Limit, Runs, Size, benchmark
from benchmarks.report import Metric, publish
from benchmarks.study.datasets import FOLDERS
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.evaluation.span_f1 import evaluate
from modeling_retrieveall.model.embedded_llm import EMBEDDED_BASE
from modeling_retrieveall.model.model_source import shipped_adapters
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.resuming import is_interrupted
from modeling_retrieveall.training.trainer import train

VARIANTS = {
    "mul + retrieved": {"init": "mul", "retrieved": True},
    "mul": {"init": "mul", "retrieved": False},
    "nothing + retrieved": {"init": "none", "retrieved": True},
    "nothing": {"init": "none", "retrieved": False},
}


@benchmark(mul=shipped_adapters() / "mul", languages="de", train_examples=8, epochs=1, limit=4, keep_duplicates=True)
def main(
    data: Data,
    mul: Annotated[Path, typer.Option(help="Folder of the multilingual adapter to start from.")],
    runs: Runs = Path("runs/ablation"),
    base: Base = EMBEDDED_BASE,
    languages: Languages = "de,ta",
    train_examples: Size = 600,
    epochs: Epochs = None,
    limit: Limit = 300,
    keep_duplicates: KeepDuplicates = False,
    dtype: Dtype = "float32",
    json_file: Json = None,
) -> None:
    rows: list[dict[str, Any]] = []
    for language in languages.split(","):
        row: dict[str, Any] = {"language": language}
        for name, variant in VARIANTS.items():
            folder = runs / f"{language}-{name.replace(' ', '').replace('+', '-')}"
            arguments = AdapterTrainingArguments(
                language=[language],
                dataset=[str(data / FOLDERS[language])],
                output_dir=str(folder),
                base_model=base,
                init_adapter=str(mul) if variant["init"] == "mul" else "none",
                num_train_epochs=epochs,
                max_train_samples=train_examples,
                max_eval_samples=0,
                examples_share=AdapterTrainingArguments.examples_share if variant["retrieved"] else 0.0,
                resume=is_interrupted(str(folder)),
            )
            if not folder.is_dir():
                train(arguments)
            model = _model(arguments.output_dir, mul, bool(variant["retrieved"]), dtype)
            row[name] = evaluate(
                model,
                arguments.dataset[0],
                "test",
                language,
                oracle_routing=True,
                keep_duplicates=keep_duplicates,
                limit=limit,
            ).f1
            print(language, name, row[name], flush=True)
        rows.append(row)
    publish(f"F1, oracle routing, {train_examples} training sentences", _metrics(rows), rows, json_file)


def _model(trained: str, mul: Path, retrieved: bool, dtype: str) -> RetrieveAllModel:
    model = RetrieveAllModel.from_pretrained(trained, dtype=getattr(torch, dtype))
    # `evaluate` drops sentences that any adapter of the model was trained on. With `mul` in every model, all four are measured
    # on the same sentences.
    model.add_language(mul)
    if not retrieved:
        model.config.change({"n_entities": 0, "n_sentences": 0})
    return model


def _metrics(rows: list[dict[str, Any]]) -> list[Metric]:
    def mean_gain(better: str, worse: str) -> float:
        return round(float(sum(row[better] - row[worse] for row in rows)) / len(rows), 2)

    return [
        Metric("retrieved examples add, started from mul", mean_gain("mul + retrieved", "mul"), "F1 points"),
        Metric("retrieved examples add, started from nothing", mean_gain("nothing + retrieved", "nothing"), "F1 points"),
        Metric("mul adds, with retrieved examples", mean_gain("mul + retrieved", "nothing + retrieved"), "F1 points"),
        Metric("mul adds, without retrieved examples", mean_gain("mul", "nothing"), "F1 points"),
    ]


if __name__ == "__main__":
    main()
