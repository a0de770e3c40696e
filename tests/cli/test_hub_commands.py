"""``retrieveall push``, ``pull`` and ``collection``, against the local Hub."""

import json
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from modeling_retrieveall.model.manifest import read_manifest
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.trainer import train
from tests.cli.conftest import TEXT, Run
from tests.conftest import SENTENCES
from tests.local_hub import LocalHub
from tests.published import TINY, publish


@pytest.fixture(autouse=True)
def wide_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_a_pushed_adapter_is_used_through_a_collection_and_by_another_model(
    hub: LocalHub, run: Run, tiny_adapter: TINY, tmp_path: Path
) -> None:
    code, said, _ = run("push", tiny_adapter("de"), "ann/tiny-de", "--collection", "ann/Tiny adapters", "--message", "German")
    assert code == 0 and "Pushed to ann/tiny-de, commit " in said and "Listed in the collection ann/tiny-adapters-" in said
    slug = said.split()[-1]
    run("push", tiny_adapter("en"), "ann/tiny-en")
    assert run("collection", "add", slug, "ann/tiny-en", "--note", "English")[1] == f"{slug} lists ann/tiny-en\n"
    code, table, _ = run("collection", "list", slug)
    commit = hub.store.find("model", "ann/tiny-de", "ann").at("main").oid
    for cell in ("de", "ann/tiny-de", commit, "LOC, ORG, PER", "ann/tiny-en"):
        assert cell in table
    assert slug in run("collection", "list")[1] and slug in run("collection", "list", "ann")[1]
    found = run("extract", "--model", slug, "--language", "en", "--json", TEXT)
    assert found[0] == 0 and json.loads(found[1])["language"] == "en"
    assert (
        run("extract", "--model", tiny_adapter("de"), "--add", "ann/tiny-en", "--language", "en", "--json", TEXT)[1] == found[1]
    )
    assert run("pull", slug, "--output", tmp_path / "pulled")[0] == 0
    assert {path.name for path in (tmp_path / "pulled").iterdir()} == {"de", "en"}
    run("collection", "remove", slug, "ann/tiny-en")
    assert "ann/tiny-en" not in run("collection", "list", slug)[1]


@pytest.mark.parametrize("title", ["немецкий", "德语", "الألمانية"])
def test_a_collection_title_may_have_no_latin_letters(
    hub: LocalHub, run: Run, tiny_adapter: TINY, tmp_path: Path, title: str
) -> None:
    slug = publish(tiny_adapter, "de", title=title)
    assert slug.startswith("ann/-")
    for command in (("pull", slug, "--output", tmp_path / "out"), ("pull", slug), ("extract", "--model", slug, "--json", TEXT)):
        code, _, problem = run(*command)
        assert code == 0, problem
    assert "ann/tiny-de" in run("collection", "list", slug)[1]
    run("collection", "remove", slug, "ann/tiny-de")
    assert run("collection", "add", slug, "ann/tiny-de")[0] == 0


def test_a_model_is_pushed_from_a_collection(hub: LocalHub, run: Run, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de")
    assert run("push", slug, "ann/tiny-model", "--private")[0] == 0
    assert run("extract", "--model", "ann/tiny-model", "--revision", "main", "--json", TEXT)[0] == 0
    code, table, _ = run("pull", "ann/tiny-model")
    assert code == 0 and "ann/tiny-de@" in table


def test_a_collection_is_created_once(hub: LocalHub, run: Run) -> None:
    slug = run("collection", "create", "ann/Mine", "--private", "--description", "All of mine")[1].strip()
    assert run("collection", "create", "ann/Mine")[1].strip() == slug
    assert "All of mine" in run("collection", "list", "ann")[1]


def test_items_of_a_collection_that_cannot_be_used_are_listed_below_it(hub: LocalHub, run: Run, tiny_adapter: TINY) -> None:
    slug = publish(tiny_adapter, "de")
    hub.store.create("model", "ann/notes")
    HfApi().add_collection_item(slug, "ann/notes", "model")
    table = run("collection", "list", slug)[1]
    assert "not usable: ann/notes is not a language adapter: it has no retrieveall.json" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["push", "no-such-folder", "ann/x"], "There is no model at"),
        (["push", "ADAPTER", "x"], "is not a repository. A repository has the form 'owner/name'"),
        (["push", "ADAPTER", "ben/x"], "the Hub denied access (403)"),
        (["push", "ADAPTER", "ann/x", "--collection", "nothing"], "is not a collection. Give its complete slug"),
        (["pull", "ann/nothing"], "no repository ann/nothing on the Hub, or it is private"),
        (["pull", "nothing"], "neither a repository nor a collection"),
        (
            ["collection", "add", "ann/x", "ann/y"],
            "'ann/x' is not the slug of a collection. `retrieveall collection list OWNER`",
        ),
        (["collection", "add", "ann/x-64f9a55bb3115b4f513ec026", "ann/nope"], "no repository ann/nope"),
        (["collection", "list", "nobody"], "There is no collection of 'nobody'"),
        (["push", "ADAPTER", "ann/x", "--collection", "ann/tiny-adapters-8b03f858b3f1…"], "Give its complete slug"),
        (["collection", "list", "ann/x-64f9a55bb3115b4f513ec026"], "no repository ann/x-64f9a55bb3115b4f513ec026"),
        (["collection", "remove", "ann/x-64f9a55bb3115b4f513ec026", "ann/x"], "or it is private"),
        (["extract", "--model", "ann/nothing", TEXT], "no repository ann/nothing"),
    ],
)
def test_an_error_is_one_message_and_exit_code_2(
    hub: LocalHub, run: Run, tiny_adapter: TINY, arguments: list[str], message: str
) -> None:
    code, _, errors = run(*[tiny_adapter("de") if part == "ADAPTER" else part for part in arguments])
    assert code == 2 and message in errors.replace("\n", " ")
    assert "Traceback" not in errors


def test_training_starts_from_an_adapter_on_the_hub_and_records_which(
    hub: LocalHub, tiny_base: Path, tiny_adapter: TINY, tmp_path: Path
) -> None:
    publish(tiny_adapter, "mul")
    commit = hub.store.find("model", "ann/tiny-mul", "ann").at("main").oid
    folder = train(
        AdapterTrainingArguments(
            language=["sw"],
            dataset=[str(SENTENCES / "sw.conll")],
            output_dir=str(tmp_path / "sw"),
            base_model=str(tiny_base),
            init_adapter="ann/tiny-mul",
            num_train_epochs=0,
            max_train_samples=10,
            encoder_layer=1,
            mixed_precision="no",
        )
    )
    assert read_manifest(folder).initialised_from == f"ann/tiny-mul@{commit}"
