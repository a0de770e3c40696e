"""Pushing adapters and models to the Hub: one commit or none, checks before it, collections after it."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from safetensors.torch import load_file, save_file

from modeling_retrieveall import AdapterError, LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.hub.collections import open_collection, remove_from_collection
from modeling_retrieveall.hub.pull import pull
from modeling_retrieveall.hub.push import push_adapter
from modeling_retrieveall.model.hub_files import Hub, HubError, HubUnreachableError
from modeling_retrieveall.model.untrusted_files import LIMITS
from tests.adapter_folders import copy_adapter
from tests.local_hub import LocalHub
from tests.local_hub.store import Commit
from tests.published import TINY, commit_folder, publish

REPO = "ann/tiny-de"
FILES = {
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "examples.parquet",
    "retrieval.safetensors",
    "retrieveall.json",
    "training.png",
}


def head(hub: LocalHub, repository: str = REPO) -> Commit:
    return hub.store.find("model", repository, "ann").at("main")


def items_of(slug: str) -> list[str]:
    return [item.item_id for item in HfApi().get_collection(slug).items]


def test_an_adapter_is_pushed_in_one_commit_with_its_card(hub: LocalHub, tiny_adapter: TINY) -> None:
    pushed = push_adapter(tiny_adapter("de"), REPO)
    history = list(hub.store.find("model", REPO, "ann").history("main"))
    assert [commit.title for commit in history] == ["Add the RetrieveAll adapter of de", "initial commit"]
    assert (pushed.repository, pushed.commit, pushed.collection) == (REPO, history[0].oid, None)
    assert set(history[0].files) == FILES | {".gitattributes"}
    card = ModelCard(history[0].files["README.md"].content.decode())
    assert card.data.pipeline_tag == "token-classification" and REPO in card.text


def test_a_pulled_adapter_has_the_files_that_were_pushed(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path) -> None:
    push_adapter(LanguageAdapter.load(tiny_adapter("de")), REPO)
    (pulled,) = pull(REPO, tmp_path)
    assert pulled.path == tmp_path / "de"
    for name in FILES - {"README.md", "training.png"}:
        assert (tmp_path / "de" / name).read_bytes() == (tiny_adapter("de") / name).read_bytes()


def test_a_private_repository_and_a_commit_message(hub: LocalHub, tiny_adapter: TINY) -> None:
    push_adapter(tiny_adapter("de"), REPO, private=True, commit_message="Better German")
    assert HfApi().model_info(REPO).private and head(hub).title == "Better German"


def test_a_private_push_to_a_public_repository_is_rejected(hub: LocalHub, tiny_adapter: TINY) -> None:
    push_adapter(tiny_adapter("de"), REPO, commit_message="For all")
    with pytest.raises(ValueError, match=f"{REPO} already exists and is public"):
        push_adapter(tiny_adapter("de"), REPO, private=True)
    assert head(hub).title == "For all"
    HfApi().update_repo_settings(REPO, private=True)
    assert push_adapter(tiny_adapter("de"), REPO, private=True).repository == REPO


def test_a_rejected_private_push_of_a_model_creates_no_collection(hub: LocalHub, tiny_adapter: TINY) -> None:
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"))
    model.push_to_hub("ann/tiny-model")
    with pytest.raises(ValueError, match="ann/tiny-model already exists and is public"):
        model.push_to_hub("ann/tiny-model", private=True, collection="ann/Mine")
    assert not list(HfApi().list_collections(owner="ann"))


def test_a_pull_request_does_not_change_the_branch(hub: LocalHub, tiny_adapter: TINY) -> None:
    before = push_adapter(tiny_adapter("de"), REPO).commit
    pushed = push_adapter(tiny_adapter("de"), REPO, create_pr=True, commit_message="Proposal", model_repo="ann/model")
    assert head(hub).oid == before != pushed.commit
    assert "discussions/1" in pushed.url or "refs/pr/1" in pushed.url
    with pytest.raises(ValueError, match="`collection` and `create_pr` cannot be combined"):
        push_adapter(tiny_adapter("de"), REPO, create_pr=True, collection="ann/Tiny")


def test_an_edited_card_is_pushed_unchanged(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path) -> None:
    folder = copy_adapter(tiny_adapter("de"), tmp_path / "de")
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "path/to/this/folder" in text
    push_adapter(folder, REPO)
    assert "path/to/this/folder" not in head(hub).files["README.md"].content.decode()
    (folder / "README.md").write_text(text + "\nMade with care.\n", encoding="utf-8")
    push_adapter(folder, REPO)
    assert head(hub).files["README.md"].content.decode().endswith("Made with care.\n")


@pytest.mark.parametrize("damage", ["nan", "shape", "missing", "spans", "base"])
def test_an_adapter_that_cannot_be_loaded_is_not_pushed(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path, damage: str) -> None:
    folder = copy_adapter(tiny_adapter("de"), tmp_path / "de", **({"base_model": "no/base"} if damage == "base" else {}))
    weights = load_file(folder / "adapter_model.safetensors")
    name = next(iter(weights))
    if damage == "nan":
        weights[name].view(-1)[0] = torch.nan
    if damage == "shape":
        weights[name] = torch.zeros(2, 3)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    if damage == "missing":
        (folder / "retrieval.safetensors").unlink()
    if damage == "spans":
        (folder / "examples.parquet").write_bytes(b"PAR1")
    with pytest.raises(AdapterError, match=str(folder)):
        push_adapter(folder, REPO)
    assert not HfApi().repo_exists(REPO)


def test_an_adapter_whose_card_the_hub_rejects_is_not_pushed(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path) -> None:
    folder = copy_adapter(tiny_adapter("de"), tmp_path / "de")
    (folder / "README.md").write_text("---\nlicense: 17\npipeline_tag: unheard-of\n---\n# Mine\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"pipeline_tag|license"):
        push_adapter(folder, REPO)
    assert not HfApi().repo_exists(REPO)


@pytest.mark.parametrize("name", ["retrieveall-de", "a/b/c", "../x", ""])
def test_a_malformed_repository_name_is_rejected(tiny_adapter: TINY, name: str) -> None:
    with pytest.raises(ValueError, match=r"is not a repository\. A repository has the form 'owner/name'"):
        push_adapter(tiny_adapter("de"), name)


def test_the_namespace_of_another_user_is_rejected(hub: LocalHub, tiny_adapter: TINY) -> None:
    with pytest.raises(HubError, match=r"ben/tiny-de: the Hub denied access \(403\)"):
        push_adapter(tiny_adapter("de"), "ben/tiny-de")


def test_a_collection_is_created_once_and_contains_an_adapter_once(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de")
    assert publish(tiny_adapter, "de", "en") == slug
    assert items_of(slug) == ["ann/tiny-de", "ann/tiny-en"]
    assert push_adapter(tiny_adapter("de"), REPO, collection=slug).collection == slug


def test_a_malformed_collection_name_is_rejected_before_the_push(hub: LocalHub, tiny_adapter: TINY) -> None:
    with pytest.raises(ValueError, match=r"'African' is not a collection\. Give its complete slug, or 'owner/Title'"):
        push_adapter(tiny_adapter("de"), REPO, collection="African")
    assert not HfApi().repo_exists(REPO)


def test_an_adapter_cannot_replace_a_model_and_vice_versa(hub: LocalHub, tiny_adapter: TINY) -> None:
    publish(tiny_adapter, "de")
    model = RetrieveAllModel.from_pretrained(REPO)
    model.push_to_hub("ann/tiny-model")
    with pytest.raises(ValueError, match=r"ann/tiny-model already holds a model, because it has a config.json"):
        push_adapter(tiny_adapter("de"), "ann/tiny-model")
    with pytest.raises(ValueError, match=r"ann/tiny-de already holds a language adapter, because it has a retrieveall.json"):
        model.push_to_hub(REPO)


def test_a_collection_can_have_only_one_adapter_per_language(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de")
    with pytest.raises(
        ValueError, match=rf"{slug} already has an adapter for 'de', ann/tiny-de.*remove ann/tiny-de from the collection first"
    ):
        push_adapter(tiny_adapter("de"), "ann/rival", collection=slug)
    assert items_of(slug) == ["ann/tiny-de"] and HfApi().repo_exists("ann/rival")


def test_languages_pushed_at_the_same_time_are_all_in_the_collection(hub: LocalHub, tiny_adapter: TINY) -> None:
    folders = {language: tiny_adapter(language) for language in ("de", "en", "mul")}
    with ThreadPoolExecutor(3) as pool:
        pushes = [pool.submit(push_adapter, f, f"ann/tiny-{x}", collection="ann/Tiny") for x, f in folders.items()]
    (slug,) = {push.result().collection for push in pushes}
    assert sorted(items_of(slug or "")) == ["ann/tiny-de", "ann/tiny-en", "ann/tiny-mul"]


def test_an_error_of_the_collection_after_a_push_says_what_to_do(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = open_collection("ann/Tiny", HfApi())
    hub.fault("POST", "/items", 403)
    with pytest.raises(
        HubError, match=r"ann/tiny-de was pushed \(commit [0-9a-f]{40}\), but could not be added to the collection"
    ):
        push_adapter(tiny_adapter("de"), REPO, collection=slug)
    assert set(head(hub).files) >= FILES


def test_an_adapter_removed_from_a_collection_stays_on_the_hub(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de", "en")
    remove_from_collection(slug, REPO, HfApi())
    assert items_of(slug) == ["ann/tiny-en"] and HfApi().repo_exists(REPO)
    with pytest.raises(ValueError, match=r"does not contain ann/tiny-de. It contains ann/tiny-en"):
        remove_from_collection(slug, REPO, HfApi())


def test_a_model_repository_has_code_pins_and_card_but_no_weights(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de", "mul")
    model = RetrieveAllModel.from_pretrained(collection=slug)
    pushed = model.push_to_hub("ann/tiny-model", private=True, commit_message="First")
    commit = head(hub, "ann/tiny-model")
    assert (commit.oid, commit.title) == (pushed.commit, "First")
    assert not any(name.endswith((".safetensors", ".bin")) or name == "adapter_config.json" for name in commit.files)
    config = json.loads(commit.files["config.json"].content)
    assert config["adapters"] == dict(model.languages) and config["collection"] == slug
    assert config["auto_map"] == {
        "AutoConfig": "configuration_retrieveall.RetrieveAllConfig",
        "AutoModel": "modeling_retrieveall.RetrieveAllModel",
    }
    card = commit.files["README.md"].content.decode()
    assert "ann/tiny-model" in card and model.languages["de"].partition("@")[2] in card


def test_a_pulled_model_works_offline(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de", "en")
    RetrieveAllModel.from_pretrained(collection=slug).push_to_hub("ann/tiny-model")
    assert [adapter.language for adapter in pull("ann/tiny-model")] == ["de", "en"]
    hub.requests.clear()
    assert [adapter.language for adapter in pull("ann/tiny-model", hub=Hub(local_files_only=True))] == ["de", "en"]
    model = RetrieveAllModel.from_pretrained("ann/tiny-model", local_files_only=True)
    model.extract(["Angela Merkel"] * 2, language=["de", "en"])
    assert hub.requests == []


def test_pull_downloads_no_file_of_any_size(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de")
    RetrieveAllModel.from_pretrained(collection=slug).push_to_hub("ann/tiny-model")
    HfApi().upload_file(path_or_fileobj=b" " * (LIMITS.json_bytes + 1), path_in_repo="big.json", repo_id="ann/tiny-model")
    with pytest.raises(HubError, match=r"ann/tiny-model: big\.json has 1,048,577 bytes; at most 1,048,576 are read"):
        pull("ann/tiny-model")


def test_pull_does_not_replace_a_folder(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path) -> None:
    publish(tiny_adapter, "de")
    (tmp_path / "de").mkdir()
    with pytest.raises(FileExistsError, match="already exists"):
        pull(REPO, tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "de"]
    with pytest.raises(ValueError, match="neither a repository nor a collection"):
        pull("de")


def test_a_failed_push_changes_nothing_and_can_be_repeated(hub: LocalHub, tiny_adapter: TINY) -> None:
    before = push_adapter(tiny_adapter("de"), REPO).commit
    hub.fault("POST", "/commit/", 503)
    with pytest.raises(HubUnreachableError, match=r"ann/tiny-de: the Hub is not available \(503\). Try again later"):
        push_adapter(tiny_adapter("de"), REPO, commit_message="Second", model_repo="ann/model")
    assert head(hub).oid == before
    push_adapter(tiny_adapter("de"), REPO, commit_message="Second", model_repo="ann/model")
    assert head(hub).title == "Second"


def test_an_adapter_uploaded_with_another_tool_can_be_loaded(hub: LocalHub, tiny_adapter: TINY) -> None:
    commit = commit_folder(tiny_adapter("de"), REPO)
    assert RetrieveAllModel.from_pretrained(REPO).languages == {"de": f"{REPO}@{commit}"}


def test_other_files_in_the_folder_of_an_adapter_are_not_pushed(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path) -> None:
    folder = copy_adapter(tiny_adapter("de"), tmp_path / "de")
    for name in (".env", "evil.py", "checkpoint.pt"):
        (folder / name).write_text("secret")
    push_adapter(folder, REPO)
    RetrieveAllModel.from_pretrained(folder).push_to_hub("ann/tiny-model")
    names = {Path(name).name for name in (*head(hub).files, *head(hub, "ann/tiny-model").files)}
    assert not names & {".env", "evil.py", "checkpoint.pt"}


def test_a_push_does_not_overwrite_a_newer_commit(hub: LocalHub, tiny_adapter: TINY) -> None:
    RetrieveAllModel.from_pretrained(tiny_adapter("de")).push_to_hub("ann/tiny-model")
    first, second = (RetrieveAllModel.from_pretrained("ann/tiny-model") for _ in range(2))
    first.add_language(tiny_adapter("en"))
    first.push_to_hub("ann/tiny-model")
    second.add_language(tiny_adapter("mul"))
    with pytest.raises(HubError, match=r"ann/tiny-model has changed on the Hub since it was loaded\. Load it again"):
        second.push_to_hub("ann/tiny-model")
    assert list(RetrieveAllModel.from_pretrained("ann/tiny-model").languages) == ["de", "en"]
    first.remove_language("en")
    first.push_to_hub("ann/tiny-model")
    assert not any(name.startswith("adapters/en") for name in head(hub, "ann/tiny-model").files)


def test_a_card_edited_on_the_hub_is_kept(hub: LocalHub, tiny_adapter: TINY) -> None:
    push_adapter(tiny_adapter("de"), REPO)
    card = head(hub).files["README.md"].content.decode() + "\nWrite to me.\n"
    HfApi().upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=REPO)
    push_adapter(tiny_adapter("de"), REPO, commit_message="Again")
    assert head(hub).files["README.md"].content.decode().endswith("Write to me.\n")


def test_the_collection_of_a_model_is_created_and_the_model_in_memory_is_unchanged(hub: LocalHub, tiny_adapter: TINY) -> None:
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"))
    model.push_to_hub("ann/tiny-model", collection="ann/Африка")
    slug = json.loads(head(hub, "ann/tiny-model").files["config.json"].content)["collection"]
    assert HfApi().get_collection(slug).title == "Африка"
    assert model.config.collection is None and model.config.adapters == {}
    push_adapter(tiny_adapter("en"), "ann/tiny-en", collection="ann/Африка")
    assert list(RetrieveAllModel.from_pretrained("ann/tiny-model").languages) == ["de", "en"]


def test_a_model_without_languages_is_not_pushed(hub: LocalHub, tiny_adapter: TINY) -> None:
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"))
    model.remove_language("de")
    with pytest.raises(ValueError, match="has no languages"):
        model.push_to_hub("ann/tiny-model")
    assert not HfApi().repo_exists("ann/tiny-model")


def test_an_adapter_loaded_from_the_hub_can_be_pushed(hub: LocalHub, tiny_adapter: TINY) -> None:
    publish(tiny_adapter, "de")
    push_adapter(RetrieveAllModel.from_pretrained(REPO).adapters["de"], "ann/copy")
    assert set(head(hub, "ann/copy").files) >= FILES - {"training.png"}


def test_pull_skips_an_adapter_that_cannot_be_used(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path) -> None:
    slug = publish(tiny_adapter, "de")
    folder = copy_adapter(tiny_adapter("en"), tmp_path / "en")
    weights = {
        name: torch.full_like(tensor, torch.nan) for name, tensor in load_file(folder / "adapter_model.safetensors").items()
    }
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    commit_folder(folder, "ann/tiny-en")
    HfApi().add_collection_item(slug, "ann/tiny-en", "model")
    with pytest.warns(UserWarning, match=r"ann/tiny-en.*not all finite"):
        assert [adapter.language for adapter in pull(slug, tmp_path / "pulled")] == ["de"]
    assert (tmp_path / "pulled" / "de" / "README.md").is_file()


def test_a_given_token_is_used_for_the_whole_push(hub: LocalHub, tiny_adapter: TINY) -> None:
    pushed = push_adapter(tiny_adapter("de"), "ben/tiny-de", collection="ben/Tiny", private=True, token="hf_ben")
    collection = HfApi(token="hf_ben").get_collection(pushed.collection or "")
    assert collection.private and [item.item_id for item in collection.items] == ["ben/tiny-de"]
    assert RetrieveAllModel.from_pretrained("ben/tiny-de", token="hf_ben").languages == {"de": f"ben/tiny-de@{pushed.commit}"}


def test_a_model_adds_languages_with_the_token_that_it_was_loaded_with(hub: LocalHub, tiny_adapter: TINY) -> None:
    for language in ("de", "en"):
        push_adapter(tiny_adapter(language), f"ben/tiny-{language}", private=True, token="hf_ben")
    model = RetrieveAllModel.from_pretrained("ben/tiny-de", token="hf_ben")
    assert model.add_language("ben/tiny-en") == "en"
