"""Injected faults, and how the client reacts to them."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
)

from tests.local_hub import Kind, LocalHub
from tests.local_hub.conftest import REPO, WEIGHTS, count, put
from tests.local_hub.faults import RETRY_AFTER


@pytest.mark.parametrize("status", [401, 403, 404])
def test_client_errors_are_not_retried(hub: LocalHub, ann: HfApi, status: Kind) -> None:
    hub.fault("GET", f"/api/models/{REPO}$", status)
    with pytest.raises(HfHubHTTPError) as failed:
        ann.model_info(REPO)
    assert failed.value.response.status_code == hub.requests[-1].status == status
    assert ann.model_info(REPO).id == REPO


@pytest.mark.parametrize("status", [500, 502, 503])
def test_server_errors_are_retried(hub: LocalHub, ann: HfApi, naps: list[float], status: Kind) -> None:
    hub.fault("GET", "/tree/", status, times=2)
    assert ann.list_repo_files(REPO) == [".gitattributes"]
    assert [call.status for call in hub.requests if "/tree/" in call.path] == [status, status, 200]
    assert naps == [1, 2]


def test_too_many_requests_are_retried_after_the_given_time(hub: LocalHub, ann: HfApi, naps: list[float]) -> None:
    hub.fault("POST", "/preupload/", 429)
    put(ann, "a.txt", b"a")
    # The client adds one second.
    assert naps == [RETRY_AFTER + 1]


def test_a_failed_push_changes_nothing(hub: LocalHub, ann: HfApi, adapter: Path, naps: list[float]) -> None:
    before = ann.model_info(REPO).sha
    hub.fault("POST", "/commit/", 503)
    with pytest.raises(HfHubHTTPError, match="503"):
        ann.upload_folder(repo_id=REPO, folder_path=adapter)
    assert ann.model_info(REPO).sha == before
    ann.upload_folder(repo_id=REPO, folder_path=adapter)
    assert count(hub, "PUT", "/lfs/") == 1


def test_a_failed_upload_is_retried(hub: LocalHub, ann: HfApi, naps: list[float]) -> None:
    hub.fault("PUT", "/lfs/", 500)
    hub.fault("PUT", "/lfs/", "reset")
    put(ann, "w.safetensors", WEIGHTS)
    assert [call.status for call in hub.requests if call.method == "PUT"] == [500, None, 200]


def test_a_connection_reset(hub: LocalHub, ann: HfApi, naps: list[float]) -> None:
    hub.fault("GET", "/api/models/", "reset")
    with pytest.raises(HTTPError, match="reset"):
        ann.model_info(REPO)
    assert hub.requests[-1].status is None
    hub.fault("GET", "/tree/", "reset")
    assert ann.list_repo_files(REPO) == [".gitattributes"]
    assert naps == [1]


def test_a_slow_response_causes_a_timeout(hub: LocalHub, ann: HfApi) -> None:
    put(ann, "config.json", b"{}")
    path = ann.hf_hub_download(REPO, "config.json")
    hub.fault("HEAD", "/resolve/", "slow")
    assert ann.hf_hub_download(REPO, "config.json", etag_timeout=0.1) == path
    hub.fault("GET", "/api/models/", "slow")
    with pytest.raises(HTTPError, match="timed out"):
        ann.model_info(REPO, timeout=0.1)


def test_a_truncated_download_is_resumed(hub: LocalHub, ann: HfApi, naps: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    # The client discards an incomplete chunk.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 512)
    put(ann, "w.safetensors", WEIGHTS)
    hub.fault("GET", r"/resolve/main/.*\.safetensors$", "truncated")
    assert Path(ann.hf_hub_download(REPO, "w.safetensors")).read_bytes() == WEIGHTS
    first, second = [call for call in hub.requests if call.method == "GET" and "/resolve/" in call.path]
    assert (first.status, "range" in first.headers) == (200, False)
    assert (second.status, second.headers["range"]) == (206, "bytes=1024-")


def test_a_download_that_is_always_truncated_leaves_no_file(hub: LocalHub, ann: HfApi, naps: list[float], tmp_path: Path) -> None:
    put(ann, "w.safetensors", WEIGHTS)
    hub.fault("GET", "/resolve/", "truncated", times=100)
    with pytest.raises(HTTPError, match="peer closed"):
        ann.hf_hub_download(REPO, "w.safetensors")
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_corrupt_byte_is_found_only_by_the_checksum(hub: LocalHub, ann: HfApi) -> None:
    put(ann, "w.safetensors", WEIGHTS)
    hub.fault("GET", "/resolve/", "corrupt")
    path = Path(ann.hf_hub_download(REPO, "w.safetensors"))
    content = path.read_bytes()
    assert (content[:-1], len(content)) == (WEIGHTS[:-1], len(WEIGHTS)) and content != WEIGHTS
    checked = ann.verify_repo_checksums(REPO)
    assert [mismatch["path"] for mismatch in checked.mismatches] == ["w.safetensors"]


def test_a_hub_that_is_unavailable(hub: LocalHub, ann: HfApi, naps: list[float]) -> None:
    put(ann, "config.json", b"{}")
    hub.fault("HEAD", "/resolve/", 503, times=100)
    with pytest.raises(LocalEntryNotFoundError):
        ann.hf_hub_download(REPO, "config.json")


def test_faults_match_method_and_path(hub: LocalHub, ann: HfApi) -> None:
    hub.fault("POST", "/api/models/", 500)
    hub.fault("GET", "/api/datasets/", 500)
    assert ann.model_info(REPO).id == REPO
