"""Base LLMs on the Hub are pinned to a commit, and none of their code is executed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard
from typer.testing import CliRunner

from modeling_retrieveall import AdapterError, HubError, InputError, RetrieveAllConfig, RetrieveAllModel
from modeling_retrieveall.cli.app import app
from modeling_retrieveall.hub.push import push_adapter
from modeling_retrieveall.model.base_llm import load_base
from modeling_retrieveall.model.manifest import read_manifest
from modeling_retrieveall.model.tokenization_retrieveall import RetrieveAllTokenizer
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.trainer import train
from tests.adapter_folders import copy_adapter
from tests.conftest import ROOT, SENTENCES
from tests.local_hub import LocalHub
from tests.published import commit_folder

TEXT = "Angela Merkel besuchte Nairobi."
Learn = Callable[..., Path]


@pytest.fixture
def base(hub: LocalHub, tiny_base: Path) -> str:
    """The commit of the tiny base in a repository."""
    return commit_folder(tiny_base, "ann/base")


@pytest.fixture
def learn(base: str, tmp_path: Path) -> Learn:
    """Trains an adapter of ``ann/base``."""

    def learn(language: str, **settings: object) -> Path:
        fixed = {
            "init_adapter": "none",
            "num_train_epochs": 0,
            "max_train_samples": 10,
            "encoder_layer": 1,
            "mixed_precision": "no",
        }
        source, output = str(SENTENCES / f"{language}.conll"), str(tmp_path / f"{language}-{len(settings)}")
        fixed |= {"base_model": "ann/base"} | settings
        return train(AdapterTrainingArguments(language=[language], dataset=[source], output_dir=output, **fixed))

    return learn


def change_base() -> str:
    return str(HfApi().upload_file(path_or_fileobj=b"# Base", path_in_repo="README.md", repo_id="ann/base").oid)


def test_adapter_card_and_model_record_the_commit_of_the_base(hub: LocalHub, base: str, learn: Learn) -> None:
    folder = learn("de")
    assert read_manifest(folder).base_revision == base
    pushed = push_adapter(folder, "ann/de")
    card = ModelCard.load("ann/de")
    assert (card.data.base_model, card.data.to_dict()["base_model_relation"]) == ("ann/base", "adapter")
    assert f'revision="{base}"' in card.text
    model = RetrieveAllModel.from_pretrained("ann/de", revision=pushed.commit)
    assert model.config.base_revision == base
    model.push_to_hub("ann/model")
    assert RetrieveAllModel.from_pretrained("ann/model").config.base_revision == base


def test_a_model_and_its_further_languages_stay_at_the_commit_of_their_base(hub: LocalHub, base: str, learn: Learn) -> None:
    folder = learn("de")
    newer = change_base()
    assert newer != base
    model = RetrieveAllModel.from_pretrained(folder)
    assert model.add_language(learn("en", init_adapter=str(folder))) == "en"
    alone = learn("sw")
    assert read_manifest(alone).base_revision == newer
    with pytest.raises(AdapterError, match=f"has base revision '{newer}', the model '{base}'"):
        model.add_language(alone)
    assert model.add_language(learn("sw", base_revision=base)) == "sw"


def test_a_base_with_a_hub_id_without_owner_is_pinned(hub: LocalHub, base: str, learn: Learn, tmp_path: Path) -> None:
    hub.renamed["gpt2"] = "ann/base"
    folder = learn("de", base_model="gpt2")
    assert (read_manifest(folder).base_model, read_manifest(folder).base_revision) == ("gpt2", base)
    push_adapter(folder, "ann/de")
    card = ModelCard.load("ann/de")
    assert card.data.base_model == "gpt2" and f'revision="{base}"' in card.text
    newer = change_base()
    assert RetrieveAllModel.from_pretrained("ann/de").config.base_revision == base
    with pytest.raises(AdapterError, match=f"has base revision '{newer}', the model '{base}'"):
        RetrieveAllModel.from_pretrained("ann/de").add_language(learn("en", base_model="gpt2"))
    # Adapters of earlier releases did not record the commit of such a base.
    earlier = copy_adapter(folder, tmp_path / "earlier", base_revision=None)
    assert RetrieveAllModel.from_pretrained(earlier).config.base_revision == newer
    assert RetrieveAllModel.from_pretrained("ann/de").add_language(earlier) == "de"


@pytest.mark.parametrize("name", ["no-such-base", "ann/no-such-base"])
def test_a_base_that_exists_neither_locally_nor_on_the_hub_is_named(hub: LocalHub, base: str, learn: Learn, name: str) -> None:
    with pytest.raises(HubError, match=f"no local folder {name}, and no repository {name} on the Hub"):
        RetrieveAllModel.from_pretrained(learn("de"), base_model=name)


def test_a_base_in_a_folder_that_does_not_exist_is_named(tiny_adapter: Callable[[str], Path]) -> None:
    with pytest.raises(
        InputError,
        match=r"The base LLM '\./runs/nope' could not be loaded: there is no such folder\. Give 'embedded/gemma-3-270m'",
    ):
        RetrieveAllModel.from_pretrained(tiny_adapter("de"), base_model="./runs/nope")


def test_a_base_from_the_hub_fits_adapters_that_were_trained_on_its_folder(
    hub: LocalHub, base: str, tiny_adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tiny_adapter("de")
    model = RetrieveAllModel.from_pretrained(folder, base_model="ann/base")
    assert model.extract(TEXT, language="de") == RetrieveAllModel.from_pretrained(folder).extract(TEXT, language="de")
    assert model.add_language(tiny_adapter("en")) == "en"
    # The model is still one of the folder's base: its adapters are.
    assert (model.config.base_model, model.config.base_revision) == (read_manifest(folder).base_model, None)
    model.save_pretrained(tmp_path / "saved")
    for substitute in (None, "ann/base"):
        again = RetrieveAllModel.from_pretrained(tmp_path / "saved", base_model=substitute)
        assert list(again.languages) == ["de", "en"]
    run = CliRunner().invoke(app, ["extract", "--model", str(folder), "--base", "ann/base", "--json", TEXT])
    assert run.exit_code == 0, run.output_dir


def test_a_base_in_a_folder_fits_adapters_that_were_trained_on_the_same_base_of_the_hub(
    hub: LocalHub, base: str, learn: Learn, tiny_base: Path
) -> None:
    model = RetrieveAllModel.from_pretrained(learn("de"), base_model=str(tiny_base))
    assert (model.config.base_model, model.config.base_revision) == ("ann/base", base)
    assert model.add_language(learn("en")) == "en"


def test_a_private_base_is_loaded_with_token_and_cache_dir(hub: LocalHub, base: str, learn: Learn, tmp_path: Path) -> None:
    folder = learn("de")
    HfApi().update_repo_settings("ann/base", private=True)
    cache = str(tmp_path / "cache")
    model = RetrieveAllModel.from_pretrained(folder, token="hf_ann", cache_dir=cache)
    found = model.extract(TEXT, language="de")
    assert (tmp_path / "cache" / "models--ann--base").is_dir()
    offline = RetrieveAllModel.from_pretrained(folder, cache_dir=cache, local_files_only=True)
    assert offline.extract(TEXT, language="de") == found
    with pytest.raises(ValueError, match="could not be loaded"):
        RetrieveAllModel.from_pretrained(folder, token="hf_ben", cache_dir=str(tmp_path / "other"))
    push_adapter(folder, "ann/de", token="hf_ann")


def test_a_base_runs_no_code_even_if_the_user_would_confirm(hub: LocalHub, base: str, learn: Learn, tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.Evil"}}
    code = f"open({str(mark)!r}, 'w').close()\nclass EvilConfig: pass\nclass Evil: pass\n"
    files = [CommitOperationAdd("config.json", json.dumps(config).encode()), CommitOperationAdd("evil.py", code.encode())]
    HfApi().create_repo("ann/evil")
    commit = HfApi().create_commit("ann/evil", files, commit_message="x").oid
    folder = copy_adapter(learn("de"), tmp_path / "evil", base_model="ann/evil", base_revision=commit)
    commit_folder(folder, "ann/evil-adapter")
    command = [sys.executable, "-m", "modeling_retrieveall.cli.app", "extract", "--model", "ann/evil-adapter", TEXT]
    done = subprocess.run(command, input="y\n", capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "'ann/evil' could not be loaded" in done.stderr
    RetrieveAllConfig(base_model="ann/evil", base_revision=commit).save_pretrained(tmp_path / "model")
    with pytest.raises((ValueError, OSError)):
        RetrieveAllTokenizer.from_pretrained(tmp_path / "model", trust_remote_code=True)
    with pytest.raises(AdapterError, match="its base LLM 'ann/evil' cannot be found"):
        push_adapter(folder, "ann/copy")
    assert not mark.exists()


def test_the_tokenizer_of_a_model_is_that_of_its_base_at_the_pinned_commit(hub: LocalHub, base: str, tmp_path: Path) -> None:
    RetrieveAllConfig(base_model="ann/base", base_revision=base).save_pretrained(tmp_path)
    change_base()
    tokenizer = RetrieveAllTokenizer.from_pretrained(tmp_path, trust_remote_code=True)
    assert tokenizer.decode(tokenizer("Nairobi")["input_ids"]) == "Nairobi"
    asked = {call.path.split("/resolve/")[1].split("/")[0] for call in hub.requests if "/ann/base/resolve/" in call.path}
    assert asked == {base}


def test_a_base_in_a_pickle_file_is_not_loaded(tiny_base: Path, tmp_path: Path) -> None:
    for file in tiny_base.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="could not be loaded"):
        load_base(str(tmp_path))


@pytest.mark.parametrize(("given", "expected"), [({"dtype": torch.bfloat16}, torch.bfloat16), ({}, torch.float32)])
def test_dtype_and_attention_are_passed_to_the_base(
    hub: LocalHub, learn: Learn, given: dict[str, torch.dtype], expected: torch.dtype
) -> None:
    model = RetrieveAllModel.from_pretrained(learn("de"), attn_implementation="eager", **given)
    assert model.base.dtype == expected
    assert model.base.config._attn_implementation == "eager"
