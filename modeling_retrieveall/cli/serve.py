"""``retrieveall serve``: an HTTP server with a model."""

from typing import Annotated

import typer

from ..serving.server_limits import ServerLimits
from .console import plain_errors
from .options import Add, Base, Device, Dtype, Model, Quantization, Revision, load


@plain_errors
def serve(
    model: Model = "shipped",
    revision: Revision = None,
    add: Add = None,
    base: Base = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; with 0.0.0.0 other machines of the network can send requests.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 chooses a free one.")] = 8000,
    api_key: Annotated[
        str | None, typer.Option(envvar="RETRIEVEALL_API_KEY", help="Key that clients must send. Default: no key is required.")
    ] = None,
    max_body_bytes: Annotated[int, typer.Option(min=1, help="Maximum size of a request.")] = ServerLimits.body_bytes,
    max_texts: Annotated[int, typer.Option(min=1, help="Maximum number of texts in a request.")] = ServerLimits.texts,
    max_queued_texts: Annotated[int, typer.Option(min=1, help="Maximum number of texts that wait.")] = ServerLimits.queued_texts,
    max_wait: Annotated[float, typer.Option(min=0, help="Maximum time of a request in seconds.")] = ServerLimits.wait_seconds,
    dtype: Dtype = "auto",
    device: Device = "auto",
    quantization: Quantization = None,
) -> None:
    """Serve a model over HTTP. On Ctrl-C or SIGTERM, the server answers the requests that it has accepted, and stops.

    Example: `retrieveall serve --port 8000`
    """
    import uvicorn

    from ..serving.http_server import GracefulServer, create_app

    limits = ServerLimits(body_bytes=max_body_bytes, texts=max_texts, queued_texts=max_queued_texts, wait_seconds=max_wait)
    app = create_app(load(model, revision, base, add or [], dtype, device, quantization), limits, api_key)
    GracefulServer(uvicorn.Config(app, host=host, port=port, timeout_graceful_shutdown=round(max_wait) + 1)).run()
