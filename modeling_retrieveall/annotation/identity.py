"""What the results of a model depend on, whatever the machine and the size of its batches.

>>> identity(model)["dtype"]
'float32'
"""

import hashlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from ..model.configuration_retrieveall import RetrieveAllConfig
from ..model.language_adapter import KNOWLEDGE_FILES, WEIGHT_FILES, LanguageAdapter
from ..model.prompting import PROMPT_VERSION

_WITHOUT_EFFECT = {"batch_size", "max_batch_tokens", "adapter_slots", "max_rank", "collection"}
_VALUES = 64  # of each tensor of the base; training changes all tensors


def identity(model: Any) -> dict[str, Any]:
    """The parts of a model by name; two models of equal parts give equal results.

    Args:
        model: A :class:`RetrieveAllModel`; of another object only ``languages`` is looked at.
    """
    try:
        package = version("retrieveall")
    except PackageNotFoundError:  # imported from where it was not installed
        package = "unknown"
    parts = {"package version": package, "prompt version": PROMPT_VERSION, "languages": dict(model.languages)}
    if not isinstance(getattr(model, "config", None), RetrieveAllConfig):
        return parts
    quantized = getattr(model.base.config, "quantization_config", None)
    fields = sorted(RetrieveAllConfig.changeable() - _WITHOUT_EFFECT)
    return parts | {
        "languages": {language: _adapter(adapter) for language, adapter in sorted(model.adapters.items())},
        "base LLM": f"{model.config.base_model} {_base(model.base)}",
        "dtype": str(model.base.dtype).removeprefix("torch."),
        "quantization": quantized and quantized.to_dict(),
        "server": getattr(model._extractor.backend, "url", None),
        **{name: getattr(model.config, name) for name in fields},
    }


def _adapter(adapter: LanguageAdapter) -> str:
    """Its repository and commit on the Hub; of a folder, whose files may change, the checksum of its files."""
    if adapter.snapshot:
        return str(adapter.snapshot)
    checksum = hashlib.sha256()
    for name in (*KNOWLEDGE_FILES, *WEIGHT_FILES):
        checksum.update((adapter.path / name).read_bytes())
    return checksum.hexdigest()[:16]


def _base(base: torch.nn.Module) -> str:
    """A checksum of some values of each tensor of the base LLM, wherever it was loaded from; offloaded ones are left out."""
    checksum = hashlib.sha256()
    for name, tensor in base.named_parameters():
        checksum.update(name.encode())
        if tensor.device.type != "meta":
            values = tensor.detach().flatten()[:_VALUES].cpu().contiguous()
            checksum.update(values.view(torch.uint8).numpy().tobytes())
    return checksum.hexdigest()[:16]
