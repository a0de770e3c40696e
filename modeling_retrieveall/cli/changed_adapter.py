"""Writing an adapter that a command has changed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..model.errors import InputError

if TYPE_CHECKING:
    from ..model.language_adapter import LanguageAdapter
    from ..model.modeling_retrieveall import RetrieveAllModel

Output = Annotated[
    Path | None, typer.Option(help="Write the changed adapter to this folder. By default the folder of the adapter is changed.")
]


def adapter_of(loaded: "RetrieveAllModel", language: str) -> "LanguageAdapter":
    """The adapter of a language.

    Raises:
        InputError: The model does not have the language.
    """
    return loaded._registry.adapter(language)


def check_can_be_written(loaded: "RetrieveAllModel", language: str, model: str, output: Path | None) -> None:
    """Checks before any work is done that an adapter can be changed.

    Args:
        loaded: The model.
        language: The language of the adapter.
        model: The value of ``--model``.
        output: The value of ``--output``.

    Raises:
        InputError: The adapter is inside of the package or on the Hub, and there is no ``--output``.
        FileExistsError: There is something at ``--output``.
        OSError: The folder cannot be written.
    """
    from ..model.atomic import check_writable
    from ..model.model_source import SHIPPED

    adapter = adapter_of(loaded, language)
    if output is None and (model == SHIPPED or adapter.snapshot):
        raise InputError(
            f"The adapter of {language!r} is not in a folder of yours. Give --output with a folder for the changed adapter."
        )
    if output and output.exists():
        raise FileExistsError(f"{output} exists already. To change an adapter there, give --model {output} without --output.")
    check_writable(output or adapter.path)


def write_changed(loaded: "RetrieveAllModel", language: str, output: Path | None) -> Path:
    """Writes a changed adapter to its own folder or to ``--output``; returns the folder."""
    from ..hub.cards import write_card
    from ..model.language_adapter import LanguageAdapter

    adapter = adapter_of(loaded, language)
    target = (output or adapter.path).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    adapter.copy_to(target.parent, target.name)
    write_card(LanguageAdapter.load(target))
    return target
