"""The trainer under FSDP or DeepSpeed without a GPU: both run on CPUs, too, but Accelerate asks for them on GPUs alone.

ACCELERATE_TORCH_DEVICE=cpu accelerate launch --config_file examples/accelerate/fsdp.yaml -m tests.sharded_on_cpu ...
"""

from accelerate.state import PartialState
from accelerate.utils import DistributedType

from modeling_retrieveall.training.trainer import main

if __name__ == "__main__":
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
    main()
