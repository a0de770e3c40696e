r"""Learning a language: a LoRA on the frozen base, with retrieved knowledge in the prompt.

    accelerate launch -m modeling_retrieveall.training.trainer \
        --language sw --dataset examples/sentences/sw.conll --output runs/sw

The same from Python:

    >>> path = train(TrainingArguments(language="sw", dataset=["examples/sentences/sw.conll"], output="runs/sw"))
    >>> RetrieveAllModel.from_pretrained(path).extract("Wangari Maathai alizaliwa Nyeri.").entities[0].text
    'Wangari Maathai'
"""

import os
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, GradientAccumulationPlugin, ProjectConfiguration, set_seed
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..data.labelled import dataset_name, sample
from ..data.long_sentences import into_windows
from ..data.text_files import write_utf8
from ..evaluation.span_f1 import Report, evaluate_examples
from ..hub.cards import PLOT, write_card
from ..model.atomic import replacing
from ..model.base_llm import load_base, pinned_revision, quantization
from ..model.configuration_retrieveall import RetrieveAllConfig
from ..model.embedded_llm import EMBEDDED_BASE, EMBEDDED_ON_HUB
from ..model.entities import Example
from ..model.errors import InputError
from ..model.hub_files import Hub
from ..model.language_adapter import LanguageAdapter, hash_sentences, readable_like, sentence_hash
from ..model.lora_files import LORA_CONFIG, LORA_WEIGHTS, AdapterError
from ..model.manifest import Manifest
from ..model.modeling_retrieveall import RetrieveAllModel
from ..model.retrieval import ExampleIndex
from .arguments import TrainingArguments, parse_arguments
from .checkpoints import Checkpoints, State, lora_tensors
from .device_info import describe, precision
from .fsdp import check_launch, check_split, is_split
from .initial_adapter import find_start, start_config
from .loop import Loop
from .plots import draw_curve
from .prompt_sampling import KnowledgeSampler
from .resuming import check_output, check_same_run, checkpoint_of, identity, is_finished, is_interrupted
from .sharding import shard
from .training_data import Lessons, draw_lessons, encoded
from .weight_averaging import averaged, departure, tags_share


def train(arguments: TrainingArguments) -> Path:
    """Trains the adapter of one language, or of several one after another, and writes its folder.

    Args:
        arguments: How.

    Returns:
        The folder: PEFT weights, manifest, examples, vectors and card; of several languages, the folder of their folders.

    Raises:
        DatasetError: The data cannot be read or holds no entities.
        AdapterError: The adapter to start from does not fit.
        HubError: The adapter to start from is not on the Hub.
        FileNotFoundError: There is no checkpoint to resume from.
        InputError: The checkpoint is of another run; a share of the start is asked for, and there is none; the launch splits
            models, and the run asks for what cannot be done there.
        FileExistsError: The output folder holds something else than an adapter, or an adapter or interrupted run that
            ``overwrite`` does not give up; or what is resumed is finished.
        KeyboardInterrupt: It was interrupted, and a checkpoint is written.
        MemoryError: A batch does not fit into memory.
    """
    check_split(arguments)
    all_runs = arguments.runs()
    runs = shard(all_runs) if arguments.shard_languages else all_runs
    for run in runs:
        check_output(run, alone=len(all_runs) == 1)
    # Everything that can be wrong with a flag or a dataset is, before a base loads.
    drawn = [[draw_lessons(name, run) for name in run.dataset] for run in runs]
    starts = [find_start(run.init, run.language, run.base) for run in runs]
    for run, start in zip(runs, starts, strict=True):
        if run.start_share is not None and start is None:
            raise InputError(f"start_share is {run.start_share}, but the run starts from nothing. Give --init, or leave it away.")
    for run, lessons, start in zip(runs, drawn, starts, strict=True):
        run = replace(run, tags_share=tags_share(run, start))
        if len(all_runs) > 1:
            if is_finished(run):
                anew = f"--language {run.language} --dataset {' '.join(run.dataset)} --output {run.output} --overwrite"
                print(f"{run.output} is finished and kept. Learn it anew with {anew}.")
                continue
            # The launch was interrupted before some of its languages had begun.
            run = replace(run, resume=run.resume and is_interrupted(run.output))
        try:
            _Training(run, lessons, start).run()
        except KeyboardInterrupt as interrupt:
            kept = f"The checkpoint is {checkpoint_of(run.output)}. Go on with --resume."
            raise KeyboardInterrupt(kept if is_interrupted(run.output) else "Nothing was saved yet.") from interrupt
    return Path(arguments.output)


class _Training:
    """One run: base, sampler and LoRA, the loop over them, and the finished adapter."""

    def __init__(self, arguments: TrainingArguments, lessons: list[Lessons], start: LanguageAdapter | None) -> None:
        self.arguments = arguments
        self.lessons = lessons
        self.start = start
        self.departure = departure(arguments, start, lessons)
        self.output = Path(arguments.output)
        set_seed(arguments.seed)
        self.accelerator = _accelerator(arguments)
        self.is_split = is_split(self.accelerator)
        # The revision of the adapter it starts from, or one model could not serve both.
        asked = arguments.base_revision or (start.manifest.base_revision if start else None)
        self.base_revision = pinned_revision(arguments.base, asked, Hub())
        this_run = identity(arguments, lessons, start, self.base_revision, self.accelerator.num_processes)
        checkpoint = checkpoint_of(arguments.output)
        if arguments.resume:
            if self.is_split:
                raise InputError(f"FSDP cannot resume from {checkpoint}. Launch as before, or remove that folder to restart.")
            check_same_run(checkpoint, this_run)
        if arguments.report_to != "none":
            self.accelerator.init_trackers("training", {name: str(value) for name, value in asdict(arguments).items()})
        for group in lessons:
            self.accelerator.print(group.summary())
        self.model = self._model()
        config = self.model.config
        self.labels = sorted({label for group in lessons for label in group.labels})
        shares = arguments.knowledge_share, arguments.tags_share or 0.0
        self.sampler = KnowledgeSampler(self.model.answers, config, *shares, self.labels, arguments.seed)
        self.indices = [self._add_group(group) for group in lessons]
        self.lora: PeftModel = self._lora()
        self.checkpoints = Checkpoints(checkpoint, this_run, self.accelerator, self.lora)

    def run(self) -> None:
        """Trains, writes the adapter and measures it on the validation split."""
        if self.accelerator.is_main_process and not self.arguments.resume:
            self.checkpoints.remove()  # of a run that this one replaces
        loop = Loop(
            self.model,
            self.lora,
            self.sampler,
            self.accelerator,
            self.arguments,
            self.departure.learning_rate,
            self.checkpoints,
            self._validation_f1,
        )
        state = loop.run()
        self.accelerator.wait_for_everyone()
        weights = self._weights()
        if self.accelerator.is_main_process:
            self._finish(state, weights)
            self.checkpoints.remove()
        self.accelerator.wait_for_everyone()
        # Not `end_training`, which also parts the processes: they may have another language to learn.
        for tracker in self.accelerator.trackers:
            tracker.finish()
        self.accelerator.free_memory()

    # What is trained

    def _model(self) -> RetrieveAllModel:
        arguments = self.arguments
        config = RetrieveAllConfig(
            arguments.base,
            encoder_layer=arguments.encoder_layer,
            n_entities=arguments.n_entities,
            n_sentences=arguments.n_sentences,
        )
        dtype = torch.bfloat16 if self.accelerator.mixed_precision == "bf16" else torch.float32
        device = {"": self.accelerator.device} if arguments.quantize else None
        config.base_revision = self.base_revision
        quantized = quantization(arguments.quantize)
        base, tokenizer = load_base(arguments.base, config.base_revision, dtype=dtype, device_map=device, **quantized)
        model = RetrieveAllModel(config, base, tokenizer)
        # Quantised it lies there already; split it never does as a whole, and its sentences are encoded where it was loaded.
        return model if arguments.quantize or self.is_split else model.to(self.accelerator.device)

    def _add_group(self, group: Lessons) -> ExampleIndex:
        """Encodes the sentences of one dataset, indexes those that are its own, and hands all to the sampler."""
        train, empty = self._windows(group.train), self._windows(group.empty)
        kept = sample(train, self.arguments.max_index_examples, self.arguments.seed)
        index = ExampleIndex.build(kept, encoded(self.model, kept))
        for examples in (train, empty):
            self.sampler.add(examples, encoded(self.model, examples) if self.arguments.knowledge_share else [], index)
        return index

    def _windows(self, examples: list[Example]) -> list[Example]:
        """The examples, cut where they are longer than a window."""
        answers, limit = self.model.answers, self.model.config.max_sentence_tokens
        short: list[Example] = []
        cut = 0
        for example in examples:
            counts = [len(ids) for ids in answers.word_ids(example.sentence)]
            cut += sum(counts) > limit
            short += into_windows(example, counts, limit)
        if cut:
            self.accelerator.print(f"Sentences of more than {limit} tokens, which were cut as in use: {cut}.")
        return short

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
            config = start_config(self.start)
        config.lora_dropout = arguments.lora_dropout
        if arguments.gradient_checkpointing:
            self.model.base.gradient_checkpointing_enable({"use_reentrant": False})
            self.model.base.enable_input_require_grads()
            self.model.train()  # the base has no dropout; only in training mode are its layers computed twice
        try:
            lora = get_peft_model(self.model.base, config)
        except ValueError as error:  # no module of the base has these names
            raise AdapterError(f"No LoRA can be put on {arguments.base!r}: {error}") from error
        if self.start is not None:
            loaded: Any = set_peft_model_state_dict(lora, load_file(self.start.path / LORA_WEIGHTS))
            if loaded.unexpected_keys:
                raise AdapterError(
                    f"{self.start.source} has weights for {loaded.unexpected_keys[0]!r}, which the base LLM lacks."
                )
        return lora

    # The finished adapter

    def _finish(self, state: State, weights: dict[str, Tensor]) -> None:
        """Writes the adapter aside, measures it, and moves it into place."""
        run = {
            "steps": state.step,
            "loss": _mean(state.losses),
            "seconds": state.seconds,
            "loss_curve": state.curve,
            "f1_curve": state.f1,
        }
        with replacing(self.output) as folder:
            adapter = self._save(folder, weights, run)
            if self.is_split:
                measure = f"retrieveall evaluate --model {self.output} --language {self.arguments.language} --dataset ..."
                self.accelerator.print(f"F1 is not measured where FSDP splits the base. Measure it with {measure}")
            else:
                self._measure(adapter)
            draw_curve(state.curve, state.f1, max(state.epoch, 1), folder / PLOT)
            write_card(adapter)

    def _save(self, folder: Path, weights: dict[str, Tensor], run: dict[str, Any]) -> LanguageAdapter:
        config = self.lora.peft_config["default"]
        # PEFT wrote the folder the base was loaded from, which is a path of this machine.
        config.base_model_name_or_path = EMBEDDED_ON_HUB if self.arguments.base == EMBEDDED_BASE else self.arguments.base
        config.inference_mode = True
        config.save_pretrained(str(folder))
        config.inference_mode = False
        save_file(weights, folder / LORA_WEIGHTS, metadata={"format": "pt"})
        readable_like(folder / LORA_WEIGHTS, folder / LORA_CONFIG)
        index = _joined(self.indices)
        no_vectors = torch.zeros(0, index.sentence_vectors.shape[1])
        adapter = LanguageAdapter(self._manifest(run), index, no_vectors, self._training_hashes(), folder)
        adapter.save_knowledge(folder)
        return adapter

    def _weights(self) -> dict[str, Tensor]:
        """The LoRA as it is written: between what was trained and what it started from."""
        own = averaged(lora_tensors(self.lora, torch.float32), self.checkpoints.start, self.departure.start_share or 0.0)
        return {name: tensor.to(torch.bfloat16) for name, tensor in own.items()}

    def _training_hashes(self) -> Tensor:
        """Of the sentences trained on, here and by the adapter that the run started from."""
        hashes = hash_sentences(example for group in self.lessons for example in [*group.train, *group.empty])
        if self.start is None:
            return hashes
        return torch.tensor(sorted({*hashes.tolist(), *self.start.training_hashes.tolist()}))

    def _measure(self, adapter: LanguageAdapter) -> None:
        """F1 on the validation splits, into the manifest."""
        for group in self.lessons:
            # Neither this run nor the one it started from has seen what it is measured on.
            known = adapter.known_hashes()
            fresh = [example for example in group.validation if sentence_hash(example.key) not in known]
            if not fresh:
                if self.arguments.max_validation_examples:
                    self.accelerator.print(f"{group.name}: no validation sentences, F1 is not measured")
                continue
            if new := sorted({s.label for e in fresh for s in e.spans} - set(adapter.manifest.entity_types)):
                self.accelerator.print(
                    f"{group.name}: no training sentence has the labels {', '.join(new)}; their mentions in the validation "
                    "sentences count as missed."
                )
            report = self._evaluated(adapter, fresh)
            self.accelerator.print(f"{group.name}: validation F1 {report.f1:.1f} on {report.n_test} sentences")
            figures = {**report.to_dict(), "n_dropped": len(group.validation) - len(fresh)}
            adapter.manifest.metrics.append({"dataset": dataset_name(group.name), "split": "validation", **figures})
        adapter.manifest.save(adapter.path)

    def _validation_f1(self) -> float | None:
        """F1 of the LoRA as it is now, over all validation sentences."""
        known = self._training_hashes().tolist()
        fresh = [e for group in self.lessons for e in group.validation if sentence_hash(e.key) not in known]
        if not fresh:
            return None
        with TemporaryDirectory() as folder:
            return self._evaluated(self._save(Path(folder), self._weights(), {}), fresh).f1

    def _evaluated(self, adapter: LanguageAdapter, examples: list[Example]) -> Report:
        """The adapter as it will serve: from its file, over the base without the LoRA in training."""
        training = self.model.training
        self.model.eval()
        with torch.no_grad(), self.lora.disable_adapter(), self.accelerator.autocast():
            self.model.add_language(adapter.path)
            report = evaluate_examples(self.model, examples, adapter.language, oracle_routing=True)
            self.model.remove_language(adapter.language)
        self.model.train(training)
        return report

    def _manifest(self, run: dict[str, Any]) -> Manifest:
        arguments, config, processes = self.arguments, self.model.config, self.accelerator.num_processes
        lora = cast(LoraConfig, self.lora.peft_config["default"])
        shown = arguments.knowledge_share > 0
        cut_short = run.get("steps", 0) == arguments.max_steps
        return Manifest(
            language=arguments.language,
            entity_types=self.labels,
            decodings=arguments.decodings(),
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
                "empty_sentences_added": sum(len(group.empty) for group in self.lessons),
                "duplicates_dropped": sum(group.duplicates for group in self.lessons),
                **({} if cut_short else {"epochs": arguments.epochs_for(len(self.sampler), processes)}),
                "learning_rate": self.departure.learning_rate,
                "rank": lora.r,
                "lora_alpha": lora.lora_alpha,
                **({} if self.start is None else {"start_share": self.departure.start_share}),
                **{name: value for name in _KEPT if (value := getattr(arguments, name)) is not None},
                "mixed_precision": self.accelerator.mixed_precision,
                "processes": processes,
                "hardware": describe(self.accelerator.device, processes),
                **run,
            },
        )

    def _origin(self) -> str | None:
        """How the manifest calls the adapter that the run started from."""
        if self.start is None:
            return None
        return self.start.source if self.start.snapshot else self.start.language


_KEPT = (
    "max_steps",
    "batch_size",
    "gradient_accumulation",
    "knowledge_share",
    "tags_share",
    "empty_share",
    "seed",
    "max_train_examples",
    "quantize",
)


def _accelerator(arguments: TrainingArguments) -> Accelerator:
    try:
        accelerator = Accelerator(
            mixed_precision=precision(arguments.mixed_precision),
            # Not as a number, which a launch with DeepSpeed overrules.
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=arguments.gradient_accumulation),
            log_with=None if arguments.report_to == "none" else arguments.report_to,
            project_config=ProjectConfiguration(logging_dir=f"{arguments.output}.logs"),
        )
    except ValueError as error:  # no such tracker, or a precision that is not for this hardware
        raise InputError(f"Accelerate cannot run with mixed_precision and report_to as they are set: {error}") from error
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched > accelerator.num_processes:  # each would train alone, and all would write the same folder
        raise InputError(
            f"{launched} processes were launched, but Accelerate sees {accelerator.num_processes}: it found no GPUs to connect "
            "them. On CPUs set ACCELERATE_USE_CPU=true."
        )
    check_launch(accelerator)
    if accelerator.distributed_type is DistributedType.DEEPSPEED:
        accelerator.state.deepspeed_plugin.deepspeed_config.update(
            train_micro_batch_size_per_gpu=arguments.batch_size,  # which Accelerate would look for in a data loader
            gradient_accumulation_steps=arguments.gradient_accumulation,
            train_batch_size=arguments.batch_size * arguments.gradient_accumulation * accelerator.num_processes,
            gradient_clipping=arguments.max_gradient_norm,
        )
    return accelerator


def _joined(indices: list[ExampleIndex]) -> ExampleIndex:
    return ExampleIndex(
        [example for index in indices for example in index.examples],
        torch.cat([index.sentence_vectors for index in indices]),
        torch.cat([index.mention_vectors for index in indices]),
    )


def _mean(losses: list[float]) -> float:
    return round(sum(losses) / max(len(losses), 1), 4)


def main() -> None:
    """The entry point of ``accelerate launch -m modeling_retrieveall.training.trainer``."""
    write_utf8()
    train(parse_arguments(None, "accelerate launch -m modeling_retrieveall.training.trainer"))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
