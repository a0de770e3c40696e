"""Checkpoints of a run (LoRA, optimizer, scheduler and random state, but not the base LLM), and handling of interrupts.

>>> checkpoints = Checkpoints(Path("runs/sw.checkpoint"), {"language": ["sw"]}, accelerator, lora)
>>> checkpoints.write(TrainingState(epoch=1))
>>> checkpoints.read()
TrainingState(epoch=1, batch=0, step=0, ...)
"""

import json
import logging
import shutil
import signal
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from accelerate import Accelerator
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from ..model.atomic import move_into_place

STATE, RUN = "state.json", "run.json"
_LORA, _BEST, _INITIAL = "lora.safetensors", "best.safetensors", "start.safetensors"
_logger = logging.getLogger(__name__)


@dataclass
class TrainingState:
    """The progress of a run.

    Attributes:
        epoch: Number of finished epochs.
        batch: Number of finished batches of the current epoch, per process.
        step: Number of finished optimizer steps.
        seconds: Training time, without interruptions.
        losses: Losses of the current epoch.
        curve: Mean loss over each fiftieth of the run, as pairs of step and loss.
        f1: Validation F1 after each measured epoch, as pairs of epoch and F1.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: int = 0
    losses: list[float] = field(default_factory=list)
    curve: list[tuple[int, float]] = field(default_factory=list)
    f1: list[tuple[int, float]] = field(default_factory=list)


class Checkpoints:
    """The last checkpoint of a run, the LoRA of its best epoch, and its initial LoRA.

    Args:
        folder: The folder of the checkpoint.
        signature: Identifies the run (:func:`~modeling_retrieveall.training.resuming.run_signature`).
        accelerator: The Accelerator, which has the optimizer and the scheduler.
        lora: The LoRA before training.

    Attributes:
        initial: The LoRA tensors before the first step, also after resuming.
    """

    def __init__(self, folder: Path, signature: dict[str, Any], accelerator: Accelerator, lora: PeftModel) -> None:
        self.folder = folder
        self._signature = signature
        self._accelerator = accelerator
        self._lora = lora
        self._best: dict[str, Tensor] | None = None
        self.initial = self._tensors()
        accelerator.register_save_state_pre_hook(self._save_lora_only)
        accelerator.register_load_state_pre_hook(self._load_lora_only)

    def write(self, state: TrainingState) -> None:
        """Replaces the checkpoint atomically: if the process is killed meanwhile, the old checkpoint remains."""
        unfinished = self.folder.with_name(f"{self.folder.name}.unfinished")
        if self._accelerator.is_main_process:
            shutil.rmtree(unfinished, ignore_errors=True)
        self._accelerator.wait_for_everyone()
        # DeepSpeed does not use the hooks below; this argument, and that of `load_state`, leave the base LLM out there.
        self._accelerator.save_state(str(unfinished), exclude_frozen_parameters=True)
        self._accelerator.wait_for_everyone()
        if self._accelerator.is_main_process:
            (unfinished / STATE).write_text(json.dumps(asdict(state)), encoding="utf-8")
            (unfinished / RUN).write_text(json.dumps(self._signature), encoding="utf-8")
            save_file(self.initial, unfinished / _INITIAL)
            if self._best is not None:
                save_file(self._best, unfinished / _BEST)
            move_into_place(unfinished, self.folder)
        self._accelerator.wait_for_everyone()

    def read(self) -> TrainingState:
        """Loads the checkpoint into LoRA, optimizer and scheduler."""
        self._accelerator.load_state(str(self.folder), load_module_strict=False)
        # The folder of the initial adapter may have changed since.
        self.initial = load_file(self.folder / _INITIAL)
        if (self.folder / _BEST).is_file():
            self._best = load_file(self.folder / _BEST)
        data = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
        pairs = {name: [(int(step), float(value)) for step, value in data[name]] for name in ("curve", "f1")}
        return TrainingState(**{**data, **pairs})

    def keep_best(self) -> None:
        """Keeps a copy of the current LoRA as the best one."""
        self._best = self._tensors()

    def restore_best(self) -> None:
        """Restores the best LoRA, if :meth:`keep_best` was called."""
        if self._best is not None:
            set_peft_model_state_dict(self._lora, self._best)

    def remove(self) -> None:
        """Removes the checkpoint."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tensors(self) -> dict[str, Tensor]:
        # Cloned, because on the CPU these would be the tensors that training changes.
        return {name: tensor.clone() for name, tensor in lora_tensors(self._lora, torch.float32).items()}

    def _save_lora_only(self, models: list[Any], weights: list[Any], folder: str) -> None:
        weights.clear()
        if self._accelerator.is_main_process:
            save_file(lora_tensors(self._lora, torch.float32), Path(folder) / _LORA)

    def _load_lora_only(self, models: list[Any], folder: str) -> None:
        models.clear()
        set_peft_model_state_dict(self._lora, load_file(Path(folder) / _LORA))


class Interrupts:
    """Records the first SIGINT or SIGTERM inside a ``with`` block; the second one raises :class:`KeyboardInterrupt`.

    Args:
        message: Logged at the first signal.

    Attributes:
        requested: Whether a signal has arrived.

    >>> with Interrupts("Stopping after this step.") as interrupts:
    ...     interrupts.requested
    False
    """

    def __init__(self, message: str) -> None:
        self.requested = False
        self._message = message
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._handle)
            except ValueError:  # only the main thread can handle signals
                return self
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        _logger.warning("\n%s", self._message)  # on a line of its own, below the progress bar


def lora_tensors(lora: PeftModel, dtype: torch.dtype) -> dict[str, Tensor]:
    """The complete tensors of a LoRA on the CPU, with PEFT's names.

    Under FSDP all processes must call it together, because the tensors are gathered from them.
    """
    # With `save_embedding_layers`, PEFT would ask the Hub whether the embeddings of the base LLM were changed.
    state: dict[str, Tensor] = get_peft_model_state_dict(lora, save_embedding_layers=False)
    whole = {name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor for name, tensor in state.items()}
    return {name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in whole.items()}
