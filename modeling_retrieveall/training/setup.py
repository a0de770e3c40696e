"""Preparation of a run: Accelerator, base LLM, LoRA, training samples, index and checkpoints.

>>> setup = prepare_run(arguments, [load_training_data("examples/sentences/sw.conll", arguments)], initial_adapter)
>>> len(setup.sampler)
120
"""

import logging
from dataclasses import asdict, dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict

from ..data.example_splitting import split_into_windows
from ..data.labelled_data import sample_examples
from ..model.base_llm import load_base, pinned_revision, quantization_arguments
from ..model.configuration_retrieveall import RetrieveAllConfig
from ..model.entities import Example
from ..model.errors import AdapterError, InputError
from ..model.hub_files import Hub
from ..model.language_adapter import LanguageAdapter
from ..model.lora_files import lora_state_dict
from ..model.modeling_retrieveall import RetrieveAllModel
from ..model.retrieval import ExampleIndex
from .accelerator import create_accelerator
from .arguments import DEFAULT_LORA_ALPHA, DEFAULT_RANK, AdapterTrainingArguments
from .checkpoints import Checkpoints
from .fsdp import uses_fsdp
from .hyperparameters import Hyperparameters, choose_hyperparameters
from .initial_adapter import lora_config_of
from .prompt_sampling import PromptSampler
from .resuming import check_same_run, checkpoint_path, run_signature
from .training_data import TrainingData
from .vector_cache import encode_examples

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that a run of one language needs.

    Attributes:
        arguments: The arguments of the run.
        data: The sentences of each dataset.
        initial: The initial adapter, if any.
        hyperparameters: Learning rate and share of the initial adapter.
        accelerator: The Accelerator of this process.
        model: The model with the base LLM, without adapters.
        lora: The LoRA on the base LLM.
        labels: The entity types of all datasets, sorted.
        sampler: Draws the training samples.
        index: The index of the finished adapter.
        checkpoints: Writes and reads the checkpoint of the run.
    """

    arguments: AdapterTrainingArguments
    data: list[TrainingData]
    initial: LanguageAdapter | None
    hyperparameters: Hyperparameters
    accelerator: Accelerator
    model: RetrieveAllModel
    lora: PeftModel
    labels: list[str]
    sampler: PromptSampler
    index: ExampleIndex
    checkpoints: Checkpoints


def prepare_run(arguments: AdapterTrainingArguments, data: list[TrainingData], initial: LanguageAdapter | None) -> TrainingSetup:
    """Prepares the run of one language.

    Args:
        arguments: The arguments of the run; ``tags_share`` must be set.
        data: The sentences of each dataset.
        initial: The initial adapter, if any.

    Raises:
        AdapterError: The base LLM has no layers for a LoRA, or the initial adapter does not fit it.
        InputError: The run cannot be resumed, or the Accelerator cannot be used.
    """
    set_seed(arguments.seed)
    accelerator = create_accelerator(arguments)
    # One model can use both adapters only if they have the same revision of the base LLM.
    requested = arguments.base_revision or (initial.manifest.base_revision if initial else None)
    base_revision = pinned_revision(arguments.base_model, requested, Hub())
    signature = run_signature(arguments, data, initial, base_revision, accelerator.num_processes)
    checkpoint = checkpoint_path(arguments.output_dir)
    if arguments.resume:
        if uses_fsdp(accelerator):
            raise InputError(f"A run cannot be resumed with FSDP. Launch as before, or remove {checkpoint} to restart.")
        check_same_run(checkpoint, signature)
    if arguments.report_to != "none":
        accelerator.init_trackers("training", {name: str(value) for name, value in asdict(arguments).items()})
    if accelerator.is_main_process:
        for group in data:
            _logger.info(group.summary())
    model = _load_model(arguments, base_revision, accelerator)
    labels = sorted({label for group in data for label in group.labels})
    shares = arguments.examples_share, arguments.tags_share or 0.0
    sampler = PromptSampler(model.answers, model.config, *shares, labels, arguments.seed)
    index = _join([_add_dataset(group, sampler, model, arguments, accelerator) for group in data])
    lora = _add_lora(model, initial, arguments)
    return TrainingSetup(
        arguments=arguments,
        data=data,
        initial=initial,
        hyperparameters=choose_hyperparameters(arguments, initial, data),
        accelerator=accelerator,
        model=model,
        lora=lora,
        labels=labels,
        sampler=sampler,
        index=index,
        checkpoints=Checkpoints(checkpoint, signature, accelerator, lora),
    )


def _load_model(arguments: AdapterTrainingArguments, base_revision: str | None, accelerator: Accelerator) -> RetrieveAllModel:
    config = RetrieveAllConfig(
        base_model=arguments.base_model,
        encoder_layer=arguments.encoder_layer,
        n_entities=arguments.n_entities,
        n_sentences=arguments.n_sentences,
    )
    config.base_revision = base_revision
    dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
    base, tokenizer = load_base(
        arguments.base_model,
        base_revision,
        dtype=dtype,
        device_map={"": accelerator.device} if arguments.quantization else None,
        **quantization_arguments(arguments.quantization, dtype),
    )
    model = RetrieveAllModel(config, base, tokenizer)
    # A quantized base LLM is already on the device. With FSDP it never is as a whole, and encodes sentences where it was loaded.
    return model if arguments.quantization or uses_fsdp(accelerator) else model.to(accelerator.device)


def _add_dataset(
    group: TrainingData,
    sampler: PromptSampler,
    model: RetrieveAllModel,
    arguments: AdapterTrainingArguments,
    accelerator: Accelerator,
) -> ExampleIndex:
    """Adds the sentences of a dataset to the sampler; returns their index, which has only sentences of the dataset itself."""
    train, empty = (_into_windows(examples, model, accelerator) for examples in (group.train, group.empty))
    indexed = sample_examples(train, arguments.max_index_examples, arguments.seed)
    index = ExampleIndex.build(indexed, encode_examples(model, indexed))
    for examples in (train, empty):
        sampler.add(examples, encode_examples(model, examples) if arguments.examples_share else [], index)
    return index


def _into_windows(examples: list[Example], model: RetrieveAllModel, accelerator: Accelerator) -> list[Example]:
    """The examples; those that are too long for one window are split as they are during inference."""
    answers, limit = model.answers, model.config.max_sentence_tokens
    windows: list[Example] = []
    split = 0
    for example in examples:
        counts = [len(ids) for ids in answers.word_ids(example.sentence)]
        split += sum(counts) > limit
        windows += split_into_windows(example, counts, limit)
    if split and accelerator.is_main_process:
        _logger.info("%d sentences have more than %d tokens and were split into windows.", split, limit)
    return windows


def _add_lora(model: RetrieveAllModel, initial: LanguageAdapter | None, arguments: AdapterTrainingArguments) -> PeftModel:
    """Adds a LoRA to the base LLM of a model, with the weights of the initial adapter if there is one."""
    if initial is None:
        config = LoraConfig(
            r=arguments.rank or DEFAULT_RANK,
            lora_alpha=arguments.lora_alpha or DEFAULT_LORA_ALPHA,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
    else:
        config = lora_config_of(initial)
    config.lora_dropout = arguments.lora_dropout
    if arguments.gradient_checkpointing:
        model.base.gradient_checkpointing_enable({"use_reentrant": False})
        model.base.enable_input_require_grads()
        model.train()  # layers use gradient checkpointing in training mode only
    try:
        lora: PeftModel = get_peft_model(model.base, config)
    except ValueError as error:  # the base LLM has no modules with these names
        raise AdapterError(f"PEFT cannot add a LoRA to the base LLM {arguments.base_model!r}: {error}") from error
    if initial is not None:
        loaded: Any = set_peft_model_state_dict(lora, lora_state_dict(initial.lora_weights(torch.float32)))
        if loaded.unexpected_keys:
            raise AdapterError(
                f"{initial.source} has weights for {loaded.unexpected_keys[0]!r}, which the base LLM does not have."
            )
    return lora


def _join(indices: list[ExampleIndex]) -> ExampleIndex:
    return ExampleIndex(
        [example for index in indices for example in index.examples],
        torch.cat([index.sentence_vectors for index in indices]),
        torch.cat([index.mention_vectors for index in indices]),
    )
