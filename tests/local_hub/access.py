"""Who asks, for what, and how the client is told that it may not have it.

>>> async def tree(request):
...     repository = repository_of(request)
...     user = known_user(request)
"""

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .store import Conflict, Denied, Invalid, Missing, Outdated, Refusal, Repository, Store


class Unauthorized(Refusal):
    """The access token is nobody's."""


STATUS = {Invalid: 400, Unauthorized: 401, Denied: 403, Missing: 404, Conflict: 409, Outdated: 412}


class _Kind(StringConvertor):
    regex = "model|dataset"


class _Revision(StringConvertor):
    # The client escapes the slashes of `refs/pr/1`, but the server has undone that before it looks for a route.
    regex = "refs/[^/]+/[^/]+|[^/]+"


register_url_convertor("kind", _Kind())
register_url_convertor("revision", _Revision())

API = "/api/{kind:kind}s/{owner}/{name}"
"""How the path of a route begins that is about one repository."""


def user_of(request: Request) -> str | None:
    """The user, or ``None`` without a token."""
    authorization = request.headers.get("authorization")
    if authorization is None:
        return None
    user: str | None = request.app.state.tokens.get(authorization.removeprefix("Bearer "))
    if user is None:
        raise Unauthorized("Invalid credentials in Authorization header")
    return user


def known_user(request: Request) -> str:
    user = user_of(request)
    if user is None:
        raise Denied("You must be logged in")
    return user


def require_owner(request: Request, owner: str) -> None:
    if known_user(request) != owner:
        raise Denied(f"You don't have write access to {owner}")


def repository_of(request: Request) -> Repository:
    """The repository in the path, which outside of the API names only the kind ``dataset``."""
    parameters = request.path_params
    store: Store = request.app.state.store
    return store.find(parameters.get("kind", "model"), f"{parameters['owner']}/{parameters['name']}", user_of(request))


def refused(request: Request, refusal: Exception) -> Response:
    """The answer from which the client makes its ``RepositoryNotFoundError`` and the like."""
    assert isinstance(refusal, Refusal)
    status = STATUS[type(refusal)]
    anonymous = "authorization" not in request.headers
    if anonymous and (status == 403 or refusal.code == "RepoNotFound"):
        status = 401
    # The answer to HEAD has no body, so the headers say all.
    named = {"X-Error-Message": str(refusal), "X-Error-Code": refusal.code, "X-Repo-Commit": refusal.commit}
    return JSONResponse({"error": str(refusal)}, status, {name: value for name, value in named.items() if value})
