"""The commands that hand a model to other servers: ``retrieveall export vllm``."""

from pathlib import Path
from typing import Annotated

import typer

from .console import plain_errors
from .input_texts import input_texts
from .model_options import Add, Base, Model, Revision, load

export_app = typer.Typer(help="Hand adapters to other servers.", no_args_is_help=True, rich_markup_mode="markdown")


@export_app.callback()
def _commands() -> None:
    """Keeps the name of the one command there is."""


@export_app.command()
@plain_errors
def vllm(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write; made if missing.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to write requests for.")] = None,
    file: Annotated[Path | None, typer.Option(help="Take a text from each line of this file.")] = None,
    model: Model = "shipped",
    revision: Revision = None,
    add: Add = None,
    base: Base = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier export has left there.")] = False,
    language: Annotated[str | None, typer.Option(help="Language of all texts, instead of routing.")] = None,
) -> None:
    """Write what vLLM needs to serve the adapters: `serve.sh`, the adapters, and a request for each sentence of the texts.

    Example: `retrieveall export vllm served "Angela Merkel besuchte Nairobi."`
    """
    from ..serving.vllm_export import export

    listed = list(input_texts(texts, file)) if texts or file else []
    loaded = load(model, revision, base, add or [], dtype="auto", device="auto", quantize=None)
    done = export(loaded, folder, listed, language, overwrite)
    typer.echo(f"{done.adapters} adapters and {done.requests} requests in {folder}. Start the server: {folder}/serve.sh")
