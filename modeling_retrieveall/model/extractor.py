"""The stages from texts to entities.

    texts
      -> read       cut into sentences and windows                              documents.py
      -> encode     one vector for the sentence and one for each word           encoder.py
      -> route      language, adapters and their weights                        router.py
      -> retrieve   the most similar labelled examples of these adapters        retrieval.py
      -> prompt     the hierarchical prompt                                     prompting.py
      -> decode     tags in one pass, or a generated answer                     backends.py
      -> collect    entities with offsets into the text                         documents.py

Each stage is a function from the values of the stage before to new ones.

>>> extractor = Extractor(base, config, registry, AnswerFormat(tokenizer))
>>> extractor.extract(["Angela Merkel besuchte Nairobi."], Request())[0].route
Route(language='de', adapters=('de',), weights=(1.0,), confidence=0.99, known=True)
"""

import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import logging

from .adapter_registry import AdapterRegistry
from .answer_format import AnswerFormat
from .backends import DecodingBackend, LocalBackend, PreparedSentence
from .configuration_retrieveall import RetrieveAllConfig
from .consistent_labels import consistent
from .decoding import Answer, ScoredSpan
from .documents import DocumentReader, Text, Window, checked_texts, merged_entities, parts_of
from .encoder import CachedSentence, SentenceEncoder, SentenceVectors
from .entities import Entity, Example, Sentence
from .errors import AdapterError, InputError, InputTypeError, RetrieveAllError
from .language_adapter import checked_examples, entity_types
from .manifest import MULTILINGUAL, Manifest
from .outputs import Extraction, KnownMention, SentenceDetails, SentenceResult
from .prompting import Decoding, PromptWriter
from .request import Request
from .retrieval import Retrieved, merge_retrieved
from .router import Route
from .score_calibration import ScoreCalibration

_DEFAULTS = RetrieveAllConfig()
_WINDOWS_AT_A_TIME = 1024
_SECONDS_BEFORE_PROGRESS = 2

Encoded = tuple[SentenceVectors | None, CachedSentence | None]
"""The vectors of a window, and its keys and values, if they are needed."""
Routed = tuple[Route, dict[str, float]]
"""The route of a window, and the posterior over languages."""


class UnknownLanguageError(RetrieveAllError, ValueError):
    """A sentence is in no language of the model, and ``when_unknown="error"`` asks for an error."""


class Extractor:
    """Extracts the entities of texts with a base LLM and the adapters of a registry.

    Args:
        base: The base LLM.
        config: The model's configuration.
        registry: The adapters, the router and the LoRA bank.
        answers: The answer format over the base LLM's tokenizer.

    Attributes:
        encoder: Computes sentence and word vectors.
        backend: Decodes prepared sentences; it can be replaced.
        lock: Held while base LLM and bank are in use; other threads wait for it between parts of a call.
    """

    def __init__(
        self, base: PreTrainedModel, config: RetrieveAllConfig, registry: AdapterRegistry, answers: AnswerFormat
    ) -> None:
        longest = config.max_example_tokens + 2 * config.max_sentence_tokens
        check_window(longest, config, base)
        self.config = config
        self.encoder = SentenceEncoder(base, config.encoder_layer, config.max_batch_tokens)
        self.backend: DecodingBackend = LocalBackend(base, config, registry, answers)
        self.lock = threading.RLock()
        self._base = base
        self._answers = answers
        self._registry = registry
        self._router = registry.router
        self._reader = DocumentReader(answers, config)

    @torch.no_grad()
    def extract(
        self, texts: Sequence[Text], request: Request, after_batch: Callable[[], None] = lambda: None
    ) -> list[Extraction]:
        """Extracts the entities of texts.

        Args:
            texts: Texts of any length, or sentences.
            request: The options of the call.
            after_batch: Called after each batch of sentences. An error that it raises ends the extraction.

        Raises:
            InputError: A language is not one of the model's.
            UnknownLanguageError: A sentence is in no language of the model, and the configuration asks for an error.
            MemoryError: A window does not fit into memory, even alone.
        """
        request = self.checked(request)
        languages, windows = self._read(texts, request)

        def report(sentences: int) -> None:
            progress.update(sentences)
            after_batch()

        entities: list[list[Any]] = [[] for _ in texts]
        near_misses: list[list[Any]] = [[] for _ in texts]
        sentences: list[list[SentenceResult]] = [[] for _ in texts]
        bar = {"unit": " sentences", "delay": _SECONDS_BEFORE_PROGRESS, "disable": None, "leave": False}
        with logging.tqdm(total=len(windows), **bar) as progress:
            # Parts have a fixed size: where a long text is divided decides which of its sentences are routed together, and
            # results must not depend on the batch size.
            for part in parts_of(windows, _WINDOWS_AT_A_TIME):
                with self.lock:
                    decoded = self._decode(part, languages, request, report)
                for window, (result, answer) in zip(part, decoded, strict=True):
                    sentences[window.text_index].append(result)
                    spans, near = _entities(window, answer, request)
                    entities[window.text_index].append((window.sentence, spans))
                    near_misses[window.text_index].append((window.sentence, near))
        return [
            _extraction(text, found, others, results, request)
            for text, found, others, results in zip(texts, entities, near_misses, sentences, strict=True)
        ]

    @torch.no_grad()
    def prepare(self, texts: Sequence[Text], request: Request) -> list[list[PreparedSentence]]:
        """Runs the stages up to the prompt, and returns the prepared sentences of each text.

        Sentences for which no adapter is used are left out.
        """
        request = self.checked(request)
        languages, windows = self._read(texts, request)
        prepared: list[list[PreparedSentence]] = [[] for _ in texts]
        for part in parts_of(windows, _WINDOWS_AT_A_TIME):
            with self.lock:
                encoded = [(vectors, None) for vectors in self.encoder.encode([window.word_ids for window in part])]
                routed = self._route(part, encoded, languages, request)
                for sentence in self._prepare(part, encoded, routed, request):
                    if sentence:
                        prepared[sentence.window.text_index].append(sentence)
        return prepared

    def checked(self, request: Request) -> Request:
        """Returns a request with the codes under which the model has the languages.

        Raises:
            InputError: The model does not have a language or an entity type of the request.
        """
        request = request.matched(self._registry.adapters)
        self._check_languages([request.language] if isinstance(request.language, str) else request.language, request.prior)
        self._check_labels(request)
        return request

    def calibrate_router(self, texts: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Fits the router to texts of known languages, each read as one sentence.

        Raises:
            InputTypeError: The texts of a language are not a list of strings.
            InputError: The languages are not those of the router, or a language has no sentences.
        """
        routed = self._router.languages
        if set(texts) != set(routed):
            raise InputError(
                f"There are sentences of {', '.join(sorted(texts)) or 'no language'}, but the model routes among "
                f"{', '.join(routed) or 'none'}. Give some hundred sentences of each of these."
            )
        with self.lock, torch.no_grad():
            return self._router.calibrate({language: self._sentence_vectors(language, texts[language]) for language in routed})

    def add_examples(self, language: str, examples: Iterable[Example]) -> int:
        """Adds examples to the index of a language; see :meth:`RetrieveAllModel.add_examples`."""
        with self.lock, torch.no_grad():
            adapter = self._registry.adapter(language)
            last = {example.units: example for example in checked_examples(examples, adapter.manifest)}
            known = {(example.units, example.spans) for example in adapter.index.examples}
            new = [example for units, example in last.items() if (units, example.spans) not in known]
            if new:
                vectors = self.encoder.encode([self._answers.word_ids(example.sentence) for example in new])
                self._registry.replace(adapter.with_index(adapter.index.with_added(new, vectors)))
            return len(new)

    def remove_examples(self, language: str, examples: Iterable[Example]) -> int:
        """Removes examples from the index of a language; see :meth:`RetrieveAllModel.remove_examples`."""
        with self.lock:
            adapter = self._registry.adapter(language)
            changed = adapter.without_examples(examples)
            if changed is not adapter:
                self._registry.replace(changed)
            return len(adapter.index.examples) - len(changed.index.examples)

    def decoding_of(self, language: str) -> Decoding:
        """How the sentences of a language are decoded when the caller does not choose."""
        return self._decoding(Route.certain(self._registry.adapter(language).language), self.config.decoding)

    def set_score_calibration(self, language: str, decoding: Decoding, calibration: ScoreCalibration) -> None:
        """Calibrates the scores of a language from now on."""
        with self.lock:
            adapter = self._registry.adapter(language)
            numbers = {**adapter.manifest.score_calibration, decoding: [calibration.slope, calibration.intercept]}
            self._registry.replace(adapter.with_manifest(replace(adapter.manifest, score_calibration=numbers)))

    # The stages, in order

    def _read(self, texts: Sequence[Text], request: Request) -> tuple[Sequence[str] | None, list[Window]]:
        """The language of each text, if it is given, and the windows of the texts."""
        self._warn_of_limits()
        languages = request.languages(len(texts))
        routed = self._router.languages or [MULTILINGUAL]
        candidates = [code for code in routed if request.prior is None or request.prior.get(code)]
        windows = [
            window
            for index, text in enumerate(texts)
            for window in self._reader.windows(index, text, [languages[index]] if languages else candidates)
        ]
        return languages, windows

    def _decode(
        self, windows: list[Window], languages: Sequence[str] | None, request: Request, report: Callable[[int], None]
    ) -> list[tuple[SentenceResult, Answer | None]]:
        """Runs all stages after reading. A sentence for which no adapter is used has no answer."""
        self._check_languages(languages, request.prior)  # again, as languages may have been removed by another thread
        batch_size = self.config.batch_size if request.batch_size is None else request.batch_size
        encoded = self._encode(windows, languages, request, batch_size)
        routed = self._route_to_usable(windows, encoded, languages, request)
        prepared = self._prepare(windows, encoded, routed, request)
        to_decode = [each for each in prepared if each]
        decoded_alone = self.backend.decode(to_decode, batch_size, report)
        answers = iter(consistent(to_decode, decoded_alone, self._answers) if request.consistent_labels else decoded_alone)
        decoded: list[tuple[SentenceResult, Answer | None]] = []
        for window, (route, posterior), sentence in zip(windows, routed, prepared, strict=True):
            answer = next(answers) if sentence else None
            if answer and sentence and request.calibrated:
                answer = self._calibrated(answer, sentence)
            details = self._details(posterior, sentence, answer) if request.details else None
            decoded.append((SentenceResult(window.start, window.end, route, details), answer))
        return decoded

    def _encode(
        self, windows: list[Window], languages: Sequence[str] | None, request: Request, batch_size: int
    ) -> Sequence[Encoded]:
        """Encodes windows, if routing or retrieval needs their vectors.

        If they will be tagged, the keys and values are kept, so that the base LLM does not process the sentences again.
        """
        names = self._registry.adapters if languages is None else sorted({languages[window.text_index] for window in windows})
        manifests = [self._registry.adapters[name].manifest for name in names]
        if languages is not None and not any(self._limits([manifest]) != (0, 0) for manifest in manifests):
            return [(None, None)] * len(windows)
        word_ids = [window.word_ids for window in windows]
        requested = request.decoding or self.config.decoding
        tags = requested == "tags" or (requested == "auto" and any(manifest.decodings[0] == "tags" for manifest in manifests))
        if tags and "tags" in self.backend.decodings and self.encoder.bos == PromptWriter(self._answers, 0).bos:
            return self.encoder.encode_and_cache(word_ids, batch_size)
        return [(vectors, None) for vectors in self.encoder.encode(word_ids)]

    def _route_to_usable(
        self, windows: list[Window], encoded: Sequence[Encoded], languages: Sequence[str] | None, request: Request
    ) -> list[Routed]:
        """Routes windows, and loads the adapters they are routed to.

        An adapter whose weights turn out to be unusable is removed from the model with a warning, and the windows are routed
        again. If the caller specified the language, the error is raised instead.
        """
        while True:
            routed = self._route(windows, encoded, languages, request)
            usable = True
            for language in sorted({name for route, _ in routed for name in route.adapters}):
                try:
                    self.backend.load_adapter(language)
                except AdapterError as error:
                    if languages is not None:
                        raise
                    warnings.warn(f"Removed the language {language!r} from the model: {error}", stacklevel=2)
                    self._registry.remove(language)
                    usable = False
            if usable:
                return routed

    def _route(
        self, windows: list[Window], encoded: Sequence[Encoded], languages: Sequence[str] | None, request: Request
    ) -> list[Routed]:
        """The route and posterior of each window."""
        self._check_languages(languages, request.prior)  # again, as an adapter may have turned out to be unusable
        if languages is not None:
            return [(Route.certain(code), {code: 1.0}) for code in (languages[window.text_index] for window in windows)]
        posterior, routes = self._router.route(
            torch.stack([vectors.sentence for vectors, _ in encoded if vectors]),
            [window.text for window in windows],
            [window.text_index for window in windows],
            request.prior,
        )
        if self.config.when_unknown == "error":
            for window, route in zip(windows, routes, strict=True):
                if not route.known:
                    raise UnknownLanguageError(
                        f"{window.text[:80]!r} is in none of the languages {', '.join(self._router.languages)}; the nearest is "
                        f"{route.language}. Specify its language, add an adapter for it, or choose another `when_unknown`."
                    )
        names = self._router.languages
        return [(route, dict(zip(names, row.tolist(), strict=True))) for route, row in zip(routes, posterior, strict=True)]

    def _prepare(
        self, windows: list[Window], encoded: Sequence[Encoded], routed: list[Routed], request: Request
    ) -> list[PreparedSentence | None]:
        """Retrieves examples and writes the prompts; ``None`` for windows without adapters."""
        writer = PromptWriter(self._answers, self.config.max_example_tokens)
        prepared: list[PreparedSentence | None] = []
        for window, (query, cached), (route, _) in zip(windows, encoded, routed, strict=True):
            if not route.adapters:
                prepared.append(None)
                continue
            decoding = self._decoding(route, request.decoding or self.config.decoding)
            retrieved = self._retrieve(route, query, window.sentence, decoding)
            mentions = [hit.item for hit in retrieved.mentions]
            examples = [hit.item for hit in retrieved.examples]
            prompt = writer.write(window.sentence, mentions, examples, decoding)
            answer_tokens = sum(map(len, window.word_ids)) if decoding == "generation" else 0
            check_window(len(prompt) + answer_tokens, self.config, self._base)
            labels = self._labels(route)
            prepared.append(PreparedSentence(window, route, retrieved, labels, decoding, prompt, cached))
        return prepared

    def _details(self, posterior: dict[str, float], sentence: PreparedSentence | None, answer: Answer | None) -> SentenceDetails:
        prompt_ids = [*sentence.prompt.prefix, *sentence.prompt.ids] if sentence else []
        most_probable = sorted(posterior.items(), key=lambda pair: -pair[1])
        return SentenceDetails(
            posterior={language: probability for language, probability in most_probable if probability},
            retrieved=sentence.retrieved if sentence else Retrieved([], []),
            prompt_ids=prompt_ids,
            prompt=str(self._answers.tokenizer.decode(prompt_ids)),
            answer_ids=answer.ids if answer else self._answers.end,
            known_mentions=[KnownMention.from_match(match, sentence.window.sentence) for match in sentence.retrieved.matches]
            if sentence
            else [],
        )

    # What the stages need

    def _calibrated(self, answer: Answer, sentence: PreparedSentence) -> Answer:
        """The answer with calibrated scores, if the adapter of the most probable language has a calibration for this decoding."""
        manifest = self._registry.adapters[sentence.route.adapters[0]].manifest
        numbers = manifest.score_calibration.get(sentence.decoding)
        if numbers is None:
            return answer
        calibration = ScoreCalibration(*numbers)
        spans, near_misses = (
            [ScoredSpan(each.span, calibration(each.score)) for each in scored] for scored in (answer.spans, answer.near_misses)
        )
        return replace(answer, spans=spans, near_misses=near_misses)

    def _warn_of_limits(self) -> None:
        """Warns if more examples are configured than adapters were trained with."""
        manifests = [adapter.manifest for adapter in list(self._registry.adapters.values())]
        for name in ("n_entities", "n_sentences"):
            configured, default = getattr(self.config, name), getattr(_DEFAULTS, name)
            limits = {manifest.language: getattr(manifest, name) for manifest in manifests}
            lower = [f"{language} ({limits[language]})" for language in sorted(limits) if limits[language] < configured]
            if configured > default and lower:
                warnings.warn(
                    f"{name} is {configured}, but these adapters were trained with fewer examples and get no more than that: "
                    f"{', '.join(lower)}.",
                    stacklevel=6,  # the caller of RetrieveAllModel.extract
                )

    def _check_languages(self, languages: Sequence[str] | None, prior: Mapping[str, float] | None) -> None:
        """Raises an error for languages that the model does not have."""
        if languages is not None:
            self._registry.check(languages)
        routed = self._router.languages
        if unknown := sorted(set(prior or ()) - set(routed)):
            raise InputError(
                f"The prior names {', '.join(map(repr, unknown))}, but the model routes among {', '.join(routed) or 'none'}."
            )

    def _check_labels(self, request: Request) -> None:
        """Raises an error for entity types that no adapter has, and for `consistent_labels` without an adapter that tags."""
        adapters = list(self._registry.adapters.values())
        known = entity_types(adapters)
        if unknown := sorted(map(str, request.named_labels() - set(known))):
            raise InputError(f"No adapter has the entity type {unknown[0]!r}. There are: {', '.join(known) or 'none'}.")
        requested = request.decoding or self.config.decoding
        learned = [[each for each in adapter.manifest.decodings if each in self.backend.decodings] for adapter in adapters]
        tags = any("tags" in (each[:1] if requested == "auto" else each) for each in learned)
        if request.consistent_labels and (requested == "generation" or not tags):
            raise InputError("`consistent_labels` needs tags, but this model generates its answers. Leave it out.")

    def _limits(self, manifests: Iterable[Manifest]) -> tuple[int, int]:
        """The numbers of entities and sentences to retrieve: never more examples than an adapter was trained with."""
        limits = [(manifest.n_entities, manifest.n_sentences) for manifest in manifests]
        entities, sentences = zip((self.config.n_entities, self.config.n_sentences), *limits, strict=True)
        return min(entities), min(sentences)

    def _retrieve(self, route: Route, query: SentenceVectors | None, sentence: Sentence, decoding: Decoding) -> Retrieved:
        config, adapters = self.config, [self._registry.adapters[name] for name in route.adapters]
        n_entities, n_sentences = self._limits(adapter.manifest for adapter in adapters)
        # A mixture of adapters uses the mentions of the most probable language, because others may have other types for them.
        matches = adapters[0].index.known_mentions.find(sentence) if decoding == "tags" and config.match_weight else []
        if query is None or not (n_entities or n_sentences):
            return Retrieved([], [], matches)
        thresholds = config.entity_threshold, config.sentence_threshold
        found = [adapter.index.search(query, n_entities, n_sentences, *thresholds) for adapter in adapters]
        return replace(merge_retrieved(found, n_entities, n_sentences), matches=matches)

    def _labels(self, route: Route) -> list[str]:
        return entity_types(self._registry.adapters[name] for name in route.adapters)

    def _decoding(self, route: Route, requested: str) -> Decoding:
        """The requested decoding; for ``"auto"`` the first one of the adapters that the backend supports."""
        manifests = [self._registry.adapters[name].manifest for name in route.adapters]
        learned = [each for each in manifests[0].decodings if all(each in manifest.decodings for manifest in manifests)]
        possible = [each for each in learned if each in self.backend.decodings and requested in ("auto", each)]
        if not possible:
            ways = " and ".join(learned) or "no common way"
            raise InputError(
                f"The adapters of {', '.join(route.adapters)} were trained for decoding by {ways}; decoding is {requested!r}, "
                f"and {type(self.backend).__name__} supports {' and '.join(self.backend.decodings)}. Choose another decoding, or "
                "train the adapters for it."
            )
        return possible[0]

    def _sentence_vectors(self, language: str, texts: Sequence[str]) -> Tensor:
        """``[sentences, hidden]``: the vectors of texts that have words, each read as one sentence and cut at a window."""
        if isinstance(texts, str):
            raise InputTypeError(f"The sentences of {language!r} are {texts[:80]!r}. Give a list of strings.")
        listed, _ = checked_texts(texts, is_split_into_words=False)
        windows = [window for text in listed for window in self._reader.windows(0, text, ())[:1]]
        if not windows:
            raise InputError(f"There are no sentences of {language!r}. Give some hundred of each language.")
        return torch.stack([each.sentence for each in self.encoder.encode([window.word_ids for window in windows])])


def _entities(window: Window, answer: Answer | None, request: Request) -> tuple[list[Entity], list[Entity]]:
    """The entities of a window, and its near misses with the entities if the request asks for near misses."""
    if answer is None:
        return [], []
    near = [] if request.near_misses is None else sorted([*answer.near_misses, *answer.spans], key=lambda each: each.span)
    entities, near_misses = (
        [window.sentence.entity(each.span, each.score) for each in scored] for scored in (answer.spans, near)
    )
    return entities, near_misses


def _extraction(text: Text, entities: Any, near_misses: Any, sentences: list[SentenceResult], request: Request) -> Extraction:
    """The result for a text from the entities and near misses of its windows.

    They are merged before they are filtered, so that an entity does not change if others are left out.
    """
    found = [each for each in merged_entities(entities) if request.keeps(each.label, each.score)]
    others = None
    if request.near_misses is not None:
        others = [
            each
            for each in merged_entities(near_misses)
            if request.nearly_keeps(each.label, each.score)
            and all(each.end <= entity.start or entity.end <= each.start for entity in found)
        ]
    return Extraction(text if isinstance(text, str) else text.text, found, sentences, others)


def check_window(needed: int, config: RetrieveAllConfig, base: PreTrainedModel) -> None:
    """Raises an error if a prompt, and an answer as long as its sentence, do not fit the base LLM's window.

    Args:
        needed: Number of tokens of prompt and answer.
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
