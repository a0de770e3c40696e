"""Injects faults into responses of the Hub, and logs all requests.

>>> faults = Faults(app)
>>> faults.add("GET", r"/resolve/main/.*\\.safetensors$", "truncated", times=2)
>>> faults.calls[-1].status
206
"""

import asyncio
import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, cast

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Kind = Literal[401, 403, 404, 429, 500, 502, 503, "reset", "slow", "truncated", "corrupt"]
"""A status code, or: ``reset``: the connection is reset without a response; ``slow``: the response comes after ``DELAY`` seconds;
``truncated``: the connection is closed after half of the body; ``corrupt``: the last byte of the body is changed."""

DELAY = 0.5
RETRY_AFTER = 1


@dataclass
class Call:
    """One request. ``status`` is ``None`` if there was no response.

    >>> Call("GET", "/api/models/ann/ner-de", {"authorization": "Bearer hf_ann"})
    """

    method: str
    path: str
    headers: Mapping[str, str]
    status: int | None = None


@dataclass
class Fault:
    """A fault for the next ``left`` matching requests.

    >>> Fault("PUT", re.compile("/lfs/"), 500, left=1)
    """

    method: str
    path: re.Pattern[str]
    kind: Kind
    left: int


class Faults:
    """ASGI middleware. It must be the outermost, because it needs the ``send`` of the server.

    >>> faults = Faults(app)
    >>> faults.add("POST", "/commit/", 503)
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.calls: list[Call] = []
        self._waiting: list[Fault] = []

    def clear(self) -> None:
        self.calls.clear()
        self._waiting.clear()

    def add(self, method: str, path: str, kind: Kind, times: int = 1) -> None:
        self._waiting.append(Fault(method, re.compile(path), kind, times))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope["method"], scope["path"], Headers(scope=scope))
        self.calls.append(call)

        async def logged(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
            await send(message)

        match self._take(call):
            case None:
                await self.app(scope, receive, logged)
            case "reset":
                await _reset(receive, send)
            case "slow":
                await asyncio.sleep(DELAY)
                await self.app(scope, receive, logged)
            case "truncated":
                await self.app(scope, receive, _truncated(logged))
            case "corrupt":
                await self.app(scope, receive, _corrupt(logged))
            case status:
                headers = {"Retry-After": str(RETRY_AFTER)} if status == 429 else {}
                await JSONResponse({"error": HTTPStatus(status).phrase}, status, headers)(scope, receive, logged)

    def _take(self, call: Call) -> Kind | None:
        for fault in self._waiting:
            if fault.left and fault.method == call.method and fault.path.search(call.path):
                fault.left -= 1
                return fault.kind
        return None


async def _reset(receive: Receive, send: Send) -> None:
    # ASGI has no way to break a connection, but the `send` of uvicorn is a method of an object that holds it.
    transport: asyncio.Transport = cast(Any, send).__self__.transport
    # With a linger time of 0 the kernel sends RST instead of FIN, so the client sees a connection reset.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    # Without this loop uvicorn would report a missing response.
    while (await receive())["type"] != "http.disconnect":
        pass


def _truncated(send: Send) -> Send:
    cut = False

    async def half(message: Message) -> None:
        nonlocal cut
        if cut:
            return
        if message["type"] == "http.response.body":
            cut = True
            # uvicorn closes the connection, because the rest of the announced body does not follow.
            message = {**message, "body": message["body"][: len(message["body"]) // 2], "more_body": True}
        await send(message)

    return half


def _corrupt(send: Send) -> Send:
    async def flipped(message: Message) -> None:
        if body := message.get("body"):
            message = {**message, "body": body[:-1] + bytes([body[-1] ^ 1])}
        await send(message)

    return flipped
