"""Redirects from old names of repositories to new ones, such as from ``gpt2`` to ``openai-community/gpt2``.

>>> renamed = Renamed(app)
>>> renamed.names["gpt2"] = "ann/gpt2"
"""

import re

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Renamed:
    """ASGI middleware.

    Attributes:
        names: Old name to new one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.names: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for old, new in self.names.items():
            if found := re.fullmatch(rf"(/api/models)?/{re.escape(old)}(/.*)?", scope["path"]):
                query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
                await RedirectResponse(f"{found[1] or ''}/{new}{found[2] or ''}{query}")(scope, receive, send)
                return
        await self.app(scope, receive, send)
