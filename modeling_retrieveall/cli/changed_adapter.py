"""Finding the adapter that a command changes, and writing the changed one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..model.errors import InputError
from .console import quiet_libraries

if TYPE_CHECKING:
    from ..model.language_adapter import LanguageAdapter

Output = Annotated[
    Path | None, typer.Option(help="Write the changed adapter to this folder. By default the folder of the adapter is changed.")
]


def stored_adapter(model: str, revision: str | None, language: str) -> "LanguageAdapter":
    """The adapter of a language, which is read without the base LLM.

    Args:
        model: The value of ``--model``.
        revision: The value of ``--revision``.
        language: The language.

    Raises:
        InputError: The model does not have the language.
    """
    from ..model.language_adapter import LanguageAdapter
    from ..model.manifest import matching_code
    from ..model.model_source import resolve_model

    quiet_libraries()
    adapters = resolve_model(model, revision=revision).adapters
    code = matching_code(language, adapters)
    if code not in adapters:
        raise InputError(f"No adapter for language {language!r}. There are: {', '.join(sorted(adapters))}.")
    return LanguageAdapter.load(adapters[code])


def check_can_be_written(adapter: "LanguageAdapter", model: str, output: Path | None) -> None:
    """Checks before any work is done that a changed adapter can be written.

    Args:
        adapter: The adapter.
        model: The value of ``--model``.
        output: The value of ``--output``.

    Raises:
        InputError: The adapter is inside of the package or on the Hub, and there is no ``--output``.
        FileExistsError: There is something at ``--output``.
        OSError: The folder cannot be written.
    """
    from ..model.atomic import check_writable
    from ..model.model_source import SHIPPED

    if output is None and (model == SHIPPED or adapter.snapshot):
        raise InputError(
            f"The adapter of {adapter.language!r} is not in a folder of yours. "
            "Give --output with a folder for the changed adapter."
        )
    if output and output.exists():
        raise FileExistsError(f"{output} exists already. To change an adapter there, give --model {output} without --output.")
    check_writable(output or adapter.path)


def write_changed(adapter: "LanguageAdapter", output: Path | None) -> Path:
    """Writes a changed adapter to its own folder or to ``--output``; returns the folder.

    The card is written again, unless it was edited by hand.
    """
    from ..hub.cards import edited_card, write_card
    from ..model.language_adapter import LanguageAdapter

    target = (output or adapter.path).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    adapter.copy_to(target.parent, target.name)
    if edited_card(target) is None:
        write_card(LanguageAdapter.load(target))
    return target
