"""Backends that decode prepared sentences: the base LLM in this process, or a server.

>>> model.use_server("http://localhost:8000/v1")
>>> model.extract("Angela Merkel besuchte Nairobi.").language
'de'
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from transformers import PreTrainedModel

from .adapter_registry import AdapterRegistry
from .answer_format import AnswerFormat
from .batching import TokenBudget
from .cached_sequences import CachedSequences
from .configuration_retrieveall import RetrieveAllConfig
from .decoding import Answer, AnswerDecoder
from .documents import Window
from .encoder import CachedSentence
from .grammar import AnswerGrammar
from .occurrences import OccurrenceChooser
from .prompting import DECODINGS, Decoding, Prompt
from .retrieval import Retrieved
from .router import Route
from .tagging import Tagger


@dataclass(frozen=True, slots=True)
class PreparedSentence:
    """A sentence with all that a backend needs to decode it.

    Attributes:
        window: The words and their token ids.
        route: The language and the adapters.
        retrieved: The labelled examples that were retrieved.
        labels: The entity types that the answer may contain.
        decoding: Whether the answer is read as tags or generated.
        prompt: The prompt.
        cached: The prefix of the prompt, if the base LLM has processed it already.
    """

    window: Window
    route: Route
    retrieved: Retrieved
    labels: list[str]
    decoding: Decoding
    prompt: Prompt
    cached: CachedSentence | None = None


class DecodingBackend(Protocol):
    """Decodes prepared sentences.

    Attributes:
        decodings: The ways of decoding that it supports.
    """

    decodings: Sequence[Decoding]

    def load_adapter(self, language: str) -> None:
        """Makes sure that it can decode with the adapter of a language.

        Raises:
            AdapterError: The weights of the adapter cannot be used. The language is then removed from the model.
            RetrieveAllError: The adapter is not available now; the language stays.
        """

    def decode(self, sentences: Sequence[PreparedSentence], batch_size: int, on_progress: Callable[[int], None]) -> list[Answer]:
        """Decodes sentences.

        Args:
            sentences: The sentences.
            batch_size: Maximum number of sentences that are decoded together.
            on_progress: Called with the number of sentences that were decoded since the last call.

        Returns:
            The answers, in the order of the sentences. Those that are tags have the probabilities of the tags.
        """


class LocalBackend:
    """Decodes with the base LLM and the LoRA bank of this process, in batches of similar length.

    Args:
        base: The base LLM.
        config: The model's configuration.
        registry: The adapters and their LoRA bank.
        answers: The answer format over the base LLM's tokenizer.

    Attributes:
        decoder: Generates answers under a grammar.
    """

    def __init__(
        self, base: PreTrainedModel, config: RetrieveAllConfig, registry: AdapterRegistry, answers: AnswerFormat
    ) -> None:
        self.decodings: Sequence[Decoding] = DECODINGS
        self.decoder = AnswerDecoder(base, registry.bank)
        self._tagger = Tagger(base, registry.bank, answers, config)
        self._occurrences = OccurrenceChooser(self.decoder, answers)
        self._registry = registry
        self._answers = answers
        self._budget = TokenBudget(config.max_batch_tokens)

    def load_adapter(self, language: str) -> None:
        """Reads the LoRA weights of a language into the bank when it is used for the first time.

        Raises:
            AdapterError: The weights are missing, damaged or do not fit the base LLM.
            HubError: The weights cannot be fetched.
        """
        self._registry.load_weights(language)

    def decode(self, sentences: Sequence[PreparedSentence], batch_size: int, on_progress: Callable[[int], None]) -> list[Answer]:
        """Decodes sentences; see :meth:`DecodingBackend.decode`.

        Raises:
            MemoryError: A sentence does not fit into memory, even alone.
        """
        answers: dict[int, Answer] = {}
        for sequences, rows in _cached_batches(sentences).items():
            tagged = self._tag_cached(sequences, rows, sentences)
            answers.update(tagged)
            on_progress(len(tagged))
        waiting = [i for i in range(len(sentences)) if i not in answers]

        def decode_batch(positions_waiting: list[int]) -> None:
            batch = [waiting[position] for position in positions_waiting]
            self._registry.make_resident(_adapters(batch, sentences))
            for decoding, decode in (("tags", self._tag), ("generation", self._generate)):
                positions = [i for i in batch if sentences[i].decoding == decoding]
                if positions:
                    answers.update(zip(positions, decode([sentences[i] for i in positions]), strict=True))
            on_progress(len(batch))

        self._budget.run(
            [len(sentences[i].prompt) for i in waiting],
            decode_batch,
            max_rows=batch_size,
            adapters=[sentences[i].route.adapters for i in waiting],
            max_adapters=self._registry.bank.slots,
        )
        return [answers[i] for i in range(len(sentences))]

    def _tag_cached(
        self, sequences: CachedSequences, rows: dict[int, int], sentences: Sequence[PreparedSentence]
    ) -> dict[int, Answer]:
        """The answers of sentences whose prefixes were processed together; none if adapters or tokens do not fit into memory.

        Args:
            sequences: The processed prefixes, which are freed.
            rows: The position of each sentence in ``sentences``, and its row in ``sequences``.
            sentences: All sentences.
        """
        adapters = _adapters(rows, sentences)
        try:
            if len(adapters) > self._registry.bank.slots:
                return {}
            self._registry.make_resident(adapters)
            sequences.keep(list(rows.values()))
            return dict(zip(rows, self._tag([sentences[i] for i in rows], sequences), strict=True))
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
        finally:
            sequences.release()
        clear_device_cache(garbage_collection=True)
        return {}

    def _tag(self, batch: list[PreparedSentence], sequences: CachedSequences | None = None) -> list[Answer]:
        return self._tagger.tag(
            [each.prompt for each in batch],
            [each.window.sentence for each in batch],
            [each.labels for each in batch],
            [each.route.mixture for each in batch],
            [each.retrieved.matches for each in batch],
            sequences,
        )

    def _generate(self, batch: list[PreparedSentence]) -> list[Answer]:
        mixtures = [each.route.mixture for each in batch]
        grammars = [AnswerGrammar(self._answers, each.window.sentence, each.labels) for each in batch]
        answers = self.decoder.decode([each.prompt.ids for each in batch], grammars, mixtures)
        return self._occurrences.choose([each.window.sentence for each in batch], answers, mixtures)


def _adapters(batch: Iterable[int], sentences: Sequence[PreparedSentence]) -> list[str]:
    """The adapters of the sentences at the given positions, sorted."""
    return sorted({name for i in batch for name in sentences[i].route.adapters})


def _cached_batches(sentences: Sequence[PreparedSentence]) -> dict[CachedSequences, dict[int, int]]:
    """For each batch of processed prefixes the positions of its sentences for tagging, and their rows in the batch."""
    batches: dict[CachedSequences, dict[int, int]] = defaultdict(dict)
    for i, sentence in enumerate(sentences):
        if sentence.cached and sentence.decoding == "tags":
            batches[sentence.cached.batch][i] = sentence.cached.row
    return batches
