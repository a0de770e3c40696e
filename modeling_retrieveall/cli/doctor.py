"""``retrieveall doctor``: versions, devices and caches, and which optional packages are missing.

$ retrieveall doctor
retrieveall      0.1.0
torch            2.13.0+cpu
...
missing          spacy for spaCy pipelines: pip install "retrieveall[spacy]"
"""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from .. import __version__
from .console import escaped, plain_errors, standard_output, table
from .extras import PACKAGE, requirements

_PURPOSES = {
    "embedded": "the embedded LLM",
    "train": "training and evaluation",
    "quantization": "a base LLM in 4 or 8 bits",
    "spacy": "spaCy pipelines",
    "demo": "the page of `retrieveall demo`",
    "serve": "the server of `retrieveall serve`",
    "vllm": "decoding on a vLLM server",
    "ray": "`annotate --engine ray`",
}
"""What each extra is for."""


@plain_errors
def doctor() -> None:
    """Show versions, devices and caches, and which packages are missing for which feature.

    Example: `retrieveall doctor`
    """
    rows = table("", "", show_header=False)
    for name, value in (*_versions(), *_devices(), *_caches(), *_missing()):
        rows.add_row(name, escaped(value))
    standard_output().print(rows)


def _versions() -> Iterator[tuple[str, str]]:
    yield PACKAGE, __version__
    yield "python", f"{platform.python_version()} ({platform.platform()})"
    for requirement, _ in requirements():
        if installed := _installed(requirement.name):
            required = "" if installed in requirement.specifier else f" (needs {requirement.specifier})"
            yield requirement.name, installed + required


def _devices() -> Iterator[tuple[str, str]]:
    try:
        import torch

        from ..model.base_llm import native_dtype
    except ImportError as error:
        yield "devices", f"unknown, because torch or transformers cannot be imported: {error}"
        return
    yield "CPU", f"{os.cpu_count()} cores, computes in {str(native_dtype('cpu')).removeprefix('torch.')}"
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        yield f"cuda:{number}", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    if not torch.cuda.device_count():
        yield "GPU", "torch finds none"


def _caches() -> Iterator[tuple[str, str]]:
    from huggingface_hub import constants

    from ..model.embedded_llm import embedded_path

    prepared = embedded_path()
    yield "embedded LLM", str(prepared) if prepared.is_dir() else "not prepared yet; `retrieveall base` prepares it"
    offline = ", offline (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else ""
    yield "Hub", f"{constants.ENDPOINT}{offline}; cache {_folder(Path(constants.HF_HUB_CACHE))}"


def _folder(path: Path) -> str:
    return f"{path}" if path.is_dir() else f"{path} (empty)"


def _missing() -> Iterator[tuple[str, str]]:
    """One row for each extra that lacks a package."""
    missing: dict[str, list[str]] = {}
    for requirement, extra in requirements():
        if not _installed(requirement.name):
            missing.setdefault(extra, []).append(requirement.name)
    for extra, names in missing.items():
        package = f"{PACKAGE}[{extra}]" if extra else PACKAGE
        purpose = f" for {_PURPOSES[extra]}" if extra in _PURPOSES else ""
        yield "missing", f'{", ".join(names)}{purpose}: pip install "{package}"'


def _installed(name: str) -> str | None:
    """The installed version of a package, or ``None``."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None
