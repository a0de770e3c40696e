"""Training samples: the prompts that a sentence will have during inference, with the expected output.

The paper (RetrieveAll, arXiv 2505.19128) calls this prompt-driven learning: the prompts already contain retrieved examples while
the LoRA is trained. A sentence never retrieves itself or an exact duplicate, because the model would learn to copy the labels
from the prompt. Which samples have examples in their prompts is drawn again in every epoch.

>>> sampler = PromptSampler(answers, config, examples_share=0.5, tags_share=0.75, labels=["LOC", "PER"], seed=0)
>>> sampler.add(examples, vectors, ExampleIndex.build(examples, vectors))
>>> batches = sampler.epoch(0, batch_size=8)
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice, repeat
from math import ceil

from ..model.answer_format import AnswerFormat
from ..model.configuration_retrieveall import RetrieveAllConfig
from ..model.encoder import SentenceVectors
from ..model.entities import Example, Mention
from ..model.prompting import PromptWriter
from ..model.retrieval import ExampleIndex, Retrieved
from ..model.tagging import TagFormat, tag_ids


@dataclass(frozen=True, slots=True)
class Sample:
    """One training sequence.

    Attributes:
        ids: The input tokens.
        labels: The expected token at each position, -100 where no loss is computed.
        candidates: The tokens over which the prediction is normalized, sorted; empty for the whole vocabulary.
        prefix: Tokens before ``ids`` that the base LLM reads without the LoRA.
    """

    ids: list[int]
    labels: list[int]
    candidates: tuple[int, ...] = ()
    prefix: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.prefix) + len(self.ids)


@dataclass(frozen=True, slots=True)
class _TrainingExample:
    """A training sentence and everything that its prompt may contain."""

    example: Example
    retrieved: Retrieved


class PromptSampler:
    """Draws the training samples of an epoch from the examples of one or several datasets.

    Args:
        answers: The answer format of the base LLM.
        config: The limits and thresholds of retrieval and prompt, the same as for inference.
        examples_share: Share of samples with retrieved examples in the prompt; the others have the sentence alone.
        tags_share: Share of samples for tagging; the others are for generation.
        labels: The entity types of all examples.
        seed: Random seed; every draw depends on it and the epoch only.
    """

    def __init__(
        self,
        answers: AnswerFormat,
        config: RetrieveAllConfig,
        examples_share: float,
        tags_share: float,
        labels: Sequence[str],
        seed: int,
    ) -> None:
        self._answers = answers
        self._config = config
        self._writer = PromptWriter(answers, config.max_example_tokens)
        self._examples_share = examples_share
        self._tags_share = tags_share
        self._labels = sorted(labels)
        self._tag_tokens = TagFormat(answers).tokens(self._labels) if tags_share else []
        self._seed = seed
        self._examples: list[_TrainingExample] = []

    def add(self, examples: Sequence[Example], vectors: Sequence[SentenceVectors], index: ExampleIndex) -> None:
        """Adds the examples of a dataset, which retrieve from the index of that dataset.

        Args:
            examples: The examples.
            vectors: The vectors of each example; not used if ``examples_share`` is 0.
            index: The index.
        """
        if self._examples_share == 0:
            self._examples += [_TrainingExample(example, Retrieved([], [])) for example in examples]
            return
        config = self._config
        limits = config.n_entities, config.n_sentences, config.entity_threshold, config.sentence_threshold
        for example, query in zip(examples, vectors, strict=True):
            self._examples.append(_TrainingExample(example, index.search(query, *limits, exclude=example.key)))

    def __len__(self) -> int:
        return len(self._examples)

    def count_steps(self, batch_size: int, batches_per_step: int) -> int:
        """Number of optimizer steps of an epoch."""
        tagged, per_step = self._count_tagged(), batch_size * batches_per_step
        return ceil(tagged / per_step) + ceil((len(self) - tagged) / per_step)

    def epoch(self, number: int, batch_size: int, batches_per_step: int = 1) -> list[list[Sample]]:
        """The batches of one epoch, step by step in random order.

        All samples of a step have the same decoding, because processes that share a model must run the same operations.

        Args:
            number: Number of the epoch.
            batch_size: Maximum number of samples in a batch.
            batches_per_step: Number of batches in a step: processes times gradient accumulation steps.

        Returns:
            ``batches_per_step`` batches for each step. If there are fewer samples than batches, some samples are repeated.
        """
        rng = random.Random(f"{self._seed} {number}")
        examples = rng.sample(self._examples, len(self))
        tagged = self._count_tagged()
        steps: list[list[list[Sample]]] = []
        for part, make_sample in ((examples[:tagged], self._tagging_sample), (examples[tagged:], self._generation_sample)):
            samples = [make_sample(example, rng) for example in part]
            count = ceil(len(samples) / (batch_size * batches_per_step)) * batches_per_step
            samples = list(islice(cycle(samples), max(len(samples), count)))
            batches = [samples[len(samples) * i // count : len(samples) * (i + 1) // count] for i in range(count)]
            steps += [batches[at : at + batches_per_step] for at in range(0, count, batches_per_step)]
        rng.shuffle(steps)
        return [batch for step in steps for batch in step]

    def _count_tagged(self) -> int:
        return round(self._tags_share * len(self))

    def _tagging_sample(self, training_example: _TrainingExample, rng: random.Random) -> Sample:
        example = training_example.example
        prompt = self._writer.write(example.sentence, *self._draw_retrieved(training_example, rng), decoding="tags")
        ids = [*prompt.ids, *self._answers.end]
        labels = [-100] * len(ids)
        for ends, tag in zip(prompt.unit_ends, tag_ids(example.spans, len(prompt.unit_ends), self._labels), strict=True):
            # Every unit has a tag, because in raw text the units of a word like "Berlin-Kreuzberg" are words of their own.
            inside = tag + len(self._labels) if 0 < tag <= len(self._labels) else tag
            for end, of_unit in zip(ends, chain([tag], repeat(inside)), strict=False):
                labels[end + 1] = self._tag_tokens[of_unit]
        return Sample(ids, labels, tuple(sorted(self._tag_tokens)), prompt.prefix)

    def _generation_sample(self, training_example: _TrainingExample, rng: random.Random) -> Sample:
        example = training_example.example
        prompt = self._writer.write(example.sentence, *self._draw_retrieved(training_example, rng)).ids
        answer = self._answers.answer_ids(example.sentence, example.spans)
        return Sample(prompt + answer, [-100] * len(prompt) + answer)

    def _draw_retrieved(self, example: _TrainingExample, rng: random.Random) -> tuple[list[Mention], list[Example]]:
        """The retrieved entities and sentences for the prompt; none for a share of ``1 - examples_share`` of the samples."""
        if rng.random() >= self._examples_share:
            return [], []
        return [hit.item for hit in example.retrieved.mentions], [hit.item for hit in example.retrieved.examples]


_MAX_PADDING = 0.25
"""Maximum share of padding in a micro-batch: a compromise between many small micro-batches and computing padding."""


def split_by_length(batch: Sequence[Sample], max_tokens: int) -> list[list[Sample]]:
    """Splits a batch into micro-batches of samples of similar length, so that memory suffices and there is little padding.

    Only the samples of one batch are grouped. Batches of similar length would be faster still, but a step of short sentences
    alone is a poor estimate of the gradient.

    Args:
        batch: The samples.
        max_tokens: Maximum number of tokens in a micro-batch, including padding; a longer sample has a micro-batch of its own.
    """
    parts: list[list[Sample]] = []
    for sample in sorted(batch, key=len, reverse=True):
        if parts:
            longest, rows = len(parts[-1][0]), len(parts[-1]) + 1
            tokens = sum(map(len, parts[-1])) + len(sample)
            if rows * longest <= max_tokens and tokens >= (1 - _MAX_PADDING) * rows * longest:
                parts[-1].append(sample)
                continue
        parts.append([sample])
    return parts
