"""Atomic replacement of files and folders: the new version is written to a temporary folder and renamed when it is complete.

    target            the old version, which is kept until the new one is complete
    .target-x1y2/     a temporary folder next to it, into which the new version is written
    .target.replaced  the old version of a folder, between the two renames

>>> with replacing(Path("adapters/de"), sources=[Path("runs/de")]) as folder:
...     folder.mkdir()
...     (folder / "README.md").write_text("# German")

:func:`replacing` replaces one file or folder, :func:`creating` creates a folder that must not exist yet, and :func:`updating`
replaces some entries of a folder and keeps the others.
"""

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError

_LONGEST_NAME = 255  # bytes, on most file systems


@contextmanager
def replacing(target: Path, sources: Iterable[Path] = ()) -> Iterator[Path]:
    """Yields a path to write to, and renames it to ``target`` when the block ends without an error.

    If the block raises an error or the process is killed, ``target`` is unchanged. The one exception is a process that is killed
    between the two renames of a folder: the old version then has another name, which :func:`restore` and the next call undo.

    Missing parent folders are created. A symbolic link is followed, and its target is replaced. A path that cannot be renamed,
    such as ``/dev/stdout`` or a mounted file, is written directly.

    Args:
        target: The file or folder to replace or create.
        sources: Files and folders that the block reads.

    Yields:
        A path that does not exist, with the same name as ``target``, in an empty temporary folder on the same file system.

    Raises:
        InputError: A source is ``target`` itself or is inside it.
        PermissionError: ``target`` is read-only.
        IsADirectoryError: A file was written, and ``target`` is a folder.
        NotADirectoryError: A folder was written, and ``target`` is a file.
    """
    check_sources(target, sources)
    check_writable(target)
    if _is_stream(target):
        yield target
        return
    target = target.resolve()
    with _aside(target.parent, target.name) as path:
        restore(target)
        yield path
        move_into_place(path, target)


@contextmanager
def creating(target: Path) -> Iterator[Path]:
    """Like :func:`replacing`, for a folder that must not exist yet.

    Raises:
        FileExistsError: ``target`` exists, or another process has created it in the meantime. It is kept as it is.
    """
    restore(target)
    if os.path.lexists(target):
        raise FileExistsError(f"{target} exists already.")
    with _aside(target.parent, target.name) as path:
        yield path
        try:
            path.rename(target)
        except OSError as error:
            if not target.exists():
                raise
            raise FileExistsError(f"{target} exists already.") from error


@contextmanager
def updating(folder: Path, sources: Iterable[Path] = ()) -> Iterator[Path]:
    """Yields an empty folder to write to, and moves its entries into ``folder`` when the block ends without an error.

    Each entry replaces the one of the same name in ``folder``; all others are kept. If the block raises an error, ``folder`` is
    unchanged.

    Args:
        folder: The folder, which is created if it is missing.
        sources: Files and folders that the block reads.

    Raises:
        InputError: A source would be replaced.
        PermissionError: A file or folder that would be replaced is read-only.
    """
    listed = list(sources)
    with _aside(folder, "new") as path:
        path.mkdir()
        yield path
        written = sorted(path.iterdir())
        for entry in written:
            check_sources(folder / entry.name, listed)
            check_writable(folder / entry.name)
            _check_kind(entry, folder / entry.name)
        for entry in written:
            with replacing(folder / entry.name) as place:
                shutil.move(entry, place)  # not a rename: a symbolic link may lead to another file system


def check_sources(target: Path, sources: Iterable[Path]) -> None:
    """Checks that a target can be replaced without losing a source.

    Args:
        target: The file or folder to replace.
        sources: Files and folders that are still to be read.

    Raises:
        InputError: A source is ``target`` itself, is inside it, or is reached through a symbolic link inside it.
    """
    replaced = target.resolve()
    for source in sources:
        whole = Path(os.path.abspath(source))
        ways = (whole.resolve(), *(part.parent.resolve() / part.name for part in (whole, *whole.parents)))
        if any(way.is_relative_to(replaced) for way in ways):
            raise InputError(f"{target} cannot be replaced, because {source} is read from it. Choose another output.")


def check_writable(target: Path) -> None:
    """Checks that a target can be replaced, before any work is done.

    Raises:
        PermissionError: The target or its parent folder is read-only.
        OSError: The target is a mount point.
    """
    if _is_stream(target):
        return
    if os.path.ismount(target):
        raise OSError(errno.EBUSY, "A mounted folder cannot be replaced. Choose a folder inside it", str(target))
    folder = next(parent for parent in target.resolve().parents if parent.exists())
    for path in (folder, target):
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "The file or folder is read-only. Choose another output", str(path))


def move_into_place(finished: Path, target: Path) -> None:
    """Renames a finished file or folder to ``target``, and removes the old version.

    An old folder is renamed before it is removed, because removal takes time, and an interruption would leave half of the folder.

    Raises:
        IsADirectoryError: ``finished`` is a file and ``target`` a folder.
        NotADirectoryError: ``finished`` is a folder and ``target`` a file.
    """
    target = target.resolve()
    restore(target)
    _check_kind(finished, target)
    if not target.is_dir():
        if finished.is_file():
            with finished.open("rb") as stream:
                os.fsync(stream.fileno())  # else a power failure after the rename could leave an empty file
        os.replace(finished, target)
        return
    replaced, old = _replaced(target), finished.with_name(f"{finished.name[:32]}.old")
    if replaced.exists():  # left by a process that was killed after the second rename
        _remove(replaced, old)
    try:
        target.rename(replaced)
        finished.rename(target)
    except BaseException:
        restore(target)
        raise
    _remove(replaced, old)


def restore(target: Path) -> None:
    """Gives an old folder its name back, if a process was killed between the two renames."""
    target = target.resolve()
    if _replaced(target).exists() and not target.exists():
        with suppress(FileNotFoundError):  # another process has just restored it
            _replaced(target).rename(target)


@contextmanager
def _aside(folder: Path, name: str) -> Iterator[Path]:
    """Yields the path ``name`` in a temporary folder inside ``folder``, which is removed when the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    # Only the beginning of the name, because the whole may be too long for the file system.
    work = Path(tempfile.mkdtemp(prefix=f".{name[:32]}-", dir=folder))
    try:
        yield work / name
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove(folder: Path, name: Path) -> None:
    """Renames a folder to ``name`` and removes it, so that a partly removed folder is not restored later."""
    shutil.rmtree(name, ignore_errors=True)
    folder.rename(name)
    shutil.rmtree(name, ignore_errors=True)


def _check_kind(finished: Path, target: Path) -> None:
    if target.is_dir() and not finished.is_dir():
        raise IsADirectoryError(errno.EISDIR, "A folder cannot be replaced by a file", str(target))
    if finished.is_dir() and target.exists() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "A file cannot be replaced by a folder", str(target))


def _is_stream(target: Path) -> bool:
    """Whether a path is a device, a pipe, a mounted file, or refers to an open file descriptor, as ``/dev/stdout`` does."""
    special = target.exists() and not target.is_dir() and (not target.is_file() or os.path.ismount(target))
    return special or re.match(r"/(dev/(std|fd/)|proc/)", str(target)) is not None


def _replaced(target: Path) -> Path:
    name = f".{target.name}.replaced"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()}.replaced"
    return target.with_name(name)
