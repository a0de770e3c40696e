"""Memory, speed and F1 of the base LLM in fp32, bf16, int8, 8 bits and 4 bits (NF4), with the same adapters.

python -m benchmarks.quantization --data ../shared/data --json benchmarks/results/quantization.json
"""

from typing import Annotated, Any

import typer
from torch import nn

from benchmarks.corpus import labelled_sentences
from benchmarks.options import Device, Json, Languages, Model, Number, OptionalData, benchmark
from benchmarks.report import Metric, publish
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.evaluation.span_f1 import evaluate_examples

VARIANTS: dict[str, dict[str, Any]] = {
    "fp32": {"dtype": "float32"},
    "bf16": {"dtype": "bfloat16"},
    "int8": {"dtype": "float32", "quantization": "int8"},
    "8-bit": {"dtype": "bfloat16", "quantization": "8bit"},
    "NF4": {"dtype": "bfloat16", "quantization": "4bit"},
}


@benchmark(languages="de", number=2)
def main(
    data: OptionalData = None,
    model: Model = "shipped",
    languages: Languages = "de,ru,ta",
    number: Number = 100,
    variants: Annotated[str, typer.Option(help="Variants to measure, separated by commas.")] = ",".join(VARIANTS),
    device: Device = "cpu",
    json_file: Json = None,
) -> None:
    rows: list[dict[str, Any]] = []
    others = [name for name in variants.split(",") if name != "fp32" and (name != "int8" or device == "cpu")]
    for name in ["fp32", *others]:
        loaded = RetrieveAllModel.from_pretrained(model, device=device, **VARIANTS[name])
        row: dict[str, Any] = {
            "base": name,
            "MB": round(loaded.base.get_memory_footprint() / 1e6, 1),
            "MB of its linear layers": round(_linear_bytes(loaded.base) / 1e6, 1),
        }
        loaded.extract("Angela Merkel besuchte gestern Nairobi.", language=languages.split(",")[0])  # warm-up
        f1, speed = [], []
        for language in languages.split(","):
            examples = labelled_sentences(loaded, data, language, number)
            report = evaluate_examples(loaded, examples, language, oracle_routing=True)
            row[f"F1 {language}"] = report.f1
            f1.append(report.f1)
            speed.append(report.sentences_per_second)
        row |= {"mean F1": round(sum(f1) / len(f1), 2), "sentences/s": round(len(speed) / sum(1 / s for s in speed), 2)}
        print(row, flush=True)
        rows.append(row)
    publish("Quantisation", _metrics({row["base"]: row for row in rows}), rows, json_file)


def _linear_bytes(base: nn.Module) -> int:
    """Bytes of the linear layers, with the quantisation constants of bitsandbytes. The LM head is not quantised and left out."""
    total = 0
    for name, module in base.named_modules():
        if not hasattr(module, "in_features") or name.endswith("lm_head"):
            continue
        weight: Any = module.weight
        total += weight.numel() * weight.element_size()
        for statistics in (getattr(weight, "quant_state", None), getattr(weight, "SCB", None), getattr(module, "step", None)):
            absmax = getattr(statistics, "absmax", statistics)
            total += absmax.numel() * absmax.element_size() if absmax is not None else 0
    return total


def _metrics(rows: dict[str, dict[str, Any]]) -> list[Metric]:
    fp32 = rows["fp32"]
    metrics = []
    for name, row in rows.items():
        if name == "fp32":
            continue
        goal = name == "NF4"
        lost = round(fp32["mean F1"] - row["mean F1"], 2)
        share = round(row["MB of its linear layers"] / fp32["MB of its linear layers"], 3)
        metrics += [
            Metric(f"F1 lost, {name}", lost, "points", 2.0 if goal else None, at_most=True),
            Metric(f"memory of the linear layers, {name} / fp32", share, "", 0.4 if goal else None, at_most=True),
            Metric(f"speed, {name} / fp32", round(row["sentences/s"] / fp32["sentences/s"], 2), "times"),
        ]
    return metrics


if __name__ == "__main__":
    main()
