"""``retrieveall demo``: a web page on which a model can be tried."""

from typing import Annotated

import typer

from ..model.errors import InputError
from .console import plain_errors
from .options import Add, Base, Device, Dtype, Model, Quantization, Revision, load


@plain_errors
def demo(
    model: Model = "shipped",
    revision: Revision = None,
    add: Add = None,
    base: Base = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; with 0.0.0.0 other machines of the network can open the page.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port to listen on. Default: the first free port from 7860.")] = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    quantization: Quantization = None,
) -> None:
    """Serve a web page that shows the entities of the text you type. Ctrl-C stops it.

    Example: `retrieveall demo --port 8000`
    """
    from ..integrations.gradio_page import page

    loaded = load(model, revision, base, add or [], dtype, device, quantization)
    try:
        page(loaded).launch(server_name=host, server_port=port, share=False)
    except ValueError as error:  # how Gradio reports an address that it cannot listen on
        raise InputError(f"The page cannot be served at {host}: {error}") from error
