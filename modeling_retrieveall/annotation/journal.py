"""The journal of an annotation job: a file beside the target with one line for each annotated record.

    entities.jsonl.journal   {"job": {"source": "file:///data/texts.jsonl", "dtype": "float32", ...}}
                             {"key": "8f0c...", "entities": [...], "language": "de", "known": true}
                             ...
    entities.jsonl.journal.earlier    results of records that are at another place in the source now
    entities.jsonl.lock      exists while a process is writing the target

The journal holds results only. The texts are read from the source again and compared with the keys.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..model.atomic import replacing
from ..model.errors import RetrieveAllError
from .readers import Row
from .writers import to_json


class JournalError(RetrieveAllError, ValueError):
    """The journal belongs to another job, or another process is writing the target."""


class Journal:
    """The results of the annotated records, in the order of the source.

    Args:
        path: The journal's file.
        job: Everything that the results depend on, by name.
    """

    def __init__(self, path: Path, job: Row) -> None:
        self.path = path
        self._earlier = path.with_name(f"{path.name}.earlier")
        self._job: Row = json.loads(to_json(job))
        self._stream: Any = None
        self._moved: dict[str, Row] = {}

    def open(self, keys: Iterable[str]) -> int:
        """Opens the journal and positions it after the last result that can be kept in place.

        Results stay in place while their keys match the records of the source, from the first record on. Results after the first
        difference are moved to a second file, and are available from :meth:`earlier_result`.

        Args:
            keys: The key of each record of the source.

        Returns:
            The number of records whose results stay in place.

        Raises:
            JournalError: The journal belongs to another job.
        """
        self._stream = self.path.open("r+b" if self.path.exists() else "w+b")
        whole, done, expected = 0, 0, iter(keys)
        for row, size in _rows(self._stream):
            if whole == 0:
                self._check_job(row)
            elif not self._moved and row.get("key") == next(expected, None):
                done += 1
            else:
                self._moved[str(row.get("key"))] = row
                continue
            whole += size
        self._keep_moved()
        self._stream.seek(whole)
        self._stream.truncate()
        if whole == 0:
            self._append({"job": self._job})
        return done

    def _keep_moved(self) -> None:
        """Writes the results that will be removed from the journal to a second file, with those that are there already."""
        if self._earlier.exists():
            with self._earlier.open("rb") as stream:
                rows = [row for row, _ in _rows(stream)]
            if rows and rows[0].get("job") == self._job:
                self._moved = {str(row.get("key")): row for row in rows[1:]} | self._moved
        if self._moved:
            with replacing(self._earlier) as path, path.open("wb") as stream:
                stream.writelines(_line(row) for row in ({"job": self._job}, *self._moved.values()))

    def _check_job(self, row: Row) -> None:
        before = row.get("job")
        if before == self._job:
            return
        self._stream.close()
        changed = ""
        if isinstance(before, dict):
            names = [name for name in {**before, **self._job} if before.get(name) != self._job.get(name)]
            changed = "; ".join(f"{name} was {before.get(name)!r:.200}, is {self._job.get(name)!r:.200}" for name in names)
        raise JournalError(
            f"The journal {self.path} belongs to a job with another source or other settings{': ' * bool(changed)}{changed}. "
            "Run the job with the same settings as before, choose another target, or delete the journal to restart."
        )

    def earlier_result(self, key: str) -> Row | None:
        """The result of a text that an earlier run annotated at another position of the source, or ``None``."""
        return self._moved.get(key)

    def write(self, keys: Sequence[str], results: Sequence[Row]) -> None:
        """Appends the results of records and flushes them to disk."""
        self._append(*({"key": key, **result} for key, result in zip(keys, results, strict=True)))

    def _append(self, *rows: Row) -> None:
        self._stream.write(b"".join(map(_line, rows)))
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        """Yields the key and the result of each record, in order."""
        with self.path.open("rb") as stream:
            next(stream)
            for line in stream:
                row = json.loads(line)
                yield row.pop("key"), row

    def remove(self) -> None:
        """Removes the files of the journal."""
        self.path.unlink()
        self._earlier.unlink(missing_ok=True)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: Any) -> None:
        self._stream.close()


def _line(row: Row) -> bytes:
    return f"{to_json(row)}\n".encode("utf-8", "backslashreplace")


def _rows(stream: Iterable[bytes]) -> Iterator[tuple[Row, int]]:
    """The lines of a file and their sizes in bytes, up to the first line that a crash has left incomplete."""
    for line in stream:
        try:
            row = json.loads(line)
        except ValueError:
            return
        if not line.endswith(b"\n") or not isinstance(row, dict):
            return
        yield row, len(line)


def text_key(text: str | Sequence[str] | None) -> str:
    """A hash that identifies the text of a record."""
    return hashlib.blake2b(json.dumps(text).encode(), digest_size=12).hexdigest()


@contextmanager
def target_lock(target: Path) -> Iterator[None]:
    """Locks a target against other processes. The operating system releases the lock of a process that has died.

    The folder of the target is created if it is missing, and removed again if it is still empty in the end.

    Raises:
        JournalError: Another process holds the lock.
    """
    new_folders = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    path = Path(f"{target}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise JournalError(
            f"Another process is writing {target}. Wait until it has finished, or choose another target."
        ) from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows deletes the file itself when the lock is released
            path.unlink()
        lock.release()
        for folder in new_folders:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
