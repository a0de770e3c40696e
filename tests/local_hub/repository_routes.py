"""The routes that create, change, delete and describe repositories.

>>> TestClient(app).get("/api/models/ann/ner-de/tree/main").json()
[{'type': 'file', 'path': 'README.md', ...}]
"""

from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import describe
from .access import API, known_user, repository_of, require_owner, user_of
from .store import Conflict, Repository, Store


def web_url(request: Request, repository: Repository) -> str:
    """The address of a repository's web page, from which the client builds further addresses."""
    prefix = "" if repository.kind == "model" else f"{repository.kind}s/"
    return f"{request.base_url}{prefix}{repository.id}"


async def create(request: Request) -> Response:
    body = await request.json()
    owner = body["organization"] or known_user(request)
    require_owner(request, owner)
    store: Store = request.app.state.store
    kind, id = body.get("type", "model"), f"{owner}/{body['name']}"
    try:
        repository = store.create(kind, id, private=body.get("visibility") == "private")
    except Conflict as conflict:
        # With `exist_ok` the client uses this URL.
        url = web_url(request, store.repositories[kind, id])
        return JSONResponse({"error": str(conflict), "url": url}, 409)
    return JSONResponse({"url": web_url(request, repository), "name": id})


async def delete(request: Request) -> Response:
    body = await request.json()
    store: Store = request.app.state.store
    kind, owner = body.get("type", "model"), body["organization"] or known_user(request)
    repository = store.find(kind, f"{owner}/{body['name']}", user_of(request))
    require_owner(request, repository.owner)
    del store.repositories[kind, repository.id]
    return JSONResponse({"success": True})


async def settings(request: Request) -> Response:
    body = await request.json()
    repository = repository_of(request)
    require_owner(request, repository.owner)
    if "visibility" in body:
        repository.private = body["visibility"] == "private"
    repository.gated = body.get("gated", repository.gated)
    return JSONResponse({"private": repository.private, "gated": repository.gated})


async def info(request: Request) -> Response:
    repository = repository_of(request)
    commit = repository.at(request.path_params.get("revision", "main"))
    return JSONResponse(describe.repository_info(repository, commit, blobs="blobs" in request.query_params))


async def tree(request: Request) -> Response:
    commit = repository_of(request).at(request.path_params["revision"])
    folder = request.path_params.get("path", "")
    return JSONResponse(describe.tree(commit, folder, request.query_params.get("recursive") == "true"))


async def paths_info(request: Request) -> Response:
    paths = parse_qs((await request.body()).decode())["paths"]
    commit = repository_of(request).at(request.path_params["revision"])
    return JSONResponse([entry for path in paths for entry in describe.path_entries(commit, path)])


async def refs(request: Request) -> Response:
    return JSONResponse(describe.references(repository_of(request)))


async def commits(request: Request) -> Response:
    return JSONResponse(describe.commits(repository_of(request).history(request.path_params["revision"])))


ROUTES = [
    Route("/api/repos/create", create, methods=["POST"]),
    Route("/api/repos/delete", delete, methods=["DELETE"]),
    Route(f"{API}/settings", settings, methods=["PUT"]),
    Route(API, info),
    Route(f"{API}/revision/{{revision:revision}}", info),
    Route(f"{API}/tree/{{revision:revision}}", tree),
    Route(f"{API}/tree/{{revision:revision}}/{{path:path}}", tree),
    Route(f"{API}/paths-info/{{revision:revision}}", paths_info, methods=["POST"]),
    Route(f"{API}/refs", refs),
    Route(f"{API}/commits/{{revision:revision}}", commits),
]
