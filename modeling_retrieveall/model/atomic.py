"""Replacing files and folders: the new version is written aside and moved into place when it is complete.

    target            the old version, which stays until the new one is complete
    .target-x1y2/     a temporary folder beside it, in which the new version is written
    .target.replaced  the old version of a folder, for the instant between the two renames

>>> with replacing(Path("adapters/de"), sources=[Path("runs/de")]) as folder:
...     folder.mkdir()
...     (folder / "README.md").write_text("# German")

:func:`replacing` is for one file or folder as a whole, :func:`creating` for one that must not exist yet, and
:func:`updating` for some files and folders of a folder, whose other files stay.
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
    """Gives a path to write to, and moves what was written there to ``target`` when the block ends without an error.

    After an error ``target`` is what it was before, and so it is when the process was killed: between the two renames of a
    folder the old version has another name, which :func:`restore` and the next call undo. Missing parent folders are made. A
    symbolic link is followed: what it points to is replaced. What cannot be renamed, such as ``/dev/stdout`` or a file that is
    mounted by itself, is written to directly.

    Args:
        target: The file or folder to replace, or to create.
        sources: Files and folders that the block reads from.

    Yields:
        A path that does not exist yet, with the same name as ``target``, alone in a temporary folder on the same file system.

    Raises:
        InputError: A source is ``target`` itself or lies inside it.
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
    """As :func:`replacing` for a folder that must not exist yet; one that another process has made meanwhile stays.

    Raises:
        FileExistsError: ``target`` exists.
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
    """Gives an empty folder to write to, and moves each file and folder written there into ``folder`` when the block has ended.

    Each one replaces what has its name in ``folder``; everything else there stays. After an error in the block nothing has
    changed.

    Args:
        folder: The folder; made if missing.
        sources: Files and folders that the block reads from.

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
                shutil.move(entry, place)  # which may be on another file system, if a symbolic link leads there


def check_sources(target: Path, sources: Iterable[Path]) -> None:
    """Refuses to replace what is still read from.

    Raises:
        InputError: A source is ``target`` itself or lies inside it, or is reached by a symbolic link that lies inside it.
    """
    replaced = target.resolve()
    for source in sources:
        whole = Path(os.path.abspath(source))
        ways = (whole.resolve(), *(part.parent.resolve() / part.name for part in (whole, *whole.parents)))
        if any(way.is_relative_to(replaced) for way in ways):
            raise InputError(f"{target} cannot be replaced, because {source} is read from it. Choose another output.")


def check_writable(target: Path) -> None:
    """Refuses a target that cannot be replaced, before any work is done for it.

    Raises:
        PermissionError: It is read-only, or the folder that holds it or will hold it is.
        OSError: It is a mount point.
    """
    if _is_stream(target):
        return
    if os.path.ismount(target):
        raise OSError(errno.EBUSY, "A mounted folder cannot be replaced. Choose a folder inside of it", str(target))
    folder = next(parent for parent in target.resolve().parents if parent.exists())
    for path in (folder, target):
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "The file or folder is read-only. Choose another output", str(path))


def move_into_place(finished: Path, target: Path) -> None:
    """Renames a finished file or folder to ``target``, in place of what is there.

    A folder that is there is renamed before it is removed: removing takes long enough to be interrupted, and would leave half
    of it.

    Raises:
        IsADirectoryError: ``finished`` is a file and ``target`` a folder.
        NotADirectoryError: ``finished`` is a folder and ``target`` a file.
    """
    target = target.resolve()
    restore(target)
    _check_kind(finished, target)
    if not target.is_dir():
        os.replace(finished, target)
        return
    replaced, old = _replaced(target), finished.with_name(f"{finished.name[:32]}.old")
    if replaced.exists():  # of a process that was killed after the second rename
        _remove(replaced, old)
    try:
        target.rename(replaced)
        finished.rename(target)
    except BaseException:
        restore(target)
        raise
    _remove(replaced, old)


def restore(target: Path) -> None:
    """Undoes the first of the two renames of a folder whose process was killed before the second one."""
    target = target.resolve()
    if _replaced(target).exists() and not target.exists():
        with suppress(FileNotFoundError):  # another process has just done it
            _replaced(target).rename(target)


@contextmanager
def _aside(folder: Path, name: str) -> Iterator[Path]:
    """A path of this name in a temporary folder inside of ``folder``, which is removed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    # The beginning of the name alone: a longer one may be too long for the file system.
    work = Path(tempfile.mkdtemp(prefix=f".{name[:32]}-", dir=folder))
    try:
        yield work / name
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove(folder: Path, name: Path) -> None:
    """Removes a folder under another name, so that no later call takes half of it for an old version."""
    shutil.rmtree(name, ignore_errors=True)
    folder.rename(name)
    shutil.rmtree(name, ignore_errors=True)


def _check_kind(finished: Path, target: Path) -> None:
    if target.is_dir() and not finished.is_dir():
        raise IsADirectoryError(errno.EISDIR, "A folder is there, which no file replaces", str(target))
    if finished.is_dir() and target.exists() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "A file is there, which no folder replaces", str(target))


def _is_stream(target: Path) -> bool:
    """Whether a path is a device, a pipe or a single mounted file, or leads to an open file by its number, as ``/dev/stdout``."""
    special = target.exists() and not target.is_dir() and (not target.is_file() or os.path.ismount(target))
    return special or re.match(r"/(dev/(std|fd/)|proc/)", str(target)) is not None


def _replaced(target: Path) -> Path:
    name = f".{target.name}.replaced"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()}.replaced"
    return target.with_name(name)
