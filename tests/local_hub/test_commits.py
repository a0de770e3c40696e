"""Commits, uploads and pull requests."""

from hashlib import sha256
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, get_session
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RevisionNotFoundError,
)

from tests.local_hub import LocalHub
from tests.local_hub.conftest import REPO, WEIGHTS, count, put


def test_a_folder_is_published_in_one_commit(hub: LocalHub, ann: HfApi, adapter: Path) -> None:
    pushed = ann.upload_folder(repo_id=REPO, folder_path=adapter, commit_message="Add German", commit_description="F1 81.5")
    assert count(hub, "POST", "/commit/") == count(hub, "PUT", "/lfs/") == 1
    assert pushed.repo_url.repo_id == REPO
    newest, first = ann.list_repo_commits(REPO)
    assert (newest.commit_id, newest.title, newest.message, newest.authors) == (pushed.oid, "Add German", "F1 81.5", ["ann"])
    assert first.title == "initial commit"
    files = [".gitattributes", "README.md", "config.json", "index/vectors.safetensors"]
    assert ann.list_repo_files(REPO) == files
    info = ann.model_info(REPO, files_metadata=True)
    assert (info.sha, [file.rfilename for file in info.siblings]) == (pushed.oid, files)
    assert (info.siblings[3].size, info.siblings[3].lfs.sha256) == (len(WEIGHTS), sha256(WEIGHTS).hexdigest())
    assert info.siblings[2].lfs is None
    assert set(info.tags) == {"token-classification", "ner", "de", "license:apache-2.0"}
    assert (info.pipeline_tag, info.card_data.language) == ("token-classification", "de")


def test_the_tree_of_a_repository_and_single_paths(ann: HfApi, adapter: Path) -> None:
    ann.upload_folder(repo_id=REPO, folder_path=adapter)
    assert [entry.path for entry in ann.list_repo_tree(REPO)] == [".gitattributes", "README.md", "config.json", "index"]
    (inside,) = ann.list_repo_tree(REPO, "index")
    assert (inside.path, inside.size, inside.lfs.sha256) == (
        "index/vectors.safetensors",
        len(WEIGHTS),
        sha256(WEIGHTS).hexdigest(),
    )
    found = ann.get_paths_info(REPO, ["config.json", "index", "nowhere"])
    assert [entry.path for entry in found] == ["config.json", "index"]


def test_existing_files_are_not_uploaded_again(hub: LocalHub, ann: HfApi, adapter: Path) -> None:
    first = ann.upload_folder(repo_id=REPO, folder_path=adapter)
    again = ann.upload_folder(repo_id=REPO, folder_path=adapter)
    assert again.oid == first.oid and count(hub, "POST", "/commit/") == 1
    put(ann, "copy.safetensors", WEIGHTS)
    assert count(hub, "PUT", "/lfs/") == 1


def test_binary_files_are_large_files_whatever_their_names(ann: HfApi) -> None:
    put(ann, "votes", b"\0\1\2")
    (entry,) = ann.get_paths_info(REPO, "votes")
    assert entry.lfs.size == 3


def test_a_large_file_must_have_the_announced_hash_and_size(hub: LocalHub, ann: HfApi) -> None:
    url = f"{hub.endpoint}/lfs/models/{REPO}/{sha256(WEIGHTS).hexdigest()}"
    assert get_session().put(url, content=WEIGHTS[1:]).status_code == 400
    assert get_session().post(url, json={"oid": sha256(WEIGHTS).hexdigest(), "size": len(WEIGHTS)}).status_code == 404
    pushed_without_upload = CommitOperationAdd("a.safetensors", WEIGHTS)
    pushed_without_upload._is_uploaded, pushed_without_upload._upload_mode = True, "lfs"
    with pytest.raises(BadRequestError, match="not uploaded"):
        ann.create_commit(REPO, [pushed_without_upload], commit_message="Pretend")


def test_a_pinned_commit_stays_readable(ann: HfApi, adapter: Path, tmp_path: Path) -> None:
    pin = ann.upload_folder(repo_id=REPO, folder_path=adapter).oid
    put(ann, "config.json", b"{}")
    ann.delete_folder("index", REPO)
    assert ann.list_repo_files(REPO) == [".gitattributes", "README.md", "config.json"]
    folder = Path(ann.snapshot_download(REPO, revision=pin, cache_dir=tmp_path / "other"))
    assert folder.name == pin
    assert (folder / "config.json").read_bytes() == (adapter / "config.json").read_bytes()
    assert (folder / "index" / "vectors.safetensors").read_bytes() == WEIGHTS
    assert ann.model_info(REPO, revision=pin).sha == pin


def test_the_hash_of_a_commit_depends_on_its_content(ann: HfApi) -> None:
    ann.create_repo("ann/a")
    ann.create_repo("ann/b")
    assert put(ann, "x", b"1", "ann/a") == put(ann, "x", b"1", "ann/b") != put(ann, "x", b"2", "ann/b")


def test_a_commit_is_atomic(hub: LocalHub, ann: HfApi) -> None:
    before = put(ann, "a.txt", b"a")
    operations = [CommitOperationAdd("b.txt", b"b"), CommitOperationDelete("nowhere.txt")]
    with pytest.raises(EntryNotFoundError, match=r"nowhere\.txt"):
        ann.create_commit(REPO, operations, commit_message="Half")
    assert ann.model_info(REPO).sha == before
    operations = [CommitOperationCopy("a.txt", "c.txt"), CommitOperationDelete("a.txt"), CommitOperationAdd("d/e.txt", b"e")]
    ann.create_commit(REPO, operations, commit_message="Whole")
    assert ann.list_repo_files(REPO) == [".gitattributes", "c.txt", "d/e.txt"]


def test_a_commit_on_an_old_parent_is_rejected(ann: HfApi) -> None:
    first = put(ann, "a.txt", b"1")
    second = put(ann, "a.txt", b"2", parent_commit=first)
    with pytest.raises(HfHubHTTPError) as outdated:
        put(ann, "a.txt", b"3", parent_commit=first)
    assert outdated.value.response.status_code == 412
    assert put(ann, "a.txt", b"3", parent_commit=second[:7]) == ann.model_info(REPO).sha


def test_only_branches_can_be_written(ann: HfApi) -> None:
    pin = put(ann, "a.txt", b"1")
    with pytest.raises(RevisionNotFoundError):
        put(ann, "a.txt", b"2", revision=pin)


def test_any_user_can_open_a_pull_request(ann: HfApi, ben: HfApi, anyone: HfApi) -> None:
    main = put(ann, "a.txt", b"ann")
    operations = [CommitOperationAdd("a.txt", b"ben"), CommitOperationAdd("w.safetensors", WEIGHTS)]
    proposed = ben.create_commit(REPO, operations, commit_message="Better", create_pr=True)
    assert (proposed.pr_num, proposed.pr_revision) == (1, "refs/pr/1")
    assert Path(ben.hf_hub_download(REPO, "a.txt", revision="refs/pr/1")).read_bytes() == b"ben"
    assert Path(ben.hf_hub_download(REPO, "a.txt")).read_bytes() == b"ann"
    refs = anyone.list_repo_refs(REPO, include_pull_requests=True)
    assert [(ref.ref, ref.target_commit) for ref in refs.pull_requests] == [("refs/pr/1", proposed.oid)]
    assert [(ref.name, ref.target_commit) for ref in refs.branches] == [("main", main)]
    amended = put(ann, "a.txt", b"both", revision="refs/pr/1")
    assert [commit.commit_id for commit in ann.list_repo_commits(REPO, revision="refs/pr/1")][:3] == [amended, proposed.oid, main]
    assert put(ben, "b.txt", b"b", create_pr=True, parent_commit=main) != amended
    assert len(ann.list_repo_refs(REPO, include_pull_requests=True).pull_requests) == 2


def test_a_dataset_and_a_model_can_have_the_same_name(hub: LocalHub, ann: HfApi, adapter: Path) -> None:
    ann.create_repo(REPO, repo_type="dataset")
    pushed = ann.upload_folder(repo_id=REPO, repo_type="dataset", folder_path=adapter)
    assert (pushed.repo_url.repo_type, ann.dataset_info(REPO).sha) == ("dataset", pushed.oid)
    folder = Path(ann.snapshot_download(REPO, repo_type="dataset"))
    assert (folder / "index" / "vectors.safetensors").read_bytes() == WEIGHTS
    assert ann.list_repo_files(REPO) == [".gitattributes"]
