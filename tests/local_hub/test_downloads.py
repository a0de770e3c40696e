"""Downloads and the cache of the client."""

from hashlib import sha256
from pathlib import Path

import pytest
from huggingface_hub import HfApi, get_session
from huggingface_hub.errors import (
    EntryNotFoundError,
)

from tests.local_hub import LocalHub
from tests.local_hub.conftest import REPO, WEIGHTS, put


def test_a_download_is_cached_by_its_commit(hub: LocalHub, ann: HfApi, adapter: Path) -> None:
    pin = ann.upload_folder(repo_id=REPO, folder_path=adapter).oid
    path = ann.hf_hub_download(REPO, "index/vectors.safetensors")
    assert Path(path).read_bytes() == WEIGHTS
    assert Path(path).resolve().name == sha256(WEIGHTS).hexdigest()
    n_requests = len(hub.requests)
    assert ann.hf_hub_download(REPO, "index/vectors.safetensors", revision=pin) == path
    assert len(hub.requests) == n_requests
    ann.hf_hub_download(REPO, "index/vectors.safetensors")
    assert [(call.method, call.status) for call in hub.requests[n_requests:]] == [("HEAD", 200)]


def test_a_snapshot_has_only_files_that_match_its_patterns(ann: HfApi, adapter: Path, tmp_path: Path) -> None:
    ann.upload_folder(repo_id=REPO, folder_path=adapter)
    folder = Path(ann.snapshot_download(REPO, allow_patterns=["*.json"], local_dir=tmp_path / "here"))
    assert [path.name for path in folder.iterdir() if path.name != ".cache"] == ["config.json"]


@pytest.mark.parametrize(
    ("wanted", "status", "content"), [("0-3", 206, b"0123"), ("8-", 206, b"89"), ("8-99", 206, b"89"), ("10-", 416, b"")]
)
def test_a_range_of_a_file(hub: LocalHub, ann: HfApi, wanted: str, status: int, content: bytes) -> None:
    put(ann, "digits", b"0123456789")
    answer = get_session().get(f"{hub.endpoint}/{REPO}/resolve/main/digits", headers={"Range": f"bytes={wanted}"})
    assert (answer.status_code, answer.content) == (status, content)


def test_a_missing_file_is_cached_as_missing(hub: LocalHub, ann: HfApi, tmp_path: Path) -> None:
    with pytest.raises(EntryNotFoundError):
        ann.hf_hub_download(REPO, "nowhere.json")
    assert list((tmp_path / "cache").rglob(".no_exist/*/nowhere.json"))
