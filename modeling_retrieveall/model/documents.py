"""A caller's texts on their way through the model: cut into windows, served window by window, and put together again.

>>> reader = DocumentReader(answers, config)
>>> [window.sentence.words[0].text for window in reader.windows(0, "Bonn liegt am Rhein. Graz liegt an der Mur.", ["de"])]
['Bonn', 'Graz']
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .answer_format import AnswerFormat
from .configuration_retrieveall import RetrieveAllConfig
from .decoding import Answer
from .entities import Entity, Sentence
from .errors import InputError, InputTypeError
from .prompting import Decoding, Prompt
from .retrieval import Retrieved
from .router import Route
from .sentence_splitting import sentence_bounds
from .windows import merged, split_windows


@dataclass
class Window:
    """A sentence of a text, or a part of one that fits the model's window; filled in step by step.

    Attributes:
        owner: Which of the caller's texts it is of.
        sentence: Its words, with offsets into the text.
        word_ids: The tokens of each word.
        labels: The entity types that may stand in its answer.
        decoding: How it is answered.
    """

    owner: int
    sentence: Sentence
    word_ids: list[list[int]]
    route: Route = field(default_factory=Route.nowhere)
    posterior: dict[str, float] = field(default_factory=dict)
    retrieved: Retrieved = field(default_factory=lambda: Retrieved([], []))
    labels: list[str] = field(default_factory=list)
    decoding: Decoding = "generation"
    prompt: Prompt | None = None
    answer: Answer | None = None

    def forget(self) -> None:
        """Drops what only an explanation would show."""
        self.posterior, self.retrieved, self.prompt = {}, Retrieved([], []), None

    @property
    def text(self) -> str:
        """Its part of the text."""
        return self.sentence.text[self.sentence.words[0].start : self.sentence.words[-1].end]

    def entities(self, threshold: float) -> list[Entity]:
        """The entities of its answer that have at least this score."""
        found = self.answer.spans if self.answer else []
        return [self.sentence.entity(scored.span, scored.score) for scored in found if scored.score >= threshold]


class DocumentReader:
    """Cuts texts into windows.

    Args:
        answers: The answer format over the base's tokenizer.
        config: Says how many tokens a window has.
    """

    def __init__(self, answers: AnswerFormat, config: RetrieveAllConfig) -> None:
        self.answers = answers
        self.config = config

    def windows(self, owner: int, text: str | Sentence, languages: Iterable[str]) -> list[Window]:
        """The windows of a text, in order; together they hold all of its words.

        Args:
            owner: Which of the caller's texts it is.
            text: The text, of any length, or one sentence.
            languages: The languages it may be in.
        """
        if isinstance(text, str):
            whole = Sentence.from_text(text)
            starts = [word.start for word in whole.words]
            ends = [bisect_left(starts, end) for _, end in sentence_bounds(text, languages)]
            parts = [whole.slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        else:
            parts = [text]
        return [window for part in parts for window in self._of_sentence(owner, part)]

    def _of_sentence(self, owner: int, sentence: Sentence) -> list[Window]:
        counts = [len(ids) for ids in self.answers.word_ids(sentence)]
        bounds = split_windows(sentence, counts, self.config.max_sentence_tokens)
        parts = [sentence.slice(start, end) for start, end in bounds]
        return [Window(owner, part, self.answers.word_ids(part)) for part in parts]


def by_text(windows: Iterable[Window], count: int) -> list[list[Window]]:
    """The windows of each of so many texts, in order."""
    texts: list[list[Window]] = [[] for _ in range(count)]
    for window in windows:
        texts[window.owner].append(window)
    return texts


def entities_of(windows: Sequence[Window], threshold: float) -> list[Entity]:
    """The entities of a text from the answers of its windows, in order and without overlap."""
    return merged((window.sentence, window.entities(threshold)) for window in windows)


def checked_texts(texts: str | Sequence[str] | None, words: Sequence[Sequence[str] | Sentence] | None) -> list[str | Sentence]:
    """The caller's texts, or a sentence of the words of each; anything else is refused before any work is done.

    Raises:
        InputTypeError: It is something else.
    """
    if (texts is None) == (words is None):
        raise InputTypeError('Give either texts or words: model.extract(["Angela Merkel besuchte Nairobi."]).')
    if words is not None:
        for position, row in enumerate(words):
            if isinstance(row, Sentence):
                continue
            if isinstance(row, str) or not isinstance(row, Sequence) or not all(isinstance(word, str) for word in row):
                raise InputTypeError(
                    f"words[{position}] is {row!r}, not a list of strings. Give the words of each sentence as a list."
                )
        return [row if isinstance(row, Sentence) else Sentence.from_words(row) for row in words]
    listed: list[Any] = [texts] if isinstance(texts, str) or not isinstance(texts, Iterable) else list(texts)
    for position, text in enumerate(listed):
        if not isinstance(text, str):
            raise InputTypeError(
                f"texts[{position}] is {text!r} ({type(text).__name__}), not a string. Give a string or a list of strings."
            )
    return listed


def check_threshold(threshold: float) -> None:
    """Refuses a score that no entity has.

    Raises:
        InputError: It is no probability.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}; give a probability between 0 and 1.")
