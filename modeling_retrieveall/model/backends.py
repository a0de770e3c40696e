"""Who answers windows that have their prompts: the base LLM here, or a server in its place.

>>> model.answer_with(VLLMAnswerer("http://localhost:8000/v1", model.answers))
>>> model.extract("Angela Merkel besuchte Nairobi.")
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from transformers import PreTrainedModel

from .adapter_registry import Languages
from .answer_format import AnswerFormat
from .batching import TokenBudget
from .configuration_retrieveall import RetrieveAllConfig
from .decoding import AnswerDecoder
from .documents import Window
from .grammar import AnswerGrammar
from .occurrences import OccurrenceChooser
from .prompting import DECODINGS, Decoding
from .tagging import Tagger


class Answerer(Protocol):
    """What answers windows; it calls for nothing but their prompts, routes and labels.

    Attributes:
        decodings: The ways in which it can answer.
    """

    decodings: Sequence[Decoding]

    def drop_unusable(self, languages: Iterable[str], strict: bool) -> set[str]:
        """Makes sure that it can answer for languages, as :meth:`Languages.drop_unusable` does.

        Args:
            languages: The languages that sentences are routed to.
            strict: Raise the reason instead.

        Returns:
            Those that it cannot answer for, which have been removed from the model.
        """

    def answer(self, windows: list[Window], batch_size: int, done: Callable[[list[Window]], None]) -> None:
        """Sets the answer of each window.

        Args:
            windows: Windows with prompts.
            batch_size: How many are answered together.
            done: Is told of windows as soon as they have their answers.
        """


class LocalAnswerer:
    """Answers with the base LLM and the LoRA bank, in batches of like length.

    Args:
        base: The base LLM.
        config: The model's configuration.
        languages: Adapters and LoRA bank.
        answers: The answer format over the base's tokenizer.

    Attributes:
        decoder: Decodes answers.
    """

    def __init__(self, base: PreTrainedModel, config: RetrieveAllConfig, languages: Languages, answers: AnswerFormat) -> None:
        self.decodings: Sequence[Decoding] = DECODINGS
        self.decoder = AnswerDecoder(base, languages.bank)
        self._tagger = Tagger(base, languages.bank, answers)
        self._occurrences = OccurrenceChooser(self.decoder, answers)
        self._languages = languages
        self._answers = answers
        self._budget = TokenBudget(config.max_batch_tokens)

    def drop_unusable(self, languages: Iterable[str], strict: bool) -> set[str]:
        """As :meth:`Languages.drop_unusable`: it needs their LoRA weights."""
        return self._languages.drop_unusable(languages, strict)

    def answer(self, windows: list[Window], batch_size: int, done: Callable[[list[Window]], None]) -> None:
        """Sets the answer of each window.

        Raises:
            MemoryError: A window does not fit into memory, even alone.
        """

        def answer_batch(batch: list[int]) -> None:
            self._answer([windows[i] for i in batch])
            done([windows[i] for i in batch])

        self._budget.run(
            [len(window.prompt) if window.prompt else 0 for window in windows],
            answer_batch,
            max_rows=batch_size,
            adapters=[window.route.adapters for window in windows],
            max_adapters=self._languages.bank.free_slots,
        )

    def _answer(self, batch: list[Window]) -> None:
        """Answers a batch of windows, each with its own adapters."""
        self._languages.make_resident(sorted({name for window in batch for name in window.route.adapters}))
        self._tag([window for window in batch if window.decoding == "tags"])
        self._generate([window for window in batch if window.decoding == "generation"])

    def _tag(self, batch: list[Window]) -> None:
        if not batch:
            return
        prompts = [window.prompt for window in batch if window.prompt]
        sentences, labels = [window.sentence for window in batch], [window.labels for window in batch]
        answers = self._tagger.tag(prompts, sentences, labels, [window.route.mixture for window in batch])
        for window, answer in zip(batch, answers, strict=True):
            window.answer = answer

    def _generate(self, batch: list[Window]) -> None:
        if not batch:
            return
        prompts = [window.prompt.ids for window in batch if window.prompt]
        grammars = [AnswerGrammar(self._answers, window.sentence, window.labels) for window in batch]
        mixtures = [window.route.mixture for window in batch]
        answers = self.decoder.decode(prompts, grammars, mixtures)
        answers = self._occurrences.choose([window.sentence for window in batch], answers, mixtures)
        for window, answer in zip(batch, answers, strict=True):
            window.answer = answer
