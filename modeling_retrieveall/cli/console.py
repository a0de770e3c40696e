"""What all commands share: plain errors instead of tracebacks, tables that keep names whole, and quiet libraries."""

import logging
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..data.text_files import write_utf8
from ..model.errors import RetrieveAllError

_errors = Console(stderr=True)
_EXTRAS = {"ray": "ray", "gradio": "demo", "bitsandbytes": "quantization", "gguf": "embedded"}
_EXTRAS |= {"openai": "vllm"}
_EXTRAS |= dict.fromkeys(("peft", "datasets", "seqeval", "matplotlib"), "train")


@dataclass
class Asked:
    """What was asked for before the command, as in ``retrieveall --quiet extract ...``.

    Attributes:
        quiet: No progress bars and no warnings.
        debug: The traceback of an error.
    """

    quiet: bool = False
    debug: bool = False


asked = Asked()


class App(typer.Typer):
    """The command line, in UTF-8 wherever it is redirected to."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """Runs the command that the process was given."""
        write_utf8()
        return super().__call__(*arguments, **settings)


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Reports what a user can fix as one message with exit code 2, and Ctrl-C with 130; other exceptions keep their traceback.

    A user can fix the errors of :mod:`~modeling_retrieveall.model.errors`, those of the operating system, a full memory,
    and a missing package of an extra. Any other exception is a fault of the program, and its traceback belongs into a report.
    """

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            quiet_libraries()
            command(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            _errors.print(f"Interrupted. {interrupt}".strip())
            raise typer.Exit(130) from None
        except (RetrieveAllError, OSError, ModuleNotFoundError, MemoryError) as error:
            if isinstance(error, ModuleNotFoundError) and not _installation(error):
                raise
            if asked.debug:
                traceback.print_exception(error)
            _errors.print(f"[bold red]Error:[/] {escaped(str(error) + _installation(error))}", soft_wrap=True, highlight=False)
            raise typer.Exit(2) from error

    return wrapped


def _installation(error: Exception) -> str:
    """How to get the package that is missing, if that is the error and the package one of ours."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return f'. Install with: pip install "retrieveall[{_EXTRAS[name]}]"' if name in _EXTRAS else ""


def show_progress() -> None:
    """Shows the bars of what follows, unless ``--quiet`` was given."""
    from transformers.utils import logging as transformers_logging

    if not asked.quiet:
        transformers_logging.enable_progress_bar()


def table(*columns: str, **options: Any) -> Table:
    """A table whose cells are folded, never cut: what stands in them is there to be copied."""
    result = Table(**options)
    for column in columns:
        result.add_column(column, overflow="fold")
    return result


def console() -> Console:
    """Standard output; as wide as it takes when nobody looks at it through a window."""
    wide = Console(highlight=False, emoji=False)
    return wide if wide.is_terminal else Console(highlight=False, emoji=False, width=240)


def escaped(text: str) -> str:
    """A text that a terminal can show and Rich takes literally."""
    return escape(text.encode("utf-8", "replace").decode("utf-8"))


def quiet_libraries() -> None:
    """Keeps the libraries' own bars and hints out of a user's terminal."""
    from transformers.utils import logging as transformers_logging

    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.showwarning = _show_warning
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for name in ("bitsandbytes", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    if not asked.quiet:
        _errors.print(f"[yellow]Warning:[/] {escaped(str(message))}", soft_wrap=True, highlight=False)
