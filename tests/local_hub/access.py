"""The user and the repository of a request, and the responses to requests that are not allowed.

>>> async def tree(request):
...     repository = repository_of(request)
...     user = known_user(request)
"""

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .store import Conflict, Denied, Invalid, Missing, Outdated, Rejection, Repository, Store


class Unauthorized(Rejection):
    """The access token is unknown."""


STATUS = {Invalid: 400, Unauthorized: 401, Denied: 403, Missing: 404, Conflict: 409, Outdated: 412}


class _Kind(StringConvertor):
    regex = "model|dataset"


class _Revision(StringConvertor):
    # The client escapes the slashes of `refs/pr/1`, but the server unescapes them before it matches routes.
    regex = "refs/[^/]+/[^/]+|[^/]+"


register_url_convertor("kind", _Kind())
register_url_convertor("revision", _Revision())

API = "/api/{kind:kind}s/{owner}/{name}"
"""The common prefix of the API routes of a repository."""


def user_of(request: Request) -> str | None:
    """The user of the token, or ``None`` without a token."""
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
    """The repository in the path. Outside the API, the path names only the kind ``dataset``."""
    parameters = request.path_params
    store: Store = request.app.state.store
    return store.find(parameters.get("kind", "model"), f"{parameters['owner']}/{parameters['name']}", user_of(request))


def error_response(request: Request, rejection: Exception) -> Response:
    """The error response. The client turns it into ``RepositoryNotFoundError`` and similar errors."""
    assert isinstance(rejection, Rejection)
    status = STATUS[type(rejection)]
    anonymous = "authorization" not in request.headers
    if anonymous and (status == 403 or rejection.code == "RepoNotFound"):
        status = 401
    # The response to HEAD has no body, so the headers contain the error.
    headers = {"X-Error-Message": str(rejection), "X-Error-Code": rejection.code, "X-Repo-Commit": rejection.commit}
    return JSONResponse({"error": str(rejection)}, status, {name: value for name, value in headers.items() if value})
