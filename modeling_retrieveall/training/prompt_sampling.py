"""Knowledge-augmented training samples: the prompt a sentence will meet in use.

The paper calls it prompt-driven learning: retrieved knowledge stands in the prompt while the LoRA is trained. A sentence never
retrieves itself or an exact duplicate of itself, or the model would learn to look answers up instead of reading. Which sentences
see their knowledge is drawn afresh every epoch.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from math import ceil

from ..model.answer_format import AnswerFormat
from ..model.configuration_retrieveall import RetrieveAllConfig
from ..model.encoder import SentenceVectors
from ..model.entities import Example, Mention
from ..model.prompting import PromptWriter
from ..model.retrieval import ExampleIndex, Retrieved
from ..model.tagging import TagFormat, tag_numbers


@dataclass(frozen=True, slots=True)
class Sample:
    """One training sequence.

    Attributes:
        ids: Tokens that the LLM reads.
        labels: For each of them, the token to be predicted after the token before; -100 where the loss does not fall.
        candidates: The tokens among which it is predicted, sorted; none for the whole vocabulary.
        prefix: Tokens before ``ids`` that the base LLM reads without the LoRA.
    """

    ids: list[int]
    labels: list[int]
    candidates: tuple[int, ...] = ()
    prefix: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.prefix) + len(self.ids)


@dataclass(frozen=True, slots=True)
class _Lesson:
    """A training sentence and all that may be shown with it."""

    example: Example
    retrieved: Retrieved


class KnowledgeSampler:
    """Draws the training samples of an epoch from the examples of one or several languages.

    Args:
        answers: The answer format of the base.
        config: Numbers of retrieval and prompt, those that inference will use.
        knowledge_share: Share of samples that see retrieved examples; the others see the sentence alone, so that the model
            learns to read, not only to look up.
        tags_share: Share of samples that are answered by tags; the others are answered by generation.
        labels: The entity types of all examples.
        seed: With the epoch, decides every draw.
    """

    def __init__(
        self,
        answers: AnswerFormat,
        config: RetrieveAllConfig,
        knowledge_share: float,
        tags_share: float,
        labels: Sequence[str],
        seed: int,
    ) -> None:
        self._answers = answers
        self._config = config
        self._writer = PromptWriter(answers, config.max_example_tokens)
        self._knowledge_share = knowledge_share
        self._tags_share = tags_share
        self._labels = sorted(labels)
        self._tag_tokens = TagFormat(answers).tokens(self._labels) if tags_share else []
        self._seed = seed
        self._lessons: list[_Lesson] = []

    def add(self, examples: Sequence[Example], vectors: Sequence[SentenceVectors], index: ExampleIndex) -> None:
        """Adds the examples of a language, which retrieve from that language's index.

        Args:
            examples: The examples.
            vectors: The vectors of each; with a ``knowledge_share`` of 0 none are needed.
            index: The index.
        """
        if self._knowledge_share == 0:
            self._lessons += [_Lesson(example, Retrieved([], [])) for example in examples]
            return
        config = self._config
        numbers = config.n_entities, config.n_sentences, config.entity_threshold, config.sentence_threshold
        for example, query in zip(examples, vectors, strict=True):
            self._lessons.append(_Lesson(example, index.search(query, *numbers, exclude=example.key)))

    def __len__(self) -> int:
        return len(self._lessons)

    def count_steps(self, size: int, together: int) -> int:
        """The number of steps of an epoch, of ``together`` batches of at most ``size`` samples each."""
        tagged = self._count_tagged()
        return ceil(tagged / (size * together)) + ceil((len(self) - tagged) / (size * together))

    def epoch(self, number: int, size: int, together: int = 1) -> list[list[Sample]]:
        """The batches of one epoch, step by step in random order.

        All samples of a step are answered in the same way: where a model is split over processes, they must do the same.

        Args:
            number: The epoch.
            size: Samples of a batch at most.
            together: Batches of a step: one for each process and accumulation.

        Returns:
            ``together`` batches for each step. Where there are too few samples for these, some occur twice.
        """
        rng = random.Random(f"{self._seed} {number}")
        lessons = rng.sample(self._lessons, len(self))
        tagged = self._count_tagged()
        steps: list[list[list[Sample]]] = []
        for part, sampled in ((lessons[:tagged], self._tagged), (lessons[tagged:], self._generated)):
            samples = [sampled(lesson, rng) for lesson in part]
            count = ceil(len(samples) / (size * together)) * together
            samples = list(islice(cycle(samples), max(len(samples), count)))
            batches = [samples[len(samples) * i // count : len(samples) * (i + 1) // count] for i in range(count)]
            steps += [batches[at : at + together] for at in range(0, count, together)]
        rng.shuffle(steps)
        return [batch for step in steps for batch in step]

    def _count_tagged(self) -> int:
        return round(self._tags_share * len(self))

    def _tagged(self, lesson: _Lesson, rng: random.Random) -> Sample:
        example = lesson.example
        prompt = self._writer.write(example.sentence, *self._shown(lesson, rng), decoding="tags")
        ids = [*prompt.ids, *self._answers.end]
        labels = [-100] * len(ids)
        for end, tag in zip(prompt.word_ends, tag_numbers(example.spans, len(prompt.word_ends), self._labels), strict=True):
            labels[end + 1] = self._tag_tokens[tag]
        return Sample(ids, labels, tuple(sorted(self._tag_tokens)), prompt.prefix)

    def _generated(self, lesson: _Lesson, rng: random.Random) -> Sample:
        prompt = self._writer.write(lesson.example.sentence, *self._shown(lesson, rng)).ids
        answer = self._answers.answer_ids(lesson.example.sentence, lesson.example.spans)
        return Sample(prompt + answer, [-100] * len(prompt) + answer)

    def _shown(self, lesson: _Lesson, rng: random.Random) -> tuple[list[Mention], list[Example]]:
        """The retrieved examples that a sample sees."""
        if rng.random() >= self._knowledge_share:
            return [], []
        return [hit.item for hit in lesson.retrieved.mentions], [hit.item for hit in lesson.retrieved.examples]


_MOST_PADDING = 0.25
"""Of the tokens of a part. Less makes more and smaller parts, more computes what nobody reads."""


def parts_of_like_length(batch: Sequence[Sample], max_tokens: int) -> list[list[Sample]]:
    """Splits a batch into parts that are computed one after another, so that little is padded and memory suffices.

    Batches of like length throughout are faster, but their loss on held-out answers was higher: a step of short sentences alone
    says little of long ones.

    Args:
        batch: The samples of a step.
        max_tokens: Tokens of a part at most, padding included; a longer sample has a part of its own.
    """
    parts: list[list[Sample]] = []
    for sample in sorted(batch, key=len, reverse=True):
        if parts:
            longest, rows = len(parts[-1][0]), len(parts[-1]) + 1
            kept = sum(map(len, parts[-1])) + len(sample)
            if rows * longest <= max_tokens and kept >= (1 - _MOST_PADDING) * rows * longest:
                parts[-1].append(sample)
                continue
        parts.append([sample])
    return parts
