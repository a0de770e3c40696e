"""Files of Hub repositories: pinned to a commit, limited in size before they are fetched, checked by their hash afterwards.

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

# HTTPError is taken from the client, for which HTTP library stands behind it depends on its version.
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
from tqdm.auto import tqdm

from .atomic import replacing
from .errors import RetrieveAllError

_LOG_IN = "For what is not public run `hf auth login`, or give a token: HF_TOKEN=... or token=..."
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*", re.ASCII)
_COLLECTION = re.compile(r"[\w][\w.-]*/[\w-]*-[0-9a-f]{24}")  # a title without Latin letters leaves nothing before the id


class HubError(RetrieveAllError, OSError):
    """The Hub does not have what was asked for, or not for this user; asking again will not help."""


class HubFileMissingError(HubError):
    """The repository has no such file."""


class HubUnreachableError(HubError):
    """The Hub could not be asked, or its answer was damaged; asking again may help."""


class HubNotCachedError(HubUnreachableError):
    """The Hub may not be asked, and it was never fetched."""


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a repository on the Hub: ``"owner/name"``, or ``"gpt2"`` as some old ones are called."""
    return _HUB_ID.fullmatch(name) is not None


def is_repository(name: str) -> bool:
    """Whether a name has the form of a repository that has an owner, as all adapters and RetrieveAll models have."""
    return "/" in name and is_hub_id(name)


def is_collection(name: str) -> bool:
    """Whether a name has the form of a collection's slug on the Hub, ``"owner/title-64f9a55bb3115b4f513ec026"``."""
    return _COLLECTION.fullmatch(name) is not None


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a full commit hash, which always means the same files."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


@dataclass(frozen=True)
class Hub:
    """How this process reaches the Hub.

    The address, the cache and offline mode are those of ``huggingface_hub`` (``HF_ENDPOINT``, ``HF_HOME``, ``HF_HUB_OFFLINE``).

    Attributes:
        token: An access token; ``None`` for the one that ``hf auth login`` saved, ``False`` for none.
        cache_dir: The folder for downloads, instead of the usual cache.
        local_files_only: Use only what was downloaded before.
    """

    token: str | bool | None = field(default=None, repr=False)
    cache_dir: str | Path | None = None
    local_files_only: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """What pickle stores: a token is a secret, which stays in its process; others take theirs from HF_TOKEN or the login."""
        return {**vars(self), "token": None if isinstance(self.token, str) else self.token}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Hub":
        """The same object, with its token: it never changes."""
        return self

    @property
    def api(self) -> HfApi:
        """The client."""
        return HfApi(token=self.token)

    @property
    def offline(self) -> bool:
        """Whether nothing may be asked of the Hub."""
        return self.local_files_only or constants.is_offline_mode()

    def resolve(self, repository: str, revision: str | None = None) -> str:
        """The commit hash of a revision; the one last seen when the Hub cannot be reached.

        Args:
            repository: ``"owner/name"``.
            revision: A branch, tag or commit hash; the main branch when not given.

        Raises:
            HubError: There is no such repository or revision, or it is not this user's to read.
        """
        if revision is not None and is_commit(revision):
            return revision
        with self._asking(f"{repository}@{revision}" if revision else repository):
            resolved = self.api.resolve_revision(
                repository, revision=revision, cache_dir=self.cache_dir, local_files_only=self.offline
            )
            commit: str = resolved.resolved
            return commit

    def fetch(self, repository: str, commit: str, limits: Mapping[str, int]) -> Path:
        """Makes sure that files of a repository lie in the cache, whole and unchanged.

        Args:
            repository: ``"owner/name"``.
            commit: The hash of the commit.
            limits: The files, and how many bytes each may have at most.

        Returns:
            The folder of the commit in the cache.

        Raises:
            HubFileMissingError: The repository has no such file.
            HubUnreachableError: A file could not be fetched, or arrived damaged; it is not kept then.
            HubError: A file is too large, or the repository is not this user's to read.
        """
        missing = {name: limit for name, limit in limits.items() if self._cached(repository, commit, name) is None}
        if missing:
            with self._asking(repository):
                self._download(repository, commit, missing)
        files = {name: self._cached(repository, commit, name) for name in limits}
        for name, file in files.items():
            if file is None:
                raise HubFileMissingError(f"{repository}: {name} is missing from commit {commit[:12]}.")
            _check_hash(repository, file)
        name, file = next(iter(files.items()))
        return cast(Path, file).parents[name.count("/")]

    def collection(self, slug: str) -> list[tuple[str, str]]:
        """The items of a collection, as kind (``"model"``, ``"dataset"``, ...) and id; those last seen when it is not reachable.

        Raises:
            HubError: There is no such collection, or it is not this user's to read.
        """
        if not is_collection(slug):
            raise HubError(f"{slug!r} is no slug of a collection; write it like 'owner/title-64f9a55bb3115b4f513ec026'.")
        key = hashlib.sha256(f"{constants.ENDPOINT} {slug}".encode()).hexdigest()
        remembered = Path(self.cache_dir or constants.HF_HOME) / "retrieveall-collections" / f"{key}.json"
        try:
            if self.offline:
                raise HubNotCachedError(f"{slug} cannot be asked for offline. Load it once with the Hub in reach.")
            with explained(slug):
                items = [(item.item_type, item.item_id) for item in self.api.get_collection(slug).items]
        except HubUnreachableError as error:
            try:
                seen = [(str(kind), str(name)) for kind, name in json.loads(remembered.read_text(encoding="utf-8"))]
            except (OSError, ValueError, TypeError):
                raise error from None
            if not self.offline:
                warnings.warn(f"{error} Taking the items of {slug} that were seen last.", stacklevel=2)
            return seen
        with suppress(OSError), replacing(remembered) as file:  # a cache that cannot be written costs only the work offline
            file.write_text(json.dumps(items), encoding="utf-8")
        return items

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            with explained(what):
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
        sizes = {
            info.path: getattr(info, "size", 0) for info in self.api.get_paths_info(repository, list(limits), revision=commit)
        }
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
        hub: How the Hub is reached.
        repository: ``"owner/name"``.
        commit: The hash of the commit.
        folder: The folder inside the repository; the empty string is its root.
    """

    hub: Hub
    repository: str
    commit: str
    folder: str = ""

    def fetch(self, limits: Mapping[str, int]) -> Path:
        """Makes sure that files of the folder lie in the cache (:meth:`Hub.fetch`); returns the folder there."""
        prefix = f"{self.folder}/" if self.folder else ""
        root = self.hub.fetch(self.repository, self.commit, {prefix + name: limit for name, limit in limits.items()})
        return root / self.folder

    def __str__(self) -> str:
        pin = f"{self.repository}@{self.commit}"
        return f"{pin}/{self.folder}" if self.folder else pin


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns whatever the client raises inside the ``with`` block into one clear error.

    Args:
        what: The repository or collection that is asked for.
    """
    try:
        yield
    except HubError:
        raise
    except GatedRepoError as error:
        raise HubError(
            f"{what} is gated, and this user has no access. Ask for it on its page of the Hub; "
            "then run `hf auth login`, or give a token: HF_TOKEN=... or token=..."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise _not_found(what) from error
    except RevisionNotFoundError as error:
        raise HubError(f"There is no revision {what} on the Hub.") from error
    except HfHubHTTPError as error:
        raise _of_status(what, error) from error
    except OfflineModeIsEnabled as error:
        raise HubUnreachableError(f"{what}: this needs the Hub, but HF_HUB_OFFLINE is set. Unset it and try again.") from error
    except (LocalEntryNotFoundError, RevisionResolutionError) as error:
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError) and not isinstance(cause, RepositoryNotFoundError):
            raise _of_status(what, cause) from error
        raise HubUnreachableError(
            f"{what} is neither a folder here nor in the cache, and the Hub could not be asked ({_reason(cause or error)}). "
            "Try again with the Hub in reach; `retrieveall pull` fetches all that is needed offline."
        ) from error
    except EntryNotFoundError as error:
        raise HubFileMissingError(f"{what}: {_reason(error)}") from error
    except RuntimeError as error:  # what the client makes of a failed upload
        if isinstance(error.__cause__, HfHubHTTPError):
            raise _of_status(what, error.__cause__) from error
        raise HubUnreachableError(f"{what}: {_reason(error)} Try again.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise HubUnreachableError(f"{what}: the answer of the Hub arrived damaged ({_reason(error)}). Try again.") from error
    except (HTTPError, OSError) as error:
        raise HubUnreachableError(f"{what}: the connection to the Hub failed ({_reason(error)}). Try again.") from error


def _of_status(what: str, error: HfHubHTTPError) -> HubError:
    status = error.response.status_code
    if status in (401, 403):
        return HubError(
            f"{what}: the Hub refuses this ({status}). Run `hf auth login`, or give HF_TOKEN=... or token=... of who may."
        )
    if status == 404:
        return _not_found(what)
    if status == 412:
        return HubError(
            f"{what} has changed on the Hub since it was loaded. Load it again, and push what you have added to that."
        )
    if status == 429 or status >= 500:
        return HubUnreachableError(f"{what}: the Hub could not answer ({status}). Try again later.")
    return HubError(f"{what}: the Hub refuses this: {_reason(error)}")


def _not_found(what: str) -> HubError:
    if not is_hub_id(what):
        return HubError(f"There is no {what} on the Hub, or it is private. Check the name; {_LOG_IN}")
    return HubError(f"There is no folder {what} here, and no repository {what} on the Hub, or it is private. {_LOG_IN}")


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _check_hash(repository: str, file: Path) -> None:
    """Compares a cached file with its name: the cache calls blobs by SHA-256 (large files) or git's SHA-1 (small ones)."""
    blob = file.resolve()
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob.name):
        return  # a cache without symbolic links does not know the hashes
    with blob.open("rb") as stream:
        if len(blob.name) == 64:
            digest = hashlib.file_digest(stream, "sha256")
        else:
            digest = hashlib.sha1(b"blob %d\0" % blob.stat().st_size + stream.read(), usedforsecurity=False)
    if digest.hexdigest() != blob.name:
        file.unlink()
        blob.unlink(missing_ok=True)
        raise HubUnreachableError(f"{repository}: {file.name} arrived damaged and was thrown away. Try again.")


class _NoBar(tqdm):  # type: ignore[misc]
    """Fifty languages would show fifty bars; the model shows one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})
