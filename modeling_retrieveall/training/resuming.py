"""Checks before a run starts or resumes: it must not overwrite other results, nor resume from the checkpoint of another run.

>>> check_output(AdapterTrainingArguments(["sw"], ["sw.conll"], "runs/sw"), alone=True)
Traceback (most recent call last):
FileExistsError: runs/sw.checkpoint belongs to an interrupted run. Set resume=True to continue it, or overwrite=True to restart.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from ..model.atomic import check_sources, check_writable, restore
from ..model.errors import InputError
from ..model.language_adapter import LanguageAdapter, check_holds_only_adapter
from ..model.lora_files import LORA_WEIGHTS
from ..model.manifest import MANIFEST
from .arguments import AdapterTrainingArguments
from .checkpoints import RUN, STATE
from .training_data import TrainingData

_DATA, _INITIAL = "data", "initial_adapter"


def checkpoint_path(output_dir: str) -> Path:
    """The folder of a run's checkpoint, next to the folder of the finished adapter."""
    return Path(f"{output_dir}.checkpoint")


def is_interrupted(output_dir: str) -> bool:
    """Whether there is a checkpoint to resume from."""
    return (checkpoint_path(output_dir) / STATE).is_file()


def is_finished(run: AdapterTrainingArguments) -> bool:
    """Whether a resumed launch had finished this run before it was interrupted."""
    return run.resume and not is_interrupted(run.output_dir) and (Path(run.output_dir) / MANIFEST).is_file()


def check_output(run: AdapterTrainingArguments, alone: bool) -> None:
    """Refuses a run that would replace an adapter, a checkpoint or other files without ``overwrite``.

    Args:
        run: The arguments of the run.
        alone: Whether the launch trains this language only.

    Raises:
        FileExistsError: Something would be replaced, or the run to resume is finished.
        FileNotFoundError: There is no checkpoint to resume from.
        InputError: A dataset or the base LLM is inside the output folder.
        OSError: The output folder cannot be written.
    """
    output, checkpoint = Path(run.output_dir), checkpoint_path(run.output_dir)
    for target in (output, checkpoint):
        restore(target)
    interrupted, finished = is_interrupted(run.output_dir), (output / MANIFEST).is_file()
    if output.exists() and not finished and (output.is_file() or any(output.iterdir())):
        raise FileExistsError(
            f"{output} exists and is not a language adapter; it would be replaced. Choose another `output_dir`."
        )
    check_sources(output, [Path(name) for name in (*run.dataset, run.base_model) if Path(name).exists()])
    check_holds_only_adapter(output)
    check_writable(output)
    if run.resume:
        if alone and finished and not interrupted:
            raise FileExistsError(f"{output} is finished; there is nothing to resume.")
        if alone and not interrupted:
            raise FileNotFoundError(f"There is no checkpoint at {checkpoint} to resume from.")
    elif interrupted and not run.overwrite:
        raise FileExistsError(
            f"{checkpoint} belongs to an interrupted run. Set resume=True to continue it, or overwrite=True to restart."
        )
    elif finished and not run.overwrite:
        others = "" if alone else " Set resume=True to train the remaining languages."
        raise FileExistsError(
            f"{output} already contains an adapter. Choose another `output_dir`, or set overwrite=True to replace it.{others}"
        )


def run_signature(
    run: AdapterTrainingArguments,
    data: list[TrainingData],
    initial: LanguageAdapter | None,
    base_revision: str | None,
    processes: int,
) -> dict[str, Any]:
    """What a resumed run must have in common with the interrupted one, as JSON values.

    Args:
        run: The arguments of the run.
        data: The sentences with their labels.
        initial: The initial adapter.
        base_revision: The commit of a base LLM on the Hub.
        processes: Number of processes.
    """
    sentences = repr(
        [(example.key, example.spans) for group in data for example in [*group.train, *group.empty, *group.validation]]
    )
    return {
        **run.fixed_settings(),
        "base_revision": base_revision,
        "processes": processes,
        _DATA: hashlib.sha256(sentences.encode("utf-8", "surrogatepass")).hexdigest(),
        _INITIAL: initial and hashlib.sha256((initial.path / LORA_WEIGHTS).read_bytes()).hexdigest(),
    }


def check_same_run(folder: Path, signature: dict[str, Any]) -> None:
    """Refuses to resume from the checkpoint of another run.

    Args:
        folder: The checkpoint.
        signature: The :func:`run_signature` of the run to be resumed.

    Raises:
        InputError: The checkpoint is of another run; the message lists the differences.
    """
    try:
        before = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder} was written by an older version. Use overwrite=True without `resume` to restart.") from error
    different = [
        _difference(name, before.get(name), value)
        for name, value in signature.items()
        if before.get(name) != value and name != _DATA
    ]
    # Only if nothing else differs: settings such as max_train_samples change the sentences too.
    if before.get(_DATA) != signature[_DATA] and not different:
        different = ["the sentences or their labels were different"]
    if different:
        raise InputError(
            f"{folder} belongs to another run: {'; '.join(different)}. Resume with the same settings, or use overwrite=True "
            "without `resume` to restart."
        )


def _difference(name: str, before: Any, now: Any) -> str:
    if name == _INITIAL:
        return "the initial adapter was different"
    if name == "base_revision":
        return f"the base LLM was at commit {before} and is at {now} (base_revision={before} selects the former)"
    return f"`{name}` was {before!r} and is {now!r}"
