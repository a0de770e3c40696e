"""Adapters and models on their way to the Hub: one commit or none, checked before, listed once."""

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
from modeling_retrieveall.model.hub_files import HubError, HubUnreachableError
from tests.local_hub import LocalHub
from tests.local_hub.store import Commit
from tests.model.test_model_source import copy_adapter
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


def listed(slug: str) -> list[str]:
    return [item.item_id for item in HfApi().get_collection(slug).items]


def test_an_adapter_is_pushed_in_one_commit_with_its_card(hub: LocalHub, tiny_adapter: TINY) -> None:
    pushed = push_adapter(tiny_adapter("de"), REPO)
    history = list(hub.store.find("model", REPO, "ann").history("main"))
    assert [commit.title for commit in history] == ["Add the RetrieveAll adapter of de", "initial commit"]
    assert (pushed.repository, pushed.commit, pushed.collection) == (REPO, history[0].oid, None)
    assert set(history[0].files) == FILES | {".gitattributes"}
    card = ModelCard(history[0].files["README.md"].content.decode())
    assert card.data.pipeline_tag == "token-classification" and REPO in card.text


def test_it_loads_from_there_as_it_does_from_its_folder(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path) -> None:
    push_adapter(LanguageAdapter.load(tiny_adapter("de")), REPO)
    (pulled,) = pull(REPO, tmp_path)
    assert pulled.path == tmp_path / "de"
    for name in FILES - {"README.md", "training.png"}:
        assert (tmp_path / "de" / name).read_bytes() == (tiny_adapter("de") / name).read_bytes()


def test_a_private_repository_and_a_message_of_ones_own(hub: LocalHub, tiny_adapter: TINY) -> None:
    push_adapter(tiny_adapter("de"), REPO, private=True, commit_message="Better German")
    assert HfApi().model_info(REPO).private and head(hub).title == "Better German"


def test_what_is_meant_to_be_private_never_goes_to_a_public_repository(hub: LocalHub, tiny_adapter: TINY) -> None:
    push_adapter(tiny_adapter("de"), REPO, commit_message="For all")
    with pytest.raises(ValueError, match=f"{REPO} is there already, and public"):
        push_adapter(tiny_adapter("de"), REPO, private=True)
    assert head(hub).title == "For all"
    HfApi().update_repo_settings(REPO, private=True)
    assert push_adapter(tiny_adapter("de"), REPO, private=True).repository == REPO


def test_a_model_that_is_meant_to_be_private_leaves_no_collection_behind(hub: LocalHub, tiny_adapter: TINY) -> None:
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"))
    model.push_to_hub("ann/tiny-model")
    with pytest.raises(ValueError, match="ann/tiny-model is there already, and public"):
        model.push_to_hub("ann/tiny-model", private=True, collection="ann/Mine")
    assert not list(HfApi().list_collections(owner="ann"))


def test_a_pull_request_leaves_the_branch_as_it_is(hub: LocalHub, tiny_adapter: TINY) -> None:
    before = push_adapter(tiny_adapter("de"), REPO).commit
    pushed = push_adapter(tiny_adapter("de"), REPO, create_pr=True, commit_message="Proposal", model_repo="ann/model")
    assert head(hub).oid == before != pushed.commit
    assert "discussions/1" in pushed.url or "refs/pr/1" in pushed.url
    with pytest.raises(ValueError, match="Give collection or create_pr"):
        push_adapter(tiny_adapter("de"), REPO, create_pr=True, collection="ann/Tiny")


def test_a_card_edited_by_hand_is_pushed_as_it_is(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path) -> None:
    folder = copy_adapter(tiny_adapter("de"), tmp_path / "de")
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "path/to/this/folder" in text
    push_adapter(folder, REPO)
    assert "path/to/this/folder" not in head(hub).files["README.md"].content.decode()
    (folder / "README.md").write_text(text + "\nMade with care.\n", encoding="utf-8")
    push_adapter(folder, REPO)
    assert head(hub).files["README.md"].content.decode().endswith("Made with care.\n")


@pytest.mark.parametrize("damage", ["nan", "shape", "missing", "spans", "base"])
def test_an_adapter_that_does_not_load_is_not_pushed(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path, damage: str) -> None:
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


def test_a_card_that_the_hub_does_not_accept_is_not_pushed(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path) -> None:
    folder = copy_adapter(tiny_adapter("de"), tmp_path / "de")
    (folder / "README.md").write_text("---\nlicense: 17\npipeline_tag: unheard-of\n---\n# Mine\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"pipeline_tag|license"):
        push_adapter(folder, REPO)
    assert not HfApi().repo_exists(REPO)


@pytest.mark.parametrize("name", ["retrieveall-de", "a/b/c", "../x", ""])
def test_a_name_that_is_no_repository_is_refused_with_an_example(tiny_adapter: TINY, name: str) -> None:
    with pytest.raises(ValueError, match=r"is no repository; write it like 'someone/retrieveall-sw'"):
        push_adapter(tiny_adapter("de"), name)


def test_somebody_elses_namespace_is_refused(hub: LocalHub, tiny_adapter: TINY) -> None:
    with pytest.raises(HubError, match=r"ben/tiny-de: the Hub refuses this \(403\)"):
        push_adapter(tiny_adapter("de"), "ben/tiny-de")


def test_a_collection_is_created_once_and_lists_an_adapter_once(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de")
    assert publish(tiny_adapter, "de", "en") == slug
    assert listed(slug) == ["ann/tiny-de", "ann/tiny-en"]
    assert push_adapter(tiny_adapter("de"), REPO, collection=slug).collection == slug


def test_a_name_that_is_no_collection_is_refused_before_anything_is_pushed(hub: LocalHub, tiny_adapter: TINY) -> None:
    with pytest.raises(ValueError, match=r"'African' is no collection; give its whole slug, or 'owner/Title'"):
        push_adapter(tiny_adapter("de"), REPO, collection="African")
    assert not HfApi().repo_exists(REPO)


def test_an_adapter_does_not_replace_a_model_nor_a_model_an_adapter(hub: LocalHub, tiny_adapter: TINY) -> None:
    publish(tiny_adapter, "de")
    model = RetrieveAllModel.from_pretrained(REPO)
    model.push_to_hub("ann/tiny-model")
    with pytest.raises(ValueError, match=r"ann/tiny-model holds a model already, as its config.json says"):
        push_adapter(tiny_adapter("de"), "ann/tiny-model")
    with pytest.raises(ValueError, match=r"ann/tiny-de holds a language adapter already, as its retrieveall.json says"):
        model.push_to_hub(REPO)


def test_a_collection_has_one_adapter_of_a_language(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de")
    with pytest.raises(ValueError, match=rf"has an adapter of 'de', ann/tiny-de.*collection remove {slug} ann/tiny-de"):
        push_adapter(tiny_adapter("de"), "ann/rival", collection=slug)
    assert listed(slug) == ["ann/tiny-de"] and HfApi().repo_exists("ann/rival")


def test_two_languages_added_at_once_are_both_listed(hub: LocalHub, tiny_adapter: TINY) -> None:
    folders = {language: tiny_adapter(language) for language in ("de", "en", "mul")}
    with ThreadPoolExecutor(3) as pool:
        pushes = [pool.submit(push_adapter, f, f"ann/tiny-{x}", collection="ann/Tiny") for x, f in folders.items()]
    (slug,) = {push.result().collection for push in pushes}
    assert sorted(listed(slug or "")) == ["ann/tiny-de", "ann/tiny-en", "ann/tiny-mul"]


def test_a_collection_that_fails_after_the_push_says_how_to_add_it(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = open_collection("ann/Tiny", HfApi())
    hub.fault("POST", "/items", 403)
    with pytest.raises(HubError, match=r"ann/tiny-de is pushed \(commit [0-9a-f]{40}\), but the collection does not list it"):
        push_adapter(tiny_adapter("de"), REPO, collection=slug)
    assert set(head(hub).files) >= FILES


def test_an_adapter_is_taken_off_a_collection_and_stays_on_the_hub(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de", "en")
    remove_from_collection(slug, REPO, HfApi())
    assert listed(slug) == ["ann/tiny-en"] and HfApi().repo_exists(REPO)
    with pytest.raises(ValueError, match=r"does not list ann/tiny-de. It lists ann/tiny-en"):
        remove_from_collection(slug, REPO, HfApi())


def test_a_model_repository_has_code_pins_and_card_and_no_weights(hub: LocalHub, tiny_adapter: TINY) -> None:
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


def test_pull_fetches_weights_too_so_that_everything_works_offline(hub: LocalHub, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de", "en")
    RetrieveAllModel.from_pretrained(collection=slug).push_to_hub("ann/tiny-model")
    assert [adapter.language for adapter in pull("ann/tiny-model")] == ["de", "en"]
    hub.requests.clear()
    model = RetrieveAllModel.from_pretrained("ann/tiny-model", local_files_only=True)
    model.extract(["Angela Merkel"] * 2, language=["de", "en"])
    assert hub.requests == []


def test_pull_replaces_no_folder(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path) -> None:
    publish(tiny_adapter, "de")
    (tmp_path / "de").mkdir()
    with pytest.raises(FileExistsError, match="is there already"):
        pull(REPO, tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "de"]
    with pytest.raises(ValueError, match="neither a repository nor a collection"):
        pull("de")


def test_a_push_that_fails_leaves_the_old_revision_and_can_be_repeated(hub: LocalHub, tiny_adapter: TINY) -> None:
    before = push_adapter(tiny_adapter("de"), REPO).commit
    hub.fault("POST", "/commit/", 503)
    with pytest.raises(HubUnreachableError, match=r"ann/tiny-de: the Hub could not answer \(503\). Try again later"):
        push_adapter(tiny_adapter("de"), REPO, commit_message="Second", model_repo="ann/model")
    assert head(hub).oid == before
    push_adapter(tiny_adapter("de"), REPO, commit_message="Second", model_repo="ann/model")
    assert head(hub).title == "Second"


def test_a_folder_put_there_by_other_means_loads_too(hub: LocalHub, tiny_adapter: TINY) -> None:
    commit = commit_folder(tiny_adapter("de"), REPO)
    assert RetrieveAllModel.from_pretrained(REPO).languages == {"de": f"{REPO}@{commit}"}


def test_nothing_that_lies_beside_an_adapter_is_pushed(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path) -> None:
    folder = copy_adapter(tiny_adapter("de"), tmp_path / "de")
    for name in (".env", "evil.py", "checkpoint.pt"):
        (folder / name).write_text("secret")
    push_adapter(folder, REPO)
    RetrieveAllModel.from_pretrained(folder).push_to_hub("ann/tiny-model")
    names = {Path(name).name for name in (*head(hub).files, *head(hub, "ann/tiny-model").files)}
    assert not names & {".env", "evil.py", "checkpoint.pt"}


def test_who_has_pushed_meanwhile_loses_nothing(hub: LocalHub, tiny_adapter: TINY) -> None:
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


def test_a_card_edited_on_the_hub_stays(hub: LocalHub, tiny_adapter: TINY) -> None:
    push_adapter(tiny_adapter("de"), REPO)
    card = head(hub).files["README.md"].content.decode() + "\nWrite to me.\n"
    HfApi().upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=REPO)
    push_adapter(tiny_adapter("de"), REPO, commit_message="Again")
    assert head(hub).files["README.md"].content.decode().endswith("Write to me.\n")


def test_the_collection_of_a_model_is_created_and_the_model_in_memory_left_as_it_is(hub: LocalHub, tiny_adapter: TINY) -> None:
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
    with pytest.raises(ValueError, match="has no language to push"):
        model.push_to_hub("ann/tiny-model")
    assert not HfApi().repo_exists("ann/tiny-model")


def test_an_adapter_from_the_hub_is_pushed_on(hub: LocalHub, tiny_adapter: TINY) -> None:
    publish(tiny_adapter, "de")
    push_adapter(RetrieveAllModel.from_pretrained(REPO).adapters["de"], "ann/copy")
    assert set(head(hub, "ann/copy").files) >= FILES - {"training.png"}


def test_pull_fetches_the_good_ones_when_one_is_of_no_use(hub: LocalHub, tiny_adapter: TINY, tmp_path: Path) -> None:
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


def test_a_token_given_is_used_for_all_of_a_push(hub: LocalHub, tiny_adapter: TINY) -> None:
    pushed = push_adapter(tiny_adapter("de"), "ben/tiny-de", collection="ben/Tiny", private=True, token="hf_ben")
    collection = HfApi(token="hf_ben").get_collection(pushed.collection or "")
    assert collection.private and [item.item_id for item in collection.items] == ["ben/tiny-de"]
    assert RetrieveAllModel.from_pretrained("ben/tiny-de", token="hf_ben").languages == {"de": f"ben/tiny-de@{pushed.commit}"}


def test_a_model_adds_languages_with_the_token_it_was_loaded_with(hub: LocalHub, tiny_adapter: TINY) -> None:
    for language in ("de", "en"):
        push_adapter(tiny_adapter(language), f"ben/tiny-{language}", private=True, token="hf_ben")
    model = RetrieveAllModel.from_pretrained("ben/tiny-de", token="hf_ben")
    assert model.add_language("ben/tiny-en") == "en"
