"""The Accelerator of a run: its precision and hardware, and the launches that a run cannot use.

>>> describe_hardware(torch.device("cpu"), 1)
'2 CPU cores (Intel(R) Xeon(R) Processor)'
"""

import os
import platform
import re
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, GradientAccumulationPlugin, ProjectConfiguration

from ..model.base_llm import native_dtype
from ..model.errors import InputError
from .arguments import AdapterTrainingArguments
from .fsdp import check_accelerator


def create_accelerator(arguments: AdapterTrainingArguments) -> Accelerator:
    """The Accelerator of this process.

    Args:
        arguments: The arguments of the run.

    Raises:
        InputError: The precision or tracker is not available, or training cannot use the way the processes were launched.
    """
    try:
        accelerator = Accelerator(
            mixed_precision=resolve_precision(arguments.mixed_precision),
            # A launch with DeepSpeed would override a plain number.
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=arguments.gradient_accumulation_steps),
            log_with=None if arguments.report_to == "none" else arguments.report_to,
            project_config=ProjectConfiguration(logging_dir=f"{arguments.output_dir}.logs"),
        )
    except ValueError as error:  # there is no such tracker, or the hardware lacks the precision
        raise InputError(
            f"Accelerate cannot run with mixed_precision={arguments.mixed_precision!r} and report_to={arguments.report_to!r}: "
            f"{error}"
        ) from error
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched > accelerator.num_processes:  # each process would train alone, and all would write to the same folder
        raise InputError(
            f"{launched} processes were launched, but Accelerate connects {accelerator.num_processes}: it found no GPUs. To "
            "train on CPUs, set the environment variable ACCELERATE_USE_CPU=true."
        )
    check_accelerator(accelerator)
    if accelerator.distributed_type is DistributedType.DEEPSPEED:
        accelerator.state.deepspeed_plugin.deepspeed_config.update(
            # Accelerate would read it from a data loader, which is not passed to `prepare`.
            train_micro_batch_size_per_gpu=arguments.batch_size,
            gradient_accumulation_steps=arguments.gradient_accumulation_steps,
            train_batch_size=arguments.batch_size * arguments.gradient_accumulation_steps * accelerator.num_processes,
            gradient_clipping=arguments.max_grad_norm,
        )
    return accelerator


def resolve_precision(requested: str) -> str | None:
    """The mixed precision for Accelerate; ``None`` keeps the setting of ``accelerate launch``."""
    if requested != "auto":
        return requested
    native = native_dtype("cuda" if torch.cuda.is_available() else "cpu")
    return "bf16" if native is torch.bfloat16 else None


def describe_hardware(device: torch.device, processes: int) -> str:
    """The hardware for the model card, without anything that identifies the machine."""
    if device.type != "cpu":
        return f"{processes} × {torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type}"
    cpu_info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpu_info.read_text()) if cpu_info.is_file() else None
    return f"{os.cpu_count()} CPU cores ({found[1] if found else platform.machine()})"
