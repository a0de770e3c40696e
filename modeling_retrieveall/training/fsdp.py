"""Checks of launches that split a model over processes: FSDP and DeepSpeed.

Under FSDP each process holds a part of the base LLM only. A run then neither measures F1 nor writes checkpoints: extraction calls
parts of the base LLM separately, and FSDP gathers them only for a complete forward pass; a checkpoint of Accelerate would contain
the whole base LLM.

>>> check_arguments(AdapterTrainingArguments(["sw"], ["sw.conll"], "runs/sw", early_stopping_patience=2))  # launched with FSDP
Traceback (most recent call last):
InputError: early_stopping_patience is not supported with FSDP, where a run neither measures F1 nor writes checkpoints.
"""

import os

from accelerate import Accelerator
from accelerate.utils import DistributedType

from ..model.errors import InputError
from .arguments import AdapterTrainingArguments

_LAUNCHERS = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}


def check_arguments(arguments: AdapterTrainingArguments) -> None:
    """Refuses arguments that the launch of this process does not support, before anything is loaded.

    Args:
        arguments: The arguments of the launch.

    Raises:
        InputError: An argument is not supported.
    """
    launched = _launched_with()
    if launched and arguments.shard_languages:
        raise InputError(
            f"`shard_languages` trains one model per process, but {launched[0]} splits one model over all processes. Use only "
            "one of them."
        )
    if "FSDP" not in launched:
        return
    if arguments.quantization:
        raise InputError(
            f"FSDP cannot split {arguments.quantization} weights. Train without quantization, or launch with "
            "examples/accelerate/multi_gpu.yaml, where each GPU holds the whole base LLM."
        )
    for name in ("early_stopping_patience", "save_steps"):
        if getattr(arguments, name):
            raise InputError(f"{name} is not supported with FSDP, where a run neither measures F1 nor writes checkpoints.")


def check_accelerator(accelerator: Accelerator) -> None:
    """Refuses launches from which the trained LoRA could not be gathered.

    Args:
        accelerator: The Accelerator of this process.

    Raises:
        InputError: The launch is not supported, or was meant to split the model and does not.
    """
    if "FSDP" in _launched_with() and not uses_fsdp(accelerator):
        raise InputError("Accelerate supports FSDP on GPUs only. On CPUs launch with examples/accelerate/cpu.yaml.")
    if accelerator.distributed_type is DistributedType.DEEPSPEED and accelerator.state.deepspeed_plugin.zero_stage == 3:
        raise InputError("DeepSpeed ZeRO 3 is not supported. Launch with ZeRO 2, or with examples/accelerate/fsdp.yaml.")
    if uses_fsdp(accelerator) and not accelerator.is_fsdp2:
        raise InputError("FSDP 1 is not supported. Set fsdp_version: 2, as in examples/accelerate/fsdp.yaml.")


def uses_fsdp(accelerator: Accelerator) -> bool:
    """Whether each process holds a part of the base LLM only."""
    return accelerator.distributed_type is DistributedType.FSDP


def _launched_with() -> list[str]:
    return [name for variable, name in _LAUNCHERS.items() if os.environ.get(variable, "").lower() == "true"]
