"""Tags in one pass compared with generated answers: adapters that learn tags, generation or both, measured on running text.

    python -m benchmarks.decodings --data ../shared/data --runs runs/decodings

Each adapter is one LoRA trained from scratch on all corpora, without retrieved examples. Adapters and rows that exist already are
kept.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.intervals import f1_columns
from benchmarks.options import Base, Data, Epochs, Limit, Rows, Runs, Size, benchmark
from benchmarks.report import Metric, publish, read_rows, write_json
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.data.labelled_data import sample_examples
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.evaluation.span_f1 import predict
from modeling_retrieveall.model.embedded_llm import EMBEDDED_BASE
from modeling_retrieveall.model.manifest import MULTILINGUAL
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.resuming import is_interrupted
from modeling_retrieveall.training.trainer import train

Row = dict[str, Any]


@benchmark(corpora="panx/de,panx/ta", size=6, limit=2, epochs=1, ranks="2")
def main(
    data: Data,
    runs: Runs = Path("runs/decodings"),
    base: Base = EMBEDDED_BASE,
    corpora: Annotated[str, typer.Option(help="Corpora, separated by commas.")] = (
        "germeval2014/de,uner/hr_set,factrueval/ru,multiner/ta"
    ),
    shares: Annotated[
        str, typer.Option(help="Shares of training samples that are answered with tags, separated by commas.")
    ] = "0,0.75,1",
    ranks: Annotated[str, typer.Option(help="Ranks of the LoRA, separated by commas.")] = "8",
    size: Size = 600,
    epochs: Epochs = 2,
    limit: Limit = 1000,
    json_file: Rows = Path("benchmarks/results/decodings.json"),
) -> None:
    rows = read_rows(json_file)
    folders = [data / corpus for corpus in corpora.split(",")]
    for rank in map(int, ranks.split(",")):
        for share in map(float, shares.split(",")):
            arguments = AdapterTrainingArguments(
                language=[MULTILINGUAL],
                dataset=[str(folder) for folder in folders],
                output_dir=str(runs / f"{share}-{rank}"),
                base_model=base,
                init_adapter="none",
                rank=rank,
                lora_alpha=2 * rank,
                num_train_epochs=epochs,
                examples_share=0,
                tags_share=share,
                max_train_samples=size,
                max_index_examples=10,
                max_eval_samples=0,
                resume=is_interrupted(str(runs / f"{share}-{rank}")),
            )
            folder = Path(arguments.output_dir) if Path(arguments.output_dir).is_dir() else train(arguments)
            for decoding in arguments.decodings():
                _measure(folder, folders, share, rank, decoding, limit, rows, json_file)
    write_json(metrics(rows), rows, json_file)
    publish("Strict typed span F1", metrics(rows), rows, None)


def _measure(
    adapter: Path, folders: list[Path], share: float, rank: int, decoding: str, limit: int, rows: list[Row], json_file: Path
) -> None:
    """Adds the missing rows of one adapter and one way of decoding."""
    model = RetrieveAllModel.from_pretrained(adapter, dtype=torch.float32, decoding=decoding)
    for folder in folders:
        key = {"corpus": f"{folder.parent.name}/{folder.name}", "share of tags": share, "rank": rank, "answered by": decoding}
        if any(key.items() <= row.items() for row in rows):
            continue
        predictions = predict(
            model, sample_examples(load_examples(str(folder), "test").examples, limit, 0), MULTILINGUAL, oracle_routing=True
        )
        report = predictions.report()
        speed = {"false entities, %": report.false_entity_rate, "sentences/s": report.sentences_per_second}
        rows.append({**key, **f1_columns(predictions), **speed, "sentences": report.n_test})
        print(rows[-1], flush=True)
        write_json([], rows, json_file)


def metrics(rows: list[Row]) -> list[Metric]:
    """Mean F1 and speed of each rank, share of tags and way of decoding."""
    ways = sorted({(row["rank"], row["share of tags"], row["answered by"]) for row in rows})
    result = []
    for rank, share, decoding in ways:
        own = [row for row in rows if (row["rank"], row["share of tags"], row["answered by"]) == (rank, share, decoding)]
        name = f"rank {rank}, {share:.0%} tags, answered by {decoding}"
        result.append(Metric(f"mean F1, {name}", round(sum(row["F1"] for row in own) / len(own), 2), "%"))
        result.append(Metric(f"speed, {name}", round(sum(row["sentences/s"] for row in own) / len(own), 2), "sentences/s"))
    return result


if __name__ == "__main__":
    main()
