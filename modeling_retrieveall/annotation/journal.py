"""The journal of a job: a file beside its target, with a line for each record that is finished.

    entities.jsonl.journal   {"job": {"source": "file:///data/texts.jsonl", "dtype": "float32", ...}}
                             {"key": "8f0c...", "entities": [...], "language": "de", "known": true}
                             ...
    entities.jsonl.lock      while a process works on the target

Only results are in it. The records themselves are read from the source again, which the keys are compared with.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..model.errors import RetrieveAllError
from .records import Row
from .writers import to_json


class JournalError(RetrieveAllError, ValueError):
    """There is the journal of another job where this one's should be, or another process writes it."""


class Journal:
    """The results of finished records, in the order of the source.

    Args:
        path: Its file.
        job: What the results depend on, by name.
    """

    def __init__(self, path: Path, job: Row) -> None:
        self.path = path
        self._job: Row = json.loads(to_json(job))
        self._stream: Any = None
        self._others: dict[str, Row] = {}

    def open(self, keys: Iterable[str]) -> int:
        """Opens it for the results that follow.

        Results are kept as long as they are those of the records of the source, from the first one on. Where the source has
        been changed, the later ones are kept aside for :meth:`known`.

        Args:
            keys: The key of each record of the source.

        Returns:
            How many records from the first one on are finished.

        Raises:
            JournalError: It is of another job.
        """
        self._stream = self.path.open("r+b" if self.path.exists() else "w+b")
        whole, done, expected = 0, 0, iter(keys)
        for row, size in self._rows():
            if whole == 0:
                self._check_job(row)
            elif not self._others and row.get("key") == next(expected, None):
                done += 1
            else:
                self._others[str(row.get("key"))] = row
                continue
            whole += size
        self._stream.seek(whole)
        self._stream.truncate()
        if whole == 0:
            self._append({"job": self._job})
        return done

    def _rows(self) -> Iterator[tuple[Row, int]]:
        """Its lines and how many bytes each takes, up to one that a crash has cut or damaged."""
        for line in self._stream:
            try:
                row = json.loads(line)
            except ValueError:
                return
            if not line.endswith(b"\n") or not isinstance(row, dict):
                return
            yield row, len(line)

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
            f"{self.path} is of another source or other settings{': ' * bool(changed)}{changed}. Repeat the job as it was begun, "
            "give another output, or delete the journal to begin again."
        )

    def known(self, key: str) -> Row | None:
        """The result of a record whose place in the source has changed."""
        return self._others.get(key)

    def write(self, keys: Sequence[str], results: Sequence[Row]) -> None:
        """Appends the results of records; when it returns they are on the disk."""
        self._append(*({"key": key, **result} for key, result in zip(keys, results, strict=True)))

    def _append(self, *rows: Row) -> None:
        lines = (f"{to_json(row)}\n".encode("utf-8", "backslashreplace") for row in rows)
        self._stream.write(b"".join(lines))
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        """The key and the result of each record, in order."""
        with self.path.open("rb") as stream:
            next(stream)
            for line in stream:
                row = json.loads(line)
                yield row.pop("key"), row

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: Any) -> None:
        self._stream.close()


def key_of(text: str | Sequence[str] | None) -> str:
    """What tells the text of a record from others."""
    return hashlib.blake2b(json.dumps(text).encode(), digest_size=12).hexdigest()


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Keeps other processes from working on a target; the lock of a process that has died does not.

    Raises:
        JournalError: Another process works on it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = Path(f"{target}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise JournalError(f"Another process is writing {target}. Wait until it ends, or give another output.") from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes it itself, when it is released
            path.unlink()
        lock.release()
