"""What training sentences without an entity change: adapters trained on PAN-X lines alone, tested on running text and on PAN-X.

    python -m benchmarks.empty_share --data ../shared/data --mul adapter_cards/mul --quantization int8

Each line of PAN-X contains a name. Adapters that start from ``--mul`` keep what it knows of running text, so only those from
scratch show the effect alone. An interrupted run resumes.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.intervals import f1_columns
from benchmarks.options import Base, Data, Epochs, Limit, Quantization, Rows, Runs, Size, benchmark
from benchmarks.report import Metric, publish, read_rows, write_json
from modeling_retrieveall import AdapterTrainingArguments, RetrieveAllModel, train
from modeling_retrieveall.data.labelled_data import sample_examples
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.evaluation.span_f1 import predict, unseen
from modeling_retrieveall.model.embedded_llm import EMBEDDED_BASE
from modeling_retrieveall.training.resuming import is_interrupted

SCRATCH = "none"
Row = dict[str, Any]


@benchmark(corpora="uner/hr_set", lines="uner/hr_set", shares="0.25", size=8, epochs=1, limit=2)
def main(
    data: Data,
    runs: Runs = Path("runs/empty_share"),
    base: Base = EMBEDDED_BASE,
    mul: Annotated[
        str, typer.Option(help="An initial adapter. Adapters are trained from it and from scratch. 'none': only from scratch.")
    ] = SCRATCH,
    lines: Annotated[
        str, typer.Option(help="Corpora to train on, separated by commas; each belongs to the running text at the same place.")
    ] = "panx/de,panx/da,panx/ru",
    corpora: Annotated[str, typer.Option(help="Corpora of running text to test on, separated by commas.")] = (
        "germeval2014/de,uner/da_ddt,factrueval/ru"
    ),
    shares: Annotated[str, typer.Option(help="Values of empty_share, separated by commas.")] = "0,0.25",
    size: Size = 600,
    epochs: Epochs = None,
    limit: Limit = 1000,
    quantization: Quantization = None,
    json_file: Rows = Path("benchmarks/results/empty_share.json"),
) -> None:
    rows = read_rows(json_file)
    for trained_on, running_text in zip(lines.split(","), corpora.split(","), strict=True):
        language = trained_on.partition("/")[2].partition("_")[0]
        for start in dict.fromkeys((SCRATCH, mul)):
            for share in map(float, shares.split(",")):
                key = {"trained on": trained_on, "start": "scratch" if start == SCRATCH else "mul", "empty_share": share}
                folder = runs / f"{key['start']}-{share}-{size}" / trained_on.replace("/", "-")
                arguments = AdapterTrainingArguments(
                    language=[language],
                    dataset=[str(data / trained_on)],
                    output_dir=str(folder),
                    base_model=base,
                    init_adapter=start,
                    empty_share=share,
                    num_train_epochs=epochs,
                    quantization=quantization,
                    max_train_samples=size,
                    max_eval_samples=0,
                    resume=is_interrupted(str(folder)),
                )
                for corpus in dict.fromkeys((running_text, trained_on)):
                    if not any((key | {"tested on": corpus}).items() <= row.items() for row in rows):
                        rows.append(key | {"tested on": corpus} | _scores(arguments, data, corpus, limit))
                        print(rows[-1], flush=True)
                        write_json([], rows, json_file)
    write_json(metrics(rows), rows, json_file)
    publish("Adapters trained on lines that contain a name", metrics(rows), rows, None)


def _scores(arguments: AdapterTrainingArguments, data: Path, corpus: str, limit: int) -> Row:
    """Trains the adapter unless it exists, and measures it on sentences of a corpus that it was not trained on."""
    folder = Path(arguments.output_dir)
    if not folder.is_dir():
        train(arguments)
    model = RetrieveAllModel.from_pretrained(folder, dtype=torch.float32, quantization=arguments.quantization)
    test = sample_examples(unseen(model, load_examples(str(data / corpus), "test").examples), limit, 0)
    predictions = predict(model, test, arguments.language_code, oracle_routing=True)
    report = predictions.report()
    return {
        **f1_columns(predictions),
        "without a name": report.n_without_entities,
        "of these with a false one, %": report.false_entity_rate,
        "sentences": report.n_test,
    }


def metrics(rows: list[Row]) -> list[Metric]:
    """The false entities of each adapter on running text, and the F1 that added sentences cost on the lines it learned from."""
    result = []
    for row in rows:
        name = f"{row['trained on']} from {row['start']}, empty_share {row['empty_share']}"
        if row["tested on"] != row["trained on"]:
            rate = row["of these with a false one, %"]
            if row["empty_share"] and rate is not None:
                result.append(Metric(f"{name}: false entities", rate, "%", 15.0, at_most=True))
            continue
        same = {key: row[key] for key in ("trained on", "tested on", "start")}
        before = next((r["F1"] for r in rows if (same | {"empty_share": 0.0}).items() <= r.items()), None)
        if row["empty_share"] and before is not None:
            result.append(Metric(f"{name}: F1 on these lines, compared with 0", round(row["F1"] - before, 2), "F1", -1.0))
    return result


if __name__ == "__main__":
    main()
