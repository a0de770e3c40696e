"""Time and memory to load an adapter into a slot of the LoRA bank, with 200 adapters and 8 slots, compared with PEFT.

python -m benchmarks.adapter_swap --json benchmarks/results/adapter_swap.json
"""

import random
import resource
import tempfile
import time
from collections import OrderedDict
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from peft import PeftModel
from transformers import AutoModelForCausalLM

from benchmarks.copies import copies
from benchmarks.options import Dtype, Json, Model, benchmark
from benchmarks.report import Metric, publish
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.model.embedded_llm import resolve_base


@benchmark(adapters=16, slots=4, swaps=40, peer_swaps=12)
def main(
    model: Model = "shipped",
    language: Annotated[str, typer.Option(help="Language whose adapter is copied.")] = "de",
    adapters: Annotated[int, typer.Option(help="Number of registered adapters.")] = 200,
    slots: Annotated[int, typer.Option(help="Number of slots.")] = 8,
    swaps: Annotated[int, typer.Option(help="Number of swaps; the adapters are drawn at random.")] = 800,
    peer_swaps: Annotated[int, typer.Option(help="Number of swaps with PEFT, which is slower.")] = 60,
    dtype: Dtype = "float32",
    json_file: Json = None,
) -> None:
    loaded = RetrieveAllModel.from_pretrained(model, languages=[language], dtype=getattr(torch, dtype), adapter_slots=slots)
    with tempfile.TemporaryDirectory() as folder:
        paths = copies(loaded.adapters[language].path, Path(folder), adapters)
        before = _resident_mb()
        codes = [loaded.add_language(path) for path in paths]
        registered = _resident_mb()
        ours = _our_swaps(loaded, codes, swaps)
        swapped = _resident_mb()
        peer = _peer_swaps(loaded, paths, slots, peer_swaps)
    rows = [_row("ours", ours, slots), _row("PEFT load_adapter / delete_adapter", peer, slots)]
    index = sum((loaded.adapters[language].path / name).stat().st_size for name in ("examples.parquet", "retrieval.safetensors"))
    metrics = [
        Metric("last quarter / first quarter, ours", rows[0]["last / first"], "", 1.2, at_most=True),
        Metric("slowest swap, ours", rows[0]["slowest, ms"], "ms", 100.0, at_most=True),
        Metric("last quarter / first quarter, PEFT", rows[1]["last / first"], ""),
        Metric("memory of a registered adapter", round((registered - before) / adapters, 2), "MB"),
        Metric("its index on disk", round(index / 1e6, 2), "MB"),
        Metric("memory added by the swaps", round(swapped - registered, 1), "MB"),
    ]
    publish(f"{adapters} adapters, {slots} slots", metrics, rows, json_file)


def _our_swaps(model: RetrieveAllModel, codes: list[str], number: int) -> list[float]:
    rng = random.Random(0)
    seconds: list[float] = []
    while len(seconds) < number:
        code = rng.choice(codes)
        if code in model.bank:
            continue
        began = time.perf_counter()
        model.bank.make_resident([code], lambda name: model.adapters[name].lora_weights(model.base.dtype))
        seconds.append(time.perf_counter() - began)
    return seconds


def _peer_swaps(model: RetrieveAllModel, paths: list[Path], slots: int, number: int) -> list[float]:
    base = AutoModelForCausalLM.from_pretrained(resolve_base(model.config.base_model), dtype=model.base.dtype)
    rng = random.Random(0)
    peft: PeftModel | None = None
    resident: OrderedDict[str, None] = OrderedDict()
    seconds: list[float] = []
    while len(seconds) < number:
        path = rng.choice(paths)
        name = f"lang_{path.name}"
        if name in resident:
            continue
        began = time.perf_counter()
        if peft is None:
            peft = PeftModel.from_pretrained(base, str(path), adapter_name=name, autocast_adapter_dtype=False)
        else:
            peft.load_adapter(str(path), adapter_name=name, autocast_adapter_dtype=False)
        if len(resident) == slots:
            peft.delete_adapter(resident.popitem(last=False)[0])
        seconds.append(time.perf_counter() - began)
        resident[name] = None
    return seconds


def _row(name: str, seconds: list[float], slots: int) -> dict[str, Any]:
    # The first loads fill empty slots and allocate the tensors; only the later ones are swaps.
    steady = seconds[slots:]
    quarter = max(1, len(steady) // 4)
    milliseconds = sorted(1000 * s for s in steady)
    return {
        "what": name,
        "swaps": len(steady),
        "median, ms": round(median(milliseconds), 1),
        "slowest, ms": round(milliseconds[-1], 1),
        "first quarter, ms": round(1000 * median(steady[:quarter]), 1),
        "last quarter, ms": round(1000 * median(steady[-quarter:]), 1),
        "last / first": round(median(steady[-quarter:]) / median(steady[:quarter]), 2),
    }


def _resident_mb() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize() / 1e6


if __name__ == "__main__":
    main()
