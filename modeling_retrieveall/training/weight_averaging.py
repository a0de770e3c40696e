"""How fast a run leaves the adapter that it starts from, and how much of that stays in the finished one.

>>> departure(TrainingArguments(language="sw", dataset=["sw.conll"], output="runs/sw"), start, lessons)
Departure(learning_rate=0.001, start_share=0.0)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.language_adapter import LanguageAdapter, sentence_hash
from .arguments import TrainingArguments
from .training_data import Lessons

_RATE, _GENTLE_RATE, _LEAST_RATE = 1e-3, 5e-4, 3e-4
_MANY = 600
"""Sentences, from which on a language that is new to the start is learned at the full rate, and half of the start is kept."""
_SHARE = 0.5
_TAGS_SHARE = 0.75


@dataclass(frozen=True)
class Departure:
    """What decides how far an adapter comes from its start.

    Attributes:
        learning_rate: Peak rate.
        start_share: Share of the start in the finished weights, from 0 to 1; ``None`` without a start.
    """

    learning_rate: float
    start_share: float | None


def departure(arguments: TrainingArguments, start: LanguageAdapter | None, lessons: Sequence[Lessons]) -> Departure:
    """What was asked for, and where nothing was, what suits the start and the sentences.

    Args:
        arguments: What was asked for.
        start: The adapter that the run starts from, if any.
        lessons: The sentences to be learned.
    """
    rate, share = _fitting(start, lessons)
    return Departure(
        rate if arguments.learning_rate is None else arguments.learning_rate,
        share if arguments.start_share is None else arguments.start_share,
    )


def tags_share(arguments: TrainingArguments, start: LanguageAdapter | None) -> float:
    """The share of samples answered by tags: what was asked for, and where nothing was, what suits the start.

    An adapter that starts from one without tags keeps part of its weights, so it would learn tags by half.

    Args:
        arguments: What was asked for.
        start: The adapter that the run starts from, if any.
    """
    if arguments.tags_share is not None:
        return arguments.tags_share
    without_tags = start is not None and "tags" not in start.manifest.decodings
    return 0.0 if without_tags or arguments.gradient_checkpointing else _TAGS_SHARE


def _fitting(start: LanguageAdapter | None, lessons: Sequence[Lessons]) -> tuple[float, float | None]:
    """Rate and share; the help of their flags says what each was measured to be worth."""
    if start is None:
        return _RATE, None
    if _knows(start, lessons):
        return _GENTLE_RATE, _SHARE
    sentences = sum(len(group.train) for group in lessons)
    rate = round(max(_LEAST_RATE, _RATE * min(1.0, math.sqrt(sentences / _MANY))), 5)
    # What it has never labelled, half of it would half unlearn.
    same_types = {label for group in lessons for label in group.labels} <= set(start.manifest.entity_types)
    return rate, round(_SHARE * min(1.0, sentences / _MANY), 2) if same_types else 0.0


def _knows(start: LanguageAdapter, lessons: Sequence[Lessons]) -> bool:
    """Whether the adapter has learned most of these very sentences."""
    known = set(start.training_hashes.tolist())
    learned = [sentence_hash(example.key) in known for group in lessons for example in group.train]
    return sum(learned) > len(learned) / 2


def averaged(own: Mapping[str, Tensor], start: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """The weights of an adapter between the one that was trained and the one that it started from.

    What was learned from a few hundred sentences overshoots; part of the way is better than all of it (after Wortsman et al.,
    "Robust fine-tuning of zero-shot models", CVPR 2022, who average the weights of whole models). A and B are averaged each for
    itself, which keeps the rank; a row of M with both, the mean of the two updates, measured the same.

    Args:
        own: The tensors as trained, by PEFT's names.
        start: Those that training started from, of the same names and shapes.
        share: What the start keeps, from 0 to 1.

    >>> averaged({"lora_B": torch.ones(1)}, {"lora_B": torch.zeros(1)}, share=0.25)
    {'lora_B': tensor([0.7500])}
    """
    return {name: torch.lerp(tensor.float(), start[name].float(), share).to(tensor.dtype) for name, tensor in own.items()}
