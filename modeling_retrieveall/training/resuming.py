"""Whether a run may begin or go on: nothing finished or interrupted is lost, and a checkpoint serves no other run than its own.

>>> check_output(TrainingArguments(language="sw", dataset=["sw.conll"], output="runs/sw"), alone=True)
Traceback (most recent call last):
FileExistsError: runs/sw.checkpoint is of an interrupted run. Go on with --resume, or give --overwrite to begin anew.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from ..model.atomic import check_sources, check_writable, restore
from ..model.errors import InputError
from ..model.language_adapter import LanguageAdapter, check_only_adapter
from ..model.lora_files import LORA_WEIGHTS
from ..model.manifest import MANIFEST
from .arguments import TrainingArguments
from .checkpoints import RUN, STATE
from .training_data import Lessons

_LESSONS, _START = "lessons", "start"


def checkpoint_of(output: str) -> Path:
    """Where the checkpoints of a run lie, beside the folder of its finished adapter."""
    return Path(f"{output}.checkpoint")


def is_interrupted(output: str) -> bool:
    """Whether there is a checkpoint to go on from."""
    return (checkpoint_of(output) / STATE).is_file()


def is_finished(run: TrainingArguments) -> bool:
    """Whether a resumed language of several was learned before the launch was interrupted."""
    return run.resume and not is_interrupted(run.output) and (Path(run.output) / MANIFEST).is_file()


def check_output(run: TrainingArguments, alone: bool) -> None:
    """Refuses to replace an adapter or the checkpoint of another run, unless that is wanted, and anything else in any case.

    Args:
        run: The run.
        alone: Whether the launch is of this language only.

    Raises:
        FileExistsError: Something would be replaced, or there is nothing left to resume.
        FileNotFoundError: There is no checkpoint to resume from.
        InputError: A dataset or the base LLM lies in the output.
        OSError: The output cannot be written.
    """
    output, checkpoint = Path(run.output), checkpoint_of(run.output)
    for target in (output, checkpoint):
        restore(target)
    interrupted, finished = is_interrupted(run.output), (output / MANIFEST).is_file()
    if output.exists() and not finished and (output.is_file() or any(output.iterdir())):
        raise FileExistsError(f"{output} exists and is no language adapter. Choose another --output; it would be replaced.")
    check_sources(output, [Path(name) for name in (*run.dataset, run.base) if Path(name).exists()])
    check_only_adapter(output)
    check_writable(output)
    if run.resume:
        if alone and finished and not interrupted:
            raise FileExistsError(f"{output} is finished; there is nothing to resume.")
        if alone and not interrupted:
            raise FileNotFoundError(f"There is no checkpoint at {checkpoint} to resume from. Leave out --resume.")
    elif interrupted and not run.overwrite:
        raise FileExistsError(f"{checkpoint} is of an interrupted run. Go on with --resume, or give --overwrite to begin anew.")
    elif finished and not run.overwrite:
        rest = "" if alone else ", or --resume to learn the languages that are left"
        raise FileExistsError(f"{output} holds an adapter already. Choose another --output, or give --overwrite{rest}.")


def identity(
    run: TrainingArguments, lessons: list[Lessons], start: LanguageAdapter | None, base_revision: str | None, processes: int
) -> dict[str, Any]:
    """What a resumed run must share with the one it goes on from, as values of JSON.

    Args:
        run: The settings.
        lessons: The sentences with their labels.
        start: The adapter that it starts from.
        base_revision: The commit of a base on the Hub.
        processes: How many share the steps.
    """
    sentences = repr(
        [(example.key, example.spans) for group in lessons for example in [*group.train, *group.empty, *group.validation]]
    )
    return {
        **run.decisive(),
        "base_revision": base_revision,
        "processes": processes,
        _LESSONS: hashlib.sha256(sentences.encode("utf-8", "surrogatepass")).hexdigest(),
        _START: start and hashlib.sha256((start.path / LORA_WEIGHTS).read_bytes()).hexdigest(),
    }


def check_same_run(folder: Path, run: dict[str, Any]) -> None:
    """Makes sure that the run that wants to go on from a checkpoint is the one that wrote it.

    Args:
        folder: The checkpoint.
        run: The :func:`identity` of the run that wants to go on.

    Raises:
        InputError: It is of another run; the message says in what they differ.
    """
    try:
        before = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder} was written by an older version. Give --overwrite without --resume to begin anew.") from error
    different = [_told(name, before.get(name), run[name]) for name in run if before.get(name) != run[name] and name != _LESSONS]
    # Settings such as max_train_examples change the sentences too.
    if before.get(_LESSONS) != run[_LESSONS] and not different:
        different = ["its sentences or their labels were others"]
    if different:
        raise InputError(
            f"{folder} is of another run: {'; '.join(different)}. Give what was given then, or --overwrite without --resume "
            "to begin anew."
        )


def _told(name: str, before: Any, now: Any) -> str:
    if name == _START:
        return "the adapter that it started from was another"
    if name == "base_revision":
        return f"the base was at {before} and is at {now} (--base_revision {before} takes the former)"
    return f"{name} was {before!r} and is {now!r}"
