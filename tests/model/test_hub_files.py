"""Files of Hub repositories are pinned, limited in size, verified, and available offline."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.model.hub_files import (
    Hub,
    HubError,
    HubFileMissingError,
    HubUnreachableError,
    Snapshot,
    is_collection,
    is_commit,
    is_hub_id,
    is_repository,
)
from tests.local_hub import Kind, LocalHub
from tests.published import TINY

REPO = "ann/ner-de"
SMALL, LARGE = b'{"language": "de"}', bytes(range(256)) * 8
LIMITS = {"retrieveall.json": 1000, "index/vectors.safetensors": 1 << 20}


@pytest.fixture
def commit(hub: LocalHub) -> str:
    """The commit of a repository with a small file and a large one."""
    api = HfApi()
    api.create_repo(REPO)
    files = [CommitOperationAdd("retrieveall.json", SMALL), CommitOperationAdd("index/vectors.safetensors", LARGE)]
    return api.create_commit(REPO, files, commit_message="Add").oid


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times that the client would have waited between retries."""
    naps: list[float] = []
    monkeypatch.setattr("time.sleep", naps.append)
    return naps


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_a_branch_is_resolved_to_its_commit_and_files_are_in_the_folder_of_the_commit(commit: str) -> None:
    hub = Hub()
    assert hub.resolve(REPO) == hub.resolve(REPO, "main") == hub.resolve(REPO, commit) == commit
    folder = hub.fetch(REPO, commit, LIMITS)
    assert folder.name == commit
    assert (folder / "retrieveall.json").read_bytes() == SMALL
    assert (folder / "index" / "vectors.safetensors").read_bytes() == LARGE


def test_a_pinned_commit_keeps_its_files_when_the_branch_changes(commit: str) -> None:
    HfApi().upload_file(path_or_fileobj=b"{}", path_in_repo="retrieveall.json", repo_id=REPO)
    assert (Hub().fetch(REPO, commit, LIMITS) / "retrieveall.json").read_bytes() == SMALL
    newest = Hub().resolve(REPO)
    assert newest != commit
    assert (Hub().fetch(REPO, newest, LIMITS) / "retrieveall.json").read_bytes() == b"{}"


def test_cached_files_are_not_requested_again(hub: LocalHub, commit: str) -> None:
    Hub().fetch(REPO, commit, LIMITS)
    hub.requests.clear()
    Hub().fetch(REPO, commit, LIMITS)
    assert hub.requests == []


def test_the_last_commit_and_its_files_are_available_offline(commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub().fetch(REPO, Hub().resolve(REPO), LIMITS)
    offline(monkeypatch)
    assert Hub().resolve(REPO) == commit
    assert (Hub().fetch(REPO, commit, LIMITS) / "retrieveall.json").read_bytes() == SMALL


@pytest.mark.parametrize("how", ["environment", "argument"])
def test_a_repository_that_was_never_fetched_is_one_clear_error_offline(
    commit: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "environment":
        offline(monkeypatch)
    hub = Hub(local_files_only=how == "argument")
    with pytest.raises(
        HubUnreachableError, match=r"no local folder ann/ner-de\. The cache does not have all files.*retrieveall pull"
    ):
        hub.resolve(REPO)
    with pytest.raises(HubUnreachableError, match=r"no local folder ann/ner-de\. The cache does not have all files"):
        hub.fetch(REPO, commit, LIMITS)


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("HF_HUB_OFFLINE", True, "the client is offline"),
        ("ENDPOINT", "http://127.0.0.1:9", r"the Hub could not be reached \(.*Connection refused\)"),
    ],
)
@pytest.mark.parametrize("argument", ["source", "base_model", "adapter"])
def test_a_folder_that_does_not_exist_is_named_first_when_the_hub_is_not_reachable(
    hub: LocalHub, tiny_adapter: TINY, monkeypatch: pytest.MonkeyPatch, setting: str, value: Any, reason: str, argument: str
) -> None:
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"))
    monkeypatch.setattr(constants, setting, value)
    with pytest.raises(HubUnreachableError, match=rf"^There is no local folder runs/nope\. .*{reason}\. Check the name"):
        if argument == "source":
            RetrieveAllModel.from_pretrained("runs/nope")
        elif argument == "base_model":
            RetrieveAllModel.from_pretrained(tiny_adapter("de"), base_model="runs/nope")
        else:
            model.add_language("runs/nope")


def test_only_the_given_cache_is_used(commit: str, tmp_path: Path) -> None:
    folder = Hub(cache_dir=tmp_path).fetch(REPO, commit, LIMITS)
    assert folder.is_relative_to(tmp_path)
    assert Hub(cache_dir=tmp_path, local_files_only=True).fetch(REPO, commit, LIMITS) == folder
    with pytest.raises(HubUnreachableError):
        Hub(local_files_only=True).fetch(REPO, commit, LIMITS)


def test_a_missing_file_is_named_in_the_error(commit: str) -> None:
    with pytest.raises(HubFileMissingError, match=rf"ann/ner-de: examples.parquet is missing from commit {commit[:12]}"):
        Hub().fetch(REPO, commit, {"retrieveall.json": 1000, "examples.parquet": 1000})


def test_a_file_over_its_size_limit_is_not_downloaded(hub: LocalHub, commit: str) -> None:
    with pytest.raises(HubError, match=r"index/vectors.safetensors has 2,048 bytes; at most 2,047 are read"):
        Hub().fetch(REPO, commit, {"index/vectors.safetensors": 2047})
    assert not any("/resolve/" in call.path for call in hub.requests)


@pytest.mark.parametrize(("name", "content"), [("retrieveall.json", SMALL), ("index/vectors.safetensors", LARGE)])
def test_a_file_damaged_in_transfer_is_removed_and_fetched_again(hub: LocalHub, commit: str, name: str, content: bytes) -> None:
    hub.fault("GET", f"/resolve/.*{name}", "corrupt")
    with pytest.raises(HubUnreachableError, match=r"was damaged and has been removed from the cache\. Try again"):
        Hub().fetch(REPO, commit, {name: 10_000})
    assert (Hub().fetch(REPO, commit, {name: 10_000}) / name).read_bytes() == content


def test_a_file_damaged_on_the_disk_is_detected(commit: str) -> None:
    file = Hub().fetch(REPO, commit, LIMITS) / "index" / "vectors.safetensors"
    file.resolve().write_bytes(b"\0" * len(LARGE))
    with pytest.raises(HubUnreachableError, match="was damaged"):
        Hub().fetch(REPO, commit, LIMITS)
    assert (Hub().fetch(REPO, commit, LIMITS) / "index" / "vectors.safetensors").read_bytes() == LARGE


def test_a_missing_or_private_repository_says_how_to_log_in(commit: str) -> None:
    with pytest.raises(HubError, match=r"no repository ann/other on the Hub, or it is private.*hf auth login"):
        Hub().resolve("ann/other")
    HfApi().update_repo_settings(REPO, private=True)
    assert Hub(token="hf_ann").resolve(REPO) == commit
    for other in (Hub(token="hf_ben"), Hub(token=False)):
        with pytest.raises(HubError, match="or it is private"):
            other.resolve(REPO)
        with pytest.raises(HubError, match="or it is private"):
            other.fetch(REPO, commit, LIMITS)


def test_a_gated_repository_says_where_to_request_access(hub: LocalHub, commit: str) -> None:
    hub.store.find("model", REPO, "ann").gated = "manual"
    with pytest.raises(HubError, match=r"ann/ner-de is gated, and this user has no access"):
        Hub(token="hf_ben").fetch(REPO, commit, LIMITS)
    hub.store.find("model", REPO, "ann").granted.add("ben")
    assert Hub(token="hf_ben").fetch(REPO, commit, LIMITS).name == commit


def test_a_missing_revision_is_named(commit: str) -> None:
    with pytest.raises(HubError, match="There is no revision ann/ner-de@v2 on the Hub"):
        Hub().resolve(REPO, "v2")
    with pytest.raises(HubError, match=r"ann/ner-de"):
        Hub().fetch(REPO, "f" * 40, LIMITS)


def test_a_connection_that_is_reset_once_does_not_fail_a_download(hub: LocalHub, commit: str) -> None:
    hub.fault("POST", "/paths-info/", "reset")
    assert Hub().fetch(REPO, commit, LIMITS).name == commit
    assert [call.status for call in hub.requests if "/paths-info/" in call.path] == [None, 200]


@pytest.mark.parametrize("kind", [500, 503, "reset"])
def test_the_last_commit_is_used_while_the_hub_is_down(hub: LocalHub, commit: str, kind: Kind, naps: list[float]) -> None:
    Hub().fetch(REPO, Hub().resolve(REPO), LIMITS)
    hub.fault("GET", "/api/models/", kind, times=100)
    assert Hub().resolve(REPO) == commit


def test_a_collection_is_read_with_the_kind_of_each_item_and_cached(
    hub: LocalHub, commit: str, monkeypatch: pytest.MonkeyPatch, naps: list[float]
) -> None:
    api = HfApi()
    api.create_repo("ann/data", repo_type="dataset")
    slug = api.create_collection("NER adapters").slug
    api.add_collection_item(slug, REPO, "model")
    api.add_collection_item(slug, "ann/data", "dataset")
    items = [("model", REPO), ("dataset", "ann/data")]
    assert Hub().collection_items(slug) == items
    hub.fault("GET", "/api/collections", 503, times=100)
    assert Hub().collection_items(slug) == items
    offline(monkeypatch)
    assert Hub().collection_items(slug) == items
    with pytest.raises(HubUnreachableError, match="is not in the cache, and the client is offline"):
        Hub().collection_items("ann/never-seen-64f9a55bb3115b4f513ec026")


def test_a_missing_collection_is_an_error_and_not_cached(hub: LocalHub) -> None:
    slug = HfApi().create_collection("Gone").slug
    assert Hub().collection_items(slug) == []
    HfApi().delete_collection(slug)
    with pytest.raises(HubError, match=f"no repository {slug} on the Hub, or it is private"):
        Hub().collection_items(slug)


@pytest.mark.parametrize("slug", ["ann/x-64f9a55bb3115b4f513ec026?a=/../../../victim", "../x", "", "ann/x"])
def test_an_invalid_slug_is_neither_requested_nor_used_as_a_path(hub: LocalHub, slug: str) -> None:
    with pytest.raises(HubError, match="is not the slug of a collection"):
        Hub().collection_items(slug)
    assert hub.requests == []


def test_a_read_only_cache_is_not_an_error(hub: LocalHub, tmp_path: Path) -> None:
    slug = HfApi().create_collection("Mine").slug
    (tmp_path / "file").touch()
    assert Hub(cache_dir=tmp_path / "file").collection_items(slug) == []


def test_a_token_is_not_in_messages() -> None:
    assert "hf_secret" not in repr(Snapshot(Hub(token="hf_secret"), REPO, "f" * 40))


def test_a_snapshot_of_a_folder_reads_only_that_folder_and_is_named_after_it(commit: str) -> None:
    snapshot = Snapshot(Hub(), REPO, commit, "index")
    assert (snapshot.fetch({"vectors.safetensors": 1 << 20}) / "vectors.safetensors").read_bytes() == LARGE
    assert str(snapshot) == f"{REPO}@{commit}/index"


@pytest.mark.parametrize(
    ("name", "repository", "collection"),
    [
        ("ann/ner-de", True, False),
        ("ann/ner-adapters-64f9a55bb3115b4f513ec026", True, True),
        ("ann/-64f9a55bb3115b4f513ec026", False, True),  # a title in another script
        ("shipped", False, False),
        ("../ann", False, False),
        ("/ann/ner", False, False),
        ("ann/ner/de", False, False),
        ("ann/", False, False),
        ("~/adapters", False, False),
    ],
)
def test_repositories_and_collections_are_recognised_by_their_form(name: str, repository: bool, collection: bool) -> None:
    assert (is_repository(name), is_collection(name)) == (repository, collection)


@pytest.mark.parametrize("name", ["gpt2", "bert-base-cased", "ann/ner-de", "openai-community/gpt2", "a/b.c_d-e"])
def test_a_repository_may_have_no_owner(name: str) -> None:
    assert is_hub_id(name) and is_repository(name) == ("/" in name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/b/c",
        "gpt2\n",
        "ann/",
        "/gpt2",
        "./gpt2",
        "né/de",
        "a b",
        "owner/[x](y)",
        "-64f9",
        "a--b/c",
        "ann/a..b",
        "ann/x.git",
        "x" * 97,
    ],
)
def test_a_name_that_the_hub_does_not_allow_is_not_a_hub_id(name: str) -> None:
    assert not is_hub_id(name) and not is_repository(name)


@given(st.text(max_size=50))
def test_only_forty_hexadecimal_digits_are_a_commit(text: str) -> None:
    assert is_commit(text) == (len(text) == 40 and set(text) <= set("0123456789abcdef"))
