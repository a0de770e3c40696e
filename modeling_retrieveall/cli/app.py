"""Registers the commands of ``retrieveall`` and the options that precede a command.

The modules of the commands import torch, transformers and other slow packages inside of their functions, so that help,
version and wrong flags are answered at once.
"""

from typing import Annotated, Any

import typer

from .. import __version__
from ..data.text_files import use_utf8_output
from .annotate import annotate
from .base import base
from .calibrate import calibrate
from .collection import collection_app
from .console import global_options
from .convert import convert
from .demo import demo
from .doctor import doctor
from .evaluate import evaluate
from .examples import examples_app
from .export import export_app
from .extract import extract
from .pull import pull
from .push import push
from .serve import serve
from .train import train


class App(typer.Typer):
    """The command line, which writes UTF-8 to files and pipes."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the command that the arguments of the process name."""
        use_utf8_output()
        return super().__call__(*args, **kwargs)


app = App(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"retrieveall {__version__}")
        raise typer.Exit


@app.callback()
def options(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bars and no warnings.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Named entity recognition in many languages: one frozen LLM, a LoRA adapter and an index of examples per language."""
    global_options.quiet, global_options.debug = quiet, debug


app.command()(extract)
# The training has a parser of its own, which gets all arguments of the command.
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})(train)
app.command()(evaluate)
app.command()(calibrate)
app.command()(base)
app.command()(annotate)
app.command()(convert)
app.command()(serve)
app.command()(demo)
app.command()(doctor)
app.command()(push)
app.command()(pull)
app.add_typer(examples_app, name="examples")
app.add_typer(collection_app, name="collection")
app.add_typer(export_app, name="export")

if __name__ == "__main__":
    app()
