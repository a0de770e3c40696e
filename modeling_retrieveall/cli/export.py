"""``retrieveall export vllm``: write what another server needs to decode with the adapters."""

from pathlib import Path
from typing import Annotated

import typer

from .console import plain_errors
from .input_texts import input_texts
from .options import Add, Base, Language, Model, Revision, load

export_app = typer.Typer(help="Export adapters to other servers.", no_args_is_help=True, rich_markup_mode="markdown")


@export_app.callback()
def _keep_subcommand() -> None:
    """Without a callback, typer drops the name of an only subcommand."""


@export_app.command()
@plain_errors
def vllm(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write; created if missing.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts. One request is written for each of their sentences.")] = None,
    file: Annotated[Path | None, typer.Option(help="Read one text per line from this file.")] = None,
    model: Model = "shipped",
    revision: Revision = None,
    add: Add = None,
    base: Base = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export in OUT.")] = False,
    language: Language = None,
) -> None:
    """Write what vLLM needs to decode with the adapters: `serve.sh`, the adapters, and one request per sentence of the texts.

    Example: `retrieveall export vllm served "Angela Merkel besuchte Nairobi."`
    """
    from ..serving.vllm_export import export

    listed = list(input_texts(texts, file)) if texts or file else []
    loaded = load(model, revision, base, add or [], dtype="auto", device="auto", quantization=None)
    done = export(loaded, folder, listed, language, overwrite)
    typer.echo(f"{done.adapters} adapters and {done.requests} requests in {folder}. Start the server: {folder}/serve.sh")
