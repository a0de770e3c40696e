"""Interrupted runs on a tiny base: they go on exactly, are not lost, and their checkpoints serve no other run."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from modeling_retrieveall import LanguageAdapter
from modeling_retrieveall.training import trainer
from modeling_retrieveall.training.arguments import TrainingArguments
from modeling_retrieveall.training.loop import Loop
from modeling_retrieveall.training.resuming import check_same_run, identity
from modeling_retrieveall.training.trainer import train
from tests.conftest import SENTENCES, weights

SW = str(SENTENCES / "sw.conll")


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5])
def test_resuming_gives_what_an_uninterrupted_run_gives(
    arguments: TrainingArguments,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    after: int,
) -> None:
    folder = train(replace(arguments, output=str(tmp_path / "whole")))
    whole, record = weights(folder), json.loads((folder / "retrieveall.json").read_text())["training"]
    note = Loop._note

    def interrupt(self: Loop, progress: Any) -> None:
        note(self, progress)
        if self.state.step == after:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_note", interrupt)
        with pytest.raises(KeyboardInterrupt, match=r"sw.checkpoint. Go on with --resume"):
            train(arguments)
    assert "Stopping after this step" in capsys.readouterr().err
    assert not Path(arguments.output).exists()
    resumed = train(replace(arguments, resume=True))
    assert all(torch.equal(whole[name], tensor) for name, tensor in weights(resumed).items())
    again = json.loads((resumed / "retrieveall.json").read_text())["training"]
    assert (again["loss"], again["loss_curve"]) == (record["loss"], record["loss_curve"])


def test_a_process_that_is_killed_while_it_writes_a_checkpoint_leaves_the_old_one(
    arguments: TrainingArguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights(train(replace(arguments, output=str(tmp_path / "whole"), checkpoint_steps=1)))
    save_state = Accelerator.save_state
    writes = []

    def killed(self: Accelerator, folder: str, **arguments: Any) -> None:
        save_state(self, folder, **arguments)
        writes.append(folder)
        if len(writes) == 3:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Accelerator, "save_state", killed)
        with pytest.raises(OSError, match="No space left"):
            train(replace(arguments, checkpoint_steps=1))
    resumed = train(replace(arguments, resume=True))
    assert all(torch.equal(whole[name], tensor) for name, tensor in weights(resumed).items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sw", "whole"]


def test_a_run_that_replaces_an_interrupted_one_leaves_nothing_of_it_to_go_on_from(
    arguments: TrainingArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Loop) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_note", lambda self, progress: self._interrupt())
        with pytest.raises(KeyboardInterrupt, match="Go on with --resume"):
            train(arguments)
        patch.setattr(Loop, "run", killed)
        with pytest.raises(KeyboardInterrupt, match="Nothing was saved yet"):
            train(replace(arguments, overwrite=True))
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        train(replace(arguments, resume=True))


def test_a_resumed_launch_learns_the_languages_that_had_not_begun(arguments: TrainingArguments, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    first = train(replace(arguments, output=str(folder / "sw"), max_validation_examples=0))
    written = (first / "adapter_model.safetensors").stat().st_mtime_ns
    german = str(SENTENCES / "de.conll")
    both = replace(arguments, language="sw,de", dataset=[SW, german], output=str(folder), max_validation_examples=0, resume=True)
    train(both)
    assert LanguageAdapter.load(folder / "de").language == "de"
    assert (first / "adapter_model.safetensors").stat().st_mtime_ns == written


def test_resuming_without_a_checkpoint_says_so(arguments: TrainingArguments) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        train(replace(arguments, resume=True))
    train(arguments)
    with pytest.raises(FileExistsError, match="sw is finished; there is nothing to resume"):
        train(replace(arguments, resume=True))


def test_an_interrupted_run_is_neither_lost_nor_taken_for_another(
    arguments: TrainingArguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own.conll"
    file.write_text("Nyeri\tB-LOC\n\nNgozi\tB-PER\n", encoding="utf-8")
    run = replace(arguments, dataset=[str(file)], max_validation_examples=0)
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_stop_asked", lambda *_: True)
        with pytest.raises(KeyboardInterrupt):
            train(run)
    with pytest.raises(FileExistsError, match=r"sw.checkpoint is of an interrupted run. Go on with --resume"):
        train(run)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "load_base", lambda *_, **__: pytest.fail("the base LLM was loaded"))
        with pytest.raises(ValueError, match=r"of another run: language was 'sw' and is 'de'; learning_rate was None and is 0.1"):
            train(replace(run, resume=True, language="de", learning_rate=0.1))
        with pytest.raises(ValueError, match=r"patience was 0 and is 2; max_validation_examples was 0 and is 8"):
            train(replace(run, resume=True, patience=2, max_validation_examples=8))
        for changed in ("Nyeri\tB-LOC\n\nWangari\tB-PER\n", "Nyeri\tB-PER\n\nNgozi\tB-PER\n"):
            file.write_text(changed, encoding="utf-8")
            with pytest.raises(ValueError, match="of another run: its sentences or their labels were others"):
                train(replace(run, resume=True))
    train(replace(run, overwrite=True))
    assert not Path(f"{run.output}.checkpoint").exists()


def test_a_checkpoint_of_another_launch_base_or_start_is_told(
    arguments: TrainingArguments, loaded_tiny_adapter: LanguageAdapter, tmp_path: Path
) -> None:
    before = identity(arguments, [], None, "abc", processes=2)
    (tmp_path / "run.json").write_text(json.dumps(before))
    check_same_run(tmp_path, before)
    told = r"the base was at abc and is at def \(--base_revision abc takes the former\); processes was 2 and is 1"
    with pytest.raises(ValueError, match=told):
        check_same_run(tmp_path, identity(arguments, [], None, "def", processes=1))
    with pytest.raises(ValueError, match="the adapter that it started from was another"):
        check_same_run(tmp_path, identity(arguments, [], loaded_tiny_adapter, "abc", processes=2))


def test_a_checkpoint_that_was_half_removed_is_none(arguments: TrainingArguments) -> None:
    Path(f"{arguments.output}.checkpoint").mkdir()
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        train(replace(arguments, resume=True))
    train(arguments)


def test_a_language_that_was_being_learned_anew_is_not_taken_for_finished(
    arguments: TrainingArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    german = str(SENTENCES / "de.conll")
    both = replace(arguments, language="sw,de", dataset=[SW, german], max_validation_examples=0, max_steps=1)
    folder = train(both)
    with pytest.raises(FileExistsError, match="or --resume to learn the languages that are left"):
        train(both)
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_stop_asked", lambda *_: True)
        with pytest.raises(KeyboardInterrupt):
            train(replace(both, max_steps=2, overwrite=True))
    with pytest.raises(ValueError, match="Give --resume alone"):
        replace(both, resume=True, overwrite=True)
    train(replace(both, max_steps=2, resume=True))
    steps = [LanguageAdapter.load(folder / language).manifest.training["steps"] for language in ("sw", "de")]
    assert steps == [2, 1]
