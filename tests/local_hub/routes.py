"""The ASGI application of the Hub.

>>> app = application(store, Collections(store), tokens={"hf_ann": "ann"})
>>> TestClient(app).get("/api/whoami-v2", headers={"Authorization": "Bearer hf_ann"}).json()["name"]
'ann'
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import collection_routes, file_routes, repository_routes
from .access import error_response, known_user
from .cards import errors_and_warnings
from .collections import Collections
from .store import Rejection, Store


async def whoami(request: Request) -> Response:
    return JSONResponse({"type": "user", "name": known_user(request), "orgs": []})


async def validate_yaml(request: Request) -> Response:
    body = await request.json()
    errors, warnings = errors_and_warnings(body["content"])
    answer = {
        "errors": [{"message": message} for message in errors],
        "warnings": [{"message": message} for message in warnings],
    }
    return JSONResponse(answer, 400 if errors else 200)


def _unknown(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"The local Hub does not serve {request.method} {request.url.path}"}, 404)


def application(store: Store, collections: Collections, tokens: dict[str, str]) -> Starlette:
    """Makes the application. ``tokens`` maps each access token to its user."""
    own = [Route("/api/whoami-v2", whoami), Route("/api/validate-yaml", validate_yaml, methods=["POST"])]
    app = Starlette(
        routes=[*own, *collection_routes.ROUTES, *repository_routes.ROUTES, *file_routes.ROUTES],
        exception_handlers={Rejection: error_response, 404: _unknown},
    )
    app.state.store, app.state.collections, app.state.tokens = store, collections, tokens
    return app
