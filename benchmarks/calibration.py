"""How well the scores of entities are calibrated on human-labelled text, with the calibration of the adapters and without.

python -m benchmarks.calibration --data ../shared/data --json benchmarks/results/calibration.json
"""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from matplotlib.figure import Figure

from benchmarks.corpus import adapter_of
from benchmarks.options import Data, Dtype, Limit, Model, Quantization, Rows, benchmark
from benchmarks.report import Metric, publish, read_rows, write_json
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.data.labelled_data import sample_examples
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.evaluation.calibration import expected_calibration_error, reliability, scored_entities
from modeling_retrieveall.evaluation.span_f1 import unseen
from modeling_retrieveall.model.score_calibration import ScoreCalibration

CORPORA = "germeval2014/de,uner/da_ddt,uner/hr_set,uner/pt_bosque,norne/nb,factrueval/ru,multiner/ta,uner/zh_gsd"
Row = dict[str, Any]


@benchmark(corpora="panx/de", limit=40)
def main(
    data: Data,
    model: Model = "shipped",
    corpora: Annotated[str, typer.Option(help="Corpora, separated by commas.")] = CORPORA,
    limit: Limit = 1000,
    dtype: Dtype = "float32",
    quantization: Quantization = None,
    json_file: Rows = Path("benchmarks/results/calibration.json"),
) -> None:
    rows = read_rows(json_file)
    for corpus in corpora.split(","):
        if corpus not in {row["corpus"] for row in rows}:
            loaded = RetrieveAllModel.from_pretrained(model, dtype=getattr(torch, dtype), quantization=quantization)
            rows.append(_row(loaded, data, corpus, limit))
            print(rows[-1], flush=True)
            write_json([], rows, json_file)
    write_json(metrics(rows), rows, json_file)
    publish("Expected calibration error", metrics(rows), [_without_curve(row) for row in rows], None)
    plot(rows, json_file.with_suffix(".png"))


def _row(model: RetrieveAllModel, data: Path, corpus: str, limit: int) -> Row:
    language = adapter_of(model, corpus)
    test = sample_examples(unseen(model, load_examples(str(data / corpus), "test").examples), limit, 0)
    plain, correct = scored_entities(model, test, language, calibrated=False)
    stored = model.registry.adapter(language).manifest.score_calibration
    scores = list(map(ScoreCalibration(*stored.get(model.extractor.decoding_of(language), ())), plain))
    curve = [(round(100 * score, 2), round(100 * share, 2)) for score, share, _ in reliability(scores, correct)]
    return {
        "corpus": corpus,
        "language": language,
        "entities": len(scores),
        "correct, %": round(100 * sum(correct) / max(len(correct), 1), 2),
        "error, %": expected_calibration_error(scores, correct),
        "error without calibration, %": expected_calibration_error(plain, correct),
        "curve": curve,
    }


def _without_curve(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "curve"}


def metrics(rows: list[Row]) -> list[Metric]:
    """The highest error with the calibration of the adapters and without."""
    with_calibration, without = (max(row[f"error{suffix}, %"] for row in rows) for suffix in ("", " without calibration"))
    return [
        Metric("highest expected calibration error", with_calibration, "%", 5.0, at_most=True),
        Metric("highest expected calibration error without calibration", without, "%"),
    ]


def plot(rows: list[Row], file: Path) -> None:
    """Draws a reliability diagram: the share of correct entities by score, one line for each corpus."""
    figure = Figure(figsize=(4, 3.5))
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color="grey", linewidth=0.8)
    for row in rows:
        if row["curve"]:
            axes.plot(*zip(*row["curve"], strict=True), "o-", markersize=3, label=row["corpus"])
    axes.set_xlabel("score, %")
    axes.set_ylabel("correct entities, %")
    axes.legend(frameon=False, fontsize="x-small")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, bbox_inches="tight", dpi=150)


if __name__ == "__main__":
    main()
