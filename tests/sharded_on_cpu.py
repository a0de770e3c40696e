"""Trains with FSDP or DeepSpeed on CPUs. Both support CPUs, but Accelerate uses them only on GPUs.

ACCELERATE_TORCH_DEVICE=cpu accelerate launch --config_file examples/accelerate/fsdp.yaml -m tests.sharded_on_cpu ...
"""

from accelerate.state import PartialState
from accelerate.utils import DistributedType

from modeling_retrieveall.training.trainer import main

if __name__ == "__main__":
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
    main()
