"""``retrieveall doctor``: what is here, and what is missing.

$ retrieveall doctor
retrieveall      0.1.0
torch            2.13.0+cpu
...
missing          spacy for spaCy pipelines: pip install "retrieveall[spacy]"
"""

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from .console import console, escaped, plain_errors, table

_PACKAGE = "retrieveall"
_FOR_DEVELOPERS = ("dev", "bench")
_SERVES = {
    "embedded": "the embedded LLM",
    "train": "training and evaluation",
    "quantization": "a base in 4 or 8 bit",
    "spacy": "spaCy pipelines",
    "demo": "the page of `retrieveall demo`",
    "vllm": "serving by vLLM",
    "ray": "`annotate --engine ray`",
}
"""What the packages of each extra are for."""


@plain_errors
def doctor() -> None:
    """Show versions, devices and caches, and what is missing for which feature.

    Example: `retrieveall doctor`
    """
    rows = table("", "", show_header=False)
    for name, value in (*_versions(), *_devices(), *_caches(), *_missing()):
        rows.add_row(name, escaped(value))
    console().print(rows)


def _versions() -> Iterator[tuple[str, str]]:
    yield _PACKAGE, version(_PACKAGE)
    yield "python", f"{platform.python_version()} ({platform.platform()})"
    for requirement, extra in _requirements():
        installed = _installed(requirement.name)
        if installed and extra not in _FOR_DEVELOPERS:
            wanted = "" if installed in requirement.specifier else f" (needs {requirement.specifier})"
            yield requirement.name, installed + wanted


def _devices() -> Iterator[tuple[str, str]]:
    try:
        import torch

        from ..model.base_llm import native_dtype
    except ImportError as error:
        yield "devices", f"unknown, as torch or transformers cannot be imported: {error}"
        return
    yield "CPU", f"{os.cpu_count()} cores, computes in {str(native_dtype('cpu')).removeprefix('torch.')}"
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        yield f"cuda:{number}", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    if not torch.cuda.device_count():
        yield "GPU", "none that torch sees"


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
    """A line for each extra of which a package is missing."""
    lacking: dict[str, list[str]] = {}
    for requirement, extra in _requirements():
        if not _installed(requirement.name) and extra not in _FOR_DEVELOPERS:
            lacking.setdefault(extra, []).append(requirement.name)
    for extra, names in lacking.items():
        package = f"{_PACKAGE}[{extra}]" if extra else _PACKAGE
        purpose = f" for {_SERVES[extra]}" if extra in _SERVES else ""
        yield "missing", f'{", ".join(names)}{purpose}: pip install "{package}"'


def _requirements() -> Iterator[tuple[Requirement, str]]:
    """What the package asks for, with the extra that asks; none for what it cannot do without."""
    for line in requires(_PACKAGE) or ():
        requirement = Requirement(line)
        extra = str(requirement.marker).partition('extra == "')[2].partition('"')[0] if requirement.marker else ""
        if requirement.name != _PACKAGE:
            yield requirement, extra


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
