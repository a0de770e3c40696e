"""The training loop: epochs, steps, checkpoints and early stopping, in one or several processes.

>>> state = TrainingLoop(model, lora, sampler, accelerator, arguments, learning_rate, checkpoints, validate).run()
>>> state.curve[-1]
(150, 0.0137)
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator, skip_first_batches
from accelerate.utils import DistributedType, broadcast_object_list
from accelerate.utils.memory import should_reduce_batch_size
from peft import PeftModel
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import get_scheduler
from transformers.utils import logging

from ..model.batching import padded_ids
from ..model.modeling_retrieveall import RetrieveAllModel
from .arguments import AdapterTrainingArguments
from .checkpoints import Checkpoints, Interrupts, TrainingState
from .compilation import compiled_layers
from .fsdp import uses_fsdp
from .prompt_sampling import PromptSampler, Sample, split_by_length

_CURVE_POINTS = 50
_STOPPING = "Stopping after this step. A second interrupt stops at once and loses the progress since the last checkpoint."
_STOPPING_FSDP = "Stopping after this step. With FSDP no checkpoint is written."
MicroBatch = dict[str, Tensor]
"""The part of a batch that is computed at once."""


class TrainingLoop:
    """All epochs of one run.

    Args:
        model: The model; its ``forward`` returns the loss.
        lora: The LoRA on the model's base LLM. Only its weights are trained.
        sampler: Draws the samples of each epoch.
        accelerator: The Accelerator of this process.
        arguments: The arguments of the run.
        learning_rate: Peak learning rate.
        checkpoints: Writes checkpoints, and reads the last one if the run is resumed.
        validate: Measures F1 on the validation sentences, in percent; returns ``None`` if there are none.
    """

    def __init__(
        self,
        model: RetrieveAllModel,
        lora: PeftModel,
        sampler: PromptSampler,
        accelerator: Accelerator,
        arguments: AdapterTrainingArguments,
        learning_rate: float,
        checkpoints: Checkpoints,
        validate: Callable[[], float | None],
    ) -> None:
        self.sampler = sampler
        self.accelerator = accelerator
        self.arguments = arguments
        self.checkpoints = checkpoints
        self.validate = validate
        self.state = TrainingState()
        self.epochs = arguments.epochs_for(len(sampler), accelerator.num_processes)
        self.total_steps = self._count_steps()
        optimizer = torch.optim.AdamW(_trainable(lora), lr=learning_rate, weight_decay=0.0)
        warmup_steps = int(arguments.warmup_ratio * self.total_steps)
        # Not passed to `prepare`, which would advance it once per process: its steps are those of the optimizer.
        self.scheduler = get_scheduler("linear", optimizer, warmup_steps, self.total_steps)
        self._uses_fsdp = uses_fsdp(accelerator)
        # These synchronize processes in every forward pass, so each process must make the same number of passes.
        self._single_micro_batch = self._uses_fsdp or accelerator.distributed_type is DistributedType.DEEPSPEED
        self._compiled_layers = compiled_layers(model.base, arguments.torch_compile)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        # Read again, because FSDP has replaced the parameters.
        self.trainable = _trainable(lora)
        accelerator.register_for_checkpointing(self.scheduler)

    def run(self) -> TrainingState:
        """Trains to the end.

        Raises:
            KeyboardInterrupt: The run was interrupted; a checkpoint was written, except under FSDP.
            MemoryError: A batch does not fit into memory; the message says which arguments to change.
        """
        if self.arguments.resume:
            self.state = self.checkpoints.read()
        state = self.state
        self._started = time.perf_counter() - state.seconds
        with Interrupts(_STOPPING_FSDP if self._uses_fsdp else _STOPPING) as interrupts, self._progress() as progress:
            while state.epoch < self.epochs and state.step < self.total_steps:
                for batch in self._loader():
                    self._train_batch(batch)
                    if not self.accelerator.sync_gradients:
                        continue
                    self._log_step(progress)
                    if self._stop_requested(interrupts):
                        self._interrupt()
                    if state.step >= self.total_steps:
                        break
                    if self.arguments.save_steps and state.step % self.arguments.save_steps == 0:
                        self._write_checkpoint()
                state.epoch, state.batch = state.epoch + 1, 0
                if self._should_stop_early():
                    break
                if state.epoch < self.epochs and state.step < self.total_steps:
                    state.losses = []
                self._write_checkpoint()
        self.checkpoints.restore_best()
        state.seconds = round(time.perf_counter() - self._started)
        return state

    # One step

    def _train_batch(self, batch: list[MicroBatch]) -> None:
        """Computes the gradients of a batch, and makes an optimizer step if enough batches are accumulated."""
        try:
            with self.accelerator.accumulate(self.model):
                loss = self._backward(batch)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.trainable, self.arguments.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
        except (RuntimeError, MemoryError) as error:
            if not should_reduce_batch_size(error):
                raise
            raise MemoryError(self._memory_advice(batch[0])) from error
        self.state.losses.append(loss)
        self.state.batch += 1
        if self.accelerator.sync_gradients:
            self.scheduler.step()
            self.state.step += 1

    def _backward(self, batch: list[MicroBatch]) -> float:
        """Adds up the gradients of the micro-batches of a batch; returns the loss of the batch."""
        accelerator, loss = self.accelerator, 0.0
        is_step = accelerator.sync_gradients
        label_counts = [int((part["labels"] != -100).sum()) for part in batch]
        for number, (part, count) in enumerate(zip(batch, label_counts, strict=True), 1):
            is_last = number == len(batch)
            # Processes exchange gradients once per step, after its last micro-batch.
            accelerator.sync_gradients = is_step and is_last
            with nullcontext() if is_last else accelerator.no_sync(self.model):
                with self._compiled_layers, accelerator.autocast():
                    part_loss = self.model(**part).loss * (count / sum(label_counts))
                accelerator.backward(part_loss)
            loss += float(part_loss.detach())
        return loss

    def _memory_advice(self, largest: MicroBatch) -> str:
        """The error message if the largest micro-batch does not fit into memory."""
        arguments, (rows, tokens) = self.arguments, largest["input_ids"].shape
        remedies = []
        if rows > 1:
            name = "batch_size" if self._single_micro_batch else "max_batch_tokens"
            remedies.append(f"a lower `{name}` (now {getattr(arguments, name)})")
        if not arguments.gradient_checkpointing and not arguments.tags_share:
            remedies.append("gradient_checkpointing=True")
        if not arguments.quantization and not self._uses_fsdp:
            remedies.append("quantization='4bit'")
        advice = " or ".join(remedies or ["a smaller base LLM"])
        return f"A micro-batch of {rows} x {tokens} tokens does not fit into memory. Try {advice}."

    def _log_step(self, progress: Any) -> None:
        recent = self.state.losses[-50:]
        progress.set_postfix(loss=f"{sum(recent) / len(recent):.3f}", refresh=False)
        progress.update()
        interval = max(1, self.total_steps // _CURVE_POINTS)
        if self.state.step % interval == 0:
            last = self.state.losses[-interval * self.arguments.gradient_accumulation_steps :]
            self.state.curve.append((self.state.step, round(sum(last) / len(last), 4)))
            self.accelerator.log({"loss": self.state.curve[-1][1]}, step=self.state.step)

    # Stopping

    def _should_stop_early(self) -> bool:
        """Measures F1 after an epoch if early stopping is enabled; returns whether the best epoch is too long ago."""
        if not self.arguments.early_stopping_patience:
            return False
        measured = [self.validate() if self.accelerator.is_main_process else None]
        broadcast_object_list(measured)
        f1 = measured[0]
        if f1 is None:
            return False
        if f1 > max((earlier for _, earlier in self.state.f1), default=-1.0):
            self.checkpoints.keep_best()
        self.state.f1.append((self.state.epoch, f1))
        self.accelerator.log({"validation_f1": f1}, step=self.state.step)
        best = max(self.state.f1, key=lambda point: point[1])[0]
        return self.state.epoch - best >= self.arguments.early_stopping_patience

    def _stop_requested(self, interrupts: Interrupts) -> bool:
        if self.accelerator.num_processes == 1:
            return interrupts.requested
        # A signal may reach the processes at different steps, and one that has stopped would block the others.
        requested = torch.tensor([int(interrupts.requested)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(requested).item())

    def _interrupt(self) -> None:
        self._write_checkpoint()
        raise KeyboardInterrupt

    def _write_checkpoint(self) -> None:
        if self._uses_fsdp:
            return  # a checkpoint of Accelerate would contain the whole base LLM
        self.state.seconds = round(time.perf_counter() - self._started)
        self.checkpoints.write(self.state)

    # Batches

    def _count_steps(self) -> int:
        steps = self.epochs * self.sampler.count_steps(self.arguments.batch_size, self._batches_per_step)
        return max(1, min(steps, self.arguments.max_steps or steps))

    @property
    def _batches_per_step(self) -> int:
        processes: int = self.accelerator.num_processes
        return processes * self.arguments.gradient_accumulation_steps

    def _loader(self) -> Iterator[list[MicroBatch]]:
        """The batches of the current epoch that belong to this process and are not finished yet."""
        batches: Any = self.sampler.epoch(self.state.epoch, self.arguments.batch_size, self._batches_per_step)
        loader: Any = self.accelerator.prepare(DataLoader(batches, batch_size=1, collate_fn=self._micro_batches))
        return iter(skip_first_batches(loader, self.state.batch) if self.state.batch else loader)

    def _micro_batches(self, batches: list[list[Sample]]) -> list[MicroBatch]:
        """The micro-batches of a batch; each item of the data loader is one whole batch, in a list of length one."""
        batch = batches[0]
        if self._single_micro_batch:
            return [collate(batch)]
        return [collate(part) for part in split_by_length(batch, self.arguments.max_batch_tokens)]

    def _progress(self) -> Any:
        """A progress bar with the loss; in a log file, one line every half minute."""
        return logging.tqdm(
            total=self.total_steps,
            initial=self.state.step,
            desc=f"Training {self.arguments.language_code}",
            unit="step",
            mininterval=0.2 if sys.stderr.isatty() else 30,
            disable=not self.accelerator.is_main_process,
        )


def _trainable(lora: PeftModel) -> list[torch.nn.Parameter]:
    return [parameter for parameter in lora.parameters() if parameter.requires_grad]


def collate(samples: list[Sample]) -> MicroBatch:
    """The tensors ``[batch, tokens]`` of samples with the same decoding, padded on the right."""
    tensors = {
        "input_ids": padded_ids([sample.ids for sample in samples], 0),
        "attention_mask": padded_ids([[1] * len(sample.ids) for sample in samples], 0),
        "labels": padded_ids([sample.labels for sample in samples], -100),
    }
    if samples[0].candidates:
        tensors["candidates"] = torch.tensor(samples[0].candidates)
    if samples[0].prefix:
        tensors["prefix_ids"] = padded_ids([list(sample.prefix) for sample in samples], 0)
        tensors["prefix_mask"] = padded_ids([[1] * len(sample.prefix) for sample in samples], 0)
    return tensors
