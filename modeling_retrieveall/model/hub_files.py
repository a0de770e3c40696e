"""Files of Hub repositories: pinned to a commit, limited in size before the download, verified by their hash afterwards.

>>> hub = Hub()
>>> commit = hub.resolve("someone/retrieveall-de")
>>> hub.fetch("someone/retrieveall-de", commit, {"retrieveall.json": 1 << 20})
PosixPath('.../models--someone--retrieveall-de/snapshots/0f1c...')
"""

import hashlib
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache

# HTTPError is imported from huggingface_hub, because the HTTP library that it uses depends on its version.
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from tqdm.auto import tqdm

from .atomic import replacing
from .errors import AdapterError, RetrieveAllError

_LOG_IN = "For a private repository run `hf auth login`, or set the environment variable HF_TOKEN."
_COMMIT = re.compile(r"[0-9a-f]{40}")
_COLLECTION = re.compile(r"[\w][\w.-]*/[\w-]*-[0-9a-f]{24}")  # a title without Latin letters leaves nothing before the hyphen


class HubError(RetrieveAllError, OSError):
    """The Hub does not have the requested repository or file, or this user has no access. A retry does not help."""


class HubFileMissingError(HubError):
    """The repository has no such file."""


class HubUnreachableError(HubError):
    """The Hub could not be reached, or its response was damaged. A retry may help."""


class HubNotCachedError(HubUnreachableError):
    """The client is offline, and the file or repository is not in the cache."""


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a repository id on the Hub: ``"owner/name"``, or ``"gpt2"`` for some old repositories.

    This is the only definition of a Hub id in the package. It is that of ``huggingface_hub``, restricted to ASCII.
    """
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name.isascii()


def is_repository(name: str) -> bool:
    """Whether a name has the form of a repository id with an owner, which all adapters and RetrieveAll models have."""
    return "/" in name and is_hub_id(name)


def is_collection(name: str) -> bool:
    """Whether a name has the form of the slug of a Hub collection, ``"owner/title-64f9a55bb3115b4f513ec026"``."""
    return _COLLECTION.fullmatch(name) is not None


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a full commit hash, which always refers to the same files."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


@dataclass(frozen=True)
class Hub:
    """The settings of the connection to the Hub.

    Address, cache and offline mode are those of ``huggingface_hub`` (``HF_ENDPOINT``, ``HF_HOME``, ``HF_HUB_OFFLINE``).

    Attributes:
        token: An access token; ``None`` for the one that ``hf auth login`` saved, ``False`` for none.
        cache_dir: The folder for downloads, instead of the default cache.
        local_files_only: Use only files that are in the cache.
    """

    token: str | bool | None = field(default=None, repr=False)
    cache_dir: str | Path | None = None
    local_files_only: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """The state that is pickled, without the token, which is a secret; another process uses HF_TOKEN or its own login."""
        return {**vars(self), "token": None if isinstance(self.token, str) else self.token}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Hub":
        """Returns the object itself, which is immutable, so that the copy keeps the token."""
        return self

    @property
    def api(self) -> HfApi:
        """The client of ``huggingface_hub``."""
        return HfApi(token=self.token)

    @property
    def offline(self) -> bool:
        """Whether requests to the Hub are disabled."""
        return self.local_files_only or constants.is_offline_mode()

    def resolve(self, repository: str, revision: str | None = None) -> str:
        """Finds the commit hash of a revision. If the Hub cannot be reached, it is the hash in the cache.

        Args:
            repository: ``"owner/name"``.
            revision: A branch, tag or commit hash; ``None`` for the main branch.

        Raises:
            HubError: There is no such repository or revision, or this user has no access.
        """
        if revision is not None and is_commit(revision):
            return revision
        with self._requesting(f"{repository}@{revision}" if revision else repository):
            resolved = self.api.resolve_revision(
                repository, revision=revision, cache_dir=self.cache_dir, local_files_only=self.offline
            )
            commit: str = resolved.resolved
            return commit

    def fetch(self, repository: str, commit: str, limits: Mapping[str, int]) -> Path:
        """Downloads files of a repository that are not in the cache, and verifies the hashes of all of them.

        Args:
            repository: ``"owner/name"``.
            commit: The commit hash.
            limits: The names of the files, and the maximum size of each in bytes.

        Returns:
            The folder of the commit in the cache.

        Raises:
            HubFileMissingError: The repository has no such file.
            HubUnreachableError: A file could not be downloaded, or was damaged, and has been removed from the cache.
            HubError: A file is too large, or this user has no access to the repository.
        """
        missing = {name: limit for name, limit in limits.items() if self._cached(repository, commit, name) is None}
        if missing:
            with self._requesting(repository):
                self._download(repository, commit, missing)
        files = {name: self._cached(repository, commit, name) for name in limits}
        for name, file in files.items():
            if file is None:
                raise HubFileMissingError(f"{repository}: {name} is missing from commit {commit[:12]}.")
            _check_hash(repository, file)
        name, file = next(iter(files.items()))
        return cast(Path, file).parents[name.count("/")]

    def collection_items(self, slug: str) -> list[tuple[str, str]]:
        """Lists the items of a collection. If the Hub cannot be reached, these are the items of the last successful request.

        Args:
            slug: The slug of the collection.

        Returns:
            The kind (``"model"``, ``"dataset"``, ...) and the id of each item.

        Raises:
            HubError: There is no such collection, or this user has no access.
        """
        if not is_collection(slug):
            raise HubError(f"{slug!r} is not the slug of a collection, such as 'owner/title-64f9a55bb3115b4f513ec026'.")
        key = hashlib.sha256(f"{constants.ENDPOINT} {slug}".encode()).hexdigest()
        cached = Path(self.cache_dir or constants.HF_HOME) / "retrieveall-collections" / f"{key}.json"
        try:
            if self.offline:
                raise HubNotCachedError(
                    f"The collection {slug} is not in the cache, and the client is offline. Load it once while online."
                )
            with translate_hub_errors(slug):
                items = [(item.item_type, item.item_id) for item in self.api.get_collection(slug).items]
        except HubUnreachableError as error:
            try:
                items = [(str(kind), str(name)) for kind, name in json.loads(cached.read_text(encoding="utf-8"))]
            except (OSError, ValueError, TypeError):
                raise error from None
            if not self.offline:
                warnings.warn(f"{error} Using the items of {slug} from the last successful request.", stacklevel=2)
            return items
        with suppress(OSError), replacing(cached) as file:  # without a writable cache, only offline use fails
            file.write_text(json.dumps(items), encoding="utf-8")
        return items

    @contextmanager
    def _requesting(self, what: str) -> Iterator[None]:
        try:
            with translate_hub_errors(what):
                yield
        except HubUnreachableError as error:
            if self.offline:
                raise HubNotCachedError(str(error)) from error
            raise

    def _cached(self, repository: str, commit: str, name: str) -> Path | None:
        file = try_to_load_from_cache(repository, name, cache_dir=self.cache_dir, revision=commit)
        return Path(file) if isinstance(file, str) else None

    def _download(self, repository: str, commit: str, limits: Mapping[str, int]) -> None:
        if not self.offline:
            self._check_sizes(repository, commit, limits)
        snapshot_download(
            repository,
            revision=commit,
            allow_patterns=list(limits),
            token=self.token,
            cache_dir=self.cache_dir,
            local_files_only=self.offline,
            tqdm_class=_NoBar,
        )

    def _check_sizes(self, repository: str, commit: str, limits: Mapping[str, int]) -> None:
        try:
            infos = self.api.get_paths_info(repository, list(limits), revision=commit)
        except HfHubHTTPError:
            raise
        except HTTPError:
            # huggingface_hub repeats its other reading requests itself, but not this one. A kept-alive connection that the
            # server closed in the meantime fails only once.
            infos = self.api.get_paths_info(repository, list(limits), revision=commit)
        sizes = {info.path: getattr(info, "size", 0) for info in infos}
        for name, limit in limits.items():
            if name not in sizes:
                raise HubFileMissingError(f"{repository}: {name} is missing from commit {commit[:12]}.")
            if sizes[name] > limit:
                raise HubError(f"{repository}: {name} has {sizes[name]:,} bytes; at most {limit:,} are read.")


@dataclass(frozen=True)
class Snapshot:
    """A folder of a repository at one commit.

    >>> str(Snapshot(Hub(), "someone/retrieveall-de", "0f1c2d3e4b5a69788796a5b4c3d2e1f001122334"))
    'someone/retrieveall-de@0f1c2d3e4b5a69788796a5b4c3d2e1f001122334'

    Attributes:
        hub: The connection to the Hub.
        repository: ``"owner/name"``.
        commit: The hash of the commit.
        folder: The folder inside the repository; the empty string for its root.
    """

    hub: Hub
    repository: str
    commit: str
    folder: str = ""

    def fetch(self, limits: Mapping[str, int]) -> Path:
        """Downloads files of the folder (:meth:`Hub.fetch`), and returns the folder in the cache."""
        prefix = f"{self.folder}/" if self.folder else ""
        root = self.hub.fetch(self.repository, self.commit, {prefix + name: limit for name, limit in limits.items()})
        return root / self.folder

    def __str__(self) -> str:
        pin = f"{self.repository}@{self.commit}"
        return f"{pin}/{self.folder}" if self.folder else pin


@contextmanager
def translate_hub_errors(what: str) -> Iterator[None]:
    """Turns the errors of ``huggingface_hub`` inside the ``with`` block into a :class:`HubError` with a clear message.

    Args:
        what: The requested repository or collection, for the message.

    Raises:
        HubError: The block raised an error.
    """
    try:
        yield
    except HubError:
        raise
    except GatedRepoError as error:
        raise HubError(
            f"{what} is gated, and this user has no access. Request access on its page of the Hub; "
            "then run `hf auth login`, or set the environment variable HF_TOKEN."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise _not_found(what) from error
    except RevisionNotFoundError as error:
        raise HubError(f"There is no revision {what} on the Hub.") from error
    except HfHubHTTPError as error:
        raise _of_status(what, error) from error
    except OfflineModeIsEnabled as error:
        raise HubUnreachableError(f"{what}: this requires the Hub, but HF_HUB_OFFLINE is set. Unset it and try again.") from error
    except (LocalEntryNotFoundError, RevisionResolutionError) as error:
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError) and not isinstance(cause, RepositoryNotFoundError):
            raise _of_status(what, cause) from error
        offline = f"the Hub could not be reached ({_reason(cause)})" if cause else "the client is offline"
        raise HubUnreachableError(
            f"There is no local folder {what}. The cache does not have all files of a repository with this name, and {offline}. "
            "Check the name, or try again while online; `retrieveall pull` downloads all files for offline use."
        ) from error
    except EntryNotFoundError as error:
        raise HubFileMissingError(f"{what}: {_reason(error)}") from error
    except RuntimeError as error:  # huggingface_hub raises it for a failed upload
        if isinstance(error.__cause__, HfHubHTTPError):
            raise _of_status(what, error.__cause__) from error
        raise HubUnreachableError(f"{what}: {_reason(error)} Try again.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise HubUnreachableError(f"{what}: the response of the Hub was damaged ({_reason(error)}). Try again.") from error
    except (HTTPError, OSError) as error:
        raise HubUnreachableError(f"{what}: the connection to the Hub failed ({_reason(error)}). Try again.") from error


@contextmanager
def errors_name_repository(path: Path, snapshot: Snapshot | None) -> Iterator[None]:
    """Replaces the folder in the cache by the repository on the Hub in the message of an :class:`AdapterError`.

    Args:
        path: The folder in the cache.
        snapshot: The repository; ``None`` for a local adapter, whose errors stay as they are.
    """
    try:
        yield
    except AdapterError as error:
        raise AdapterError(str(error).replace(str(path), str(snapshot or path))) from error


def _of_status(what: str, error: HfHubHTTPError) -> HubError:
    status = error.response.status_code
    if status in (401, 403):
        return HubError(f"{what}: the Hub denied access ({status}). Run `hf auth login`, or set HF_TOKEN to another token.")
    if status == 404:
        return _not_found(what)
    if status == 412:
        return HubError(
            f"{what} has changed on the Hub since it was loaded. Load it again, repeat your changes, and push the result."
        )
    if status == 429 or status >= 500:
        return HubUnreachableError(f"{what}: the Hub is not available ({status}). Try again later.")
    return HubError(f"{what}: the Hub rejected the request: {_reason(error)}")


def _not_found(what: str) -> HubError:
    if not is_hub_id(what):
        return HubError(f"There is no {what} on the Hub, or it is private. Check the name. {_LOG_IN}")
    return HubError(f"There is no local folder {what}, and no repository {what} on the Hub, or it is private. {_LOG_IN}")


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _check_hash(repository: str, file: Path) -> None:
    """Compares the hash of a cached file to its name, which is the SHA-256 of a large file or the git SHA-1 of a small one."""
    blob = file.resolve()
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob.name):
        return  # a cache without symbolic links has no hashes
    with blob.open("rb") as stream:
        if len(blob.name) == 64:
            digest = hashlib.file_digest(stream, "sha256")
        else:
            digest = hashlib.sha1(b"blob %d\0" % blob.stat().st_size + stream.read(), usedforsecurity=False)
    if digest.hexdigest() != blob.name:
        file.unlink()
        blob.unlink(missing_ok=True)
        raise HubUnreachableError(f"{repository}: {file.name} was damaged and has been removed from the cache. Try again.")


class _NoBar(tqdm):  # type: ignore[misc]
    """A progress bar that is not shown: the model shows one bar for all adapters."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})
