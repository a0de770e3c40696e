"""Files and folders are replaced completely or not at all, however the process ends."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modeling_retrieveall import InputError
from modeling_retrieveall.model.atomic import (
    check_sources,
    check_writable,
    creating,
    move_into_place,
    replacing,
    restore,
    updating,
)

KINDS = ["file", "folder"]


def write(path: Path, version: str, kind: str) -> None:
    if kind == "folder":
        path.mkdir()
        path = path / "a"
    path.write_text(version)


def read(path: Path) -> str:
    return (path / "a" if path.is_dir() else path).read_text()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_an_existing_file_or_folder_is_replaced(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "deep" / "target"
    for version in ("one", "two"):
        with replacing(target) as path:
            assert path.name == target.name
            write(path, version, kind)
        assert read(target) == version
    assert names(target.parent) == ["target"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_version(tmp_path: Path, kind: str, error: BaseException) -> None:
    target = tmp_path / "target"
    write(target, "old", kind)
    with pytest.raises(type(error)), replacing(target) as path:
        write(path, "half", kind)
        raise error
    assert read(target) == "old" and names(tmp_path) == ["target"]


def test_a_replacement_killed_between_its_two_renames_is_undone(tmp_path: Path) -> None:
    write(tmp_path / ".target.replaced", "old", "folder")
    with pytest.raises(KeyError), replacing(tmp_path / "target"):
        raise KeyError
    assert read(tmp_path / "target") == "old"


def killed_after(tmp_path: Path, renames: int) -> None:
    """Replaces a folder in a process that is killed after a given number of renames."""
    code = f"""
import os, pathlib, signal
from modeling_retrieveall.model.atomic import replacing
left = [{renames}]
def killing(rename):
    def renamed(*args):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return rename(*args)
    return renamed
pathlib.Path.rename, os.replace = killing(pathlib.Path.rename), killing(os.replace)
with replacing(pathlib.Path({str(tmp_path / "target")!r})) as path:
    path.mkdir()
    (path / "a").write_text("new")
"""
    done = subprocess.run([sys.executable, "-c", code])
    assert done.returncode == (-signal.SIGKILL if renames < 3 else 0)


@pytest.mark.parametrize(("renames", "expected"), [(0, "old"), (1, "old"), (2, "new"), (3, "new")])
def test_a_process_that_is_killed_at_any_rename_leaves_one_whole_version(tmp_path: Path, renames: int, expected: str) -> None:
    target = tmp_path / "target"
    write(target, "old", "folder")
    killed_after(tmp_path, renames)
    restore(target)
    assert read(target) == expected and names(target) == ["a"]
    with replacing(target) as path:
        write(path, "newer", "folder")
    assert read(target) == "newer" and ".target.replaced" not in names(tmp_path)


def test_a_leftover_old_version_is_never_used_as_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "target", "old", "folder")
    write(tmp_path / "new", "new", "folder")
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    move_into_place(tmp_path / "new", tmp_path / "target")
    (tmp_path / "target").rename(tmp_path / "moved away")
    restore(tmp_path / "target")
    assert not (tmp_path / "target").exists() and read(tmp_path / "moved away") == "new"


@pytest.mark.parametrize("kind", KINDS)
def test_a_symbolic_link_is_kept_and_its_target_is_replaced(tmp_path: Path, kind: str) -> None:
    (tmp_path / "disk").mkdir()
    write(tmp_path / "disk" / "real", "old", kind)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "real")
    with replacing(tmp_path / "link") as path:
        write(path, "new", kind)
    assert (tmp_path / "link").is_symlink() and read(tmp_path / "disk" / "real") == "new"
    assert names(tmp_path / "disk") == ["real"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_not_replaced_by_a_file_nor_a_file_by_a_folder(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    write(target, "old", kind)
    other = KINDS[1 - KINDS.index(kind)]
    with pytest.raises(NotADirectoryError if kind == "file" else IsADirectoryError), replacing(target) as path:
        write(path, "new", other)
    assert read(target) == "old" and names(tmp_path) == ["target"]


def test_a_source_inside_the_target_is_refused_in_any_spelling_of_the_path(tmp_path: Path) -> None:
    model, adapters = tmp_path / "model", tmp_path / "model" / "adapters"
    adapters.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(model)
    (adapters / "de").symlink_to(tmp_path / "elsewhere")
    inside = [model, adapters, tmp_path / "link" / "adapters", model / ".." / "model", adapters / "de", adapters / "de" / "file"]
    for target in (model, tmp_path / "link"):
        for source in inside:
            with pytest.raises(InputError, match="cannot be replaced"), replacing(target, [source]) as path:
                path.mkdir()
    assert adapters.is_dir()
    check_sources(adapters, [model, tmp_path / "elsewhere", tmp_path / "model2"])


def test_a_pipe_is_written_to_directly(tmp_path: Path) -> None:
    code = "from modeling_retrieveall.model.atomic import *; from pathlib import Path\n"
    code += "with replacing(Path('/dev/stdout')) as path: path.write_text('hello')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "hello"
    with (tmp_path / "out").open("w") as stream:
        subprocess.run([sys.executable, "-c", code + "\nprint(', world')"], stdout=stream, check=True)
    assert "world" in (tmp_path / "out").read_text()
    with replacing(Path("/dev/null")) as path:
        path.write_text("x")
    assert Path("/dev/null").is_char_device()


def test_a_read_only_target_is_refused_before_the_work_begins(tmp_path: Path) -> None:
    code = f"""
import os, pathlib
from modeling_retrieveall.model.atomic import replacing
os.setuid(65534)
for name in ("file", "folder", "closed/new", "closed/deep/new"):
    try:
        with replacing(pathlib.Path({str(tmp_path)!r}) / name):
            print("work")
    except PermissionError as error:
        print(error)
"""
    write(tmp_path / "file", "old", "file")
    write(tmp_path / "folder", "old", "folder")
    (tmp_path / "closed").mkdir()
    for name, mode in (("file", 0o444), ("folder", 0o555), ("closed", 0o555)):
        (tmp_path / name).chmod(mode)
    if os.geteuid():
        pytest.skip("only root can become a user who may not write here")
    for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
        folder.chmod(folder.stat().st_mode | 0o755 | (0o022 if folder == tmp_path else 0))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.count("read-only") == 4 and "work" not in done.stdout, done.stdout + done.stderr


def test_a_mounted_folder_is_refused() -> None:
    with pytest.raises(OSError, match="mounted"):
        check_writable(Path("/proc").parent)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127])
def test_the_longest_possible_names_are_accepted(tmp_path: Path, name: str, kind: str) -> None:
    for version in ("old", "new"):
        with replacing(tmp_path / name) as path:
            write(path, version, kind)
    assert names(tmp_path) == [name] and read(tmp_path / name) == "new"


def test_creating_never_replaces_existing_content(tmp_path: Path) -> None:
    with creating(tmp_path / "target") as path:
        write(path, "one", "folder")
    with pytest.raises(FileExistsError), creating(tmp_path / "target") as path:
        pytest.fail("the work began")
    with pytest.raises(FileExistsError), creating(tmp_path / "raced") as path:
        write(path, "slow", "folder")
        write(tmp_path / "raced", "fast", "folder")
    assert read(tmp_path / "target") == "one" and read(tmp_path / "raced") == "fast"
    assert names(tmp_path) == ["raced", "target"]


def test_updating_replaces_the_written_files_and_keeps_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "kept", "mine", "file")
    write(folder / "adapters", "old", "folder")
    with updating(folder) as path:
        write(path / "adapters", "new", "folder")
        write(path / "script", "new", "file")
    assert [read(folder / name) for name in ("adapters", "kept", "script")] == ["new", "mine", "new"]
    assert names(folder) == ["adapters", "kept", "script"]
    for sources, error in (([folder / "adapters" / "a"], InputError), ([], IsADirectoryError)):
        with pytest.raises(error), updating(folder, sources) as path:
            write(path / "adapters", "newer", "folder" if sources else "file")
            write(path / "script", "newer", "file")
        assert [read(folder / name) for name in ("adapters", "kept", "script")] == ["new", "mine", "new"]
