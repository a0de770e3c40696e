r"""Training of language adapters: a LoRA on the frozen base LLM, with retrieved examples in the prompts.

    accelerate launch -m modeling_retrieveall.training.trainer \
        --language sw --dataset examples/sentences/sw.conll --output-dir runs/sw

The same in Python:

    >>> path = train(AdapterTrainingArguments(["sw"], ["examples/sentences/sw.conll"], "runs/sw"))
    >>> RetrieveAllModel.from_pretrained(path).extract("Wangari Maathai alizaliwa Nyeri.").entities[0].text
    'Wangari Maathai'

A run has three parts: set-up (``setup.py``), loop (``loop.py``) and adapter writer (``adapter_writer.py``). Progress is logged
with level INFO; ``logging.basicConfig(level=logging.INFO)`` shows it.
"""

import logging
from dataclasses import replace
from pathlib import Path

import torch

from ..data.text_files import use_utf8_output
from ..model.language_adapter import LanguageAdapter
from .adapter_writer import AdapterWriter
from .arguments import AdapterTrainingArguments
from .command_line import console_output, parse_arguments
from .fsdp import check_arguments
from .hyperparameters import choose_tags_share
from .initial_adapter import check_initial_adapter, load_initial_adapter
from .loop import TrainingLoop
from .resuming import check_output, checkpoint_path, is_finished, is_interrupted
from .setup import prepare_run
from .sharding import is_main_process, shard
from .training_data import TrainingData, load_training_data

_logger = logging.getLogger(f"{__package__}.trainer")  # `__name__` is "__main__" if this file is launched


def train(arguments: AdapterTrainingArguments) -> Path:
    """Trains the adapter of one language, or of several languages one after another, and writes their folders.

    Args:
        arguments: The arguments of the run.

    Returns:
        ``output_dir``. For one language it contains the adapter: PEFT weights, manifest, index and model card. For several
        languages it contains one such folder per language.

    Raises:
        DatasetError: A dataset cannot be read or contains no entities.
        AdapterError: The initial adapter or the LoRA does not fit the base LLM.
        HubError: The initial adapter cannot be downloaded.
        InputError: The checkpoint belongs to another run, ``start_share`` is given without an initial adapter, ``rank`` or
            ``lora_alpha`` differs from that of the initial adapter, or the launch does not support an argument.
        FileNotFoundError: There is no checkpoint to resume from.
        FileExistsError: The output folder contains something other than an adapter, or ``overwrite`` is needed to replace an
            adapter or checkpoint, or the run to resume is finished.
        KeyboardInterrupt: The run was interrupted; the message says whether there is a checkpoint.
        MemoryError: A batch does not fit into memory.
    """
    check_arguments(arguments)
    all_runs = arguments.per_language()
    runs = shard(all_runs) if arguments.shard_languages else all_runs
    alone = len(all_runs) == 1
    for run in runs:
        check_output(run, alone)
    # All datasets and initial adapters are checked before the first base LLM is loaded.
    data = [[load_training_data(name, run) for name in run.dataset] for run in runs]
    initials = [load_initial_adapter(run.init_adapter, run.language_code, run.base_model) for run in runs]
    for run, initial in zip(runs, initials, strict=True):
        check_initial_adapter(run, initial)
    for run, run_data, initial in zip(runs, data, initials, strict=True):
        if not alone and is_finished(run):
            if is_main_process():
                _logger.info("%s is finished and kept. To retrain it, train it alone with overwrite=True.", run.output_dir)
            continue
        # A launch of several languages may have been interrupted before this one started.
        resume = run.resume and (alone or is_interrupted(run.output_dir))
        _train_language(replace(run, tags_share=choose_tags_share(run, initial), resume=resume), run_data, initial)
    return Path(arguments.output_dir)


def _train_language(run: AdapterTrainingArguments, data: list[TrainingData], initial: LanguageAdapter | None) -> None:
    """Trains one language and writes its adapter."""
    try:
        _run(run, data, initial)
    except KeyboardInterrupt as interrupt:
        kept = f"The checkpoint is {checkpoint_path(run.output_dir)}. Set resume=True to continue."
        raise KeyboardInterrupt(kept if is_interrupted(run.output_dir) else "No checkpoint was written yet.") from interrupt


def _run(run: AdapterTrainingArguments, data: list[TrainingData], initial: LanguageAdapter | None) -> None:
    setup = prepare_run(run, data, initial)
    writer, accelerator, checkpoints = AdapterWriter(setup), setup.accelerator, setup.checkpoints
    if accelerator.is_main_process and not run.resume:
        checkpoints.remove()  # of an earlier run that this one replaces
    loop = TrainingLoop(
        setup.model,
        setup.lora,
        setup.sampler,
        accelerator,
        run,
        setup.hyperparameters.learning_rate,
        checkpoints,
        writer.validation_f1,
    )
    state = loop.run()
    accelerator.wait_for_everyone()
    weights = writer.weights()
    if accelerator.is_main_process:
        writer.write(state, weights)
        checkpoints.remove()
    accelerator.wait_for_everyone()
    # Not `end_training`, which would also disconnect the processes; they may have more languages to train.
    for tracker in accelerator.trackers:
        tracker.finish()
    accelerator.free_memory()


def main() -> None:
    """The entry point of ``accelerate launch -m modeling_retrieveall.training.trainer``."""
    use_utf8_output()
    with console_output():
        train(parse_arguments(None, "accelerate launch -m modeling_retrieveall.training.trainer"))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
