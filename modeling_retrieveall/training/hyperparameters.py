"""Default hyperparameters that depend on the initial adapter and the training data.

>>> choose_hyperparameters(AdapterTrainingArguments(["sw"], ["sw.conll"], "runs/sw"), initial_adapter, [data])
Hyperparameters(learning_rate=0.001, start_share=0.0)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..model.language_adapter import LanguageAdapter, sentence_hash
from .arguments import AdapterTrainingArguments
from .training_data import TrainingData

_LEARNING_RATE, _KNOWN_DATA_LEARNING_RATE, _MIN_LEARNING_RATE = 1e-3, 5e-4, 3e-4
_ENOUGH_SENTENCES = 600
"""From this number of new sentences on, the learning rate and the share of the initial adapter are not reduced."""
_START_SHARE = 0.5
_TAGS_SHARE = 0.75


@dataclass(frozen=True)
class Hyperparameters:
    """How far the finished adapter may move away from the initial one.

    Attributes:
        learning_rate: Peak learning rate.
        start_share: Share of the initial adapter in the final weights, from 0 to 1; ``None`` without an initial adapter.
    """

    learning_rate: float
    start_share: float | None


def choose_hyperparameters(
    arguments: AdapterTrainingArguments, initial: LanguageAdapter | None, data: Sequence[TrainingData]
) -> Hyperparameters:
    """The values of the arguments, or defaults that suit the initial adapter and the data.

    Args:
        arguments: The arguments of the run.
        initial: The initial adapter, if any.
        data: The training sentences.
    """
    learning_rate, start_share = _defaults(initial, data)
    return Hyperparameters(
        learning_rate if arguments.learning_rate is None else arguments.learning_rate,
        start_share if arguments.start_share is None else arguments.start_share,
    )


def choose_tags_share(arguments: AdapterTrainingArguments, initial: LanguageAdapter | None) -> float:
    """The share of samples for tagging: the value of the argument, or a default that suits the initial adapter.

    If the initial adapter cannot tag, averaging with its weights would undo part of the tagging that the run learns.

    Args:
        arguments: The arguments of the run.
        initial: The initial adapter, if any.
    """
    if arguments.tags_share is not None:
        return arguments.tags_share
    cannot_tag = initial is not None and "tags" not in initial.manifest.decodings
    return 0.0 if cannot_tag or arguments.gradient_checkpointing else _TAGS_SHARE


def _defaults(initial: LanguageAdapter | None, data: Sequence[TrainingData]) -> tuple[float, float | None]:
    """The learning rate and the share of the initial adapter."""
    if initial is None:
        return _LEARNING_RATE, None
    if _was_trained_on(initial, data):
        return _KNOWN_DATA_LEARNING_RATE, _START_SHARE
    sentences = sum(len(group.train) for group in data)
    learning_rate = round(max(_MIN_LEARNING_RATE, _LEARNING_RATE * min(1.0, math.sqrt(sentences / _ENOUGH_SENTENCES))), 5)
    # If the data has entity types the initial adapter never saw, averaging with its weights would undo part of the training.
    no_new_types = {label for group in data for label in group.labels} <= set(initial.manifest.entity_types)
    return learning_rate, round(_START_SHARE * min(1.0, sentences / _ENOUGH_SENTENCES), 2) if no_new_types else 0.0


def _was_trained_on(adapter: LanguageAdapter, data: Sequence[TrainingData]) -> bool:
    """Whether an adapter was trained on most of the training sentences."""
    known = set(adapter.training_hashes.tolist())
    seen = [sentence_hash(example.key) in known for group in data for example in group.train]
    return sum(seen) > len(seen) / 2
