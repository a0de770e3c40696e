"""The model: a frozen base LLM, one LoRA adapter and one index of examples per language.

>>> model = RetrieveAllModel.from_pretrained("shipped")
>>> model.extract(["Angela Merkel besuchte Nairobi."])
[[Entity(text='Angela Merkel', label='PER', start=0, end=13, score=0.99), Entity(text='Nairobi', label='LOC', ...)]]
"""

import threading
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.dynamic_module_utils import custom_object_save
from transformers.modeling_outputs import CausalLMOutput

from .answers import AnswerFormat
from .base_llm import load_base, pinned_revision
from .batching import TokenBudget
from .collection import Refusals, find, locate
from .configuration_retrieveall import RetrieveAllConfig
from .decoding import Answer, AnswerDecoder
from .encoding import SentenceEncoder, SentenceVectors
from .entities import Entity, Sentence
from .grammar import AnswerGrammar
from .hub_files import Hub, Snapshot
from .language_adapter import LanguageAdapter
from .languages import Languages
from .outputs import Extraction, RetrieveAllOutput
from .prompting import Prompt, PromptWriter
from .retrieval import Retrieved
from .routing import Route
from .tokenization_retrieveall import write_tokenizer_pointer
from .windows import split_windows

_WINDOWS_AT_A_TIME = 1024
_HUB_ARGUMENTS = ("token", "cache_dir", "local_files_only")
# What AutoModel passes on that means nothing here.
_AUTO_ARGUMENTS = ("trust_remote_code", "adapter_kwargs", "force_download", "proxies", "subfolder", "_from_auto", "_commit_hash")


@dataclass
class _Window:
    """A sentence on its way through the model; filled in step by step."""

    owner: int
    sentence: Sentence
    word_ids: list[list[int]]
    route: Route
    retrieved: Retrieved
    prompt: Prompt | None = None
    answer: Answer | None = None


class RetrieveAllModel(PreTrainedModel):
    """Named entity recognition in many languages with one frozen LLM.

    Build it with :meth:`from_pretrained`; :meth:`extract` is the whole of daily use.

    Args:
        config: The model's configuration.
        base: The base LLM.
        tokenizer: The base's tokenizer.
    """

    config_class = RetrieveAllConfig
    base_model_prefix = "base"
    _auto_class = "AutoModel"

    def __init__(self, config: RetrieveAllConfig, base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(config)
        _check_window(config, base)
        self.base = base.eval()
        self.tokenizer = tokenizer
        self.hub = Hub()
        self.home: Snapshot | None = None
        self._languages = Languages(base, config)
        self.adapters, self.bank, self.router = self._languages.adapters, self._languages.bank, self._languages.router
        self.answers = AnswerFormat(tokenizer)
        self.encoder = SentenceEncoder(base, config.encoder_layer, config.max_batch_tokens)
        self._decoder = AnswerDecoder(base, self.bank)
        self._budget = TokenBudget(config.max_batch_tokens)
        self._writer = PromptWriter(self.answers, config.max_example_tokens)
        self._lock = threading.RLock()  # base and bank serve one call at a time; other threads wait
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Nothing: the base is pretrained and the adapters are trained."""

    # Loading and saving

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path | None = None,
        *,
        config: RetrieveAllConfig | None = None,
        base_model: str | None = None,
        languages: Sequence[str] | None = None,
        strict: bool = False,
        revision: str | None = None,
        **arguments: Any,
    ) -> "RetrieveAllModel":
        """Loads a base LLM and the adapters of a model. LoRA weights on the Hub are fetched when first routed to.

        Args:
            pretrained_model_name_or_path: ``"shipped"``, which is also meant by nothing; or a folder that ``save_pretrained``
                wrote; or the folder of one adapter, or of several, as ``retrieveall train`` writes them; or the repository of a
                model or an adapter on the Hub. May be left out beside ``collection``.
            config: The model's configuration as ``AutoModel`` has read it, instead of the one that is there.
            base_model: Where to take the base LLM from, instead of where the configuration says.
            languages: Load these languages only; the shared ``mul`` adapter is loaded as well where there is one.
            strict: Raise an error for an adapter on the Hub that cannot be used, instead of a warning.
            revision: Branch, tag or commit hash of the model's repository.
            **arguments: Fields of :class:`RetrieveAllConfig`, which replace the model's own (``collection``, ``n_sentences``);
                ``token``, ``cache_dir``, ``local_files_only`` for everything on the Hub; all others go to the base's
                ``from_pretrained``: ``dtype`` (float32 unless given), ``device_map``, ``quantization_config``, ...

        Raises:
            FileNotFoundError: There is no such model.
            HubError: The Hub does not have it, or cannot be asked.
            ValueError: A language is not among the model's; or an adapter is of another base LLM.

        Example:
            >>> model = RetrieveAllModel.from_pretrained("shipped", languages=["de", "ru"])
            >>> list(model.languages)
            ['de', 'mul', 'ru']
        """
        hub, refusals = Hub(**{name: arguments.pop(name) for name in _HUB_ARGUMENTS if name in arguments}), Refusals(strict)
        for name in _AUTO_ARGUMENTS:
            arguments.pop(name, None)
        changes = {name: arguments.pop(name) for name in arguments.keys() & RetrieveAllConfig.changeable()}
        RetrieveAllConfig.check_names(arguments)
        if config is not None:
            base_model = base_model or config.base_model
            if config._attn_implementation:  # AutoConfig keeps it to itself
                arguments.setdefault("attn_implementation", config._attn_implementation)
            changes = {name: getattr(config, name) for name in RetrieveAllConfig.changeable()} | changes
        found = find(pretrained_model_name_or_path, hub, revision, refusals, changes)
        name = base_model or found.config.base_model
        known = found.config.base_revision if name == found.config.base_model else None
        revision = pinned_revision(name, known, hub)
        base, tokenizer = load_base(name, revision, hub, **arguments)
        found.config.base_revision = found.config.base_revision or revision
        model = cls(found.config, base, tokenizer)
        model.hub, model.home = hub, found.home
        model._languages.add_all(found.adapters, languages, refusals)
        model.eval()
        return model

    def save_pretrained(self, save_directory: str | Path, collection: str | None = None) -> None:  # type: ignore[override]
        """Writes configuration, code and adapters, never the base weights.

        Adapters of the Hub are pinned by their commits; those of folders are copied to ``adapters/<language>``. The folder loads
        with ``AutoModel.from_pretrained(folder, trust_remote_code=True)``.

        Args:
            save_directory: The folder; made if missing.
            collection: Slug of the Hub collection from which the saved model takes further languages, instead of its own.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        config = deepcopy(self.config)
        config.collection = collection or config.collection
        config.adapters = {
            language: adapter.pin or adapter.copy_to(folder, f"adapters/{language}")
            for language, adapter in sorted(self.adapters.items())
        }
        config.architectures = [type(self).__name__]
        custom_object_save(self, folder, config=config)
        write_tokenizer_pointer(folder)
        config.save_pretrained(folder)

    def push_to_hub(self, repo_id: str, **arguments: Any) -> Any:
        """Pushes configuration, code, pins and a card to a model repository, in one commit; never the base weights.

        Args:
            repo_id: ``"owner/name"``; created if missing.
            **arguments: ``private``, ``create_pr``, ``commit_message``, ``token``: see :func:`publishing.hub.push_model`.

        Returns:
            What was pushed: its repository, commit and URL.

        Raises:
            ImportError: The package is not installed; remote code can load models, not publish them.
            HubError: The Hub refuses it or cannot be reached; the repository is as it was then.
        """
        try:
            from modeling_retrieveall.publishing.hub import push_model
        except ImportError as error:
            raise ImportError("Publishing needs the package itself. Run: pip install retrieveall") from error
        return push_model(self, repo_id, **arguments)

    # Languages

    @property
    def languages(self) -> dict[str, str]:
        """The languages there are, by code, and where the adapter of each is from; ``mul`` is the shared one.

        Example:
            >>> model.languages
            {'de': 'someone/retrieveall-de@0f1c2d...', 'sw': 'runs/sw'}
        """
        return {language: self.adapters[language].source for language in sorted(self.adapters)}

    def add_language(self, source: str | Path, revision: str | None = None) -> str:
        """Adds a language adapter, in place of one of the same language. Nothing else changes.

        Args:
            source: The adapter's folder, or its repository on the Hub.
            revision: Branch, tag or commit hash of the repository.

        Returns:
            Its language code.

        Raises:
            AdapterError: It is no adapter, or one of another base LLM, encoder layer or prompt.
            HubError: The Hub does not have it, or cannot be asked.
        """
        adapter = LanguageAdapter.load(locate(source, self.hub, revision))
        with self._lock:
            self._languages.add(adapter)
        return adapter.language

    def remove_language(self, language: str) -> None:
        """Takes a language away. Nothing else changes.

        Raises:
            ValueError: There is no such language.
        """
        with self._lock:
            self._languages.remove(language)

    # Extraction

    def extract(
        self,
        texts: str | Sequence[str] | None = None,
        languages: str | Sequence[str] | None = None,
        batch_size: int | None = None,
        *,
        words: Sequence[Sequence[str]] | None = None,
        threshold: float = 0.0,
    ) -> list[list[Entity]]:
        """Finds the named entities of texts, whatever mixture of languages they are in.

        Args:
            texts: A text or a list of texts, of any length.
            languages: The language of all texts or of each, instead of routing.
            batch_size: Sentences decoded together; the configuration's when not given.
            words: Instead of texts, the words of each sentence; offsets are then into ``" ".join(words)``.
            threshold: Entities of a lower score are left out.

        Returns:
            For each text its entities, in order of appearance and without overlap; ``text[e.start:e.end] == e.text``.

        Raises:
            TypeError: A text is not a string.
            ValueError: A language is not among the model's, or a number is out of its range.
            MemoryError: A text does not fit into memory, even alone.

        Example:
            >>> model.extract("Wangari Maathai alizaliwa Nyeri.", languages="mul")[0][0].text
            'Wangari Maathai'
        """
        return [r.entities for r in self.explain(texts, languages, batch_size, words=words, threshold=threshold)]

    @torch.no_grad()
    def explain(
        self,
        texts: str | Sequence[str] | None = None,
        languages: str | Sequence[str] | None = None,
        batch_size: int | None = None,
        *,
        words: Sequence[Sequence[str]] | None = None,
        threshold: float = 0.0,
    ) -> list[Extraction]:
        """As :meth:`extract`, with the route, the retrieved examples and the prompt of each text.

        Example:
            >>> model.explain("Angela Merkel besuchte Nairobi.")[0].route
            Route(language='de', adapters=('de',), weights=(1.0,), confidence=0.57, known=True)
        """
        sentences = _sentences(texts, words)
        forced = self._forced(languages, len(sentences))
        size = self.config.batch_size if batch_size is None else batch_size
        if size < 1:
            raise ValueError(f"batch_size is {size}; give at least 1.")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}; give a probability between 0 and 1.")
        windows = [window for i, sentence in enumerate(sentences) for window in self._windows(i, sentence)]
        # Vectors are kept for a part of the windows at a time, however many texts there are.
        part = max(size, _WINDOWS_AT_A_TIME)
        for start in range(0, len(windows), part):
            with self._lock:
                self._serve(windows[start : start + part], forced, size)
        return self._assemble(sentences, windows, threshold)

    def _serve(self, windows: list[_Window], forced: list[str] | None, batch_size: int) -> None:
        self._route_and_retrieve(windows, forced)
        while removed := self._languages.drop_unusable(_served_by(windows), strict=forced is not None):
            self._route_and_retrieve([window for window in windows if removed & set(window.route.adapters)], forced)
        self._budget.run(
            [len(window.prompt.ids) if window.prompt else 0 for window in windows],
            lambda batch: self._answer([windows[i] for i in batch]),
            max_rows=batch_size,
            adapters=[window.route.adapters for window in windows],
            max_adapters=self.bank.free_slots,
        )

    def _forced(self, languages: str | Sequence[str] | None, count: int) -> list[str] | None:
        if languages is None:
            return None
        forced = [languages] * count if isinstance(languages, str) else list(languages)
        if len(forced) != count:
            raise ValueError(f"There are {count} texts and {len(forced)} languages. Give one language, or one for each text.")
        self._languages.check(forced)
        return forced

    def _windows(self, owner: int, sentence: Sentence) -> list[_Window]:
        word_ids = self.answers.word_ids(sentence)
        bounds = split_windows(sentence, [len(ids) for ids in word_ids], self.config.max_sentence_tokens)
        parts = [sentence.slice(start, end) for start, end in bounds]
        return [_Window(owner, part, self.answers.word_ids(part), Route.nowhere(), Retrieved([], [])) for part in parts]

    def _route_and_retrieve(self, windows: list[_Window], forced: list[str] | None) -> None:
        vectors = self.encoder.encode([window.word_ids for window in windows])
        if forced is None:
            routes = self.router.route(torch.stack([v.sentence for v in vectors]))
        else:
            routes = [Route.certain(forced[window.owner]) for window in windows]
        for window, route, query in zip(windows, routes, vectors, strict=True):
            window.route = route
            window.retrieved = self._retrieve(route, query)
            window.prompt = self._writer.write(
                window.sentence,
                [hit.item for hit in window.retrieved.mentions],
                [hit.item for hit in window.retrieved.examples],
            )

    def _retrieve(self, route: Route, query: SentenceVectors) -> Retrieved:
        if not route.adapters:
            return Retrieved([], [])
        config, adapter = self.config, self.adapters[route.adapters[0]]
        return adapter.index.search(
            query,
            # Never more than the adapter has met in training.
            min(config.n_entities, adapter.manifest.n_entities),
            min(config.n_sentences, adapter.manifest.n_sentences),
            config.entity_threshold,
            config.sentence_threshold,
        )

    def _answer(self, batch: list[_Window]) -> None:
        """Decodes a batch of windows, each with its own adapters."""
        grammars = [AnswerGrammar(self.answers, window.sentence, self._labels(window.route)) for window in batch]
        self.bank.make_resident(sorted(_served_by(batch)), lambda name: self.adapters[name].lora_weights(self.base.dtype))
        prompts = [window.prompt.ids for window in batch if window.prompt]
        answers = self._decoder.decode(prompts, grammars, [window.route.mixture for window in batch])
        for window, answer in zip(batch, answers, strict=True):
            window.answer = answer

    def _labels(self, route: Route) -> list[str]:
        return sorted({label for name in route.adapters for label in self.adapters[name].manifest.entity_types})

    def _assemble(self, sentences: list[Sentence], windows: list[_Window], threshold: float) -> list[Extraction]:
        """Puts the windows of each text together again, in the order of the texts."""
        of_text: list[list[_Window]] = [[] for _ in sentences]
        for window in windows:
            of_text[window.owner].append(window)
        results = []
        for sentence, parts in zip(sentences, of_text, strict=True):
            parts.sort(key=lambda window: window.sentence.words[0].start)
            spans = [(w.sentence, scored) for w in parts if w.answer for scored in w.answer.spans if scored.score >= threshold]
            results.append(
                Extraction(
                    sentence.text,
                    [part.entity(scored.span, scored.score) for part, scored in spans],
                    parts[0].route if parts else Route.nowhere(),
                    [window.retrieved for window in parts],
                    [self.tokenizer.decode(window.prompt.ids) for window in parts if window.prompt],
                    [window.prompt.ids for window in parts if window.prompt],
                    [window.answer.ids for window in parts if window.answer],
                )
            )
        return results

    # Tensors in, tensors out

    def generate(  # type: ignore[override]
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        languages: str | Sequence[str] | None = None,
        return_dict_in_generate: bool = False,
        **unsupported: Any,
    ) -> Tensor | RetrieveAllOutput:
        """Sentence tokens in, answer tokens out; routing, prompt and adapters inside.

        Args:
            input_ids: ``[batch, tokens]``: sentences in the base's tokenizer, padded on either side.
            attention_mask: ``[batch, tokens]``: 0 at padding.
            languages: The language of all rows or of each, instead of routing.
            return_dict_in_generate: Whether to return entities, routes, prompts and scores too.
            **unsupported: Sampling and length arguments are refused: the grammar ends every answer, and the decoding is greedy.

        Returns:
            ``[batch, answer_tokens]``, padded on the right; or a :class:`RetrieveAllOutput`.

        Raises:
            TypeError: An argument makes no sense here.
        """
        if unsupported:
            raise TypeError(
                f"generate() got {', '.join(sorted(unsupported))}: answers are decoded greedily under a grammar that ends them. "
                "Call generate(input_ids, attention_mask, languages=None, return_dict_in_generate=False)."
            )
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        rows = [ids[keep.bool()] for ids, keep in zip(input_ids, mask, strict=True)]
        results = self.explain([self.tokenizer.decode(row, skip_special_tokens=True) for row in rows], languages)
        answers = [[token for answer in result.answers for token in answer] or self.answers.end for result in results]
        longest = max((len(answer) for answer in answers), default=0)
        pad = self.tokenizer.pad_token_id or 0
        padded = [answer + [pad] * (longest - len(answer)) for answer in answers]
        sequences = torch.tensor(padded, dtype=torch.int64, device=input_ids.device).reshape(len(answers), longest)
        if not return_dict_in_generate:
            return sequences
        return RetrieveAllOutput(
            sequences=sequences,
            entities=[result.entities for result in results],
            routes=[result.route for result in results],
            prompts=["\n\n".join(result.prompts) for result in results],
            scores=[[entity.score for entity in result.entities] for result in results],
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None) -> CausalLMOutput:
        """The base LLM over prompts and answers: the loss that a language is learned by.

        The LM head is multiplied at the answer's positions alone; over the whole vocabulary it would cost more than all layers.

        Args:
            input_ids: ``[batch, tokens]``: prompt and answer.
            attention_mask: ``[batch, tokens]``: 0 at padding, which stands on the right.
            labels: ``[batch, tokens]``: the answer's tokens, -100 elsewhere.

        Returns:
            The loss and the logits ``[answer_tokens, vocabulary]`` when there are labels, else logits
            ``[batch, tokens, vocabulary]``.
        """
        states = self.base.get_decoder()(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        if labels is None:
            return CausalLMOutput(logits=self._decoder.head.full(states))
        targets = labels[:, 1:]
        answer = targets != -100
        logits = self._decoder.head.full(states[:, :-1][answer])
        return CausalLMOutput(loss=torch.nn.functional.cross_entropy(logits, targets[answer]), logits=logits)


def _check_window(config: RetrieveAllConfig, base: PreTrainedModel) -> None:
    """Makes sure that the longest prompt, and an answer as long as its sentence, fit the base's window."""
    window = getattr(base.config.get_text_config(), "max_position_embeddings", None)
    needed = config.max_example_tokens + 2 * config.max_sentence_tokens
    if window is not None and needed > window:
        raise ValueError(
            f"The base LLM reads {window} tokens, but examples of {config.max_example_tokens}, a sentence of "
            f"{config.max_sentence_tokens} and its answer may take {needed}. Lower max_example_tokens or max_sentence_tokens."
        )


def _served_by(windows: Iterable[_Window]) -> set[str]:
    return {name for window in windows for name in window.route.adapters}


def _sentences(texts: str | Sequence[str] | None, words: Sequence[Sequence[str]] | None) -> list[Sentence]:
    """The caller's texts or words as sentences; anything else is refused before any work is done."""
    if (texts is None) == (words is None):
        raise TypeError('Give either texts or words: model.extract(["Angela Merkel besuchte Nairobi."]).')
    if words is not None:
        for position, row in enumerate(words):
            if isinstance(row, str) or not isinstance(row, Sequence) or not all(isinstance(word, str) for word in row):
                raise TypeError(
                    f"words[{position}] is {row!r}, not a list of strings. Give the words of each sentence as a list."
                )
        return [Sentence.from_words(row) for row in words]
    listed: list[Any] = [texts] if isinstance(texts, str) or not isinstance(texts, Iterable) else list(texts)
    for position, text in enumerate(listed):
        if not isinstance(text, str):
            raise TypeError(
                f"texts[{position}] is {text!r} ({type(text).__name__}), not a string. Give a string or a list of strings."
            )
    return [Sentence.from_text(text) for text in listed]
