"""Knowledge-augmented training samples: the prompt a sentence will meet in use.

The paper calls it prompt-driven learning: retrieved knowledge stands in the prompt while the LoRA is trained. A sentence never
retrieves itself or an exact duplicate of itself, or the model would learn to look answers up instead of reading. Which sentences
see their knowledge is drawn afresh every epoch.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..answers import AnswerFormat
from ..configuration_retrieveall import RetrieveAllConfig
from ..encoding import SentenceVectors
from ..entities import Example, Mention
from ..prompting import PromptWriter
from ..retrieval import ExampleIndex, Retrieved


@dataclass(frozen=True, slots=True)
class Sample:
    """One training sequence: the loss falls on ``answer`` alone."""

    prompt: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True, slots=True)
class _Lesson:
    """A training sentence and all that may be shown with it."""

    example: Example
    retrieved: Retrieved
    answer: list[int]


class KnowledgeSampler:
    """Draws the training samples of an epoch from the examples of one or several languages.

    Args:
        answers: The answer format of the base.
        config: Numbers of retrieval and prompt, those that inference will use.
        knowledge_share: Share of samples that see retrieved examples; the others see the sentence alone, so that the model
            learns to read, not only to look up.
        seed: With the epoch, decides every draw.
    """

    def __init__(self, answers: AnswerFormat, config: RetrieveAllConfig, knowledge_share: float, seed: int) -> None:
        self._answers = answers
        self._config = config
        self._writer = PromptWriter(answers, config.max_example_tokens)
        self._knowledge_share = knowledge_share
        self._seed = seed
        self._lessons: list[_Lesson] = []

    def add(self, examples: Sequence[Example], vectors: Sequence[SentenceVectors], index: ExampleIndex) -> None:
        """Adds the examples of a language, which retrieve from that language's index."""
        config = self._config
        for example, query in zip(examples, vectors, strict=True):
            retrieved = Retrieved([], [])
            if self._knowledge_share > 0:
                retrieved = index.search(
                    query,
                    config.n_entities,
                    config.n_sentences,
                    config.entity_threshold,
                    config.sentence_threshold,
                    exclude=example.key,
                )
            self._lessons.append(_Lesson(example, retrieved, self._answers.answer_ids(example.sentence, example.spans)))

    def __len__(self) -> int:
        return len(self._lessons)

    def epoch(self, number: int) -> list[Sample]:
        """The samples of one epoch, in random order."""
        rng = random.Random(f"{self._seed} {number}")
        samples = [self._sample(lesson, rng) for lesson in self._lessons]
        rng.shuffle(samples)
        return samples

    def _sample(self, lesson: _Lesson, rng: random.Random) -> Sample:
        mentions: list[Mention] = []
        examples: list[Example] = []
        if rng.random() < self._knowledge_share:
            mentions = [hit.item for hit in lesson.retrieved.mentions]
            examples = [hit.item for hit in lesson.retrieved.examples]
        prompt = self._writer.write(lesson.example.sentence, mentions, examples)
        return Sample(prompt.ids, lesson.answer)


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
