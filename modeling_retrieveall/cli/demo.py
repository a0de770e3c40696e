"""The command that serves a page to try a model on: ``retrieveall demo``."""

from typing import Annotated

import typer

from ..model.errors import InputError
from .console import plain_errors
from .model_options import Add, Base, Device, Dtype, Model, Quantize, Revision, load


@plain_errors
def demo(
    model: Model = "shipped",
    revision: Revision = None,
    add: Add = None,
    base: Base = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is seen by the whole network.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port to listen at; the first free one from 7860 on when not given.")] = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    quantize: Quantize = None,
) -> None:
    """Serve a page on which texts are typed and their entities shown; Ctrl-C ends it.

    Example: `retrieveall demo --port 8000`
    """
    from ..integrations.gradio_page import page

    loaded = load(model, revision, base, add or [], dtype, device, quantize)
    try:
        page(loaded).launch(server_name=host, server_port=port, share=False)
    except ValueError as error:  # Gradio's word for an address that it cannot open
        raise InputError(f"The page cannot be served at {host}: {error}") from error
