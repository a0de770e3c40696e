"""Options that several commands share, and loading the model that they specify."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from ..model.errors import InputError
from .console import quiet_libraries, show_progress

if TYPE_CHECKING:
    from ..model.modeling_retrieveall import RetrieveAllModel

Model = Annotated[
    str,
    typer.Option(
        help="`shipped`, a folder written by `retrieveall train` or `save_pretrained`, or a repository or collection on the Hub."
    ),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit hash of the model's repository.")]
Add = Annotated[list[str] | None, typer.Option(help="Folder or Hub repository of an adapter to add. Can be repeated.")]
Base = Annotated[str | None, typer.Option(help="Hub id or folder of a base LLM that replaces the one of the model.")]
Dtype = Annotated[
    str,
    typer.Option(help="auto, float32, bfloat16 or float16. auto is bfloat16 if the hardware computes it natively, else float32."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ... auto is the first GPU, or the CPU if there is none.")]
Quantization = Annotated[
    str | None,
    typer.Option(
        help="Load the base LLM in `4bit` (NF4) or `8bit` with bitsandbytes, or in `int8` on a CPU. int8 is faster on CPUs with "
        "AVX-512 VNNI or AVX2, and saves memory on all.",
    ),
]

Language = Annotated[str | None, typer.Option(help="Language of all texts, or `mul`. Without it, each sentence is routed.")]
Prior = Annotated[str | None, typer.Option(help="Route only among these languages, `da,nb`, optionally with weights, `da=2,nb`.")]
Labels = Annotated[str | None, typer.Option(help="Return only entities of these types, separated by commas, as in `PER,ORG`.")]
Threshold = Annotated[
    str, typer.Option(help="Leave out entities with a lower score: one number, or one for each type, as in `PER=0.5,ORG=0.8`.")
]

ConsistentLabels = Annotated[
    bool,
    typer.Option(
        "--consistent-labels",
        help="Give a name the same type everywhere in a text, unless its context clearly says otherwise. Needs tags.",
    ),
]

TokensColumn = Annotated[
    str | None,
    typer.Option(help="Column of the words or texts: its name, or its number in a CoNLL file. By default it is detected."),
]
TagsColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the tags or labelled mentions: its name, or its number in a CoNLL file. By default it is detected."
    ),
]
TagNames = Annotated[str | None, typer.Option(help="Names of the tags 0, 1, ..., such as `O,B-PER,I-PER`.")]
Private = Annotated[
    bool | None,
    typer.Option(
        "--private/--public",
        help="Visibility of a new repository or collection. With --private, an existing public repository is refused.",
    ),
]


def load(
    model: str,
    revision: str | None,
    base_model: str | None,
    add: Iterable[str],
    dtype: str,
    device: str,
    quantization: str | None,
) -> "RetrieveAllModel":
    """Loads the model that the options of a command specify.

    Raises:
        InputError: An option has an invalid value, or the device is not available.
    """
    from ..model.modeling_retrieveall import RetrieveAllModel

    quiet_libraries()
    loaded = RetrieveAllModel.from_pretrained(
        model, revision=revision, base_model=base_model, device=device, dtype=dtype, quantization=quantization
    )
    for source in add:
        loaded.add_language(source)
    show_progress()  # only now, because the bars of loading are noise
    return loaded


def parse_labels(labels: str | None) -> list[str] | None:
    """Parses the value of ``--labels``: ``"PER,ORG"`` as ``["PER", "ORG"]``."""
    return _parts(labels) if labels else None


def parse_threshold(threshold: str) -> float | dict[str, float]:
    """Parses the value of ``--threshold``: ``"0.5"`` as 0.5, and ``"PER=0.5,ORG=0.8"`` as ``{"PER": 0.5, "ORG": 0.8}``.

    Raises:
        InputError: A value is not a number.
    """
    try:
        if "=" not in threshold:
            return float(threshold)
        return {label.strip(): float(value) for label, _, value in (part.rpartition("=") for part in _parts(threshold))}
    except ValueError:
        raise InputError(
            f"--threshold is {threshold!r}; give a number, or numbers by type, as in --threshold PER=0.5,ORG=0.8."
        ) from None


def parse_prior(prior: str | None) -> dict[str, float] | None:
    """Parses the value of ``--prior``: ``"da=2,nb"`` as ``{"da": 2.0, "nb": 1.0}``.

    Raises:
        InputError: A weight is not a number.
    """
    if not prior:
        return None
    weights = {}
    for part in _parts(prior):
        language, _, weight = part.partition("=")
        try:
            weights[language.strip()] = float(weight or 1)
        except ValueError:
            raise InputError(f"--prior is {prior!r}; give languages with weights, as in --prior da=2,nb=1.") from None
    return weights


def _parts(value: str) -> list[str]:
    """The parts of a value between commas, without the spaces around them."""
    return [part.strip() for part in value.split(",")]
