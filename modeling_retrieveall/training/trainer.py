r"""Learning a language: a LoRA on the frozen base, with retrieved knowledge in the prompt.

    accelerate launch -m modeling_retrieveall.training.trainer \
        --language sw --dataset examples/sentences/sw.conll --output runs/sw

The same from Python:

    >>> path = train(TrainingArguments(language="sw", dataset=["examples/sentences/sw.conll"], output="runs/sw"))
    >>> RetrieveAllModel.from_pretrained(path).extract("Wangari Maathai alizaliwa Nyeri.")[0][0].text
    'Wangari Maathai'
"""

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import get_scheduler

from ..base_llm import base_revision, load_base
from ..configuration_retrieveall import RetrieveAllConfig
from ..embedded import EMBEDDED_BASE, EMBEDDED_ON_HUB
from ..entities import Example
from ..language_adapter import LanguageAdapter, hash_sentences, sentence_hash
from ..lora_files import LORA_WEIGHTS, AdapterError
from ..manifest import Manifest, check_language
from ..modeling_retrieveall import RetrieveAllModel
from ..publishing.cards import write_card
from ..retrieval import ExampleIndex
from .augmentation import KnowledgeSampler, Sample, bucketed
from .data import DatasetError, dataset_name, has_split, load_examples, sample, without
from .evaluation import evaluate_examples
from .hardware import describe, precision
from .start import find_start


def _flag(default: Any, help: str) -> Any:
    """A field of the arguments; its help is what ``--help`` shows."""
    return field(default=default, metadata={"help": help})


@dataclass
class TrainingArguments:
    """How a language is learned.

    Example:
        >>> TrainingArguments(language="sw", dataset=["examples/sentences/sw.conll"], output="runs/sw").epochs
        2
    """

    language: str = field(metadata={"help": "BCP-47 code of the language, or `mul` for the shared multilingual adapter."})
    dataset: list[str] = field(
        metadata={
            "help": "Hub id (name or name:configuration), directory of parquet or CoNLL files, or one such file; "
            "`mul` takes several."
        }
    )
    output: str = field(metadata={"help": "Folder of the finished adapter."})
    base: str = _flag(EMBEDDED_BASE, "The base LLM: embedded/gemma-3-270m, a Hub id or a directory.")
    init: str = _flag(
        "auto",
        "Adapter to start from: a folder, or a repository on the Hub (`owner/name@revision`); `mul` for the shared one of the "
        "package; `none` for nothing. `auto` takes `mul` where it fits the base: with hundreds of sentences it is worth several "
        "points of F1.",
    )
    epochs: int = _flag(2, "Passes over the data. A third mostly memorises.")
    learning_rate: float | None = _flag(
        None,
        "Peak rate after the warm-up; falls linearly to zero. When not given: 2e-4 from another adapter, whose knowledge a "
        "higher one would overwrite; 1e-3 from nothing.",
    )
    rank: int = _flag(8, "Rank of the LoRA on every linear layer. 8 keeps an adapter of the embedded LLM under 4 MB in bf16.")
    lora_alpha: int = _flag(16, "Scaling of the LoRA times its rank; twice the rank, as is usual.")
    lora_dropout: float = _flag(0.0, "Dropout before the LoRA; none, for two epochs hardly overfit.")
    batch_size: int = _flag(8, "Sentences of a step and process at most.")
    max_batch_tokens: int = _flag(4096, "Tokens of a step and process at most, padding included. Lower it when memory runs out.")
    warmup: float = _flag(0.06, "Share of the steps in which the rate rises.")
    max_gradient_norm: float = _flag(1.0, "Gradients are clipped to this norm.")
    knowledge_share: float = _flag(
        0.5, "Share of samples with retrieved examples in the prompt; the others keep the model reading instead of looking up."
    )
    n_entities: int = _flag(6, "Retrieved entities in a prompt at most.")
    n_sentences: int = _flag(2, "Retrieved sentences in a prompt at most.")
    encoder_layer: int = _flag(12, "Hidden layer of the base whose states are the sentence and word vectors.")
    max_train_examples: int | None = _flag(None, "Sentences drawn from each dataset; all when not given.")
    max_validation_examples: int = _flag(200, "Sentences on which F1 is measured at the end; 0 measures nothing.")
    seed: int = _flag(0, "Decides the draws, the order and the start.")
    mixed_precision: str = _flag("auto", "no, bf16 or fp16; auto takes bf16 where the hardware multiplies it natively.")
    resume: bool = _flag(False, "Go on from the last checkpoint, which lies in <output>.checkpoint.")

    def __post_init__(self) -> None:
        """Refuses what cannot be meant, before anything is loaded."""
        check_language(self.language)
        for name, least in (
            ("epochs", 0),
            ("rank", 1),
            ("batch_size", 1),
            ("max_batch_tokens", 1),
            ("max_validation_examples", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least {least}.")
        if not 0 <= self.knowledge_share <= 1:
            raise ValueError(f"knowledge_share is {self.knowledge_share}; give a share between 0 and 1.")


def train(arguments: TrainingArguments) -> Path:
    """Trains an adapter and writes its folder.

    Args:
        arguments: How.

    Returns:
        The folder: PEFT weights, manifest, examples, vectors and card.

    Raises:
        DatasetError: The data cannot be read or holds no entities.
        AdapterError: The adapter to start from does not fit.
        HubError: The adapter to start from is not on the Hub.
        FileExistsError: The output folder holds something else than an adapter.
    """
    _check_output(Path(arguments.output))
    data = [load_examples(name, "train") for name in arguments.dataset]
    lessons = [_lessons(name, part.examples, arguments) for name, part in zip(arguments.dataset, data, strict=True)]
    labels = sorted({label for part in data for label in part.labels})
    return _Training(arguments, lessons, labels, find_start(arguments.init, arguments.language, arguments.base)).run()


@dataclass(frozen=True)
class _Lessons:
    """The sentences of one dataset: those to learn from, and those to be measured on, none of which is among the former.

    Attributes:
        duplicates: How many were dropped because they were among both.
    """

    name: str
    train: list[Example]
    validation: list[Example]
    duplicates: int


def _lessons(name: str, examples: list[Example], arguments: TrainingArguments) -> _Lessons:
    """Draws the sentences of a run; without a validation split a tenth of the training sentences is held out."""
    limit, seed = arguments.max_validation_examples, arguments.seed
    duplicates = 0
    if not limit:
        validation: list[Example] = []
    elif has_split(name, "validation"):
        validation = load_examples(name, "validation").examples
    else:
        validation = sample(examples, max(1, len(examples) // 10), seed)
        rest = without(examples, {example.key for example in validation})
        duplicates = len(examples) - len(validation) - len(rest)
        examples = rest
    train = sample(examples, arguments.max_train_examples, seed)
    if not any(example.spans for example in train):
        raise DatasetError(f"{name} has {len(train)} training sentences and no entity in them: there is nothing to learn.")
    fresh = without(validation, {example.key for example in train})
    duplicates += len(validation) - len(fresh)
    return _Lessons(name, train, sample(fresh, limit, seed), duplicates)


class _Training:
    """One run: base, sampler and LoRA, and the loop over them."""

    def __init__(
        self, arguments: TrainingArguments, lessons: list[_Lessons], labels: list[str], start: LanguageAdapter | None
    ) -> None:
        self.arguments = arguments
        self.lessons = lessons
        self.labels = labels
        self.start = start
        set_seed(arguments.seed)
        self.accelerator = Accelerator(mixed_precision=precision(arguments.mixed_precision))
        dtype = torch.bfloat16 if self.accelerator.mixed_precision == "bf16" else torch.float32
        config = RetrieveAllConfig(
            arguments.base,
            encoder_layer=arguments.encoder_layer,
            n_entities=arguments.n_entities,
            n_sentences=arguments.n_sentences,
        )
        base, tokenizer = load_base(arguments.base, dtype=dtype)
        config.base_revision = base_revision(arguments.base, base)
        self.model = RetrieveAllModel(config, base, tokenizer)
        self.model.to(self.accelerator.device)
        self.sampler = KnowledgeSampler(self.model.answers, config, arguments.knowledge_share, arguments.seed)
        self.indices = [self._add_group(group.train) for group in lessons]
        self.lora: PeftModel = self._lora()

    @property
    def learning_rate(self) -> float:
        """The rate asked for, or the one that suits the start."""
        asked = self.arguments.learning_rate
        return asked if asked is not None else 1e-3 if self.start is None else 2e-4

    def run(self) -> Path:
        """Trains, writes the adapter and measures it on the validation split."""
        began = time.perf_counter()
        loss = self._loop()
        self.accelerator.wait_for_everyone()
        output = Path(self.arguments.output)
        if self.accelerator.is_main_process:
            self._save(output, {"loss": round(loss, 4), "seconds": round(time.perf_counter() - began)})
            shutil.rmtree(self._checkpoint, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        return output

    def _add_group(self, examples: list[Example]) -> ExampleIndex:
        """Encodes the examples of one dataset, indexes them, and hands them to the sampler."""
        answers = self.model.answers
        limit = self.model.config.max_sentence_tokens
        short = [e for e in examples if sum(map(len, answers.word_ids(e.sentence))) <= limit]
        if len(short) < len(examples):
            self.accelerator.print(f"{len(examples) - len(short)} sentences of more than {limit} tokens are left out.")
        vectors = self.model.encoder.encode([answers.word_ids(example.sentence) for example in short])
        index = ExampleIndex.build(short, vectors)
        self.sampler.add(short, vectors, index)
        return index

    def _lora(self) -> PeftModel:
        arguments = self.arguments
        if self.start is None:
            config = LoraConfig(
                r=arguments.rank,
                lora_alpha=arguments.lora_alpha,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            )
        else:
            config = LoraConfig.from_pretrained(str(self.start.path))
            config.inference_mode = False
        config.lora_dropout = arguments.lora_dropout
        lora = get_peft_model(self.model.base, config)
        if self.start is not None:
            loaded = set_peft_model_state_dict(lora, load_file(self.start.path / LORA_WEIGHTS))
            if loaded.unexpected_keys:
                raise AdapterError(
                    f"{self.start.source} has weights for {loaded.unexpected_keys[0]!r}, which the base LLM lacks."
                )
        return lora

    def _origin(self) -> str | None:
        """How the manifest calls the adapter that the run started from."""
        if self.start is None:
            return None
        return self.start.source if self.start.snapshot else self.start.language

    # The loop

    def _loop(self) -> float:
        """All epochs; returns the mean loss of the last."""
        arguments, accelerator = self.arguments, self.accelerator
        trainable = [p for p in self.lora.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trainable, lr=self.learning_rate, weight_decay=0.0)
        steps = sum(len(self._batches(epoch)) for epoch in range(arguments.epochs))
        steps = max(1, steps // accelerator.num_processes)
        scheduler = get_scheduler("linear", optimizer, int(arguments.warmup * steps), steps)
        # The scheduler counts the steps of one process; `prepare` would advance it once for every process.
        model, optimizer = accelerator.prepare(self.model, optimizer)
        accelerator.register_for_checkpointing(scheduler)
        accelerator.register_save_state_pre_hook(self._save_lora_only)
        accelerator.register_load_state_pre_hook(self._load_lora_only)
        first = self._resume()
        loss = 0.0
        with self._progress(steps) as progress:
            progress.update(steps * first // max(arguments.epochs, 1))
            for epoch in range(first, arguments.epochs):
                losses = []
                for batch in self._loader(epoch):
                    losses.append(self._step(model, batch, optimizer, scheduler, trainable))
                    progress.set_postfix(loss=f"{sum(losses[-50:]) / len(losses[-50:]):.3f}", refresh=False)
                    progress.update()
                loss = sum(losses) / max(len(losses), 1)
                self._write_checkpoint(epoch + 1)
        return loss

    def _progress(self, steps: int) -> Any:
        """A bar with loss, speed and time left; in a log file a line every half minute."""
        seconds = 0.2 if sys.stderr.isatty() else 30
        shown = self.accelerator.is_main_process
        return tqdm(total=steps, desc=f"Training {self.arguments.language}", unit="step", mininterval=seconds, disable=not shown)

    def _step(self, model: Any, batch: dict[str, Tensor], optimizer: Any, scheduler: Any, trainable: list[Tensor]) -> float:
        with self.accelerator.autocast():
            loss = model(**batch).loss
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(trainable, self.arguments.max_gradient_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        return float(loss.detach())

    def _batches(self, epoch: int) -> list[list[Sample]]:
        arguments = self.arguments
        seed = f"{arguments.seed} {epoch}"
        return bucketed(self.sampler.epoch(epoch), arguments.max_batch_tokens, arguments.batch_size, seed)

    def _loader(self, epoch: int) -> Iterator[dict[str, Tensor]]:
        """The batches of an epoch that fall to this process."""
        loader: Any = DataLoader(self._batches(epoch), batch_size=1, collate_fn=_collate_only)  # type: ignore[arg-type]
        return iter(self.accelerator.prepare(loader))

    # Checkpoints: adapter, optimizer, scheduler and random state; never the base

    @property
    def _checkpoint(self) -> Path:
        return Path(f"{self.arguments.output}.checkpoint")

    def _write_checkpoint(self, epochs_done: int) -> None:
        self.accelerator.save_state(str(self._checkpoint))
        if self.accelerator.is_main_process:
            (self._checkpoint / "epochs_done.json").write_text(str(epochs_done), encoding="utf-8")

    def _resume(self) -> int:
        """Loads the last checkpoint if asked to; returns the epochs that are done."""
        if not self.arguments.resume:
            return 0
        if not (self._checkpoint / "epochs_done.json").is_file():
            raise FileNotFoundError(f"There is no checkpoint at {self._checkpoint} to resume from. Leave --resume away.")
        self.accelerator.load_state(str(self._checkpoint))
        return int((self._checkpoint / "epochs_done.json").read_text(encoding="utf-8"))

    def _save_lora_only(self, models: list[Any], weights: list[Any], folder: str) -> None:
        weights.clear()
        if self.accelerator.is_main_process:
            save_file(_lora_tensors(self.lora, torch.float32), Path(folder) / "lora.safetensors")

    def _load_lora_only(self, models: list[Any], folder: str) -> None:
        models.clear()
        set_peft_model_state_dict(self.lora, load_file(Path(folder) / "lora.safetensors"))

    # The finished adapter

    def _save(self, output: Path, run: dict[str, Any]) -> None:
        """Writes the adapter aside, measures it, and moves it into place."""
        aside = output.with_name(f".{output.name}.unfinished")
        shutil.rmtree(aside, ignore_errors=True)
        self.lora.peft_config["default"].inference_mode = True
        # PEFT wrote the folder the base was loaded from, which is a path of this machine.
        name = EMBEDDED_ON_HUB if self.arguments.base == EMBEDDED_BASE else self.arguments.base
        self.lora.peft_config["default"].base_model_name_or_path = name
        self.lora.peft_config["default"].save_pretrained(str(aside))
        save_file(_lora_tensors(self.lora, torch.bfloat16), aside / "adapter_model.safetensors", metadata={"format": "pt"})
        examples = [example for group in self.lessons for example in group.train]
        adapter = LanguageAdapter(
            self._manifest(run),
            _joined(self.indices),
            torch.zeros(0, self.indices[0].sentence_vectors.shape[1]),
            self._training_hashes(examples),
            aside,
        )
        adapter.save_knowledge(aside)
        write_card(adapter)
        self._measure(adapter)
        _replace(aside, output)

    def _training_hashes(self, examples: list[Example]) -> Tensor:
        """Of the sentences trained on, here and by the adapter that the run started from."""
        hashes = hash_sentences(examples)
        if self.start is None:
            return hashes
        return torch.tensor(sorted({*hashes.tolist(), *self.start.training_hashes.tolist()}))

    def _measure(self, adapter: LanguageAdapter) -> None:
        """F1 on the validation splits, into manifest and card."""
        base = self.lora.unload()
        model = RetrieveAllModel(self.model.config, base.eval(), self.model.tokenizer)
        model.add_language(adapter.path)
        for group in self.lessons:
            # Neither this run nor the one it started from has seen what it is measured on.
            known = adapter.known_hashes()
            fresh = [example for example in group.validation if sentence_hash(example.key) not in known]
            if not fresh:
                self.accelerator.print(f"{group.name}: no validation sentences, F1 is not measured")
                continue
            with torch.no_grad(), self.accelerator.autocast():
                report = evaluate_examples(model, fresh, adapter.language, oracle_routing=True)
            self.accelerator.print(f"{group.name}: validation F1 {report.f1:.1f} on {report.n_test} sentences")
            figures = {**report.to_dict(), "n_dropped": len(group.validation) - len(fresh)}
            adapter.manifest.metrics.append({"dataset": dataset_name(group.name), "split": "validation", **figures})
        adapter.save_knowledge(adapter.path)
        write_card(adapter)

    def _manifest(self, run: dict[str, Any]) -> Manifest:
        arguments = self.arguments
        config = self.model.config
        kept = ("epochs", "batch_size", "knowledge_share", "seed", "max_train_examples")
        lora = self.lora.peft_config["default"]
        shown = arguments.knowledge_share > 0
        return Manifest(
            language=arguments.language,
            entity_types=self.labels,
            base_model=arguments.base,
            base_revision=config.base_revision,
            hidden_size=self.model.base.config.get_text_config().hidden_size,
            encoder_layer=config.encoder_layer,
            n_entities=config.n_entities if shown else 0,
            n_sentences=config.n_sentences if shown else 0,
            initialised_from=self._origin(),
            training={
                "datasets": [dataset_name(name) for name in arguments.dataset],
                "sentences": sum(len(group.train) for group in self.lessons),
                "duplicates_dropped": sum(group.duplicates for group in self.lessons),
                "learning_rate": self.learning_rate,
                "rank": lora.r,
                "lora_alpha": lora.lora_alpha,
                **{name: getattr(arguments, name) for name in kept},
                "mixed_precision": self.accelerator.mixed_precision,
                "processes": self.accelerator.num_processes,
                "hardware": describe(self.accelerator.device, self.accelerator.num_processes),
                **run,
            },
        )


def collate(batch: list[Sample]) -> dict[str, Tensor]:
    """Samples as tensors [batch, tokens], padded on the right; labels are -100 but at the answers."""
    longest = max(map(len, batch))
    padding = [longest - len(s) for s in batch]
    return {
        "input_ids": torch.tensor([s.prompt + s.answer + [0] * p for s, p in zip(batch, padding, strict=True)]),
        "attention_mask": torch.tensor([[1] * len(s) + [0] * p for s, p in zip(batch, padding, strict=True)]),
        "labels": torch.tensor([[-100] * len(s.prompt) + s.answer + [-100] * p for s, p in zip(batch, padding, strict=True)]),
    }


def _collate_only(batches: list[list[Sample]]) -> dict[str, Tensor]:
    """A loader's item is a whole batch already, so it comes in a list of one."""
    return collate(batches[0])


def _check_output(output: Path) -> None:
    """Refuses a folder that is something else than an adapter: it would be replaced."""
    if output.exists() and not (output / "retrieveall.json").is_file() and (output.is_file() or any(output.iterdir())):
        raise FileExistsError(f"{output} exists and is no language adapter. Choose another --output; it would be replaced.")


def _replace(finished: Path, output: Path) -> None:
    shutil.rmtree(output, ignore_errors=True)
    finished.rename(output)


def _joined(indices: list[ExampleIndex]) -> ExampleIndex:
    return ExampleIndex(
        [example for index in indices for example in index.examples],
        torch.cat([index.sentence_vectors for index in indices]),
        torch.cat([index.mention_vectors for index in indices]),
    )


def _lora_tensors(lora: PeftModel, dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in get_peft_model_state_dict(lora).items()}


def main() -> None:
    """The entry point of ``accelerate launch -m modeling_retrieveall.training.trainer``."""
    from transformers import HfArgumentParser

    (arguments,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses()  # type: ignore[arg-type]
    train(arguments)


if __name__ == "__main__":
    main()
