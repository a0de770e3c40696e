"""Training several languages at the same time: each process of a launch trains languages of its own, independently.

    accelerate launch --num_processes 8 -m modeling_retrieveall.training.trainer --shard-languages \
        --language sw yo ha --dataset sw.conll yo.conll ha.conll --output-dir runs
"""

import os
from functools import cache

import torch
from accelerate.utils import get_int_from_env

from .arguments import AdapterTrainingArguments

_RANK = ["RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK"]
_PROCESSES = ["WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"]
_LOCAL_RANK = ["LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK"]


def shard(runs: list[AdapterTrainingArguments]) -> list[AdapterTrainingArguments]:
    """Selects the runs of this process and detaches it from the others; on a machine with GPUs, it uses the one of its rank.

    Args:
        runs: The runs of all processes, in the same order in each process.

    Examples:
        >>> [run.language for run in shard(arguments.per_language())]  # in the second of two processes
        [['yo']]
    """
    rank, processes = _detach()
    return runs[rank::processes]


def is_main_process() -> bool:
    """Whether this process reports for all; usable before there is an Accelerator."""
    return bool(get_int_from_env(_RANK, 0) == 0)


@cache  # the environment variables are removed, so a second call could not read them
def _detach() -> tuple[int, int]:
    """The rank of this process and the number of processes, which are hidden from Accelerate."""
    place = get_int_from_env(_RANK, 0), get_int_from_env(_PROCESSES, 1)
    if torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() != "true":
        torch.cuda.set_device(max(get_int_from_env(_LOCAL_RANK, 0), 0) % torch.cuda.device_count())
    for variable in [*_RANK, *_PROCESSES, *_LOCAL_RANK]:
        os.environ.pop(variable, None)
    return place
