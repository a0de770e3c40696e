"""Output that all commands share: errors without tracebacks, tables that do not truncate, and quiet libraries."""

import logging
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import typer
from typer.main import get_command

from ..model.errors import RetrieveAllError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_WIDE = 240
_ARGUMENTS = {"base": "base_model"}
"""The Python arguments that have another name than the parameter of a command."""


@dataclass
class GlobalOptions:
    """The options that precede a command, as in ``retrieveall --quiet extract ...``.

    Attributes:
        quiet: Show no progress bars and no warnings.
        debug: Show the traceback of an error.
    """

    quiet: bool = False
    debug: bool = False


global_options = GlobalOptions()


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Reports errors that a user can fix as one message with exit code 2, and Ctrl-C with exit code 130.

    The message names options of the command instead of Python arguments.

    A user can fix the errors of :mod:`~modeling_retrieveall.model.errors`, those of the operating system, a lack of memory,
    and a missing package of an extra. All other exceptions are bugs and keep their traceback, which belongs in a bug report.
    """

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        _show_warnings_as_lines()
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            _print_error(f"Interrupted. {escaped(str(interrupt))}".strip())
            raise typer.Exit(_INTERRUPTED) from None
        except (RetrieveAllError, OSError, ModuleNotFoundError, MemoryError) as error:
            advice = _installation_advice(error)
            if isinstance(error, ModuleNotFoundError) and not advice:
                raise
            if global_options.debug:
                traceback.print_exception(error)
            from ..training.option_names import with_options

            message = with_options(str(error), _options_of(command)) + advice
            _print_error(f"[bold red]Error:[/] {escaped(message)}")
            raise typer.Exit(2) from error

    return wrapped


def _options_of(command: Callable[..., None]) -> dict[str, str]:
    """The option for each Python argument that a command has an option for: ``{"batch_size": "--batch-size", ...}``."""
    alone = typer.Typer(add_completion=False)
    alone.command()(command)
    options = [parameter for parameter in get_command(alone).params if parameter.param_type_name == "option"]
    return {_ARGUMENTS.get(option.name or "", option.name or ""): option.opts[0] for option in options}


def _installation_advice(error: Exception) -> str:
    """How to install the missing package, if the error is that a package of one of our extras is missing."""
    if not isinstance(error, ModuleNotFoundError):
        return ""
    from .extras import PACKAGE, extra_of

    extra = extra_of((error.name or "").partition(".")[0])
    return f'. Install with: pip install "{PACKAGE}[{extra}]"' if extra else ""


def show_progress() -> None:
    """Shows progress bars from now on, unless ``--quiet`` was given."""
    from transformers.utils import logging as transformers_logging

    if not global_options.quiet:
        transformers_logging.enable_progress_bar()


def quiet_libraries() -> None:
    """Hides the progress bars and hints of the libraries; a command calls this before it loads or trains a model."""
    from transformers.utils import logging as transformers_logging

    _show_warnings_as_lines()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for name in ("bitsandbytes", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)


def table(*columns: str, **options: Any) -> "Table":
    """A table that folds long cells instead of truncating them, so that names and paths can be copied."""
    from rich.table import Table

    result = Table(**options)
    for column in columns:
        result.add_column(column, overflow="fold")
    return result


def standard_output() -> "Console":
    """Standard output: as wide as the terminal, or wide enough for long lines in a file or pipe."""
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, emoji=False, width=_WIDE)


def escaped(text: str) -> str:
    """The text without lone surrogates, which terminals cannot show, and with the markup of Rich escaped."""
    from rich.markup import escape

    return escape(text.encode("utf-8", "replace").decode("utf-8"))


def _print_error(markup: str) -> None:
    from rich.console import Console

    Console(stderr=True).print(markup, soft_wrap=True, highlight=False)


def _show_warnings_as_lines() -> None:
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.showwarning = _show_warning


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    if not global_options.quiet:
        _print_error(f"[yellow]Warning:[/] {escaped(str(message))}")
