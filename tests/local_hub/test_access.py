"""Users, tokens, private and gated repositories."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi, get_session
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.local_hub import LocalHub
from tests.local_hub.conftest import REPO, put


def test_a_token_names_its_user(ann: HfApi, ben: HfApi) -> None:
    assert (ann.whoami()["name"], ben.whoami()["name"]) == ("ann", "ben")
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        ann.whoami(token="hf_nobody")


def test_a_repository_is_created_once_and_deleted_once(ann: HfApi) -> None:
    assert ann.create_repo(REPO, exist_ok=True).repo_id == REPO
    with pytest.raises(HfHubHTTPError) as conflict:
        ann.create_repo(REPO)
    assert conflict.value.response.status_code == 409
    assert ann.create_repo("short", private=True).repo_id == "ann/short"
    ann.delete_repo(REPO)
    ann.delete_repo(REPO, missing_ok=True)
    with pytest.raises(RepositoryNotFoundError):
        ann.delete_repo(REPO)
    assert not ann.repo_exists(REPO)


def test_only_the_owner_can_write(ann: HfApi, ben: HfApi, anyone: HfApi) -> None:
    for call in (lambda: ben.create_repo("ann/x"), lambda: put(ben, "a", b"a"), lambda: ben.delete_repo(REPO)):
        with pytest.raises(HfHubHTTPError) as denied:
            call()
        assert denied.value.response.status_code == 403
    with pytest.raises(HfHubHTTPError) as unknown:
        anyone.create_repo("ann/x")
    assert unknown.value.response.status_code == 401


def test_a_private_repository_is_missing_for_everyone_but_its_owner(ann: HfApi, ben: HfApi, anyone: HfApi) -> None:
    put(ann, "config.json", b"{}")
    ann.update_repo_settings(REPO, private=True)
    assert ann.model_info(REPO).private
    for api, status in ((ben, 404), (anyone, 401)):
        with pytest.raises(RepositoryNotFoundError) as missing:
            api.model_info(REPO)
        assert missing.value.response.status_code == status
        with pytest.raises(RepositoryNotFoundError):
            api.hf_hub_download(REPO, "config.json")
    ann.update_repo_settings(REPO, private=False)
    assert anyone.model_info(REPO).id == REPO


def test_gating_hides_the_files_until_access_is_granted(hub: LocalHub, ann: HfApi, ben: HfApi, anyone: HfApi) -> None:
    put(ann, "config.json", b"{}")
    ann.update_repo_settings(REPO, gated="manual")
    assert ben.model_info(REPO).gated == "manual"
    for api, status in ((ben, 403), (anyone, 401)):
        with pytest.raises(GatedRepoError) as gated:
            api.hf_hub_download(REPO, "config.json")
        assert gated.value.response.status_code == status
    hub.store.repositories["model", REPO].granted.add("ben")
    assert Path(ben.hf_hub_download(REPO, "config.json")).read_bytes() == b"{}"


def test_the_client_distinguishes_what_is_missing(ann: HfApi) -> None:
    with pytest.raises(RevisionNotFoundError):
        ann.hf_hub_download(REPO, "config.json", revision="nowhere")
    with pytest.raises(RevisionNotFoundError):
        ann.snapshot_download(REPO, revision="0" * 40)
    with pytest.raises(EntryNotFoundError):
        ann.hf_hub_download(REPO, "config.json")
    with pytest.raises(EntryNotFoundError):
        list(ann.list_repo_tree(REPO, "nowhere"))
    assert not ann.file_exists(REPO, "config.json")


def test_another_process_uses_the_hub_by_its_environment(hub: LocalHub, ann: HfApi, adapter: Path, tmp_path: Path) -> None:
    script = """
import sys
from huggingface_hub import ModelCard, hf_hub_download, upload_folder, whoami
ModelCard.load(sys.argv[2] + "/README.md").validate()
try:
    ModelCard("---\\nlicense: 3\\n---\\n").validate()
except ValueError as error:
    assert "license" in str(error)
upload_folder(repo_id=sys.argv[1], folder_path=sys.argv[2])
print(whoami()["name"], hf_hub_download(sys.argv[1], "config.json"))
"""
    environment = os.environ | hub.environment("hf_ann", tmp_path / "home")
    arguments = [sys.executable, "-c", script, REPO, str(adapter)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"ann {tmp_path / 'home'}")
    assert [call.status for call in hub.requests if call.path == "/api/validate-yaml"][:2] == [200, 400]


def test_an_unsupported_route_is_reported(hub: LocalHub) -> None:
    answer = get_session().get(f"{hub.endpoint}/api/spaces/ann/demo")
    assert (answer.status_code, answer.json()["error"]) == (404, "The local Hub does not serve GET /api/spaces/ann/demo")
