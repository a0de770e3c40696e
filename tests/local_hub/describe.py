"""JSON descriptions of repositories, files and commits.

>>> [entry["path"] for entry in tree(commit, "", recursive=False)]
['.gitattributes', 'README.md', 'adapter']
"""

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha1
from pathlib import PurePosixPath
from typing import Any

from .cards import front_matter, tags
from .store import Blob, Commit, Missing, Repository

Json = dict[str, Any]


def moment(date: datetime) -> str:
    """A date in the format of the Hub: ``2026-01-31T12:00:00.000Z``."""
    return date.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def repository_info(repository: Repository, commit: Commit, blobs: bool) -> Json:
    """A repository at one commit; with ``blobs`` including the sizes and hashes of its files."""
    readme = commit.files.get("README.md", Blob(b""))
    card = front_matter(readme.content.decode())
    first = list(repository.history(commit.oid))[-1]
    return {
        "id": repository.id,
        "author": repository.owner,
        "sha": commit.oid,
        "createdAt": moment(first.date),
        "lastModified": moment(commit.date),
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": tags(card),
        "pipeline_tag": card.get("pipeline_tag"),
        "library_name": card.get("library_name"),
        "cardData": card or None,
        "siblings": [_sibling(path, blob, blobs) for path, blob in sorted(commit.files.items())],
    }


def _sibling(path: str, blob: Blob, blobs: bool) -> Json:
    if not blobs:
        return {"rfilename": path}
    return {"rfilename": path, "size": len(blob.content), "blobId": blob.git_oid, **_large(blob, "sha256")}


def file_entry(path: str, blob: Blob) -> Json:
    """One file of a tree."""
    return {"type": "file", "path": path, "oid": blob.git_oid, "size": len(blob.content), **_large(blob, "oid")}


def _large(blob: Blob, hash_key: str) -> Json:
    # Two routes describe large files, with different names for the hash.
    if not blob.large:
        return {}
    return {"lfs": {hash_key: blob.sha256, "size": len(blob.content), "pointerSize": len(blob.pointer)}}


def folder_entry(path: str, commit: Commit) -> Json:
    """One folder of a tree, with a hash of its contents."""
    inside = sorted(f"{blob.git_oid} {file}" for file, blob in commit.files.items() if file.startswith(f"{path}/"))
    return {"type": "directory", "path": path, "oid": sha1("\n".join(inside).encode()).hexdigest(), "size": 0}


def path_entries(commit: Commit, path: str) -> list[Json]:
    """The entry of a file or a folder; empty if the path does not exist."""
    if path in commit.files:
        return [file_entry(path, commit.files[path])]
    is_folder = any(file.startswith(f"{path}/") for file in commit.files)
    return [folder_entry(path, commit)] if is_folder else []


def tree(commit: Commit, folder: str, recursive: bool) -> list[Json]:
    """The files and folders in a folder; ``""`` is the whole repository.

    Raises:
        Missing: The folder does not exist.
    """
    prefix = f"{folder}/" if folder else ""
    inside = sorted(path for path in commit.files if path.startswith(prefix))
    if folder and not inside:
        raise Missing(f"{folder} does not exist", "EntryNotFound")
    entries: dict[str, Json] = {}
    for path in inside:
        for parent in reversed(PurePosixPath(path).parents[:-1]):
            if str(parent).startswith(prefix):
                entries[str(parent)] = folder_entry(str(parent), commit)
        entries[path] = file_entry(path, commit.files[path])
    return [entry for path, entry in entries.items() if recursive or "/" not in path.removeprefix(prefix)]


def references(repository: Repository) -> Json:
    """Branches and pull requests with their commits."""
    found: Json = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
    for reference, oid in repository.references.items():
        kind = "branches" if reference.startswith("refs/heads/") else "pullRequests"
        found[kind].append({"name": reference.removeprefix("refs/heads/"), "ref": reference, "targetCommit": oid})
    return found


def commits(history: Iterable[Commit]) -> list[Json]:
    """Commits as in a log."""
    return [
        {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.description,
            "authors": [{"user": commit.author}],
            "date": moment(commit.date),
        }
        for commit in history
    ]
