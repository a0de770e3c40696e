"""Files of Hub repositories: pinned, limited, checked, and the same offline."""

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants
from hypothesis import given
from hypothesis import strategies as st

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
    """How long the client would have waited before it tried again."""
    naps: list[float] = []
    monkeypatch.setattr("time.sleep", naps.append)
    return naps


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_a_branch_is_resolved_to_its_commit_and_files_lie_in_the_folder_of_the_commit(commit: str) -> None:
    hub = Hub()
    assert hub.resolve(REPO) == hub.resolve(REPO, "main") == hub.resolve(REPO, commit) == commit
    folder = hub.fetch(REPO, commit, LIMITS)
    assert folder.name == commit
    assert (folder / "retrieveall.json").read_bytes() == SMALL
    assert (folder / "index" / "vectors.safetensors").read_bytes() == LARGE


def test_a_pin_keeps_its_files_whatever_happens_to_the_branch(commit: str) -> None:
    HfApi().upload_file(path_or_fileobj=b"{}", path_in_repo="retrieveall.json", repo_id=REPO)
    assert (Hub().fetch(REPO, commit, LIMITS) / "retrieveall.json").read_bytes() == SMALL
    newest = Hub().resolve(REPO)
    assert newest != commit
    assert (Hub().fetch(REPO, newest, LIMITS) / "retrieveall.json").read_bytes() == b"{}"


def test_what_is_cached_is_not_asked_for_again(hub: LocalHub, commit: str) -> None:
    Hub().fetch(REPO, commit, LIMITS)
    hub.requests.clear()
    Hub().fetch(REPO, commit, LIMITS)
    assert hub.requests == []


def test_offline_the_last_commit_and_its_files_are_still_there(commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub().fetch(REPO, Hub().resolve(REPO), LIMITS)
    offline(monkeypatch)
    assert Hub().resolve(REPO) == commit
    assert (Hub().fetch(REPO, commit, LIMITS) / "retrieveall.json").read_bytes() == SMALL


@pytest.mark.parametrize("how", ["environment", "argument"])
def test_offline_what_was_never_fetched_is_one_clear_error(commit: str, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "environment":
        offline(monkeypatch)
    hub = Hub(local_files_only=how == "argument")
    with pytest.raises(HubUnreachableError, match=r"ann/ner-de is neither a folder here nor in the cache.*retrieveall pull"):
        hub.resolve(REPO)
    with pytest.raises(HubUnreachableError, match=r"ann/ner-de is neither a folder here nor in the cache"):
        hub.fetch(REPO, commit, LIMITS)


def test_a_cache_of_ones_own_is_used_and_no_other(commit: str, tmp_path: Path) -> None:
    folder = Hub(cache_dir=tmp_path).fetch(REPO, commit, LIMITS)
    assert folder.is_relative_to(tmp_path)
    assert Hub(cache_dir=tmp_path, local_files_only=True).fetch(REPO, commit, LIMITS) == folder
    with pytest.raises(HubUnreachableError):
        Hub(local_files_only=True).fetch(REPO, commit, LIMITS)


def test_a_file_that_is_not_there_is_named(commit: str) -> None:
    with pytest.raises(HubFileMissingError, match=rf"ann/ner-de: examples.parquet is missing from commit {commit[:12]}"):
        Hub().fetch(REPO, commit, {"retrieveall.json": 1000, "examples.parquet": 1000})


def test_a_file_over_its_limit_is_not_fetched(hub: LocalHub, commit: str) -> None:
    with pytest.raises(HubError, match=r"index/vectors.safetensors has 2,048 bytes; at most 2,047 are read"):
        Hub().fetch(REPO, commit, {"index/vectors.safetensors": 2047})
    assert not any("/resolve/" in call.path for call in hub.requests)


@pytest.mark.parametrize(("name", "content"), [("retrieveall.json", SMALL), ("index/vectors.safetensors", LARGE)])
def test_a_file_that_arrives_damaged_is_thrown_away_and_fetched_anew(
    hub: LocalHub, commit: str, name: str, content: bytes
) -> None:
    hub.fault("GET", f"/resolve/.*{name}", "corrupt")
    with pytest.raises(HubUnreachableError, match=r"arrived damaged and was thrown away\. Try again"):
        Hub().fetch(REPO, commit, {name: 10_000})
    assert (Hub().fetch(REPO, commit, {name: 10_000}) / name).read_bytes() == content


def test_a_file_that_was_damaged_on_the_disk_is_found_out(commit: str) -> None:
    file = Hub().fetch(REPO, commit, LIMITS) / "index" / "vectors.safetensors"
    file.resolve().write_bytes(b"\0" * len(LARGE))
    with pytest.raises(HubUnreachableError, match="arrived damaged"):
        Hub().fetch(REPO, commit, LIMITS)
    assert (Hub().fetch(REPO, commit, LIMITS) / "index" / "vectors.safetensors").read_bytes() == LARGE


def test_a_repository_that_is_not_there_or_private_says_how_to_log_in(commit: str) -> None:
    with pytest.raises(HubError, match=r"no repository ann/other on the Hub, or it is private.*hf auth login"):
        Hub().resolve("ann/other")
    HfApi().update_repo_settings(REPO, private=True)
    assert Hub(token="hf_ann").resolve(REPO) == commit
    for stranger in (Hub(token="hf_ben"), Hub(token=False)):
        with pytest.raises(HubError, match="or it is private"):
            stranger.resolve(REPO)
        with pytest.raises(HubError, match="or it is private"):
            stranger.fetch(REPO, commit, LIMITS)


def test_a_gated_repository_says_where_to_ask(hub: LocalHub, commit: str) -> None:
    hub.store.find("model", REPO, "ann").gated = "manual"
    with pytest.raises(HubError, match=r"ann/ner-de is gated, and this user has no access"):
        Hub(token="hf_ben").fetch(REPO, commit, LIMITS)
    hub.store.find("model", REPO, "ann").granted.add("ben")
    assert Hub(token="hf_ben").fetch(REPO, commit, LIMITS).name == commit


def test_a_revision_that_is_not_there_is_named(commit: str) -> None:
    with pytest.raises(HubError, match="There is no revision ann/ner-de@v2 on the Hub"):
        Hub().resolve(REPO, "v2")
    with pytest.raises(HubError, match=r"ann/ner-de"):
        Hub().fetch(REPO, "f" * 40, LIMITS)


@pytest.mark.parametrize("kind", [500, 503, "reset"])
def test_the_last_commit_serves_while_the_hub_is_down(hub: LocalHub, commit: str, kind: Kind, naps: list[float]) -> None:
    Hub().fetch(REPO, Hub().resolve(REPO), LIMITS)
    hub.fault("GET", "/api/models/", kind, times=100)
    assert Hub().resolve(REPO) == commit


def test_a_collection_is_read_with_the_kind_of_each_item_and_remembered(
    hub: LocalHub, commit: str, monkeypatch: pytest.MonkeyPatch, naps: list[float]
) -> None:
    api = HfApi()
    api.create_repo("ann/data", repo_type="dataset")
    slug = api.create_collection("NER adapters").slug
    api.add_collection_item(slug, REPO, "model")
    api.add_collection_item(slug, "ann/data", "dataset")
    items = [("model", REPO), ("dataset", "ann/data")]
    assert Hub().collection(slug) == items
    hub.fault("GET", "/api/collections", 503, times=100)
    assert Hub().collection(slug) == items
    offline(monkeypatch)
    assert Hub().collection(slug) == items
    with pytest.raises(HubUnreachableError, match="cannot be asked for offline"):
        Hub().collection("ann/never-seen-64f9a55bb3115b4f513ec026")


def test_a_collection_that_is_not_there_is_an_error_and_not_remembered(hub: LocalHub) -> None:
    slug = HfApi().create_collection("Gone").slug
    assert Hub().collection(slug) == []
    HfApi().delete_collection(slug)
    with pytest.raises(HubError, match=f"no repository {slug} on the Hub, or it is private"):
        Hub().collection(slug)


@pytest.mark.parametrize("slug", ["ann/x-64f9a55bb3115b4f513ec026?a=/../../../victim", "../x", "", "ann/x"])
def test_what_is_no_slug_is_neither_asked_for_nor_made_a_path_of(hub: LocalHub, slug: str) -> None:
    with pytest.raises(HubError, match="is no slug of a collection"):
        Hub().collection(slug)
    assert hub.requests == []


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(hub: LocalHub, tmp_path: Path) -> None:
    slug = HfApi().create_collection("Mine").slug
    (tmp_path / "file").touch()
    assert Hub(cache_dir=tmp_path / "file").collection(slug) == []


def test_a_token_is_not_shown() -> None:
    assert "hf_secret" not in repr(Snapshot(Hub(token="hf_secret"), REPO, "f" * 40))


def test_a_snapshot_of_a_folder_reads_inside_it_and_says_where_it_is(commit: str) -> None:
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
def test_names_are_told_apart_by_their_form(name: str, repository: bool, collection: bool) -> None:
    assert (is_repository(name), is_collection(name)) == (repository, collection)


@pytest.mark.parametrize("name", ["gpt2", "bert-base-cased", "ann/ner-de", "openai-community/gpt2", "a/b.c_d-e"])
def test_a_repository_may_have_no_owner(name: str) -> None:
    assert is_hub_id(name) and is_repository(name) == ("/" in name)


@pytest.mark.parametrize("name", ["", "a/b/c", "gpt2\n", "ann/", "/gpt2", "./gpt2", "né/de", "a b", "owner/[x](y)", "-64f9"])
def test_what_no_repository_is_called_is_none(name: str) -> None:
    assert not is_hub_id(name) and not is_repository(name)


@given(st.text(max_size=50))
def test_only_forty_hexadecimal_digits_are_a_commit(text: str) -> None:
    assert is_commit(text) == (len(text) == 40 and set(text) <= set("0123456789abcdef"))
