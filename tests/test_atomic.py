import pytest

from modeling_retrieveall.atomic import check_sources, replacing


def written(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_replaces_what_is_there(tmp_path, kind):
    target = tmp_path / "deep" / "target"
    for version in ("one", "two"):
        with replacing(target) as path:
            if kind == "folder":
                path.mkdir()
            (path / "a" if kind == "folder" else path).write_text(version)
        assert (target / "a" if kind == "folder" else target).read_text() == version
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_an_error_leaves_the_old_version(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "a").write_text("old")
    with pytest.raises(OSError, match="full"), replacing(target) as path:
        path.mkdir()
        (path / "a").write_text("half")
        raise OSError("full")
    assert written(target) == {"a": "old"} and len(list(tmp_path.iterdir())) == 1


def test_a_kill_between_the_two_renames_is_undone(tmp_path):
    (tmp_path / ".target.replaced").mkdir()
    (tmp_path / ".target.replaced" / "a").write_text("old")
    with pytest.raises(KeyError), replacing(tmp_path / "target"):
        raise KeyError
    assert written(tmp_path / "target") == {"a": "old"}


def test_a_source_inside_of_the_target_is_refused(tmp_path):
    (tmp_path / "model" / "adapters").mkdir(parents=True)
    for source in (tmp_path / "model", tmp_path / "model" / "adapters"):
        with pytest.raises(ValueError, match="cannot be replaced"), replacing(tmp_path / "model", [source]) as path:
            path.mkdir()
    assert (tmp_path / "model" / "adapters").is_dir()
    check_sources(tmp_path / "model" / "adapters", [tmp_path / "model"])
