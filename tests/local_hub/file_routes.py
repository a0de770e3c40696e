"""The routes for files: download, upload of large files, commit.

>>> TestClient(app).get("/ann/ner-de/resolve/main/config.json", headers={"Range": "bytes=0-3"}).content
b'{"ba'
"""

import base64
import json
import re
from fnmatch import fnmatch
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .access import API, known_user, repository_of, require_owner, user_of
from .cards import errors_and_warnings
from .repository_routes import web_url
from .store import Blob, Commit, Denied, Invalid, Missing, Repository

LARGEST_REGULAR = 10 * 1024 * 1024


async def download(request: Request) -> Response:
    repository = repository_of(request)
    if not repository.downloadable(user_of(request)):
        raise Denied(f"Access to model {repository.id} is restricted", "GatedRepo")
    commit = repository.at(request.path_params["revision"])
    blob = commit.files.get(request.path_params["path"])
    if blob is None:
        # With the commit hash the client caches that the file does not exist at this commit.
        raise Missing("Entry not found", "EntryNotFound", commit.oid)
    headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
    size = len(blob.content)
    if blob.large:
        headers |= {"X-Linked-ETag": f'"{blob.sha256}"', "X-Linked-Size": str(size)}
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if wanted is None:
        return Response(blob.content, headers=headers)
    first, last = int(wanted[1]), min(int(wanted[2] or size), size - 1)
    if first > last:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
    return Response(blob.content[first : last + 1], 206, headers | {"Content-Range": f"bytes {first}-{last}/{size}"})


def _repository_to_change(request: Request) -> Repository:
    repository = repository_of(request)
    known_user(request)
    if not _is_pull_request(request):
        require_owner(request, repository.owner)
    return repository


def _is_pull_request(request: Request) -> bool:
    return request.query_params.get("create_pr") == "1"


async def preupload(request: Request) -> Response:
    """Tells the client which files to upload separately, and which are in the repository already."""
    body = await request.json()
    commit = _repository_to_change(request).at(request.path_params["revision"])
    answer = []
    for file in body["files"]:
        path = file["path"]
        large = _is_large(commit, path, file["size"], base64.b64decode(file["sample"]))
        known = {"oid": commit.files[path].etag} if path in commit.files else {}
        answer.append({"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, **known})
    return JSONResponse({"files": answer})


def _is_large(commit: Commit, path: str, size: int, sample: bytes) -> bool:
    attributes = commit.files.get(".gitattributes", Blob(b"")).content.decode().splitlines()
    patterns = [line.split()[0] for line in attributes if "filter=lfs" in line]
    return size > LARGEST_REGULAR or b"\0" in sample or any(fnmatch(path, pattern) for pattern in patterns)


async def batch(request: Request) -> Response:
    body = await request.json()
    repository = repository_of(request)
    known_user(request)
    answer = []
    for wanted in body["objects"]:
        # As on the Hub, uploads go to an address that needs no token.
        href = f"{request.base_url}lfs/{repository.kind}s/{repository.id}/{wanted['oid']}"
        actions = {"actions": {"upload": {"href": href}, "verify": {"href": href}}}
        answer.append({**wanted, **({} if wanted["oid"] in repository.large else actions)})
    return JSONResponse({"transfer": "basic", "objects": answer})


def _uploads(request: Request) -> dict[str, bytes]:
    parameters = request.path_params
    repository: Repository = request.app.state.store.repositories[
        parameters["kind"], f"{parameters['owner']}/{parameters['name']}"
    ]
    return repository.large


async def upload(request: Request) -> Response:
    content = await request.body()
    if sha256(content).hexdigest() != request.path_params["oid"]:
        raise Invalid("The content has a different SHA-256")
    _uploads(request)[request.path_params["oid"]] = content
    return Response()


async def verify(request: Request) -> Response:
    body = await request.json()
    if len(_uploads(request).get(body["oid"], b"")) != body["size"]:
        raise Missing("Object not found")
    return Response()


async def push(request: Request) -> Response:
    lines = [json.loads(line) for line in (await request.body()).splitlines()]
    # There is no `await` after this line, so no other request can interfere with the commit.
    repository = _repository_to_change(request)
    header = next(line["value"] for line in lines if line["key"] == "header")
    changes = dict(_change(repository, line["key"], line["value"]) for line in lines if line["key"] != "header")
    readme = changes.get("README.md")
    errors, _ = errors_and_warnings(readme.content.decode()) if readme else ([], [])
    if errors:
        raise Invalid("Invalid metadata in README.md: " + "; ".join(errors))
    made, reference = repository.commit(
        request.path_params["revision"],
        changes,
        author=known_user(request),
        title=header["summary"],
        description=header["description"],
        parent=header.get("parentCommit"),
        pull_request=_is_pull_request(request),
    )
    url = web_url(request, repository)
    discussion = {"pullRequestUrl": f"{url}/discussions/{reference.split('/')[-1]}"} if _is_pull_request(request) else {}
    return JSONResponse({"success": True, "commitOid": made.oid, "commitUrl": f"{url}/commit/{made.oid}", **discussion})


def _change(repository: Repository, key: str, value: dict[str, str]) -> tuple[str, Blob | None]:
    path = value["path"]
    match key:
        case "file":
            return path, Blob(base64.b64decode(value["content"]))
        case "lfsFile" if value["oid"] in repository.large:
            return path, Blob(repository.large[value["oid"]], large=True)
        case "deletedFile":
            return path, None
        case "deletedFolder":
            return f"{path.rstrip('/')}/", None
    raise Invalid(f"{key} {path}: its content was not uploaded")


ROUTES = [
    Route("/{owner}/{name}/resolve/{revision:revision}/{path:path}", download),
    Route("/{kind:kind}s/{owner}/{name}/resolve/{revision:revision}/{path:path}", download),
    Route(f"{API}/preupload/{{revision:revision}}", preupload, methods=["POST"]),
    Route("/{owner}/{name}.git/info/lfs/objects/batch", batch, methods=["POST"]),
    Route("/{kind:kind}s/{owner}/{name}.git/info/lfs/objects/batch", batch, methods=["POST"]),
    Route("/lfs/{kind:kind}s/{owner}/{name}/{oid}", upload, methods=["PUT"]),
    Route("/lfs/{kind:kind}s/{owner}/{name}/{oid}", verify, methods=["POST"]),
    Route(f"{API}/commit/{{revision:revision}}", push, methods=["POST"]),
]
