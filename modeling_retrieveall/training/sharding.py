"""Several languages at the same time: each process of a launch learns its own ones, as if it were alone.

    accelerate launch --num_processes 8 -m modeling_retrieveall.training.trainer --shard_languages \
        --language sw,yo,ha --dataset sw.conll yo.conll ha.conll --output runs
"""

import os
from functools import cache

import torch
from accelerate.utils import get_int_from_env

from .arguments import TrainingArguments

_RANK = ["RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK"]
_PROCESSES = ["WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"]
_LOCAL_RANK = ["LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK"]


def shard(runs: list[TrainingArguments]) -> list[TrainingArguments]:
    """The runs of this process; it stands alone from here on, on the GPU of its rank where there are GPUs.

    Args:
        runs: Those of all processes, in the same order in each.

    Examples:
        >>> [run.language for run in shard(arguments.runs())]  # in the second of two processes
        ['yo']
    """
    rank, processes = _alone()
    return runs[rank::processes]


@cache  # what is taken from the environment is not there a second time
def _alone() -> tuple[int, int]:
    """This process' rank and the number of processes, of which Accelerate no longer learns."""
    place = get_int_from_env(_RANK, 0), get_int_from_env(_PROCESSES, 1)
    if torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() != "true":
        torch.cuda.set_device(max(get_int_from_env(_LOCAL_RANK, 0), 0) % torch.cuda.device_count())
    for variable in [*_RANK, *_PROCESSES, *_LOCAL_RANK]:
        os.environ.pop(variable, None)
    return place
