"""Checkpoints of a run: LoRA, optimizer, scheduler and random state, written aside and moved into place; never the base.

>>> checkpoints = Checkpoints(Path("runs/sw.checkpoint"), {"language": "sw"}, accelerator, lora)
>>> checkpoints.write(State(epoch=1))
>>> checkpoints.read()
State(epoch=1, batch=0, step=0, ...)
"""

import json
import shutil
import signal
import sys
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
_LORA, _BEST, _START = "lora.safetensors", "best.safetensors", "start.safetensors"


@dataclass
class State:
    """How far a run is.

    Attributes:
        epoch: Epochs that are done.
        batch: Batches of the running epoch that are done, by each process.
        step: Steps of the optimizer that are done.
        seconds: How long they took, interruptions left out.
        losses: Losses of the running epoch.
        curve: The mean loss of each fiftieth of the run, as step and loss.
        f1: Validation F1 after each epoch that was measured, as epoch and F1.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: int = 0
    losses: list[float] = field(default_factory=list)
    curve: list[tuple[int, float]] = field(default_factory=list)
    f1: list[tuple[int, float]] = field(default_factory=list)


class Checkpoints:
    """The last checkpoint of a run, the LoRA of its best epoch, and the LoRA it began with.

    Args:
        folder: Where it lies.
        run: What makes it this run and no other (:func:`~modeling_retrieveall.training.resuming.check_same_run`).
        accelerator: Knows optimizer and scheduler.
        lora: The LoRA, before it is trained.

    Attributes:
        start: The tensors that the run began with, resumed or not.
    """

    def __init__(self, folder: Path, run: dict[str, Any], accelerator: Accelerator, lora: PeftModel) -> None:
        self.folder = folder
        self._run = run
        self._accelerator = accelerator
        self._lora = lora
        self._best: dict[str, Tensor] | None = None
        self.start = self._tensors()
        accelerator.register_save_state_pre_hook(self._save_lora_only)
        accelerator.register_load_state_pre_hook(self._load_lora_only)

    def write(self, state: State) -> None:
        """Replaces the checkpoint; a process that is killed meanwhile leaves the old one."""
        unfinished = self.folder.with_name(f"{self.folder.name}.unfinished")
        if self._accelerator.is_main_process:
            shutil.rmtree(unfinished, ignore_errors=True)
        self._accelerator.wait_for_everyone()
        # The keyword argument, as that of `load_state`, is for DeepSpeed, which saves the model by itself.
        self._accelerator.save_state(str(unfinished), exclude_frozen_parameters=True)
        self._accelerator.wait_for_everyone()
        if self._accelerator.is_main_process:
            (unfinished / STATE).write_text(json.dumps(asdict(state)), encoding="utf-8")
            (unfinished / RUN).write_text(json.dumps(self._run), encoding="utf-8")
            save_file(self.start, unfinished / _START)
            if self._best is not None:
                save_file(self._best, unfinished / _BEST)
            move_into_place(unfinished, self.folder)
        self._accelerator.wait_for_everyone()

    def read(self) -> State:
        """Loads the checkpoint into LoRA, optimizer and scheduler."""
        self._accelerator.load_state(str(self.folder), load_module_strict=False)
        # Whatever lies by now where the run found its start.
        self.start = load_file(self.folder / _START)
        if (self.folder / _BEST).is_file():
            self._best = load_file(self.folder / _BEST)
        data = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
        pairs = {name: [(int(step), float(value)) for step, value in data[name]] for name in ("curve", "f1")}
        return State(**{**data, **pairs})

    def keep_best(self) -> None:
        """Remembers the LoRA as it is now."""
        self._best = self._tensors()

    def restore_best(self) -> None:
        """Puts the remembered LoRA in place; nothing happens when none was remembered."""
        if self._best is not None:
            set_peft_model_state_dict(self._lora, self._best)

    def remove(self) -> None:
        """Removes the checkpoint of a finished run."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tensors(self) -> dict[str, Tensor]:
        # Cloned, for on the CPU they are the very tensors that training changes.
        return {name: tensor.clone() for name, tensor in lora_tensors(self._lora, torch.float32).items()}

    def _save_lora_only(self, models: list[Any], weights: list[Any], folder: str) -> None:
        weights.clear()
        if self._accelerator.is_main_process:
            save_file(lora_tensors(self._lora, torch.float32), Path(folder) / _LORA)

    def _load_lora_only(self, models: list[Any], folder: str) -> None:
        models.clear()
        set_peft_model_state_dict(self._lora, load_file(Path(folder) / _LORA))


class Interrupts:
    """Turns the first SIGINT or SIGTERM inside a ``with`` block into a wish to stop; a second one ends the process at once.

    Args:
        tell: What the first one prints.

    >>> with Interrupts("Stopping after this step.") as interrupts:
    ...     interrupts.asked
    False
    """

    def __init__(self, tell: str) -> None:
        self.asked = False
        self._tell = tell
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._ask)
            except ValueError:  # only the main thread has signals
                return self
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print(f"\n{self._tell}", file=sys.stderr)


def lora_tensors(lora: PeftModel, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a LoRA by PEFT's names, whole and on the CPU; where FSDP splits them, all processes must ask together."""
    # Otherwise PEFT asks the Hub whether the base has other embeddings there.
    state: dict[str, Tensor] = get_peft_model_state_dict(lora, save_embedding_layers=False)
    whole = {name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor for name, tensor in state.items()}
    return {name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in whole.items()}
