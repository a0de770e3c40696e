"""A fingerprint of a model: everything that its results depend on, apart from the hardware and the batch size.

>>> model_fingerprint(model)["dtype"]
'float32'
"""

import hashlib
from typing import Any

import torch

from .. import __version__
from ..model.base_llm import quantization_of
from ..model.configuration_retrieveall import RetrieveAllConfig
from ..model.language_adapter import INDEX_FILES, WEIGHT_FILES, LanguageAdapter
from ..model.prompting import PROMPT_VERSION

_WITHOUT_EFFECT = {"batch_size", "max_batch_tokens", "adapter_slots", "max_rank", "collection"}
_VALUES = 64  # values hashed per tensor of the base LLM; a few are enough, because training changes every tensor


def model_fingerprint(model: Any) -> dict[str, Any]:
    """Computes the fingerprint of a model. Two models with equal fingerprints give equal results.

    Args:
        model: A :class:`RetrieveAllModel`, or a pool of workers that knows the fingerprint of its model. For any other object
            only its ``languages`` are included.

    Returns:
        Name to value, ready for JSON, so that differences between two models can be named.
    """
    if (known := getattr(model, "fingerprint", None)) is not None:
        return dict(known)
    parts = {"package version": __version__, "prompt version": PROMPT_VERSION, "languages": dict(model.languages)}
    if not isinstance(getattr(model, "config", None), RetrieveAllConfig):
        return parts
    fields = sorted(RetrieveAllConfig.changeable() - _WITHOUT_EFFECT)
    return parts | {
        "languages": {language: _adapter_version(adapter) for language, adapter in sorted(model.adapters.items())},
        "base LLM": f"{model.config.base_model} {_base_checksum(model.base)}",
        "dtype": str(model.base.dtype).removeprefix("torch."),
        "quantization": quantization_of(model.base),
        "server": getattr(model.extractor.backend, "url", None),
        **{name: getattr(model.config, name) for name in fields},
    }


def _adapter_version(adapter: LanguageAdapter) -> str:
    """Repository and commit of an adapter on the Hub; else a checksum of its files and of what was changed since."""
    changes = repr((adapter.index.examples, adapter.manifest)) if adapter.edited else ""
    checksum = hashlib.sha256(changes.encode("utf-8", "backslashreplace"))
    if adapter.snapshot:
        return f"{adapter.snapshot} {checksum.hexdigest()[:16]}" if changes else str(adapter.snapshot)
    for name in (*INDEX_FILES, *WEIGHT_FILES):
        checksum.update((adapter.path / name).read_bytes())
    return checksum.hexdigest()[:16]


def _base_checksum(base: torch.nn.Module) -> str:
    """A checksum of some values of each tensor of the base LLM. Offloaded tensors are left out."""
    checksum = hashlib.sha256()
    for name, tensor in base.named_parameters():
        checksum.update(name.encode())
        if tensor.device.type != "meta":
            values = tensor.detach().flatten()[:_VALUES].cpu().contiguous()
            checksum.update(values.view(torch.uint8).numpy().tobytes())
    return checksum.hexdigest()[:16]
