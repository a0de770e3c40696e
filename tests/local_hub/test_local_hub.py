"""The Hub of our tests, driven by the real client."""

import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, constants, get_session
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.local_hub import Kind, LocalHub
from tests.local_hub.faults import RETRY_AFTER

REPO = "ann/ner-de"
CARD = "---\nlanguage: de\nlicense: apache-2.0\npipeline_tag: token-classification\ntags: [ner]\n---\n# German\n"
WEIGHTS = bytes(range(256)) * 8


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with LocalHub({"hf_ann": "ann", "hf_ben": "ben"}) as hub:
        yield hub


@pytest.fixture
def naps(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have waited before it tried again."""
    naps: list[float] = []
    monkeypatch.setattr("time.sleep", naps.append)
    return naps


@pytest.fixture
def ann(hub: LocalHub) -> HfApi:
    """The owner of a repository without files."""
    api = HfApi(endpoint=hub.endpoint, token="hf_ann")
    api.create_repo(REPO)
    return api


@pytest.fixture
def ben(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_ben")


@pytest.fixture
def anyone(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder as one publishes it: a card, a text file and weights."""
    folder = tmp_path / "adapter"
    (folder / "index").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "config.json").write_text('{"base": "tiny"}')
    (folder / "index" / "vectors.safetensors").write_bytes(WEIGHTS)
    return folder


def put(api: HfApi, path: str, content: bytes, repo: str = REPO, **options: object) -> str:
    """Commits one file; its commit's hash."""
    return api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=repo, **options).oid


def count(hub: LocalHub, method: str, path: str) -> int:
    return sum(call.method == method and path in call.path for call in hub.requests)


# Users and access


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


def test_nobody_writes_for_another(ann: HfApi, ben: HfApi, anyone: HfApi) -> None:
    for call in (lambda: ben.create_repo("ann/x"), lambda: put(ben, "a", b"a"), lambda: ben.delete_repo(REPO)):
        with pytest.raises(HfHubHTTPError) as denied:
            call()
        assert denied.value.response.status_code == 403
    with pytest.raises(HfHubHTTPError) as unknown:
        anyone.create_repo("ann/x")
    assert unknown.value.response.status_code == 401


def test_a_private_repository_is_missing_to_all_but_its_owner(ann: HfApi, ben: HfApi, anyone: HfApi) -> None:
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


def test_the_client_tells_missing_things_apart(ann: HfApi) -> None:
    with pytest.raises(RevisionNotFoundError):
        ann.hf_hub_download(REPO, "config.json", revision="nowhere")
    with pytest.raises(RevisionNotFoundError):
        ann.snapshot_download(REPO, revision="0" * 40)
    with pytest.raises(EntryNotFoundError):
        ann.hf_hub_download(REPO, "config.json")
    with pytest.raises(EntryNotFoundError):
        list(ann.list_repo_tree(REPO, "nowhere"))
    assert not ann.file_exists(REPO, "config.json")


# Commits


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


def test_trees_and_paths(ann: HfApi, adapter: Path) -> None:
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


def test_what_is_there_already_is_not_uploaded_again(hub: LocalHub, ann: HfApi, adapter: Path) -> None:
    first = ann.upload_folder(repo_id=REPO, folder_path=adapter)
    again = ann.upload_folder(repo_id=REPO, folder_path=adapter)
    assert again.oid == first.oid and count(hub, "POST", "/commit/") == 1
    put(ann, "copy.safetensors", WEIGHTS)
    assert count(hub, "PUT", "/lfs/") == 1


def test_binary_content_is_large_whatever_its_name(ann: HfApi) -> None:
    put(ann, "votes", b"\0\1\2")
    (entry,) = ann.get_paths_info(REPO, "votes")
    assert entry.lfs.size == 3


def test_a_large_file_must_be_what_it_says(hub: LocalHub, ann: HfApi) -> None:
    url = f"{hub.endpoint}/lfs/models/{REPO}/{sha256(WEIGHTS).hexdigest()}"
    assert get_session().put(url, content=WEIGHTS[1:]).status_code == 400
    assert get_session().post(url, json={"oid": sha256(WEIGHTS).hexdigest(), "size": len(WEIGHTS)}).status_code == 404
    pushed_without_upload = CommitOperationAdd("a.safetensors", WEIGHTS)
    pushed_without_upload._is_uploaded, pushed_without_upload._upload_mode = True, "lfs"
    with pytest.raises(BadRequestError, match="not uploaded"):
        ann.create_commit(REPO, [pushed_without_upload], commit_message="Pretend")


def test_a_pin_stays_readable_whatever_comes_after(ann: HfApi, adapter: Path, tmp_path: Path) -> None:
    pin = ann.upload_folder(repo_id=REPO, folder_path=adapter).oid
    put(ann, "config.json", b"{}")
    ann.delete_folder("index", REPO)
    assert ann.list_repo_files(REPO) == [".gitattributes", "README.md", "config.json"]
    folder = Path(ann.snapshot_download(REPO, revision=pin, cache_dir=tmp_path / "other"))
    assert folder.name == pin
    assert (folder / "config.json").read_bytes() == (adapter / "config.json").read_bytes()
    assert (folder / "index" / "vectors.safetensors").read_bytes() == WEIGHTS
    assert ann.model_info(REPO, revision=pin).sha == pin


def test_the_hash_of_a_commit_is_that_of_its_content(ann: HfApi) -> None:
    ann.create_repo("ann/a")
    ann.create_repo("ann/b")
    assert put(ann, "x", b"1", "ann/a") == put(ann, "x", b"1", "ann/b") != put(ann, "x", b"2", "ann/b")


def test_a_commit_is_whole_or_not_at_all(hub: LocalHub, ann: HfApi) -> None:
    before = put(ann, "a.txt", b"a")
    operations = [CommitOperationAdd("b.txt", b"b"), CommitOperationDelete("nowhere.txt")]
    with pytest.raises(EntryNotFoundError, match=r"nowhere\.txt"):
        ann.create_commit(REPO, operations, commit_message="Half")
    assert ann.model_info(REPO).sha == before
    operations = [CommitOperationCopy("a.txt", "c.txt"), CommitOperationDelete("a.txt"), CommitOperationAdd("d/e.txt", b"e")]
    ann.create_commit(REPO, operations, commit_message="Whole")
    assert ann.list_repo_files(REPO) == [".gitattributes", "c.txt", "d/e.txt"]


def test_a_commit_on_an_old_parent_is_refused(ann: HfApi) -> None:
    first = put(ann, "a.txt", b"1")
    second = put(ann, "a.txt", b"2", parent_commit=first)
    with pytest.raises(HfHubHTTPError) as outdated:
        put(ann, "a.txt", b"3", parent_commit=first)
    assert outdated.value.response.status_code == 412
    assert put(ann, "a.txt", b"3", parent_commit=second[:7]) == ann.model_info(REPO).sha


def test_only_branches_are_written_to(ann: HfApi) -> None:
    pin = put(ann, "a.txt", b"1")
    with pytest.raises(RevisionNotFoundError):
        put(ann, "a.txt", b"2", revision=pin)


def test_anyone_with_an_account_may_propose_a_change(ann: HfApi, ben: HfApi, anyone: HfApi) -> None:
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


def test_datasets_have_their_own_names(hub: LocalHub, ann: HfApi, adapter: Path) -> None:
    ann.create_repo(REPO, repo_type="dataset")
    pushed = ann.upload_folder(repo_id=REPO, repo_type="dataset", folder_path=adapter)
    assert (pushed.repo_url.repo_type, ann.dataset_info(REPO).sha) == ("dataset", pushed.oid)
    folder = Path(ann.snapshot_download(REPO, repo_type="dataset"))
    assert (folder / "index" / "vectors.safetensors").read_bytes() == WEIGHTS
    assert ann.list_repo_files(REPO) == [".gitattributes"]


# Downloads


def test_a_download_is_cached_under_its_commit(hub: LocalHub, ann: HfApi, adapter: Path) -> None:
    pin = ann.upload_folder(repo_id=REPO, folder_path=adapter).oid
    path = ann.hf_hub_download(REPO, "index/vectors.safetensors")
    assert Path(path).read_bytes() == WEIGHTS
    assert Path(path).resolve().name == sha256(WEIGHTS).hexdigest()
    asked = len(hub.requests)
    assert ann.hf_hub_download(REPO, "index/vectors.safetensors", revision=pin) == path
    assert len(hub.requests) == asked
    ann.hf_hub_download(REPO, "index/vectors.safetensors")
    assert [(call.method, call.status) for call in hub.requests[asked:]] == [("HEAD", 200)]


def test_a_snapshot_holds_what_its_patterns_allow(ann: HfApi, adapter: Path, tmp_path: Path) -> None:
    ann.upload_folder(repo_id=REPO, folder_path=adapter)
    folder = Path(ann.snapshot_download(REPO, allow_patterns=["*.json"], local_dir=tmp_path / "here"))
    assert [path.name for path in folder.iterdir() if path.name != ".cache"] == ["config.json"]


@pytest.mark.parametrize(
    ("wanted", "status", "content"), [("0-3", 206, b"0123"), ("8-", 206, b"89"), ("8-99", 206, b"89"), ("10-", 416, b"")]
)
def test_a_part_of_a_file(hub: LocalHub, ann: HfApi, wanted: str, status: int, content: bytes) -> None:
    put(ann, "digits", b"0123456789")
    answer = get_session().get(f"{hub.endpoint}/{REPO}/resolve/main/digits", headers={"Range": f"bytes={wanted}"})
    assert (answer.status_code, answer.content) == (status, content)


def test_a_missing_file_is_remembered(hub: LocalHub, ann: HfApi, tmp_path: Path) -> None:
    with pytest.raises(EntryNotFoundError):
        ann.hf_hub_download(REPO, "nowhere.json")
    assert list((tmp_path / "cache").rglob(".no_exist/*/nowhere.json"))


# Cards


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ("license: [mit, apache-2.0]", '"license" must be a string'),
        ("pipeline_tag: 3", '"pipeline_tag" must be a string'),
        ("language: no", '"language" must be a string'),
        ("tags: [ner, 1]", '"tags" must be'),
        ("a: [", "cannot be parsed"),
    ],
)
def test_a_card_with_wrong_metadata_is_refused(ann: HfApi, metadata: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        put(ann, "README.md", f"---\n{metadata}\n---\n".encode())


def test_wrong_metadata_is_refused_on_commit_too(hub: LocalHub, ann: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HfApi, "_validate_yaml", lambda *args, **options: None)
    with pytest.raises(BadRequestError, match="license"):
        put(ann, "README.md", b"---\nlicense: 3\n---\n")


def test_a_card_without_metadata_is_warned_of(ann: HfApi) -> None:
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        put(ann, "README.md", b"# German")
    assert ann.model_info(REPO).card_data is None


def test_a_date_in_the_metadata_is_told_as_text(ann: HfApi) -> None:
    put(ann, "README.md", b"---\ndate: 2026-01-31\n---\n")
    assert ann.model_info(REPO).card_data.date == "2026-01-31"


# Collections


def test_a_collection_from_its_creation_to_its_end(ann: HfApi, anyone: HfApi) -> None:
    made = ann.create_collection("NER adapters!", description="One per language")
    assert made.slug.startswith("ann/ner-adapters-") and len(made.slug.rsplit("-", 1)[1]) == 24
    assert ann.create_collection("NER adapters!", exists_ok=True).slug == made.slug
    with pytest.raises(HfHubHTTPError) as conflict:
        ann.create_collection("NER adapters!")
    assert conflict.value.response.status_code == 409
    for language in "abcde":
        ann.create_repo(f"ann/{language}")
        ann.add_collection_item(made.slug, f"ann/{language}", "model", note=language)
    (listed,) = anyone.list_collections(owner="ann")
    assert (listed.slug, len(listed.items)) == (made.slug, 4)
    assert [found.slug for found in anyone.list_collections(item="models/ann/e")] == [made.slug]
    assert not list(anyone.list_collections(owner="ben")) and not list(anyone.list_collections(item="models/ann/f"))
    items = anyone.get_collection(made.slug).items
    assert [(item.item_id, item.item_type, item.note) for item in items][-1] == ("ann/e", "model", "e")
    ann.update_collection_item(made.slug, items[-1].item_object_id, note="first", position=0)
    ann.delete_collection_item(made.slug, items[0].item_object_id)
    ann.delete_collection_item(made.slug, items[0].item_object_id, missing_ok=True)
    ann.delete_repo("ann/b")
    assert [(item.item_id, item.note) for item in anyone.get_collection(made.slug).items] == [
        ("ann/e", "first"),
        ("ann/c", "c"),
        ("ann/d", "d"),
    ]
    ann.delete_collection(made.slug)
    ann.delete_collection(made.slug, missing_ok=True)
    with pytest.raises(HfHubHTTPError) as missing:
        ann.get_collection(made.slug)
    assert missing.value.response.status_code == 404


def test_an_item_is_added_once_and_must_exist(ann: HfApi) -> None:
    slug = ann.create_collection("NER").slug
    ann.add_collection_item(slug, REPO, "model")
    assert len(ann.add_collection_item(slug, REPO, "model", exists_ok=True).items) == 1
    for item, status in ((REPO, 409), ("ann/nowhere", 404)):
        with pytest.raises(HfHubHTTPError) as refused:
            ann.add_collection_item(slug, item, "model")
        assert refused.value.response.status_code == status
    with pytest.raises(BadRequestError, match="at most 500"):
        ann.update_collection_item(slug, ann.get_collection(slug).items[0].item_object_id, note="x" * 501)


def test_collections_have_an_owner(ann: HfApi, ben: HfApi) -> None:
    public, private = ann.create_collection("Public").slug, ann.create_collection("Private", private=True).slug
    for slug, status in ((public, 403), (private, 404)):
        with pytest.raises(HfHubHTTPError) as refused:
            ben.delete_collection(slug)
        assert refused.value.response.status_code == status
    assert [found.slug for found in ben.list_collections(owner="ann")] == [public]
    with pytest.raises(HfHubHTTPError) as denied:
        ben.create_collection("Mine", namespace="ann")
    assert denied.value.response.status_code == 403


# Another process, which knows the Hub by its environment only


def test_the_environment_is_enough(hub: LocalHub, ann: HfApi, adapter: Path, tmp_path: Path) -> None:
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


# Faults


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_status_that_is_not_tried_again(hub: LocalHub, ann: HfApi, status: Kind) -> None:
    hub.fault("GET", f"/api/models/{REPO}$", status)
    with pytest.raises(HfHubHTTPError) as failed:
        ann.model_info(REPO)
    assert failed.value.response.status_code == hub.requests[-1].status == status
    assert ann.model_info(REPO).id == REPO


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_status_that_is_tried_again(hub: LocalHub, ann: HfApi, naps: list[float], status: Kind) -> None:
    hub.fault("GET", "/tree/", status, times=2)
    assert ann.list_repo_files(REPO) == [".gitattributes"]
    assert [call.status for call in hub.requests if "/tree/" in call.path] == [status, status, 200]
    assert naps == [1, 2]


def test_too_many_requests_come_with_a_time_to_wait(hub: LocalHub, ann: HfApi, naps: list[float]) -> None:
    hub.fault("POST", "/preupload/", 429)
    put(ann, "a.txt", b"a")
    # The client adds a second of its own.
    assert naps == [RETRY_AFTER + 1]


def test_a_push_that_fails_leaves_nothing(hub: LocalHub, ann: HfApi, adapter: Path, naps: list[float]) -> None:
    before = ann.model_info(REPO).sha
    hub.fault("POST", "/commit/", 503)
    with pytest.raises(HfHubHTTPError, match="503"):
        ann.upload_folder(repo_id=REPO, folder_path=adapter)
    assert ann.model_info(REPO).sha == before
    ann.upload_folder(repo_id=REPO, folder_path=adapter)
    assert count(hub, "PUT", "/lfs/") == 1


def test_an_upload_that_fails_is_tried_again(hub: LocalHub, ann: HfApi, naps: list[float]) -> None:
    hub.fault("PUT", "/lfs/", 500)
    hub.fault("PUT", "/lfs/", "reset")
    put(ann, "w.safetensors", WEIGHTS)
    assert [call.status for call in hub.requests if call.method == "PUT"] == [500, None, 200]


def test_a_connection_that_breaks(hub: LocalHub, ann: HfApi, naps: list[float]) -> None:
    hub.fault("GET", "/api/models/", "reset")
    with pytest.raises(HTTPError, match="reset"):
        ann.model_info(REPO)
    assert hub.requests[-1].status is None
    hub.fault("GET", "/tree/", "reset")
    assert ann.list_repo_files(REPO) == [".gitattributes"]
    assert naps == [1]


def test_an_answer_that_comes_too_late(hub: LocalHub, ann: HfApi) -> None:
    put(ann, "config.json", b"{}")
    path = ann.hf_hub_download(REPO, "config.json")
    hub.fault("HEAD", "/resolve/", "slow")
    assert ann.hf_hub_download(REPO, "config.json", etag_timeout=0.1) == path
    hub.fault("GET", "/api/models/", "slow")
    with pytest.raises(HTTPError, match="timed out"):
        ann.model_info(REPO, timeout=0.1)


def test_a_download_cut_off_is_resumed(hub: LocalHub, ann: HfApi, naps: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a chunk that did not come whole the client keeps nothing.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 512)
    put(ann, "w.safetensors", WEIGHTS)
    hub.fault("GET", r"/resolve/main/.*\.safetensors$", "truncated")
    assert Path(ann.hf_hub_download(REPO, "w.safetensors")).read_bytes() == WEIGHTS
    first, second = [call for call in hub.requests if call.method == "GET" and "/resolve/" in call.path]
    assert (first.status, "range" in first.headers) == (200, False)
    assert (second.status, second.headers["range"]) == (206, "bytes=1024-")


def test_a_download_cut_off_for_good_leaves_no_file(hub: LocalHub, ann: HfApi, naps: list[float], tmp_path: Path) -> None:
    put(ann, "w.safetensors", WEIGHTS)
    hub.fault("GET", "/resolve/", "truncated", times=100)
    with pytest.raises(HTTPError, match="peer closed"):
        ann.hf_hub_download(REPO, "w.safetensors")
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_the_client_does_not_see_a_wrong_byte_but_the_hash_does(hub: LocalHub, ann: HfApi) -> None:
    put(ann, "w.safetensors", WEIGHTS)
    hub.fault("GET", "/resolve/", "corrupt")
    path = Path(ann.hf_hub_download(REPO, "w.safetensors"))
    content = path.read_bytes()
    assert (content[:-1], len(content)) == (WEIGHTS[:-1], len(WEIGHTS)) and content != WEIGHTS
    checked = ann.verify_repo_checksums(REPO)
    assert [mismatch["path"] for mismatch in checked.mismatches] == ["w.safetensors"]


def test_a_hub_that_is_down(hub: LocalHub, ann: HfApi, naps: list[float]) -> None:
    put(ann, "config.json", b"{}")
    hub.fault("HEAD", "/resolve/", 503, times=100)
    with pytest.raises(LocalEntryNotFoundError):
        ann.hf_hub_download(REPO, "config.json")


def test_faults_go_by_method_and_path(hub: LocalHub, ann: HfApi) -> None:
    hub.fault("POST", "/api/models/", 500)
    hub.fault("GET", "/api/datasets/", 500)
    assert ann.model_info(REPO).id == REPO


def test_what_the_hub_does_not_serve_says_so(hub: LocalHub) -> None:
    answer = get_session().get(f"{hub.endpoint}/api/spaces/ann/demo")
    assert (answer.status_code, answer.json()["error"]) == (404, "The local Hub does not serve GET /api/spaces/ann/demo")
