"""Several languages at the same time: each process of a launch learns its own ones, as if it were alone.

    accelerate launch --num_processes 8 -m modeling_retrieveall.training.trainer --shard_languages \
        --language sw,yo,ha --dataset sw.conll yo.conll ha.conll --output runs
"""

import os

import torch

from .arguments import TrainingArguments

_CONNECTION = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What tells Accelerate that a process has others to connect with."""

_SPLITTERS = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}


def shard(runs: list[TrainingArguments]) -> list[TrainingArguments]:
    """The runs of this process; it stands alone from here on, on the GPU of its rank where there are GPUs.

    Args:
        runs: Those of all processes, in the same order in each.

    Raises:
        ValueError: The launch splits one model over its processes.
    """
    for variable, name in _SPLITTERS.items():
        if os.environ.get(variable, "").lower() == "true":
            raise ValueError(
                f"{name} splits one model over all processes. Leave away --shard_languages, or launch without {name}."
            )
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    for variable in _CONNECTION:
        os.environ.pop(variable, None)
    return runs[rank::processes]
