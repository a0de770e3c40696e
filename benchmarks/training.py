"""Training compared with the Hugging Face Trainer and PEFT: speed, peak memory and loss on the same prompts in the same order.

pip install -e ".[train,embedded]"
python -m benchmarks.training --data ../shared/data --language de --sentences 200

Each side runs in its own process, one after the other, so that the memory peaks are separate.
"""

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from accelerate import Accelerator
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import Trainer
from transformers import TrainingArguments as PeerArguments

from benchmarks.corpus import SAMPLE_SENTENCES
from benchmarks.options import Base, Json, OptionalData, benchmark
from benchmarks.report import Metric, publish
from benchmarks.study.datasets import FOLDERS
from modeling_retrieveall import RetrieveAllConfig, RetrieveAllModel
from modeling_retrieveall.data.labelled_data import sample_examples
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.model.base_llm import load_base, native_dtype
from modeling_retrieveall.model.embedded_llm import EMBEDDED_BASE
from modeling_retrieveall.model.retrieval import ExampleIndex
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.checkpoints import Checkpoints
from modeling_retrieveall.training.loop import TrainingLoop, collate
from modeling_retrieveall.training.prompt_sampling import PromptSampler, Sample
from modeling_retrieveall.training.vector_cache import encode_examples

RATE, BATCH = 1e-3, 8


@benchmark(sentences=16, held_out=8)
def main(
    data: OptionalData = None,
    language: Annotated[str, typer.Option(help="Language of the sentences.")] = "de",
    sentences: Annotated[int, typer.Option(help="Number of training sentences; one epoch is trained.")] = 200,
    held_out: Annotated[int, typer.Option(help="Number of sentences for the held-out loss.")] = 64,
    examples_share: Annotated[float, typer.Option(help="Share of prompts with retrieved examples.")] = 0.5,
    base: Base = EMBEDDED_BASE,
    json_file: Json = None,
    side: Annotated[str | None, typer.Option(hidden=True)] = None,
    samples_file: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    if side is not None and samples_file is not None:
        print(json.dumps(_run(side, samples_file, base, held_out)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "samples.json"
        source = str(SAMPLE_SENTENCES / f"{language}.conll") if data is None else str(data / FOLDERS[language])
        _write_samples(source, sentences + held_out, examples_share, base, file)
        rows = [_in_a_process(name, file, base, held_out) for name in ("ours", "Trainer + PEFT")]
    ours, peer = rows
    metrics = [
        Metric("tokens a second, ours / Trainer", round(ours["tokens_per_second"] / peer["tokens_per_second"], 2), "", 1.5),
        Metric("peak memory, ours / Trainer", round(ours["peak_gb"] / peer["peak_gb"], 2), "", 0.6, at_most=True),
        Metric(
            "loss on held-out answers, ours - Trainer",
            round(ours["held_out_loss"] - peer["held_out_loss"], 3),
            "",
            0.02,
            at_most=True,
        ),
    ]
    publish(f"One epoch over {sentences} sentences, {language}", metrics, rows, json_file)


def _in_a_process(side: str, file: Path, base: str, held_out: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.training", "--side", side, "--samples-file", str(file)]
    command += ["--base", base, "--held-out", str(held_out)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def _write_samples(source: str, sentences: int, examples_share: float, base: str, file: Path) -> None:
    """Writes the samples of one epoch, as the trainer would draw them."""
    model = RetrieveAllModel(RetrieveAllConfig(), *load_base(base, dtype=native_dtype()))
    examples = sample_examples(load_examples(source, "train").examples, sentences, 0)
    vectors = encode_examples(model, examples)
    labels = sorted({span.label for example in examples for span in example.spans})
    sampler = PromptSampler(model.answers, model.config, examples_share, tags_share=0, labels=labels, seed=0)
    sampler.add(examples, vectors, ExampleIndex.build(examples, vectors))
    file.write_text(json.dumps([asdict(drawn) for batch in sampler.epoch(0, BATCH) for drawn in batch]))


def _run(side: str, file: Path, base: str, held_out: int) -> dict[str, Any]:
    samples = [Sample(**drawn) for drawn in json.loads(file.read_text())]
    train = samples[held_out:]
    torch.manual_seed(0)
    model = RetrieveAllModel(RetrieveAllConfig(), *load_base(base, dtype=native_dtype()))
    lora = get_peft_model(model.base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    before = _peak_gb()
    began = time.perf_counter()
    (_train_ours if side == "ours" else _train_peer)(model, lora, train)
    seconds = time.perf_counter() - began
    peak = _peak_gb()
    return {
        "side": side,
        "seconds": round(seconds, 1),
        "tokens_per_second": round(sum(map(len, train)) / seconds, 1),
        "peak_gb": round(peak, 2),
        "of_which_before_training_gb": round(before, 2),
        "held_out_loss": round(_loss(model, samples[:held_out]), 4),
    }


class _FixedSampler:
    """A sampler that returns given samples in their order."""

    def __init__(self, samples: list[Sample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def count_steps(self, batch_size: int, batches_per_step: int) -> int:
        return math.ceil(len(self) / batch_size)

    def epoch(self, number: int, batch_size: int, batches_per_step: int) -> list[list[Sample]]:
        return [self._samples[at : at + batch_size] for at in range(0, len(self), batch_size)]


def _train_ours(model: RetrieveAllModel, lora: PeftModel, samples: list[Sample]) -> None:
    arguments = AdapterTrainingArguments(
        language=["de"], dataset=["given"], output_dir="given", num_train_epochs=1, batch_size=BATCH
    )
    accelerator = Accelerator(mixed_precision="bf16" if native_dtype() is torch.bfloat16 else "no")
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder) / "checkpoint", {}, accelerator, lora)
        given: Any = _FixedSampler(samples)
        TrainingLoop(model, lora, given, accelerator, arguments, RATE, checkpoints, lambda: None).run()


def _train_peer(model: RetrieveAllModel, lora: PeftModel, samples: list[Sample]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        arguments = PeerArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            warmup_steps=int(0.06 * len(samples) / BATCH),
            weight_decay=0.0,
            bf16=native_dtype() is torch.bfloat16,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            logging_strategy="no",
            disable_tqdm=True,
            # Both sides read the samples in the same, already random order: in twenty steps, another order changes the loss by
            # 0.03.
            train_sampling_strategy="sequential",
        )
        Trainer(lora, arguments, train_dataset=samples, data_collator=collate).train()


@torch.no_grad()
def _loss(model: RetrieveAllModel, samples: Sequence[Sample]) -> float:
    """The mean loss per answer token, computed by the same code for both sides."""
    tokens = [sum(label != -100 for label in drawn.labels) for drawn in samples]
    losses = [float(model(**collate([drawn])).loss) * count for drawn, count in zip(samples, tokens, strict=True)]
    return sum(losses) / sum(tokens)


def _peak_gb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
