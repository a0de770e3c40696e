"""The model: a frozen base LLM, one LoRA adapter and one index of examples per language.

>>> model = RetrieveAllModel.from_pretrained("shipped")
>>> model.extract(["Angela Merkel besuchte Nairobi."])
[[Entity(text='Angela Merkel', label='PER', start=0, end=13, score=0.99), Entity(text='Nairobi', label='LOC', ...)]]
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.dynamic_module_utils import custom_object_save
from transformers.modeling_outputs import CausalLMOutput

from .adapter_registry import Languages
from .answer_format import AnswerFormat
from .atomic import check_sources, updating
from .backends import Answerer, LocalAnswerer
from .base_llm import load_base, pinned_revision
from .configuration_retrieveall import RetrieveAllConfig, check_holds_no_other_model
from .decoding import LMHead
from .documents import Window, check_threshold, checked_texts, entities_of
from .entities import Entity, Sentence
from .errors import InputError, InputTypeError, MissingPackageError
from .extractor import Extractor
from .hub_files import Hub, Snapshot
from .language_adapter import LanguageAdapter
from .model_source import Refusals, find, locate
from .origin import BaseOrigin, Origin, file_states
from .outputs import Extraction, RetrieveAllOutput, ServedSentence
from .pipeline_retrieveall import CUSTOM_PIPELINES
from .prompting import Decoding
from .tagging import read_without_lora
from .tokenization_retrieveall import write_tokenizer_pointer
from .typed_model import TypedPreTrainedModel

_HUB_ARGUMENTS = ("token", "cache_dir", "local_files_only")
# What AutoModel passes on that means nothing here.
_AUTO_ARGUMENTS = ("trust_remote_code", "adapter_kwargs", "force_download", "proxies", "subfolder", "_from_auto", "_commit_hash")


class RetrieveAllModel(TypedPreTrainedModel):
    """Named entity recognition in many languages with one frozen LLM.

    Build it with :meth:`from_pretrained`; :meth:`extract` is the whole of daily use.

    Args:
        config: The model's configuration.
        base: The base LLM.
        tokenizer: The base's tokenizer.
    """

    config: RetrieveAllConfig
    config_class = RetrieveAllConfig
    base_model_prefix = "base"
    _auto_class = "AutoModel"

    def __init__(self, config: RetrieveAllConfig, base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(config)
        self.base: PreTrainedModel = base.eval()
        self.tokenizer = tokenizer
        self.hub = Hub()
        self.home: Snapshot | None = None
        self._base_origin: BaseOrigin | None = None
        self._languages = Languages(base, config)
        self.adapters, self.bank, self.router = self._languages.adapters, self._languages.bank, self._languages.router
        self.answers = AnswerFormat(tokenizer)
        self._extractor = Extractor(base, config, self._languages, self.answers)
        self.encoder = self._extractor.encoder
        self._head = LMHead(base)
        self.post_init()
        config.set_in_use()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "config" and "config" in self.__dict__:
            raise InputError("The configuration of a model cannot be replaced. Change its fields with model.config.change(...).")
        super().__setattr__(name, value)

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Nothing: the base is pretrained and the adapters are trained."""

    def get_output_embeddings(self) -> torch.nn.Module:
        """The base's, which may be its input embeddings: who splits a model must keep the two together."""
        return self.base.get_output_embeddings()  # type: ignore[no-any-return]

    def set_output_embeddings(self, new_embeddings: torch.nn.Module) -> None:
        """Replaces the base's."""
        self.base.set_output_embeddings(new_embeddings)

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
    ) -> Self:
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

        Examples:
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
        if name == found.config.base_model:  # the adapters are of the base that the configuration names, not of its substitute
            found.config.base_revision = found.config.base_revision or revision
        model = cls(found.config, base, tokenizer)
        model.hub, model.home, model._base_origin = hub, found.home, BaseOrigin(name, revision, arguments)
        model._languages.add_all(found.adapters, languages, refusals)
        model.eval()
        return model

    def save_pretrained(self, save_directory: str | Path, collection: str | None = None) -> None:  # type: ignore[override]
        """Writes configuration, code and adapters, never the base weights.

        Adapters of the Hub are pinned by their commits; those of folders are copied to ``adapters/<language>``. The folder loads
        with ``AutoModel.from_pretrained(folder, trust_remote_code=True)``.

        It may be the folder that the model was loaded from: adapters that lie in their places already stay as they are. Each
        file and adapter is written aside and moved into place, and what else the folder holds is kept.

        Args:
            save_directory: The folder; made if missing.
            collection: Slug of the Hub collection from which the saved model takes further languages, instead of its own.

        Raises:
            InputError: The copy of an adapter would replace the files of another one that the model has loaded.
            FileExistsError: The folder holds another model, such as the base LLM.
            OSError: The folder cannot be written.
        """
        folder = Path(save_directory)
        check_holds_no_other_model(folder)
        places = {language: f"adapters/{language}" for language, adapter in self.adapters.items() if not adapter.pin}
        for language, name in places.items():
            check_sources(folder / name, [other.path for code, other in self.adapters.items() if code != language])
        config = type(self.config).from_dict(self.config.to_dict())
        config.collection = collection or config.collection
        config.adapters = {
            language: adapter.pin or adapter.copy_to(folder, places[language])
            for language, adapter in sorted(self.adapters.items())
        }
        config.architectures = [type(self).__name__]
        config.custom_pipelines = CUSTOM_PIPELINES
        with updating(folder) as written:
            custom_object_save(self, written, config=config)  # type: ignore[arg-type]
            write_tokenizer_pointer(written)
            config.save_pretrained(written)

    def push_to_hub(self, repo_id: str, **arguments: Any) -> Any:  # type: ignore[override]
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
            from modeling_retrieveall.hub.push import push_model
        except ImportError as error:
            raise MissingPackageError("Publishing needs the package itself. Run: pip install retrieveall") from error
        return push_model(self, repo_id, **arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        """Lets pickle and copy store what the model was loaded from, and load it again from there.

        Raises:
            TypeError: The model was built from parts in memory, or a server answers for it.
        """
        if self._base_origin is None:
            raise InputTypeError(
                "This model was built from a base LLM in memory, which is not stored with it, so it cannot be pickled or copied. "
                "Load a model in each process with RetrieveAllModel.from_pretrained."
            )
        if not isinstance(self._extractor.answerer, LocalAnswerer):
            raise InputTypeError(
                f"A {type(self._extractor.answerer).__name__} answers for this model, so it cannot be pickled or copied. Load a "
                "model in each process with RetrieveAllModel.from_pretrained, and call answer_with there."
            )
        return _load_again, (self._origin(self._base_origin),)

    def _origin(self, base: BaseOrigin) -> Origin:
        adapters = {code: adapter.snapshot or adapter.path for code, adapter in sorted(self.adapters.items())}
        name = str(Path(base.name).absolute()) if Path(base.name).is_dir() else base.name
        # A quantised base has several dtypes, none of which it was loaded with.
        dtype = {} if getattr(self.base, "is_quantized", False) else {"dtype": self.base.dtype}
        return Origin(
            base=BaseOrigin(name, base.revision, base.arguments | dtype),
            device=None if "device_map" in base.arguments else str(self.base.device),
            config={field: getattr(self.config, field) for field in sorted(RetrieveAllConfig.parameters())},
            adapters=adapters,
            hub=self.hub,
            home=self.home,
            files=file_states(name, adapters.values()),
        )

    # Languages

    @property
    def languages(self) -> dict[str, str]:
        """The languages there are, by code, and where the adapter of each is from; ``mul`` is the shared one.

        Examples:
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
        with self._extractor.lock:
            self._languages.add(adapter)
        return adapter.language

    def remove_language(self, language: str) -> None:
        """Takes a language away. Nothing else changes.

        Raises:
            ValueError: There is no such language.
        """
        with self._extractor.lock:
            self._languages.remove(language)

    # Extraction

    def extract(
        self,
        texts: str | Sequence[str] | None = None,
        languages: str | Sequence[str] | None = None,
        batch_size: int | None = None,
        *,
        words: Sequence[Sequence[str] | Sentence] | None = None,
        threshold: float = 0.0,
        prior: Mapping[str, float] | None = None,
    ) -> list[list[Entity]]:
        """Finds the named entities of texts, whatever mixture of languages they are in.

        A text is served sentence by sentence; its sentences share their evidence of the language.

        Args:
            texts: A text or a list of texts, of any length.
            languages: The language of all texts or of each, instead of routing.
            batch_size: Sentences decoded together; the configuration's when not given.
            words: Instead of texts, the words of each sentence; offsets are then into ``" ".join(words)``. A ``Sentence`` is
                taken as it is.
            threshold: Entities of a lower score are left out.
            prior: How likely languages are before any text is read, such as ``{"da": 2, "no": 1}``; others are ruled out, and
                no text is taken for one of an unknown language.

        Returns:
            For each text its entities, in order of appearance and without overlap; ``text[e.start:e.end] == e.text``.

        Raises:
            TypeError: A text is not a string.
            ValueError: A language is not among the model's, or a number is out of its range.
            UnknownLanguageError: A sentence is in no language of the model, and ``when_unknown="error"``.
            MemoryError: A text does not fit into memory, even alone.

        Examples:
            >>> model.extract("Wangari Maathai alizaliwa Nyeri.", languages="mul")[0][0].text
            'Wangari Maathai'
        """
        check_threshold(threshold)
        listed = checked_texts(texts, words)
        served = self._extractor.serve(listed, self._extractor.request(len(listed), languages, batch_size, prior))
        return [entities_of(windows, threshold) for windows in served]

    def explain(
        self,
        texts: str | Sequence[str] | None = None,
        languages: str | Sequence[str] | None = None,
        batch_size: int | None = None,
        *,
        words: Sequence[Sequence[str] | Sentence] | None = None,
        threshold: float = 0.0,
        prior: Mapping[str, float] | None = None,
    ) -> list[Extraction]:
        """As :meth:`extract`, with the posterior, the route, the retrieved examples and the prompt of each sentence.

        Examples:
            >>> model.explain("Angela Merkel besuchte Nairobi.")[0].route
            Route(language='de', adapters=('de',), weights=(1.0,), confidence=0.99, known=True)
        """
        check_threshold(threshold)
        listed = checked_texts(texts, words)
        request = self._extractor.request(len(listed), languages, batch_size, prior, explained=True)
        served = self._extractor.serve(listed, request)
        return [
            Extraction(
                text if isinstance(text, str) else text.text,
                entities_of(windows, threshold),
                [ServedSentence.of(window, self.answers) for window in windows],
            )
            for text, windows in zip(listed, served, strict=True)
        ]

    def prepare(
        self,
        texts: str | Sequence[str],
        languages: str | Sequence[str] | None = None,
        *,
        prior: Mapping[str, float] | None = None,
        decoding: Decoding | None = None,
    ) -> list[list[Window]]:
        """As :meth:`extract` up to the prompts: the sentences of each text as they would be answered.

        Args:
            texts: As for :meth:`extract`.
            languages: As for :meth:`extract`.
            prior: As for :meth:`extract`.
            decoding: How the LLM will answer, instead of what the configuration says.

        Examples:
            >>> model.prepare("Angela Merkel besuchte Nairobi.")[0][0].labels
            ['LOC', 'ORG', 'PER']
        """
        listed = checked_texts(texts, None)
        request = self._extractor.request(len(listed), languages, prior=prior, decoding=decoding)
        return self._extractor.prepare(listed, request)

    def answer_with(self, answerer: Answerer) -> None:
        """Lets something else answer than the base LLM here, such as a server; it routes, retrieves and prompts as before.

        Examples:
            >>> model.answer_with(VLLMAnswerer("http://localhost:8000/v1", model.answers))
        """
        with self._extractor.lock:
            self._extractor.answerer = answerer

    def calibrate(self, texts: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Fits the routing to sentences whose languages are known: for another base LLM, or other kinds of text.

        Sets ``routing_temperature``, so that a confidence of 0.8 is right four times in five, and ``max_distance``, beyond which
        one in a hundred of these sentences lies. :meth:`save_pretrained` stores both.

        Args:
            texts: Each language that is routed to, and sentences of it; some hundred, none of which an adapter was trained on.

        Returns:
            The fields that were set.

        Raises:
            ValueError: A language is missing, is none of the model's, or has no sentences.

        Examples:
            >>> model.calibrate({"de": german_sentences, "ru": russian_sentences})
            {'routing_temperature': 8.0, 'max_distance': 1.93}
        """
        return self._extractor.calibrate(texts)

    # Tensors in, tensors out

    def generate(
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
            ``[batch, answer_tokens]``, padded on the right; or a :class:`RetrieveAllOutput`. A row of several sentences has their
            answers one after the other, each ended by its line break.

        Raises:
            TypeError: An argument makes no sense here.
        """
        if unsupported:
            raise InputTypeError(
                f"generate() got {', '.join(sorted(unsupported))}: answers are decoded greedily under a grammar that ends them. "
                "Call generate(input_ids, attention_mask, languages=None, return_dict_in_generate=False)."
            )
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        rows = [ids[keep.bool()] for ids, keep in zip(input_ids, mask, strict=True)]
        results = self.explain([str(self.tokenizer.decode(row, skip_special_tokens=True)) for row in rows], languages)
        answers = [[token for each in result.sentences for token in each.answer_ids] or self.answers.end for result in results]
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
            prompts=["\n\n".join(sentence.prompt for sentence in result.sentences) for result in results],
            scores=[[entity.score for entity in result.entities] for result in results],
        )

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        candidates: Tensor | None = None,
        prefix_ids: Tensor | None = None,
        prefix_mask: Tensor | None = None,
    ) -> CausalLMOutput:
        """The base LLM over prompts and answers: the loss that a language is learned by.

        The LM head is multiplied at the answer's positions alone; over the whole vocabulary it would cost more than all layers.

        Args:
            input_ids: ``[batch, tokens]``: prompt and answer.
            attention_mask: ``[batch, tokens]``: 0 at padding, which stands on the right.
            labels: ``[batch, tokens]``: what the LLM should predict after the token before, -100 where that does not matter.
            candidates: ``[n]``: the tokens among which it predicts, sorted; the whole vocabulary when not given.
            prefix_ids: ``[batch, prefix]``: what the base reads before, without the LoRA that is trained.
            prefix_mask: ``[batch, prefix]``: 0 at its padding, which stands on the right.

        Returns:
            The loss and the logits ``[answer_tokens, vocabulary or n]`` when there are labels, else logits
            ``[batch, tokens, vocabulary]``.
        """
        decoder = self.base.get_decoder()
        before: dict[str, Any] = {"use_cache": False}
        if prefix_ids is not None and prefix_mask is not None:
            before = read_without_lora(decoder, prefix_ids, prefix_mask, input_ids.shape[1])
            attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            attention_mask = torch.cat([prefix_mask, attention_mask], 1)
        states = decoder(input_ids=input_ids, attention_mask=attention_mask, **before).last_hidden_state
        if labels is None:
            return CausalLMOutput(logits=self._head.full(states))
        shifted = labels[:, 1:]
        asked = shifted != -100
        targets, at_targets = shifted[asked], states[:, :-1][asked]
        if candidates is None:
            logits = self._head.full(at_targets)
        else:
            logits, targets = self._head(at_targets, candidates), torch.searchsorted(candidates, targets)
        return CausalLMOutput(loss=torch.nn.functional.cross_entropy(logits, targets), logits=logits)


def _load_again(origin: Origin) -> RetrieveAllModel:
    """Loads a model that was pickled or copied.

    AutoModel makes a class of its own from RetrieveAllModel, which pickle does not find, so the class is not stored.
    """
    base, tokenizer = load_base(origin.base.name, origin.base.revision, origin.hub, **origin.base.arguments)
    model = RetrieveAllModel(RetrieveAllConfig(**origin.config), base, tokenizer)
    model.hub, model.home, model._base_origin = origin.hub, origin.home, origin.base
    model._languages.add_all(origin.adapters, None, Refusals(strict=True))
    if origin.device:
        model.to(origin.device)
    model.eval()
    return model
