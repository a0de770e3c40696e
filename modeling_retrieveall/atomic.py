"""Replacing files and folders: the new one is written aside and moved into place when it is complete.

    target            the old version, which stays until the new one is complete
    .target-x1y2/     a temporary folder beside it, in which the new version is written
    .target.replaced  the old version of a folder, for the instant between the two renames

>>> with replacing(Path("adapters/de"), sources=[Path("runs/de")]) as folder:
...     folder.mkdir()
...     (folder / "README.md").write_text("# German")
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path, sources: Iterable[Path] = ()) -> Iterator[Path]:
    """Gives a path to write to, and moves what was written there to ``target`` when the block ends without an error.

    After an error ``target`` is what it was before, and so it is when the process was killed: between the two renames of a
    folder the old version has another name, which the next call undoes. Missing parent folders are made.

    Args:
        target: The file or folder to replace, or to create.
        sources: Files and folders that the block reads from.

    Yields:
        A path that does not exist yet, on the same file system and with the same name as ``target``.

    Raises:
        ValueError: A source is ``target`` itself or lies inside it.
    """
    check_sources(target, sources)
    target.parent.mkdir(parents=True, exist_ok=True)
    if _replaced(target).exists() and not target.exists():
        _replaced(target).rename(target)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield work / target.name
        move_into_place(work / target.name, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_sources(target: Path, sources: Iterable[Path]) -> None:
    """Refuses to replace what is still read from.

    Raises:
        ValueError: A source is ``target`` itself or lies inside it.
    """
    for source in sources:
        if source.resolve().is_relative_to(target.resolve()):
            raise ValueError(f"{target} cannot be replaced: {source}, which is read, lies there. Give another output.")


def move_into_place(finished: Path, target: Path) -> None:
    """Renames a finished file or folder to ``target``, in place of what is there.

    A folder that is there is renamed before it is removed: removing takes long enough to be interrupted, and would leave half
    of it.
    """
    if target.is_symlink() or not target.is_dir():
        os.replace(finished, target)
        return
    replaced = _replaced(target)
    shutil.rmtree(replaced, ignore_errors=True)
    target.rename(replaced)
    try:
        finished.rename(target)
    except BaseException:
        replaced.rename(target)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _replaced(target: Path) -> Path:
    return target.with_name(f".{target.name}.replaced")
