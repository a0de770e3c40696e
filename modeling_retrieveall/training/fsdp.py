"""A base that a launch splits over its processes because none could hold it: what such a run must do without.

accelerate launch --config_file examples/accelerate/fsdp.yaml -m modeling_retrieveall.training.trainer --patience 2 ...

InputError: FSDP splits the base, and a run is neither measured nor saved before its end. Leave out --patience.
"""

import os

from accelerate import Accelerator
from accelerate.utils import DistributedType

from ..model.errors import InputError
from .arguments import TrainingArguments

_SPLITTERS = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}


def check_split(run: TrainingArguments) -> None:
    """Refuses settings that the launch of this process cannot follow, before anything is loaded.

    Under FSDP these are F1 and checkpoints: extraction calls parts of the base by themselves, which FSDP puts together only as a
    whole, and Accelerate's checkpoint would hold all of the base.

    Args:
        run: The settings.

    Raises:
        InputError: A setting is among them.
    """
    launched = _launched()
    if launched and run.shard_languages:
        raise InputError(
            f"{launched[0]} splits one model over all processes. Leave out --shard_languages, or launch without {launched[0]}."
        )
    if "FSDP" not in launched:
        return
    if run.quantize:
        raise InputError(
            f"FSDP cannot split weights of {run.quantize}. Leave out --quantize, or launch with "
            "examples/accelerate/multi_gpu.yaml, which gives every GPU the whole base."
        )
    for name in ("patience", "checkpoint_steps"):
        if getattr(run, name):
            raise InputError(f"FSDP splits the base, and a run is neither measured nor saved before its end. Leave out --{name}.")


def check_launch(accelerator: Accelerator) -> None:
    """Refuses ways to split a base that a LoRA cannot be gathered from.

    Args:
        accelerator: Of this process.

    Raises:
        InputError: The launch is one of them, or Accelerate does not split although it was launched to.
    """
    if "FSDP" in _launched() and not is_split(accelerator):
        raise InputError(
            "FSDP was launched, but Accelerate splits models on GPUs alone. On CPUs launch with examples/accelerate/cpu.yaml."
        )
    if accelerator.distributed_type is DistributedType.DEEPSPEED and accelerator.state.deepspeed_plugin.zero_stage == 3:
        raise InputError("ZeRO 3 splits the base. Launch with examples/accelerate/fsdp.yaml, or with zero_stage 2.")
    if is_split(accelerator) and not accelerator.is_fsdp2:
        raise InputError("This is FSDP 1. Give fsdp_version: 2, as examples/accelerate/fsdp.yaml does.")


def is_split(accelerator: Accelerator) -> bool:
    """Whether each process holds a part of the base only."""
    return accelerator.distributed_type is DistributedType.FSDP


def _launched() -> list[str]:
    return [name for variable, name in _SPLITTERS.items() if os.environ.get(variable, "").lower() == "true"]
