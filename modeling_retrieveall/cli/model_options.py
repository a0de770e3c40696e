"""The model of a command: the options that name it, and loading it."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from ..model.errors import InputError
from .console import quiet_libraries, show_progress

if TYPE_CHECKING:
    from ..model.modeling_retrieveall import RetrieveAllModel  # takes seconds, which `--help` should not wait for

Model = Annotated[
    str, typer.Option(help="'shipped', a folder of `retrieveall train` or `save_pretrained`, or a Hub repository or collection.")
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit hash of the model's repository.")]
Add = Annotated[list[str] | None, typer.Option(help="Folder or repository of a further adapter; may be repeated.")]
Base = Annotated[str | None, typer.Option(help="Take the base LLM from here instead of where the model says.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16; auto is bfloat16 where hardware multiplies it.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...; auto is a GPU where there is one.")]
Quantize = Annotated[str | None, typer.Option(help="Load the base in `4bit` (NF4) or `8bit`, with bitsandbytes.")]


def load(
    model: str, revision: str | None, base_model: str | None, add: Iterable[str], dtype: str, device: str, quantize: str | None
) -> "RetrieveAllModel":
    """The model that a command's options ask for.

    Raises:
        InputError: An option is none of its values, or the device is not here.
    """
    import torch

    from ..model.base_llm import native_dtype, quantization
    from ..model.modeling_retrieveall import RetrieveAllModel

    quiet_libraries()  # again: a worker of Ray has not come by `plain_errors`
    if dtype not in ("auto", "float32", "bfloat16", "float16"):
        raise InputError(f"--dtype is {dtype!r}; give auto, float32, bfloat16 or float16.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not _is_here(device):
        raise InputError(f"--device is {device!r}, which is not here; give auto, cpu, cuda or cuda:1.")
    loaded = RetrieveAllModel.from_pretrained(
        model,
        revision=revision,
        base_model=base_model,
        dtype=native_dtype(device) if dtype == "auto" else getattr(torch, dtype),
        device_map={"": device},
        **quantization(quantize),
    )
    for source in add:
        loaded.add_language(source)
    show_progress()  # of what is extracted; those of loading are over
    return loaded


def _is_here(device: str) -> bool:
    """Whether torch can compute on a device, such as ``"cuda:1"``."""
    import torch

    match = re.fullmatch(r"(cpu|mps|cuda|xpu)(?::(\d+))?", device)
    if not match or match[1] == "cpu":
        return device == "cpu"
    backend = torch.mps if match[1] == "mps" else getattr(torch, match[1])
    return int(match[2] or 0) < int(backend.device_count())


def prior_weights(prior: str) -> dict[str, float]:
    """``"da=2,no"`` as ``{"da": 2.0, "no": 1.0}``.

    Raises:
        InputError: A weight is no number.
    """
    weights = {}
    for part in prior.split(","):
        language, _, weight = part.partition("=")
        try:
            weights[language.strip()] = float(weight or 1)
        except ValueError:
            raise InputError(f"--prior is {prior!r}; give languages with weights, as in --prior da=2,no=1.") from None
    return weights
