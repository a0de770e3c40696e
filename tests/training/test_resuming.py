"""Interrupted runs on a tiny base LLM: they resume exactly, are not lost, and no other run resumes from their checkpoints."""

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
from modeling_retrieveall.training import setup
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.loop import TrainingLoop
from modeling_retrieveall.training.resuming import check_same_run, run_signature
from modeling_retrieveall.training.trainer import train
from tests.conftest import SENTENCES, weights

SW = str(SENTENCES / "sw.conll")


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5])
def test_a_resumed_run_gives_the_same_adapter_as_an_uninterrupted_one(
    arguments: AdapterTrainingArguments,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    after: int,
) -> None:
    folder = train(replace(arguments, output_dir=str(tmp_path / "whole")))
    whole, record = weights(folder), json.loads((folder / "retrieveall.json").read_text())["training"]
    log_step = TrainingLoop._log_step

    def interrupt(self: TrainingLoop, progress: Any) -> None:
        log_step(self, progress)
        if self.state.step == after:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_log_step", interrupt)
        with pytest.raises(KeyboardInterrupt, match=r"sw.checkpoint. Set resume=True to continue"):
            train(arguments)
    assert "Stopping after this step" in caplog.text
    assert not Path(arguments.output_dir).exists()
    resumed = train(replace(arguments, resume=True))
    assert all(torch.equal(whole[name], tensor) for name, tensor in weights(resumed).items())
    again = json.loads((resumed / "retrieveall.json").read_text())["training"]
    assert (again["loss"], again["loss_curve"]) == (record["loss"], record["loss_curve"])


def test_a_failure_while_writing_a_checkpoint_keeps_the_old_checkpoint(
    arguments: AdapterTrainingArguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights(train(replace(arguments, output_dir=str(tmp_path / "whole"), save_steps=1)))
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
            train(replace(arguments, save_steps=1))
    resumed = train(replace(arguments, resume=True))
    assert all(torch.equal(whole[name], tensor) for name, tensor in weights(resumed).items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sw", "whole"]


def test_overwrite_removes_the_checkpoint_of_an_interrupted_run(
    arguments: AdapterTrainingArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: TrainingLoop) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_log_step", lambda self, progress: self._interrupt())
        with pytest.raises(KeyboardInterrupt, match="Set resume=True to continue"):
            train(arguments)
        patch.setattr(TrainingLoop, "run", killed)
        with pytest.raises(KeyboardInterrupt, match="No checkpoint was written yet"):
            train(replace(arguments, overwrite=True))
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        train(replace(arguments, resume=True))


def test_a_resumed_launch_trains_the_remaining_languages(arguments: AdapterTrainingArguments, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    first = train(replace(arguments, output_dir=str(folder / "sw"), max_eval_samples=0))
    written = (first / "adapter_model.safetensors").stat().st_mtime_ns
    german = str(SENTENCES / "de.conll")
    both = replace(
        arguments, language=["sw", "de"], dataset=[SW, german], output_dir=str(folder), max_eval_samples=0, resume=True
    )
    train(both)
    assert LanguageAdapter.load(folder / "de").language == "de"
    assert (first / "adapter_model.safetensors").stat().st_mtime_ns == written


def test_resuming_without_a_checkpoint_is_refused(arguments: AdapterTrainingArguments) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        train(replace(arguments, resume=True))
    train(arguments)
    with pytest.raises(FileExistsError, match="sw is finished; there is nothing to resume"):
        train(replace(arguments, resume=True))


def test_a_checkpoint_is_neither_overwritten_nor_used_by_another_run(
    arguments: AdapterTrainingArguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own.conll"
    file.write_text("Nyeri\tB-LOC\n\nNgozi\tB-PER\n", encoding="utf-8")
    run = replace(arguments, dataset=[str(file)], max_eval_samples=0)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_stop_requested", lambda *_: True)
        with pytest.raises(KeyboardInterrupt):
            train(run)
    with pytest.raises(FileExistsError, match=r"sw.checkpoint belongs to an interrupted run. Set resume=True to continue"):
        train(run)
    with monkeypatch.context() as patch:
        patch.setattr(setup, "load_base", lambda *_, **__: pytest.fail("the base LLM was loaded"))
        with pytest.raises(
            ValueError, match=r"to another run: `language` was \['sw'\] and is \['de'\]; `learning_rate` was None and is 0.1"
        ):
            train(replace(run, resume=True, language=["de"], learning_rate=0.1))
        with pytest.raises(ValueError, match=r"patience` was 0 and is 2; `max_eval_samples` was 0 and is 8"):
            train(replace(run, resume=True, early_stopping_patience=2, max_eval_samples=8))
        for changed in ("Nyeri\tB-LOC\n\nWangari\tB-PER\n", "Nyeri\tB-PER\n\nNgozi\tB-PER\n"):
            file.write_text(changed, encoding="utf-8")
            with pytest.raises(ValueError, match="to another run: the sentences or their labels were different"):
                train(replace(run, resume=True))
    train(replace(run, overwrite=True))
    assert not Path(f"{run.output_dir}.checkpoint").exists()


def test_a_checkpoint_of_another_launch_base_or_initial_adapter_is_refused(
    arguments: AdapterTrainingArguments, loaded_tiny_adapter: LanguageAdapter, tmp_path: Path
) -> None:
    before = run_signature(arguments, [], None, "abc", processes=2)
    (tmp_path / "run.json").write_text(json.dumps(before))
    check_same_run(tmp_path, before)
    message = r"the base LLM was at commit abc and is at def \(base_revision=abc selects the former\); `processes` was 2 and is 1"
    with pytest.raises(ValueError, match=message):
        check_same_run(tmp_path, run_signature(arguments, [], None, "def", processes=1))
    with pytest.raises(ValueError, match="the initial adapter was different"):
        check_same_run(tmp_path, run_signature(arguments, [], loaded_tiny_adapter, "abc", processes=2))


def test_an_incomplete_checkpoint_does_not_count(arguments: AdapterTrainingArguments) -> None:
    Path(f"{arguments.output_dir}.checkpoint").mkdir()
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        train(replace(arguments, resume=True))
    train(arguments)


def test_a_language_that_was_being_retrained_is_not_taken_for_finished(
    arguments: AdapterTrainingArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    german = str(SENTENCES / "de.conll")
    both = replace(arguments, language=["sw", "de"], dataset=[SW, german], max_eval_samples=0, max_steps=1)
    folder = train(both)
    with pytest.raises(FileExistsError, match="Set resume=True to train the remaining languages"):
        train(both)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_stop_requested", lambda *_: True)
        with pytest.raises(KeyboardInterrupt):
            train(replace(both, max_steps=2, overwrite=True))
    with pytest.raises(ValueError, match="`resume` and `overwrite` cannot be combined"):
        replace(both, resume=True, overwrite=True)
    train(replace(both, max_steps=2, resume=True))
    steps = [LanguageAdapter.load(folder / language).manifest.training["steps"] for language in ("sw", "de")]
    assert steps == [2, 1]
