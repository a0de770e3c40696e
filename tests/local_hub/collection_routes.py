"""The routes of collections.

>>> TestClient(app).get("/api/collections?owner=ann").json()
[{'slug': 'ann/ner-adapters-64f9a55bb3115b4f513ec026', ...}]
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .access import known_user, require_owner, user_of
from .collections import Collection, Collections


def _collections(request: Request) -> Collections:
    collections: Collections = request.app.state.collections
    return collections


def _slug(request: Request) -> str:
    return f"{request.path_params['owner']}/{request.path_params['slug']}"


def _own(request: Request) -> Collection:
    return _collections(request).own(_slug(request), known_user(request))


def _described(request: Request, collection: Collection) -> Response:
    return JSONResponse(_collections(request).described(collection, user_of(request)))


async def create(request: Request) -> Response:
    body = await request.json()
    require_owner(request, body["namespace"])
    if same := _collections(request).titled(body["namespace"], body["title"]):
        # With `exists_ok` the client uses this slug.
        return JSONResponse({"error": "Collection with this title already exists", "slug": same.slug}, 409)
    return _described(
        request,
        _collections(request).create(body["namespace"], body["title"], body.get("description"), body["private"]),
    )


async def listing(request: Request) -> Response:
    collections, user, query = _collections(request), user_of(request), request.query_params
    found = collections.listed(query.getlist("owner"), query.getlist("item"), user)
    return JSONResponse([collections.summarised(collection, user) for collection in found])


async def show(request: Request) -> Response:
    return _described(request, _collections(request).find(_slug(request), user_of(request)))


async def delete(request: Request) -> Response:
    _collections(request).delete(_own(request))
    return JSONResponse({"success": True})


async def add_item(request: Request) -> Response:
    body = await request.json()
    collection = _own(request)
    item = body["item"]
    _collections(request).add(collection, item["type"], item["id"], body.get("note"), user_of(request))
    return _described(request, collection)


async def update_item(request: Request) -> Response:
    body = await request.json()
    _own(request).update(request.path_params["item"], body.get("note"), body.get("position"))
    return JSONResponse({"success": True})


async def delete_item(request: Request) -> Response:
    _own(request).remove(request.path_params["item"])
    return JSONResponse({"success": True})


ROUTES = [
    Route("/api/collections", listing),
    Route("/api/collections", create, methods=["POST"]),
    Route("/api/collections/{owner}/{slug}", show),
    Route("/api/collections/{owner}/{slug}", delete, methods=["DELETE"]),
    Route("/api/collections/{owner}/{slug}/items", add_item, methods=["POST"]),
    Route("/api/collections/{owner}/{slug}/items/{item}", update_item, methods=["PATCH"]),
    Route("/api/collections/{owner}/{slug}/items/{item}", delete_item, methods=["DELETE"]),
]
