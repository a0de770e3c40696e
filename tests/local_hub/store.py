"""Repositories, their commits and their files. This module is independent of HTTP.

>>> repository = Store().create("model", "ann/ner-de")
>>> first, _ = repository.commit("main", {"a.txt": Blob(b"1")}, author="ann", title="Add a")
>>> second, _ = repository.commit("main", {"a.txt": Blob(b"2")}, author="ann", title="Change a")
>>> repository.at(first.oid).files["a.txt"].content, repository.at("main").files["a.txt"].content
(b'1', b'2')
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha1, sha256
from typing import Literal

GITATTRIBUTES = "".join(
    f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n"
    for suffix in ("bin", "gguf", "npz", "onnx", "parquet", "pt", "pth", "safetensors", "zip")
)
"""The file in the first commit of every repository. As on the Hub, it says which files are stored as large files."""


class Rejection(Exception):
    """A request that the Hub rejects.

    >>> raise Missing("Repository not found", "RepoNotFound")

    Args:
        message: The reason.
        code: The code by which the client distinguishes errors.
        commit: For a missing file, the hash of the commit.
    """

    def __init__(self, message: str, code: str = "", commit: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.commit = commit


class Missing(Rejection):
    """The object does not exist, or the user is not allowed to see it."""


class Denied(Rejection):
    """The user is not allowed to do this."""


class Conflict(Rejection):
    """The object exists already."""


class Outdated(Rejection):
    """The branch has a newer commit than the caller expects."""


class Invalid(Rejection):
    """The request is invalid."""


@dataclass(frozen=True)
class Blob:
    """The content of one file. A ``large`` file is stored outside git, with a pointer in git.

    >>> Blob(b"hello").etag
    'b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0'
    """

    content: bytes
    large: bool = False

    @cached_property
    def sha256(self) -> str:
        return sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """The text that git stores in place of a large file."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n".encode()

    @cached_property
    def git_oid(self) -> str:
        data = self.pointer if self.large else self.content
        return sha1(b"blob %d\0" % len(data) + data).hexdigest()

    @property
    def etag(self) -> str:
        """The hash by which the client identifies the file, in its cache and before an upload."""
        return self.sha256 if self.large else self.git_oid


@dataclass(frozen=True)
class Commit:
    """A snapshot of all files. Its hash depends on its content and its parent, so a pinned commit cannot change.

    >>> Commit(None, {"a.txt": Blob(b"1")}, "ann", "Add a").oid == Commit(None, {"a.txt": Blob(b"2")}, "ann", "Add a").oid
    False
    """

    parent: str | None
    files: Mapping[str, Blob]
    author: str
    title: str
    description: str = ""
    date: datetime = field(default_factory=lambda: datetime.now(UTC))

    @cached_property
    def oid(self) -> str:
        listing = [f"{blob.git_oid} {path}" for path, blob in sorted(self.files.items())]
        return sha1("\n".join([self.parent or "", self.author, self.title, self.description, *listing]).encode()).hexdigest()


class Repository:
    """One repository: its commits, its references and its access rights.

    >>> repository = Repository("model", "ann/ner-de")
    >>> repository.private, repository.gated = False, "manual"
    >>> repository.granted.add("ben")

    Attributes:
        commits: Hash to commit. Commits are never removed, so pinned commits stay readable.
        references: Full reference, such as ``refs/heads/main`` or ``refs/pr/1``, to commit hash.
        large: SHA-256 to content of all uploaded large files, committed or not.
        granted: Users with access to the files while the repository is gated.
    """

    def __init__(self, kind: str, id: str, private: bool = False) -> None:
        self.kind = kind
        self.id = id
        self.owner = id.split("/")[0]
        self.private = private
        self.gated: Literal["auto", "manual", False] = False
        self.granted: set[str] = set()
        self.large: dict[str, bytes] = {}
        first = Commit(None, {".gitattributes": Blob(GITATTRIBUTES.encode())}, "system", "initial commit")
        self.commits = {first.oid: first}
        self.references = {"refs/heads/main": first.oid}

    def readable(self, user: str | None) -> bool:
        return not self.private or user == self.owner

    def downloadable(self, user: str | None) -> bool:
        """Whether the user can download files. A gated repository itself stays visible."""
        return not self.gated or user == self.owner or user in self.granted

    def at(self, revision: str) -> Commit:
        """The commit of a branch, a full reference or a hash."""
        oid = self.references.get(f"refs/heads/{revision}") or self.references.get(revision) or revision
        if oid not in self.commits:
            raise Missing(f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def history(self, revision: str) -> Iterator[Commit]:
        """The commits of a revision, newest first."""
        commit = self.at(revision)
        yield commit
        while commit.parent:
            commit = self.commits[commit.parent]
            yield commit

    def commit(
        self,
        revision: str,
        changes: Mapping[str, Blob | None],
        *,
        author: str,
        title: str,
        description: str = "",
        parent: str | None = None,
        pull_request: bool = False,
    ) -> tuple[Commit, str]:
        """Commits all changes or none.

        Args:
            revision: A branch or a full reference; for a pull request, the revision that it is based on.
            changes: Path to new content. ``None`` deletes the file, or the folder if the path ends with a slash.
            parent: The hash of the newest commit that the caller expects, or its first characters.
            pull_request: Whether to create a new reference ``refs/pr/N`` instead of changing ``revision``.

        Returns:
            The commit and its reference.

        Raises:
            Missing: The revision, or a path to delete, does not exist.
            Outdated: The newest commit is not ``parent``.
        """
        base = self.at(parent if pull_request and parent else revision)
        if parent and not base.oid.startswith(parent):
            raise Outdated("A commit has happened since. Please refresh and try again.")
        if pull_request:
            reference = f"refs/pr/{1 + sum(known.startswith('refs/pr/') for known in self.references)}"
        else:
            reference = revision if revision in self.references else f"refs/heads/{revision}"
            if reference not in self.references:
                raise Missing(f"{revision} is no branch", "RevisionNotFound")
        commit = Commit(base.oid, _changed(base.files, changes), author, title, description)
        self.commits[commit.oid] = commit
        self.references[reference] = commit.oid
        return commit, reference


def _changed(files: Mapping[str, Blob], changes: Mapping[str, Blob | None]) -> dict[str, Blob]:
    result = dict(files)
    for path, blob in changes.items():
        if blob is not None:
            result[path] = blob
            continue
        gone = [known for known in result if known == path or (path.endswith("/") and known.startswith(path))]
        if not gone:
            raise Missing(f"A file with this name doesn't exist: {path}", "EntryNotFound")
        for known in gone:
            del result[known]
    return result


class Store:
    """All repositories of a Hub, by kind (``model`` or ``dataset``) and id.

    >>> store = Store()
    >>> store.create("model", "ann/ner-de", private=True)
    >>> store.find("model", "ann/ner-de", user="ben")
    Traceback (most recent call last):
    tests.local_hub.store.Missing: Repository not found
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}

    def create(self, kind: str, id: str, private: bool = False) -> Repository:
        if (kind, id) in self.repositories:
            raise Conflict(f"You already created this {kind} repo")
        self.repositories[kind, id] = Repository(kind, id, private)
        return self.repositories[kind, id]

    def find(self, kind: str, id: str, user: str | None) -> Repository:
        repository = self.repositories.get((kind, id))
        if repository is None or not repository.readable(user):
            # The response is the same as for a missing repository, because the name is private as well.
            raise Missing("Repository not found", "RepoNotFound")
        return repository
