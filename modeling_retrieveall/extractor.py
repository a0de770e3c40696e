"""The way of a sentence: routed, shown its nearest labelled examples, and answered by its adapters.

>>> extractor = Extractor(base, config, languages, AnswerFormat(tokenizer))
>>> extractor.serve(["Angela Merkel besuchte Nairobi."], Request())[0][0].route
Route(language='de', adapters=('de',), weights=(1.0,), confidence=0.57, known=True)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import logging

from .answers import AnswerFormat
from .batching import TokenBudget
from .configuration_retrieveall import RetrieveAllConfig
from .decoding import AnswerDecoder
from .documents import DocumentReader, Window, by_text
from .encoding import SentenceEncoder, SentenceVectors
from .grammar import AnswerGrammar
from .languages import Languages
from .prompting import PromptWriter
from .retrieval import Retrieved, nearest
from .routing import Route

_WINDOWS_AT_A_TIME = 1024
_SECONDS_BEFORE_PROGRESS = 2


class UnknownLanguageError(ValueError):
    """A sentence is in no language of the model, and ``when_unknown="error"`` asks for an error."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller may ask for beside the texts.

    Attributes:
        languages: The language of all texts or of each, instead of routing.
        batch_size: Sentences decoded together; the configuration's when not given.
        prior: Weights of languages before any text is read; those not named are ruled out.
    """

    languages: str | Sequence[str] | None = None
    batch_size: int | None = None
    prior: Mapping[str, float] | None = None


class Extractor:
    """Serves texts with a base LLM and the languages that were added to it.

    Args:
        base: The base LLM.
        config: The model's configuration.
        languages: Adapters, router and LoRA bank.
        answers: The answer format over the base's tokenizer.

    Attributes:
        encoder: Reads sentences.
        decoder: Decodes answers.
        writer: Writes prompts.
    """

    def __init__(self, base: PreTrainedModel, config: RetrieveAllConfig, languages: Languages, answers: AnswerFormat) -> None:
        self.config = config
        self.encoder = SentenceEncoder(base, config.encoder_layer, config.max_batch_tokens)
        self.decoder = AnswerDecoder(base, languages.bank)
        self.writer = PromptWriter(answers, config.max_example_tokens)
        self._dtype = base.dtype
        self._answers = answers
        self._languages = languages
        self._router = languages.router
        self._reader = DocumentReader(answers, config)
        self._budget = TokenBudget(config.max_batch_tokens)

    @torch.no_grad()
    def serve(self, texts: Sequence[str | Sequence[str]], request: Request) -> list[list[Window]]:
        """The windows of each text, with their answers.

        Args:
            texts: Texts of any length, or the words of a sentence each.
            request: What the caller asks for.

        Raises:
            ValueError: A language is not among the model's, or a number is out of its range.
            UnknownLanguageError: See there.
            MemoryError: A window does not fit into memory, even alone.
        """
        forced = self._forced(request, len(texts))
        self._check_prior(request)
        size = self.config.batch_size if request.batch_size is None else request.batch_size
        if size < 1:
            raise ValueError(f"batch_size is {size}; give at least 1.")
        candidates = request.prior or self._router.languages
        windows = [
            window
            for owner, text in enumerate(texts)
            for window in self._reader.windows(owner, text, [forced[owner]] if forced else candidates)
        ]
        # Vectors are kept for a part of the windows at a time, however many texts there are.
        part = max(size, _WINDOWS_AT_A_TIME)
        bar = {"unit": " sentences", "delay": _SECONDS_BEFORE_PROGRESS, "disable": None, "leave": False}
        with logging.tqdm(total=len(windows), **bar) as progress:
            for start in range(0, len(windows), part):
                self._serve_part(windows[start : start + part], forced, request.prior, size, progress)
        return by_text(windows, len(texts))

    def calibrate(self, texts: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Fits the router to texts of known languages, each read as one sentence.

        Raises:
            ValueError: A language is not among the router's, or has no text with words in it.
        """
        self._check_routed(texts)
        held_out = {language: self._sentence_vectors(language, texts[language]) for language in texts}
        return self._router.calibrate(held_out)

    # What the caller asked for

    def _forced(self, request: Request, count: int) -> list[str] | None:
        """The language of each text, if the caller has named them."""
        if request.languages is None:
            return None
        forced = [request.languages] * count if isinstance(request.languages, str) else list(request.languages)
        if len(forced) != count:
            raise ValueError(f"There are {count} texts and {len(forced)} languages. Give one language, or one for each text.")
        self._languages.check(forced)
        return forced

    def _check_prior(self, request: Request) -> None:
        prior = request.prior
        if prior is None:
            return
        if request.languages is not None:
            raise ValueError("Give the languages of the texts or a prior, not both.")
        self._check_routed(prior)
        if not all(0 <= weight < float("inf") for weight in prior.values()) or not sum(prior.values()):
            raise ValueError(f'prior is {dict(prior)!r}; give weights such as {{"da": 2, "no": 1}}, one of them above 0.')

    def _check_routed(self, languages: Iterable[str]) -> None:
        known = self._router.languages
        if strange := sorted(set(languages) - set(known)):
            raise ValueError(f"Nothing is routed to {', '.join(map(repr, strange))}. There are: {', '.join(known) or 'none'}.")

    # Step by step

    def _serve_part(
        self,
        windows: list[Window],
        forced: list[str] | None,
        prior: Mapping[str, float] | None,
        batch_size: int,
        progress: Any,
    ) -> None:
        self._prepare(windows, forced, prior)
        while removed := self._languages.drop_unusable(_served_by(windows), strict=forced is not None):
            again = {window.owner for window in windows if removed & set(window.route.adapters)}
            self._prepare([window for window in windows if window.owner in again], forced, prior)

        def answer(batch: list[int]) -> None:
            self._answer([windows[i] for i in batch])
            progress.update(len(batch))

        self._budget.run(
            [len(window.prompt.ids) if window.prompt else 0 for window in windows],
            answer,
            max_rows=batch_size,
            adapters=[window.route.adapters for window in windows],
            max_adapters=self._languages.bank.free_slots,
        )

    def _prepare(self, windows: list[Window], forced: list[str] | None, prior: Mapping[str, float] | None) -> None:
        """Routes windows, retrieves for them and writes their prompts."""
        vectors = self.encoder.encode([window.word_ids for window in windows])
        if forced is None:
            self._route(windows, vectors, prior)
        else:
            for window in windows:
                window.route, window.posterior = Route.certain(forced[window.owner]), {forced[window.owner]: 1.0}
        for window, query in zip(windows, vectors, strict=True):
            window.retrieved = self._retrieve(window.route, query)
            window.prompt = self.writer.write(
                window.sentence,
                [hit.item for hit in window.retrieved.mentions],
                [hit.item for hit in window.retrieved.examples],
            )

    def _route(self, windows: list[Window], vectors: list[SentenceVectors], prior: Mapping[str, float] | None) -> None:
        sentences = torch.stack([each.sentence for each in vectors])
        texts = [window.text for window in windows]
        posterior, routes = self._router.route(sentences, texts, [window.owner for window in windows], prior)
        for window, row, route in zip(windows, posterior, routes, strict=True):
            if not route.known and self.config.when_unknown == "error":
                raise UnknownLanguageError(
                    f"{window.text[:80]!r} is in none of the languages {', '.join(self._router.languages)}; the nearest is "
                    f"{route.language}. Name its language, add an adapter of it, or choose another `when_unknown`."
                )
            window.route = route
            window.posterior = dict(zip(self._router.languages, row.tolist(), strict=True))

    def _retrieve(self, route: Route, query: SentenceVectors) -> Retrieved:
        config, adapters = self.config, [self._languages.adapters[name] for name in route.adapters]
        # Never more than an adapter has met in training.
        n_entities = min([config.n_entities, *(adapter.manifest.n_entities for adapter in adapters)])
        n_sentences = min([config.n_sentences, *(adapter.manifest.n_sentences for adapter in adapters)])
        thresholds = config.entity_threshold, config.sentence_threshold
        found = [adapter.index.search(query, n_entities, n_sentences, *thresholds) for adapter in adapters]
        return nearest(found, n_entities, n_sentences)

    def _answer(self, batch: list[Window]) -> None:
        """Decodes a batch of windows, each with its own adapters."""
        adapters = self._languages.adapters
        grammars = [AnswerGrammar(self._answers, window.sentence, self._labels(window.route)) for window in batch]
        self._languages.bank.make_resident(sorted(_served_by(batch)), lambda name: adapters[name].lora_weights(self._dtype))
        prompts = [window.prompt.ids for window in batch if window.prompt]
        answers = self.decoder.decode(prompts, grammars, [window.route.mixture for window in batch])
        for window, answer in zip(batch, answers, strict=True):
            window.answer = answer

    def _labels(self, route: Route) -> list[str]:
        return sorted({label for name in route.adapters for label in self._languages.adapters[name].manifest.entity_types})

    def _sentence_vectors(self, language: str, texts: Sequence[str]) -> Tensor:
        """``[sentences, hidden]``: vectors of the texts that have words, each read as one sentence."""
        windows = [window for text in texts for window in self._reader.windows(0, text, ())[:1]]
        if not windows:
            raise ValueError(f"There are no sentences of {language!r}. Give some hundred of each language.")
        return torch.stack([each.sentence for each in self.encoder.encode([window.word_ids for window in windows])])


def _served_by(windows: Iterable[Window]) -> set[str]:
    return {name for window in windows for name in window.route.adapters}
