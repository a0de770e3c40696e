"""The way of a sentence: routed, shown its nearest labelled examples, and answered by its adapters.

>>> extractor = Extractor(base, config, languages, AnswerFormat(tokenizer))
>>> extractor.serve(["Angela Merkel besuchte Nairobi."], extractor.request(1))[0][0].route
Route(language='de', adapters=('de',), weights=(1.0,), confidence=0.99, known=True)
"""

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import logging

from .adapter_registry import Languages
from .answer_format import AnswerFormat
from .backends import Answerer, LocalAnswerer
from .configuration_retrieveall import RetrieveAllConfig
from .documents import DocumentReader, Window, by_text, checked_texts
from .encoder import SentenceEncoder, SentenceVectors
from .entities import Sentence
from .errors import InputError, InputTypeError, RetrieveAllError
from .prompting import Decoding, PromptWriter
from .retrieval import Retrieved, nearest
from .router import Route

_DEFAULTS = RetrieveAllConfig()
_WINDOWS_AT_A_TIME = 1024
_SECONDS_BEFORE_PROGRESS = 2


class UnknownLanguageError(RetrieveAllError, ValueError):
    """A sentence is in no language of the model, and ``when_unknown="error"`` asks for an error."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks for.

    Attributes:
        languages: The language of each text, instead of routing.
        batch_size: Sentences decoded together.
        prior: Weights of languages before any text is read; those not named are ruled out, and so are unknown ones.
        explained: Whether prompts and retrieved examples are kept once they have served.
        decoding: How sentences are answered, instead of what the configuration says.
    """

    languages: Sequence[str] | None
    batch_size: int
    prior: Mapping[str, float] | None = None
    explained: bool = False
    decoding: Decoding | None = None


class Extractor:
    """Serves texts with a base LLM and the languages that were added to it.

    Args:
        base: The base LLM.
        config: The model's configuration.
        languages: Adapters, router and LoRA bank.
        answers: The answer format over the base's tokenizer.

    Attributes:
        encoder: Reads sentences.
        answerer: Answers windows; another one may take its place.
        lock: Base and bank serve one part of a call at a time; other threads wait.
    """

    def __init__(self, base: PreTrainedModel, config: RetrieveAllConfig, languages: Languages, answers: AnswerFormat) -> None:
        longest = config.max_example_tokens + 2 * config.max_sentence_tokens
        check_window(longest, config, base)
        self.config = config
        self.encoder = SentenceEncoder(base, config.encoder_layer, config.max_batch_tokens)
        self.answerer: Answerer = LocalAnswerer(base, config, languages, answers)
        self.lock = threading.RLock()
        self._base = base
        self._answers = answers
        self._languages = languages
        self._router = languages.router
        self._reader = DocumentReader(answers, config)

    def request(
        self,
        count: int,
        languages: str | Sequence[str] | None = None,
        batch_size: int | None = None,
        prior: Mapping[str, float] | None = None,
        explained: bool = False,
        decoding: Decoding | None = None,
    ) -> Request:
        """What a caller of ``extract`` asks for so many texts, once it is known to make sense.

        Raises:
            TypeError: The prior is no mapping from languages to numbers.
            InputError: A language is not among the model's, or a number is out of its range.
        """
        self._tell_of_limits()
        size = self.config.batch_size if batch_size is None else batch_size
        if size < 1:
            raise InputError(f"batch_size is {size}; give at least 1.")
        forced = [languages] * count if isinstance(languages, str) else languages
        if forced is not None and len(forced) != count:
            raise InputError(f"There are {count} texts and {len(forced)} languages. Give one language, or one for each text.")
        if forced is not None and prior is not None:
            raise InputError("Give the languages of the texts or a prior, not both.")
        if prior is not None:
            _check_weights(prior)
        request = Request(forced, size, prior, explained, decoding)
        self._check_languages(request)
        return request

    @torch.no_grad()
    def serve(self, texts: Sequence[str | Sentence], request: Request) -> list[list[Window]]:
        """The windows of each text, with their answers.

        Args:
            texts: Texts of any length, or a sentence each.
            request: What the caller asks for.

        Raises:
            UnknownLanguageError: See there.
            MemoryError: A window does not fit into memory, even alone.
        """
        windows = self._windows(texts, request)
        bar = {"unit": " sentences", "delay": _SECONDS_BEFORE_PROGRESS, "disable": None, "leave": False}
        with logging.tqdm(total=len(windows), **bar) as progress:
            # Parts of a fixed size: where a very long text is torn decides which of its sentences share their evidence, and
            # results must not depend on the batch size.
            for part in _parts(windows, _WINDOWS_AT_A_TIME):
                with self.lock:
                    self._serve_part(part, request, progress)
        return by_text(windows, len(texts))

    @torch.no_grad()
    def prepare(self, texts: Sequence[str | Sentence], request: Request) -> list[list[Window]]:
        """As :meth:`serve`, but nobody answers: the windows of each text have their routes and prompts."""
        windows = self._windows(texts, request)
        for part in _parts(windows, _WINDOWS_AT_A_TIME):
            with self.lock:
                self._prepare(part, request)
        return by_text(windows, len(texts))

    def calibrate(self, texts: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Fits the router to texts of known languages, each read as one sentence.

        Raises:
            TypeError: The texts of a language are no list of strings.
            ValueError: They are not those of the router's languages, or have no words.
        """
        routed = self._router.languages
        if set(texts) != set(routed):
            raise InputError(
                f"The sentences are of {', '.join(sorted(texts)) or 'no language'}, the model routes among "
                f"{', '.join(routed) or 'none'}. Give some hundred sentences of each of these."
            )
        with self.lock, torch.no_grad():
            return self._router.calibrate({language: self._sentence_vectors(language, texts[language]) for language in routed})

    # Step by step

    def _tell_of_limits(self) -> None:
        """Warns of a number of examples that was raised beyond what adapters were trained with."""
        manifests = [adapter.manifest for adapter in self._languages.adapters.values()]
        for name in ("n_entities", "n_sentences"):
            asked, usual = getattr(self.config, name), getattr(_DEFAULTS, name)
            limits = {manifest.language: getattr(manifest, name) for manifest in manifests}
            lower = [f"{language} ({limits[language]})" for language in sorted(limits) if limits[language] < asked]
            if asked > usual and lower:
                warnings.warn(
                    f"{name} is {asked}, but these adapters were trained with fewer examples and get no more than that: "
                    f"{', '.join(lower)}.",
                    stacklevel=4,
                )

    def _check_languages(self, request: Request) -> None:
        """Refuses languages that are not there; they may have gone since the request was made."""
        if request.languages is not None:
            self._languages.check(request.languages)
        routed = self._router.languages
        if strange := sorted(set(request.prior or ()) - set(routed)):
            raise InputError(f"Nothing is routed to {', '.join(map(repr, strange))}. There are: {', '.join(routed) or 'none'}.")

    def _windows(self, texts: Sequence[str | Sentence], request: Request) -> list[Window]:
        forced = request.languages
        candidates = [code for code in self._router.languages if request.prior is None or request.prior.get(code)]
        return [
            window
            for owner, text in enumerate(texts)
            for window in self._reader.windows(owner, text, [forced[owner]] if forced else candidates)
        ]

    def _serve_part(self, windows: list[Window], request: Request, progress: Any) -> None:
        self._prepare(windows, request)
        strict = request.languages is not None
        while removed := self.answerer.drop_unusable(_served_by(windows), strict):
            again = {window.owner for window in windows if removed & set(window.route.adapters)}
            self._prepare([window for window in windows if window.owner in again], request)

        def done(answered: list[Window]) -> None:
            for window in answered:
                if not request.explained:
                    window.forget()
            progress.update(len(answered))

        # A sentence that no adapter serves has no entities; the LLM need not be asked.
        self.answerer.answer([window for window in windows if window.prompt], request.batch_size, done)

    def _prepare(self, windows: list[Window], request: Request) -> None:
        """Routes windows, retrieves for them and writes their prompts."""
        self._check_languages(request)
        vectors = self.encoder.encode([window.word_ids for window in windows])
        if request.languages is None:
            self._route(windows, vectors, request.prior)
        else:
            for window in windows:
                language = request.languages[window.owner]
                window.route, window.posterior = Route.certain(language), {language: 1.0}
        writer = PromptWriter(self._answers, self.config.max_example_tokens)
        for window, query in zip(windows, vectors, strict=True):
            if not window.route.adapters:
                continue
            window.labels = self._labels(window.route)
            window.decoding = self._decoding(window.route, request.decoding or self.config.decoding)
            window.retrieved = self._retrieve(window.route, query)
            window.prompt = writer.write(
                window.sentence,
                [hit.item for hit in window.retrieved.mentions],
                [hit.item for hit in window.retrieved.examples],
                window.decoding,
            )
            answer = sum(map(len, window.word_ids)) if window.decoding == "generation" else 0
            check_window(len(window.prompt) + answer, self.config, self._base)

    def _route(self, windows: list[Window], vectors: list[SentenceVectors], prior: Mapping[str, float] | None) -> None:
        sentences = torch.stack([each.sentence for each in vectors])
        texts = [window.text for window in windows]
        posterior, routes = self._router.route(sentences, texts, [window.owner for window in windows], prior)
        languages = self._router.languages
        for window, row, route in zip(windows, posterior, routes, strict=True):
            if not route.known and self.config.when_unknown == "error":
                raise UnknownLanguageError(
                    f"{window.text[:80]!r} is in none of the languages {', '.join(self._router.languages)}; the nearest is "
                    f"{route.language}. Name its language, add an adapter of it, or choose another `when_unknown`."
                )
            window.route = route
            window.posterior = dict(zip(languages, row.tolist(), strict=True))

    def _retrieve(self, route: Route, query: SentenceVectors) -> Retrieved:
        config, adapters = self.config, [self._languages.adapters[name] for name in route.adapters]
        # Never more than an adapter has met in training.
        n_entities = min([config.n_entities, *(adapter.manifest.n_entities for adapter in adapters)])
        n_sentences = min([config.n_sentences, *(adapter.manifest.n_sentences for adapter in adapters)])
        thresholds = config.entity_threshold, config.sentence_threshold
        found = [adapter.index.search(query, n_entities, n_sentences, *thresholds) for adapter in adapters]
        return nearest(found, n_entities, n_sentences)

    def _labels(self, route: Route) -> list[str]:
        return sorted({label for name in route.adapters for label in self._languages.adapters[name].manifest.entity_types})

    def _decoding(self, route: Route, asked: str) -> Decoding:
        """How a sentence is answered: as asked for, or else in the first way of its adapters that the answerer supports."""
        manifests = [self._languages.adapters[name].manifest for name in route.adapters]
        learned = [way for way in manifests[0].decodings if all(way in manifest.decodings for manifest in manifests)]
        possible = [way for way in learned if way in self.answerer.decodings and asked in ("auto", way)]
        if not possible:
            ways = " and ".join(learned) or "no common way"
            raise InputError(
                f"The adapters of {', '.join(route.adapters)} have learned to answer by {ways}; decoding is {asked!r}, and "
                f"{type(self.answerer).__name__} answers by {' and '.join(self.answerer.decodings)}. Choose another "
                "decoding, or train the adapters for it."
            )
        return possible[0]

    def _sentence_vectors(self, language: str, texts: Sequence[str]) -> Tensor:
        """``[sentences, hidden]``: vectors of the texts that have words, each read as one sentence, as far as a window goes."""
        if isinstance(texts, str):
            raise InputTypeError(f"The sentences of {language!r} are {texts[:80]!r}. Give a list of strings.")
        windows = [window for text in checked_texts(texts, None) for window in self._reader.windows(0, text, ())[:1]]
        if not windows:
            raise InputError(f"There are no sentences of {language!r}. Give some hundred of each language.")
        return torch.stack([each.sentence for each in self.encoder.encode([window.word_ids for window in windows])])


def _parts(windows: list[Window], size: int) -> Iterator[list[Window]]:
    """Windows in parts of so many, as vectors are kept for a part at a time; a text is torn only if it is longer than a part."""
    part: list[Window] = []
    for _, group in groupby(windows, key=lambda window: window.owner):
        text = list(group)
        if part and len(part) + len(text) > size:
            yield part
            part = []
        part += text
        while len(part) > size:
            yield part[:size]
            part = part[size:]
    if part:
        yield part


def check_window(needed: int, config: RetrieveAllConfig, base: PreTrainedModel) -> None:
    """Makes sure that a prompt, and an answer as long as its sentence, fit the base's window.

    Args:
        needed: Tokens of both.
        config: The model's configuration, whose limits the error names.
        base: The base LLM.

    Raises:
        InputError: They do not fit.
    """
    window = getattr(base.config.get_text_config(), "max_position_embeddings", None)
    if window is not None and needed > window:
        raise InputError(
            f"The base LLM reads {window} tokens, but examples of {config.max_example_tokens}, a sentence of "
            f"{config.max_sentence_tokens} and its answer may take {needed}. Lower max_example_tokens or max_sentence_tokens."
        )


def _check_weights(prior: Any) -> None:
    if not isinstance(prior, Mapping) or not all(isinstance(weight, int | float) for weight in prior.values()):
        raise InputTypeError(f'prior is {prior!r}; give languages and weights, such as {{"da": 2, "no": 1}}.')
    if not all(0 <= weight < float("inf") for weight in prior.values()) or not sum(prior.values()):
        raise InputError(f'prior is {dict(prior)!r}; give weights such as {{"da": 2, "no": 1}}, one of them above 0.')


def _served_by(windows: Iterable[Window]) -> set[str]:
    return {name for window in windows for name in window.route.adapters}
