"""Base LLMs on the Hub: at one commit, and without running anything of theirs."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard

from modeling_retrieveall import AdapterError, RetrieveAllConfig, RetrieveAllModel
from modeling_retrieveall.base_llm import load_base
from modeling_retrieveall.manifest import read_manifest
from modeling_retrieveall.publishing.hub import push_adapter
from modeling_retrieveall.tokenization_retrieveall import RetrieveAllTokenizer
from modeling_retrieveall.training.arguments import TrainingArguments
from modeling_retrieveall.training.trainer import train
from tests.conftest import ROOT, SENTENCES
from tests.hub import LocalHub

from .published import commit_folder
from .test_collection import copy_adapter

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
        fixed = {"init": "none", "epochs": 0, "max_train_examples": 10, "encoder_layer": 1, "mixed_precision": "no"}
        source, output = str(SENTENCES / f"{language}.conll"), str(tmp_path / f"{language}-{len(settings)}")
        return train(TrainingArguments(language=language, dataset=[source], output=output, base="ann/base", **fixed | settings))

    return learn


def change_base() -> str:
    return str(HfApi().upload_file(path_or_fileobj=b"# Base", path_in_repo="README.md", repo_id="ann/base").oid)


def test_an_adapter_records_the_commit_of_its_base_and_so_do_card_and_model(hub: LocalHub, base: str, learn: Learn) -> None:
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


def test_a_model_keeps_to_the_commit_of_its_base_and_further_languages_to_that_of_their_start(
    hub: LocalHub, base: str, learn: Learn
) -> None:
    folder = learn("de")
    newer = change_base()
    assert newer != base
    model = RetrieveAllModel.from_pretrained(folder)
    assert model.add_language(learn("en", init=str(folder))) == "en"
    alone = learn("sw")
    assert read_manifest(alone).base_revision == newer
    with pytest.raises(AdapterError, match=f"has base revision '{newer}', the model '{base}'"):
        model.add_language(alone)
    assert model.add_language(learn("sw", base_revision=base)) == "sw"


def test_a_private_base_is_reached_with_the_token_and_kept_in_the_cache_asked_for(
    hub: LocalHub, base: str, learn: Learn, tmp_path: Path
) -> None:
    folder = learn("de")
    HfApi().update_repo_settings("ann/base", private=True)
    cache = str(tmp_path / "cache")
    model = RetrieveAllModel.from_pretrained(folder, token="hf_ann", cache_dir=cache)
    found = model.extract(TEXT, languages="de")
    assert (tmp_path / "cache" / "models--ann--base").is_dir()
    offline = RetrieveAllModel.from_pretrained(folder, cache_dir=cache, local_files_only=True)
    assert offline.extract(TEXT, languages="de") == found
    with pytest.raises(ValueError, match="could not be loaded"):
        RetrieveAllModel.from_pretrained(folder, token="hf_ben", cache_dir=str(tmp_path / "other"))
    push_adapter(folder, "ann/de", token="hf_ann")


def test_a_base_runs_no_code_even_when_its_user_would_say_yes(hub: LocalHub, base: str, learn: Learn, tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.Evil"}}
    code = f"open({str(mark)!r}, 'w').close()\nclass EvilConfig: pass\nclass Evil: pass\n"
    files = [CommitOperationAdd("config.json", json.dumps(config).encode()), CommitOperationAdd("evil.py", code.encode())]
    HfApi().create_repo("ann/evil")
    commit = HfApi().create_commit("ann/evil", files, commit_message="x").oid
    folder = copy_adapter(learn("de"), tmp_path / "evil", base_model="ann/evil", base_revision=commit)
    commit_folder(folder, "ann/evil-adapter")
    command = [sys.executable, "-m", "modeling_retrieveall.cli", "extract", "--model", "ann/evil-adapter", TEXT]
    done = subprocess.run(command, input="y\n", capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "'ann/evil' could not be loaded" in done.stderr
    RetrieveAllConfig("ann/evil", commit).save_pretrained(tmp_path / "model")
    with pytest.raises((ValueError, OSError)):
        RetrieveAllTokenizer.from_pretrained(tmp_path / "model", trust_remote_code=True)
    with pytest.raises(AdapterError, match="its base LLM 'ann/evil' cannot be found"):
        push_adapter(folder, "ann/copy")
    assert not mark.exists()


def test_the_tokenizer_of_a_model_is_that_of_its_base_at_its_commit(hub: LocalHub, base: str, tmp_path: Path) -> None:
    RetrieveAllConfig("ann/base", base).save_pretrained(tmp_path)
    change_base()
    tokenizer = RetrieveAllTokenizer.from_pretrained(tmp_path, trust_remote_code=True)
    assert tokenizer.decode(tokenizer("Nairobi")["input_ids"]) == "Nairobi"
    asked = {call.path.split("/resolve/")[1].split("/")[0] for call in hub.requests if "/ann/base/resolve/" in call.path}
    assert asked == {base}


def test_a_base_in_a_pickle_is_not_read(tiny_base: Path, tmp_path: Path) -> None:
    for file in tiny_base.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="could not be loaded"):
        load_base(str(tmp_path))


@pytest.mark.parametrize(("given", "expected"), [({"dtype": torch.bfloat16}, torch.bfloat16), ({}, torch.float32)])
def test_precision_and_attention_reach_the_base(
    hub: LocalHub, learn: Learn, given: dict[str, torch.dtype], expected: torch.dtype
) -> None:
    model = RetrieveAllModel.from_pretrained(learn("de"), attn_implementation="eager", **given)
    assert model.base.dtype == expected
    assert model.base.config._attn_implementation == "eager"
