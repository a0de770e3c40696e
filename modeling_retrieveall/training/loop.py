"""The training loop: epochs, steps, checkpoints and early stopping, on one process or many.

>>> state = Loop(model, lora, sampler, accelerator, arguments, rate, checkpoints, validate).run()
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

from ..model.modeling_retrieveall import RetrieveAllModel
from .arguments import TrainingArguments
from .checkpoints import Checkpoints, Interrupts, State
from .compilation import layers_of
from .fsdp import is_split
from .prompt_sampling import KnowledgeSampler, Sample, parts_of_like_length

_POINTS_OF_THE_CURVE = 50
_STOPPING = "Stopping after this step. Once more stops at once, and loses what was learned since the last checkpoint."
_STOPPING_SPLIT = "Stopping after this step. Nothing is saved, for FSDP splits the base."
Part = dict[str, Tensor]
"""What is computed at once, as tensors."""


class Loop:
    """All epochs of one run.

    Args:
        model: The model whose ``forward`` gives the loss.
        lora: The LoRA in its base, the only thing that is trained.
        sampler: Draws the samples of an epoch.
        accelerator: Knows processes, devices and precision.
        arguments: How.
        learning_rate: Peak rate.
        checkpoints: Where to go on from.
        validate: Measures F1 on the validation sentences; ``None`` when there are none.
    """

    def __init__(
        self,
        model: RetrieveAllModel,
        lora: PeftModel,
        sampler: KnowledgeSampler,
        accelerator: Accelerator,
        arguments: TrainingArguments,
        learning_rate: float,
        checkpoints: Checkpoints,
        validate: Callable[[], float | None],
    ) -> None:
        self.sampler = sampler
        self.accelerator = accelerator
        self.arguments = arguments
        self.checkpoints = checkpoints
        self.validate = validate
        self.state = State()
        self.epochs = arguments.epochs_for(len(sampler), accelerator.num_processes)
        self.total_steps = self._count_steps()
        optimizer = torch.optim.AdamW(_trainable(lora), lr=learning_rate, weight_decay=0.0)
        warmup = int(arguments.warmup * self.total_steps)
        # Not prepared: it counts the optimizer's steps, where `prepare` would advance it once for every process.
        self.scheduler = get_scheduler("linear", optimizer, warmup, self.total_steps)
        self._is_split = is_split(accelerator)
        # Both gather weights or gradients in every pass, of which all processes must therefore make equally many.
        self._in_one_part = self._is_split or accelerator.distributed_type is DistributedType.DEEPSPEED
        self._layers = layers_of(model.base, arguments.torch_compile)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        # Only now, for FSDP puts others in their place.
        self.trainable = _trainable(lora)
        accelerator.register_for_checkpointing(self.scheduler)

    def run(self) -> State:
        """Trains to the end.

        Raises:
            KeyboardInterrupt: It was interrupted, and a checkpoint is written.
            MemoryError: A batch does not fit into memory; the message says what to lower.
        """
        if self.arguments.resume:
            self.state = self.checkpoints.read()
        state = self.state
        self._began = time.perf_counter() - state.seconds
        with Interrupts(_STOPPING_SPLIT if self._is_split else _STOPPING) as interrupts, self._progress() as progress:
            while state.epoch < self.epochs and state.step < self.total_steps:
                for batch in self._loader():
                    self._train_on(batch)
                    if not self.accelerator.sync_gradients:
                        continue
                    self._note(progress)
                    if self._stop_asked(interrupts):
                        self._interrupt()
                    if state.step >= self.total_steps:
                        break
                    if self.arguments.checkpoint_steps and state.step % self.arguments.checkpoint_steps == 0:
                        self._write()
                state.epoch, state.batch = state.epoch + 1, 0
                if self._is_over():
                    break
                if state.epoch < self.epochs and state.step < self.total_steps:
                    state.losses = []
                self._write()
        self.checkpoints.restore_best()
        state.seconds = round(time.perf_counter() - self._began)
        return state

    # One step

    def _train_on(self, batch: list[Part]) -> None:
        """Learns from a batch: a step, unless it is accumulated for one."""
        try:
            with self.accelerator.accumulate(self.model):
                loss = self._learn(batch)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.trainable, self.arguments.max_gradient_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
        except (RuntimeError, MemoryError) as error:
            if not should_reduce_batch_size(error):
                raise
            raise MemoryError(self._advice(batch[0])) from error
        self.state.losses.append(loss)
        self.state.batch += 1
        if self.accelerator.sync_gradients:
            self.scheduler.step()
            self.state.step += 1

    def _learn(self, batch: list[Part]) -> float:
        """Adds up the gradients of a batch, part after part; its loss."""
        accelerator, loss = self.accelerator, 0.0
        is_step = accelerator.sync_gradients
        answers = [int((part["labels"] != -100).sum()) for part in batch]
        for number, (part, count) in enumerate(zip(batch, answers, strict=True), 1):
            is_last = number == len(batch)
            # Processes exchange gradients once a step, after its last part.
            accelerator.sync_gradients = is_step and is_last
            with nullcontext() if is_last else accelerator.no_sync(self.model):
                with self._layers, accelerator.autocast():
                    of_part = self.model(**part).loss * (count / sum(answers))
                accelerator.backward(of_part)
            loss += float(of_part.detach())
        return loss

    def _advice(self, part: Part) -> str:
        """What to lower when the part that is largest does not fit."""
        arguments, (rows, tokens) = self.arguments, part["input_ids"].shape
        remedies = []
        if rows > 1:
            remedies.append(
                f"a lower --batch_size (now {arguments.batch_size})"
                if self._in_one_part
                else f"a lower --max_batch_tokens (now {arguments.max_batch_tokens})"
            )
        if not arguments.gradient_checkpointing and not arguments.tags_share:
            remedies.append("--gradient_checkpointing")
        if not arguments.quantize and not self._is_split:
            remedies.append("--quantize 4bit")
        return f"{rows} x {tokens} tokens at once do not fit into memory. Give {' or '.join(remedies or ['a smaller --base'])}."

    def _note(self, progress: Any) -> None:
        recent = self.state.losses[-50:]
        progress.set_postfix(loss=f"{sum(recent) / len(recent):.3f}", refresh=False)
        progress.update()
        stretch = max(1, self.total_steps // _POINTS_OF_THE_CURVE)
        if self.state.step % stretch == 0:
            last = self.state.losses[-stretch * self.arguments.gradient_accumulation :]
            self.state.curve.append((self.state.step, round(sum(last) / len(last), 4)))
            self.accelerator.log({"loss": self.state.curve[-1][1]}, step=self.state.step)

    # Stopping

    def _is_over(self) -> bool:
        """Measures the epoch if early stopping is asked for; whether the best one lies too far back."""
        if not self.arguments.patience:
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
        return self.state.epoch - best >= self.arguments.patience

    def _stop_asked(self, interrupts: Interrupts) -> bool:
        if self.accelerator.num_processes == 1:
            return interrupts.asked
        # A signal may reach one process a step before another, and none may wait for one that has stopped.
        asked = torch.tensor([int(interrupts.asked)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked).item())

    def _interrupt(self) -> None:
        self._write()
        raise KeyboardInterrupt

    def _write(self) -> None:
        if self._is_split:
            return  # Accelerate's checkpoint would hold all of the base
        self.state.seconds = round(time.perf_counter() - self._began)
        self.checkpoints.write(self.state)

    # Batches

    def _count_steps(self) -> int:
        steps = self.epochs * self.sampler.count_steps(self.arguments.batch_size, self._batches_of_a_step)
        return max(1, min(steps, self.arguments.max_steps or steps))

    @property
    def _batches_of_a_step(self) -> int:
        processes: int = self.accelerator.num_processes
        return processes * self.arguments.gradient_accumulation

    def _loader(self) -> Iterator[list[Part]]:
        """The batches of the epoch that fall to this process and are not done yet."""
        batches: Any = self.sampler.epoch(self.state.epoch, self.arguments.batch_size, self._batches_of_a_step)
        loader: Any = self.accelerator.prepare(DataLoader(batches, batch_size=1, collate_fn=self._parts))
        return iter(skip_first_batches(loader, self.state.batch) if self.state.batch else loader)

    def _parts(self, batches: list[list[Sample]]) -> list[Part]:
        """A loader's item is a whole batch already, so it comes in a list of one."""
        batch = batches[0]
        if self._in_one_part:
            return [collate(batch)]
        return [collate(part) for part in parts_of_like_length(batch, self.arguments.max_batch_tokens)]

    def _progress(self) -> Any:
        """A bar with loss, speed and time left; in a log file a line every half minute."""
        return logging.tqdm(
            total=self.total_steps,
            initial=self.state.step,
            desc=f"Training {self.arguments.language}",
            unit="step",
            mininterval=0.2 if sys.stderr.isatty() else 30,
            disable=not self.accelerator.is_main_process,
        )


def _trainable(lora: PeftModel) -> list[torch.nn.Parameter]:
    return [parameter for parameter in lora.parameters() if parameter.requires_grad]


def collate(batch: list[Sample]) -> Part:
    """Samples as tensors ``[batch, tokens]``, padded on the right; all are answered in the same way."""
    part = {
        "input_ids": _padded([sample.ids for sample in batch], 0),
        "attention_mask": _padded([[1] * len(sample.ids) for sample in batch], 0),
        "labels": _padded([sample.labels for sample in batch], -100),
    }
    if batch[0].candidates:
        part["candidates"] = torch.tensor(batch[0].candidates)
    if batch[0].prefix:
        part["prefix_ids"] = _padded([list(sample.prefix) for sample in batch], 0)
        part["prefix_mask"] = _padded([[1] * len(sample.prefix) for sample in batch], 0)
    return part


def _padded(rows: list[list[int]], padding: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [padding] * (longest - len(row)) for row in rows])
