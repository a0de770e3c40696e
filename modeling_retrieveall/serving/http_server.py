"""An HTTP server for a model: ``POST /extract``, with limits, an API key, metrics and a page that documents the API.

>>> uvicorn.run(create_app(RetrieveAllModel.from_pretrained("shipped")), port=8000)

    curl localhost:8000/extract -H "Content-Type: application/json" -d '{"text": "Angela Merkel besuchte Nairobi."}'

| path           |                                                                                       |
| -------------- | ------------------------------------------------------------------------------------- |
| POST /extract  | the entities of texts                                                                 |
| GET /health    | status 200 and the languages as soon as the server is ready                           |
| GET /metrics   | Prometheus metrics                                                                    |
| GET /docs      | the documentation of the API (OpenAPI)                                                |

Errors have a ``detail`` that says what was wrong: 400 for a value that cannot be used, 401 for a wrong API key, 408 for a client
that sends too slowly, 413 for too much data, 422 for a body of another form, 429 if too many texts are waiting, 500 if the server
fails, and 503 if it cannot answer now: a request has waited too long, a text does not fit into memory, or the Hub or the vLLM
server of the model is not available.
"""

import asyncio
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from ..model.errors import InputError, InputTypeError, RetrieveAllError, ServerError
from ..model.extractor import UnknownLanguageError
from ..model.hub_files import HubUnreachableError
from ..model.modeling_retrieveall import RetrieveAllModel
from ..model.request import Request as ExtractRequest
from .request_batcher import QueueFullError, RequestBatcher
from .server_limits import ServerLimits

_GRACE_SECONDS = 0.5
_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)


class ExtractBody(BaseModel):
    """The body of ``POST /extract``."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = Field(None, description="One text.")
    texts: list[str] | None = Field(None, description="Several texts, instead of `text`.")
    language: str | list[str] | None = Field(None, description="The language of all texts or of each text. Default: detected.")
    labels: list[str] | None = Field(None, description="The entity types to return. Default: all.")
    threshold: float | dict[str, float] = Field(0.0, description="Minimum score, for all entity types or by type.")
    consistent_labels: bool = Field(False, description="Whether a name gets the same type everywhere in a text.")

    @model_validator(mode="after")
    def _has_texts(self) -> "ExtractBody":
        if (self.text is None) == (self.texts is None):
            raise InputError("give either text or texts")
        return self

    def all_texts(self) -> list[str]:
        """The texts, as a list."""
        return [self.text] if self.text is not None else self.texts or []


class _EntityResult(BaseModel):
    text: str
    label: str
    start: int = Field(description="Offset of the first character, in code points.")
    end: int = Field(description="Offset after the last character.")
    score: float


class _TextResult(BaseModel):
    text: str
    language: str
    known: bool = Field(description="Whether the text seems to be in one of the model's languages.")
    entities: list[_EntityResult]


class ExtractResults(BaseModel):
    """The response of ``POST /extract``: one result for each text, in order."""

    results: list[_TextResult]


class _AsciiResponse(JSONResponse):
    """JSON in ASCII: a text may hold half of a surrogate pair, which has no encoding in UTF-8 but can be escaped."""

    def render(self, content: Any) -> bytes:
        """The body of the response."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


class _Metrics:
    def __init__(self, batcher: RequestBatcher) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("retrieveall_requests", "Requests to /extract by status", ["status"], registry=self.registry)
        self.texts = Counter("retrieveall_texts", "Texts whose entities were extracted", registry=self.registry)
        self.seconds = Histogram("retrieveall_seconds", "Time of requests", buckets=_SECONDS, registry=self.registry)
        queued = Gauge("retrieveall_queued_texts", "Texts that wait", registry=self.registry)
        queued.set_function(lambda: batcher.queued_texts)


def create_app(model: RetrieveAllModel, limits: ServerLimits | None = None, api_key: str | None = None) -> FastAPI:
    """Makes the ASGI application of a model.

    Args:
        model: The model.
        limits: What is accepted.
        api_key: If given, ``/extract`` and ``/metrics`` need the header ``Authorization: Bearer <api_key>``.

    Raises:
        InputError: The API key is empty.
    """
    if api_key is not None and not api_key.strip():
        raise InputError("`api_key` is empty. Give a key, or leave it out to serve without one.")
    limits = limits or ServerLimits()
    batcher = RequestBatcher(model, max_queued_texts=limits.queued_texts)
    metrics = _Metrics(batcher)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with batcher:
            yield

    app = FastAPI(
        title="RetrieveAll",
        version=__version__,
        description="Named entities of texts.",
        lifespan=lifespan,
        default_response_class=_AsciiResponse,
    )
    app.add_middleware(_BodyLimit, limits=limits)
    app.add_middleware(_Measurement, metrics=metrics)
    _handle_errors(app)
    protected = [] if api_key is None else [Depends(_key_check(api_key))]

    @app.post("/extract", dependencies=protected, response_model=ExtractResults)
    async def extract(body: ExtractBody) -> Any:
        """Extracts the named entities of texts."""
        texts = body.all_texts()
        if len(texts) > limits.texts:
            raise HTTPException(413, f"The request has {len(texts):,} texts; at most {limits.texts:,} are accepted.")
        request = ExtractRequest(**body.model_dump(exclude={"text", "texts"}))
        try:
            results = await asyncio.wait_for(batcher.extract(texts, request), limits.wait_seconds)
        except TimeoutError:
            raise HTTPException(503, f"The request was not finished after {limits.wait_seconds:g} seconds. Try again.") from None
        except MemoryError as error:
            raise HTTPException(503, str(error)) from error
        metrics.texts.inc(len(texts))
        return {"results": [result.to_dict() for result in results]}

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the server is ready."""
        return {"status": "ok", "languages": sorted(model.languages)}

    @app.get("/metrics", dependencies=protected, include_in_schema=False)
    async def prometheus() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app


def _handle_errors(app: FastAPI) -> None:
    """Gives each error its status, and a ``detail`` that says what was wrong."""

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        # The input is left out, because it may hold numbers that JSON does not have.
        problems = [{name: each[name] for name in ("type", "loc", "msg")} for each in error.errors()]
        return _AsciiResponse({"detail": jsonable_encoder(problems)}, 422)

    @app.exception_handler(InputError)
    @app.exception_handler(InputTypeError)
    @app.exception_handler(UnknownLanguageError)
    async def invalid(request: Request, error: RetrieveAllError) -> Response:
        return _AsciiResponse({"detail": str(error)}, 400)

    @app.exception_handler(QueueFullError)
    async def full(request: Request, error: QueueFullError) -> Response:
        return _AsciiResponse({"detail": f"{error} Try again later."}, 429, {"Retry-After": "1"})

    @app.exception_handler(HubUnreachableError)
    @app.exception_handler(ServerError)
    async def unavailable(request: Request, error: RetrieveAllError) -> Response:
        return _AsciiResponse({"detail": str(error)}, 503)

    # Starlette raises these errors again after the response, so that uvicorn logs them. uvicorn then closes the connection.
    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        reason = f": {error}" if isinstance(error, RetrieveAllError) else ". Its log says why."
        return _AsciiResponse({"detail": f"The server failed{reason}"}, 500, {"Connection": "close"})


class GracefulServer(uvicorn.Server):
    """A server that answers all requests that have reached it before it stops.

    uvicorn closes connections without a request at once, also those whose request has arrived but was not read yet.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops accepting connections, reads what has arrived, and waits for the responses."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(_GRACE_SECONDS)
        await super().shutdown(sockets)


def _key_check(api_key: str) -> Callable[..., None]:
    """A dependency that accepts requests with the API key only."""
    bearer = HTTPBearer(auto_error=False)

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        if given is None or not secrets.compare_digest(given.credentials.encode(), api_key.encode()):
            raise HTTPException(401, "Give the API key: Authorization: Bearer <key>.", {"WWW-Authenticate": "Bearer"})

    return check


class _Measurement:
    """ASGI middleware that counts and times the requests to ``/extract``. One without a response is not counted."""

    def __init__(self, app: ASGIApp, metrics: _Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/extract":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception:
            status = status or 500  # the response is sent outside of all middleware
            raise
        finally:
            if status:
                self._metrics.requests.labels(status).inc()
                self._metrics.seconds.observe(time.perf_counter() - began)


class _BodyLimit:
    """ASGI middleware that refuses bodies that are too large or arrive too slowly, before they are in memory."""

    def __init__(self, app: ASGIApp, limits: ServerLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(receive)
        except HTTPException as error:
            await JSONResponse({"detail": error.detail}, error.status_code, {"Connection": "close"})(scope, receive, send)
            return
        if body is None:  # the client has disconnected
            return
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> Message:
            return next(messages, None) or await receive()

        await self._app(scope, replay, send)

    async def _body(self, receive: Receive) -> bytes | None:
        body = b""
        while True:
            try:
                message = await asyncio.wait_for(receive(), self._limits.read_seconds)
            except TimeoutError:
                raise HTTPException(408, f"The request did not arrive within {self._limits.read_seconds:g} seconds.") from None
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._limits.body_bytes:
                raise HTTPException(413, f"The request is larger than {self._limits.body_bytes:,} bytes.")
            if not message.get("more_body"):
                return bytes(body)
