"""What a run is computed on.

>>> describe(torch.device("cpu"), 1)
'2 CPU cores (Intel(R) Xeon(R) Processor)'
"""

import os
import platform
import re
from pathlib import Path

import torch

from ..model.base_llm import native_dtype


def describe(device: torch.device, processes: int) -> str:
    """The hardware, for the card; nothing that tells one machine from another of its kind."""
    if device.type != "cpu":
        return f"{processes} × {torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type}"
    cpu_info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpu_info.read_text()) if cpu_info.is_file() else None
    return f"{os.cpu_count()} CPU cores ({found[1] if found else platform.machine()})"


def precision(asked: str) -> str | None:
    """The mixed precision that Accelerate takes; ``None`` leaves it to ``accelerate launch``."""
    if asked != "auto":
        return asked
    native = native_dtype("cuda" if torch.cuda.is_available() else "cpu")
    return "bf16" if native is torch.bfloat16 else None
