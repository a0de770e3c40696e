"""No output overwrites files of the user: models, adapters, base LLMs and notes."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from modeling_retrieveall import InputError, LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.hub.push import push_model
from modeling_retrieveall.hub.replace_examples import replace_examples
from modeling_retrieveall.serving.vllm_export import export
from modeling_retrieveall.training import setup
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.trainer import train
from tests.conftest import ROOT, SENTENCES
from tests.local_hub import LocalHub

TEXT = "Angela Merkel besuchte Nairobi."
TINY = Callable[[str], Path]


def contents(folder: Path) -> dict[str, bytes]:
    """The content of all files, by path."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture
def saved(tiny_adapter: TINY, tmp_path: Path) -> Path:
    """A folder that ``save_pretrained`` wrote, with adapters of its own."""
    for language in ("de", "en"):
        shutil.copytree(tiny_adapter(language), tmp_path / "trained" / language)
    RetrieveAllModel.from_pretrained(tmp_path / "trained").save_pretrained(tmp_path / "saved")
    shutil.rmtree(tmp_path / "trained")
    return tmp_path / "saved"


# save_pretrained


def through_a_link(folder: Path) -> Path:
    link = folder.with_name("link")
    link.symlink_to(folder)
    return link


@pytest.mark.parametrize("load_from", [lambda f: f, lambda f: f / "adapters", through_a_link])
@pytest.mark.parametrize("save_to", [lambda f: f, lambda f: f / ".." / f.name])
def test_a_model_can_be_saved_into_the_folder_it_was_loaded_from(
    saved: Path, load_from: Callable[[Path], Path], save_to: Callable[[Path], Path]
) -> None:
    before = contents(saved / "adapters")
    model = RetrieveAllModel.from_pretrained(load_from(saved))
    model.save_pretrained(save_to(saved))
    assert contents(saved / "adapters") == before
    assert model.extract(TEXT, language="de") == RetrieveAllModel.from_pretrained(saved).extract(TEXT, language="de")


def test_saving_some_languages_into_the_models_folder_keeps_the_others(saved: Path) -> None:
    before = contents(saved / "adapters")
    RetrieveAllModel.from_pretrained(saved, languages=["de"]).save_pretrained(saved)
    assert contents(saved / "adapters") == before
    assert json.loads((saved / "config.json").read_text())["adapters"] == {"de": "adapters/de"}


def test_saving_does_not_overwrite_an_adapter_that_another_language_is_read_from(saved: Path) -> None:
    adapters = saved / "adapters"
    (adapters / "de").rename(adapters / "swap")
    (adapters / "en").rename(adapters / "de")
    (adapters / "swap").rename(adapters / "en")  # each under the other's name
    before = contents(saved)
    model = RetrieveAllModel.from_pretrained(adapters)
    with pytest.raises(InputError, match="cannot be replaced"):
        model.save_pretrained(saved)
    assert contents(saved) == before


def test_a_model_is_not_saved_over_its_base_llm(saved: Path, tiny_base: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "base")
    model = RetrieveAllModel.from_pretrained(saved, base_model=str(base))
    with pytest.raises(FileExistsError, match="model of type 'llama'"):
        model.save_pretrained(base)
    assert contents(base) == contents(tiny_base)


@pytest.mark.parametrize("fails", ["shutil.copyfile", "modeling_retrieveall.model.saving.custom_object_save"])
def test_a_full_disk_leaves_the_earlier_model_unchanged(
    saved: Path, tiny_adapter: TINY, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    model = RetrieveAllModel.from_pretrained(saved)
    model.add_language(tiny_adapter("de"))
    before = contents(saved)

    def full(source: Path, target: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fails, full)
    with pytest.raises(OSError, match="No space"):
        model.save_pretrained(saved)
    monkeypatch.undo()
    assert contents(saved) == before
    RetrieveAllModel.from_pretrained(saved).extract(TEXT)


def test_notes_in_an_adapter_folder_are_not_lost_when_a_model_is_saved_over_it(saved: Path, tiny_adapter: TINY) -> None:
    (saved / "adapters" / "de" / "notes.txt").write_text("mine")
    model = RetrieveAllModel.from_pretrained(saved)
    model.add_language(tiny_adapter("de"))
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        model.save_pretrained(saved)
    assert (saved / "adapters" / "de" / "notes.txt").read_text() == "mine"


def test_a_loaded_model_does_not_change_when_another_is_saved_over_its_files(saved: Path, tiny_adapter: TINY) -> None:
    model = RetrieveAllModel.from_pretrained(saved)
    vectors = model.adapters["de"].index.sentence_vectors.clone()
    other = RetrieveAllModel.from_pretrained(tiny_adapter("de"))
    other.adapters["de"].index.sentence_vectors.mul_(0)
    other.adapters["de"].save_index(saved / "adapters" / "de")
    assert torch.equal(model.adapters["de"].index.sentence_vectors, vectors)
    model.extract(TEXT, language="de")


def test_an_adapter_can_save_its_index_into_its_own_folder(saved: Path) -> None:
    folder = saved / "adapters" / "de"
    before = {name: tensor.clone() for name, tensor in load_file(folder / "retrieval.safetensors").items()}
    LanguageAdapter.load(folder).save_index(folder)
    after = load_file(folder / "retrieval.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len(LanguageAdapter.load(folder).index.examples)


def test_pushing_a_model_changes_nothing_in_its_folder(hub: LocalHub, saved: Path) -> None:
    before = contents(saved)
    push_model(RetrieveAllModel.from_pretrained(saved), "ann/model")
    assert contents(saved) == before
    assert set(RetrieveAllModel.from_pretrained("ann/model").languages) == {"de", "en"}


# share


@pytest.fixture
def sharing(saved: Path) -> Iterator[Callable[[Path], Path]]:
    examples = load_examples(str(SENTENCES / "es.conll"), "train").examples
    model = RetrieveAllModel.from_pretrained(saved)
    yield lambda output: replace_examples(saved / "adapters" / "de", examples, output, model)


def test_an_adapter_with_other_examples_is_not_written_into_or_around_its_own_folder(
    saved: Path, sharing: Callable[[Path], Path]
) -> None:
    before = contents(saved)
    for output in (saved / "adapters" / "de", saved / "adapters", saved, through_a_link(saved) / "adapters" / "de"):
        with pytest.raises((InputError, FileExistsError)):
            sharing(output)
    assert contents(saved) == before


def test_replacing_examples_replaces_an_adapter_but_no_other_files(
    saved: Path, sharing: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match="not a language adapter"):
        sharing(tmp_path / "home")
    output = sharing(tmp_path / "shared")
    before = contents(output)
    with monkeypatch.context() as patch:
        patch.setattr("modeling_retrieveall.hub.replace_examples.write_card", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sharing(output)
    assert contents(output) == before
    assert sharing(output) == output and (tmp_path / "home" / "thesis.tex").read_text() == "mine"


# export vllm


def test_an_export_does_not_replace_its_own_source_adapters(saved: Path) -> None:
    before = contents(saved)
    for source in (saved, saved / "adapters"):
        with pytest.raises(InputError, match="cannot be replaced"):
            export(RetrieveAllModel.from_pretrained(source), saved, overwrite=True)
    with pytest.raises(InputError, match="cannot be replaced"):
        export(RetrieveAllModel.from_pretrained(saved / "adapters" / "de"), through_a_link(saved), overwrite=True)
    assert contents(saved) == before


def test_an_export_does_not_replace_the_adapters_of_another_model(saved: Path, tiny_adapter: TINY) -> None:
    before = contents(saved)
    with pytest.raises(FileExistsError, match="is not an earlier export"):
        export(RetrieveAllModel.from_pretrained(tiny_adapter("en")), saved, overwrite=True)
    assert contents(saved) == before


def test_an_export_into_a_folder_inside_or_around_the_model_keeps_it(saved: Path) -> None:
    before = contents(saved)
    model = RetrieveAllModel.from_pretrained(saved)
    for folder in (saved / "served", saved.parent):
        for _ in range(2):
            assert export(model, folder, overwrite=True).adapters == 2
        assert {path.name for path in (folder / "adapters" / "de").iterdir()} == {
            "adapter_config.json",
            "adapter_model.safetensors",
        }
    shutil.rmtree(saved / "served")
    assert contents(saved) == before


def test_an_export_that_fails_leaves_the_earlier_one(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = RetrieveAllModel.from_pretrained(saved)
    export(model, tmp_path / "served", [TEXT])
    before = contents(tmp_path / "served")
    with monkeypatch.context() as patch:
        patch.setattr(model, "prepare", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            export(model, tmp_path / "served", [TEXT], overwrite=True)
    assert contents(tmp_path / "served") == before


# train


def test_a_process_killed_while_evaluating_the_new_adapter_leaves_the_old_one(
    arguments: AdapterTrainingArguments, tmp_path: Path
) -> None:
    folder = train(replace(arguments, num_train_epochs=0))
    before = contents(folder)
    code = f"""
import os, signal
from modeling_retrieveall.training import adapter_writer, trainer
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
adapter_writer.write_card = lambda adapter: os.kill(os.getpid(), signal.SIGKILL)
trainer.train(AdapterTrainingArguments(**{replace(arguments, num_train_epochs=1, overwrite=True)!r}.__dict__))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert contents(folder) == before
    LanguageAdapter.load(folder)


@pytest.mark.parametrize("what", ["notes.txt", "sw.conll", "base"])
def test_training_does_not_replace_other_files_in_an_adapter_folder(
    arguments: AdapterTrainingArguments, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    folder = train(replace(arguments, num_train_epochs=0))
    again = replace(arguments, overwrite=True)
    if what == "base":
        again = replace(again, base_model=str(shutil.copytree(arguments.base_model, folder / what)))
    else:
        shutil.copyfile(arguments.dataset[0], folder / what)
        again = replace(again, dataset=[str(folder / what)]) if what == "sw.conll" else again
    before = contents(folder)
    monkeypatch.setattr(setup, "load_base", lambda *_, **__: pytest.fail("the base LLM was loaded"))
    with pytest.raises((FileExistsError, InputError), match=what):
        train(again)
    assert contents(folder) == before


def test_an_adapter_can_be_trained_further_into_its_own_folder(arguments: AdapterTrainingArguments) -> None:
    folder = train(replace(arguments, num_train_epochs=0))
    before = load_file(folder / "adapter_model.safetensors")
    before = {name: tensor.clone() for name, tensor in before.items()}
    train(replace(arguments, num_train_epochs=1, init_adapter=str(folder), overwrite=True))
    after = load_file(folder / "adapter_model.safetensors")
    assert before.keys() == after.keys() and any(not torch.equal(before[name], after[name]) for name in before)


def test_an_adapter_is_restored_after_a_kill_between_the_two_renames(arguments: AdapterTrainingArguments) -> None:
    folder = train(replace(arguments, num_train_epochs=0))
    before = contents(folder)
    folder.rename(folder.with_name(f".{folder.name}.replaced"))  # as a kill between the two renames leaves it
    with pytest.raises(FileExistsError, match="already contains an adapter"):
        train(arguments)
    assert contents(folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_output_is_refused_before_the_base_loads(
    arguments: AdapterTrainingArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(arguments.output_dir).parent.chmod(0o555)
    monkeypatch.setattr(setup, "load_base", lambda *_, **__: pytest.fail("the base LLM was loaded"))
    with pytest.raises(PermissionError, match="read-only"):
        train(arguments)
