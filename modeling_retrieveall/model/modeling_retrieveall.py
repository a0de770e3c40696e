"""The model: a frozen base LLM, one LoRA adapter and one index of labelled examples per language.

>>> model = RetrieveAllModel.from_pretrained("shipped")
>>> model.extract("Angela Merkel besuchte Nairobi.").entities
[Entity(text='Angela Merkel', label='PER', start=0, end=13, score=0.99), Entity(text='Nairobi', label='LOC', ...)]
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, Unpack, overload

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutput

from .adapter_registry import AdapterRegistry
from .answer_format import AnswerFormat
from .backends import DecodingBackend, PreparedSentence
from .base_llm import load_base, pinned_revision, placement
from .configuration_retrieveall import RetrieveAllConfig
from .decoding import LMHead
from .documents import checked_texts
from .entities import Example, Sentence
from .errors import InputError, InputTypeError
from .extractor import Extractor
from .generated_tokens import output_of, sentences_of
from .hub_files import Hub, Snapshot
from .installed_package import from_package
from .language_adapter import LanguageAdapter
from .loading_arguments import LoadingArguments
from .loss import hidden_states, labelled_logits
from .model_source import SkippedAdapters, resolve_adapter, resolve_model
from .origin import BaseOrigin, Origin, load_again
from .outputs import Extraction, RetrieveAllOutput
from .prompting import Decoding
from .request import ExtractOptions, Request
from .saving import without_weight_arguments, write_model
from .typed_model import TypedPreTrainedModel


class RetrieveAllModel(TypedPreTrainedModel):
    """Named entity recognition in many languages with one frozen LLM.

    Load it with :meth:`from_pretrained` and call :meth:`extract`.

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
        self.base_origin: BaseOrigin | None = None
        self.registry = AdapterRegistry(base, config)
        self.adapters, self.bank, self.router = self.registry.adapters, self.registry.bank, self.registry.router
        self.answers = AnswerFormat(tokenizer)
        self.extractor = Extractor(base, config, self.registry, self.answers)
        self.encoder = self.extractor.encoder
        self._head = LMHead(base)
        self.post_init()
        config.set_in_use()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "config" and "config" in self.__dict__:
            raise InputError("The configuration of a model cannot be replaced. Change its fields with model.config.change(...).")
        super().__setattr__(name, value)

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Initialises nothing: the base LLM is pretrained and the adapters are trained."""

    def get_output_embeddings(self) -> torch.nn.Module:
        """Returns the base LLM's output embeddings. They may be tied to its input embeddings, so shard both together."""
        return self.base.get_output_embeddings()  # type: ignore[no-any-return]

    def set_output_embeddings(self, new_embeddings: torch.nn.Module) -> None:
        """Replaces the base LLM's output embeddings."""
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
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        quantization: str | None = None,
        strict: bool = False,
        revision: str | None = None,
        **arguments: Any,
    ) -> Self:
        """Loads a base LLM and the adapters of a model.

        The LoRA weights of adapters on the Hub are fetched when a sentence is first routed to them.

        Args:
            pretrained_model_name_or_path: ``"shipped"`` (the default): the model that comes with the package; or a folder that
                ``save_pretrained`` wrote; or the folder of one or several adapters that ``retrieveall train`` wrote; or the
                repository of a model or an adapter on the Hub, or the slug of a collection on the Hub.
            config: A configuration that replaces the one stored with the model, as ``AutoModel`` passes it.
            base_model: The base LLM, instead of the one in the configuration: a Hub id or a folder, such as a local copy.
                It is not stored: the adapters belong to the base LLM in the configuration, which :meth:`save_pretrained` and
                :meth:`push_to_hub` write unchanged. Give it again to load the saved model.
            languages: The languages to load, beside the multilingual adapter ``mul``; all when not given.
            device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...; a GPU if there is one when not given.
            dtype: ``"float32"``, ``"bfloat16"``, ``"float16"`` or a torch dtype; bfloat16 if the device multiplies it natively,
                else float32, when not given.
            quantization: ``"4bit"`` (NF4) and ``"8bit"`` quantise the base LLM with bitsandbytes, ``"int8"`` for a CPU.
            strict: Raise an error for an adapter on the Hub that cannot be used, instead of a warning.
            revision: Branch, tag or commit hash of the model's repository.
            **arguments: Fields of :class:`RetrieveAllConfig`, which replace the stored ones (``collection``, ``n_sentences``);
                ``token``, ``cache_dir``, ``local_files_only`` for all that is fetched from the Hub; all others are passed to
                the base LLM's ``from_pretrained``: ``device_map``, ``quantization_config``, ``attn_implementation``, ...

        Raises:
            FileNotFoundError: There is no such model.
            HubError: The Hub does not have it, or cannot be reached.
            InputError: A language is not one of the model's, or an argument has a value that cannot be used.
            InputTypeError: An argument is misspelt or not supported.
            AdapterError: An adapter belongs to another base LLM.

        Examples:
            >>> model = RetrieveAllModel.from_pretrained("shipped", languages=["de", "ru"])
            >>> list(model.languages)
            ['de', 'mul', 'ru']
        """
        given, skipped = LoadingArguments.sorted(arguments, config), SkippedAdapters(strict)
        found = resolve_model(pretrained_model_name_or_path, given.hub, revision, skipped, given.fields)
        name = base_model or (config.base_model if config else None) or found.config.base_model
        known = found.config.base_revision if name == found.config.base_model else None
        revision = pinned_revision(name, known, given.hub)
        for_base = given.base | placement(device, dtype, quantization, given.base)
        base, tokenizer = load_base(name, revision, given.hub, **for_base)
        if name == found.config.base_model:  # adapters belong to the base LLM of the configuration, not to a replacement
            found.config.base_revision = found.config.base_revision or revision
        model = cls(found.config, base, tokenizer)
        model.hub, model.home, model.base_origin = given.hub, found.snapshot, BaseOrigin(name, revision, for_base)
        model.registry.add_all(found.adapters, languages, skipped)
        return model.eval()

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | Path,
        is_main_process: bool = True,
        *,
        collection: str | None = None,
        push_to_hub: bool = False,
        **arguments: Any,
    ) -> None:
        """Writes configuration, code and adapters, never the base weights.

        Adapters from the Hub are pinned by their commits; adapters from folders are copied to ``adapters/<language>``. The folder
        loads with ``AutoModel.from_pretrained(folder, trust_remote_code=True)``. It may be the folder that the model was loaded
        from. Other files there are kept.

        Args:
            save_directory: The folder; it is created if missing.
            is_main_process: Whether this process writes; of several processes only one should.
            collection: Slug of the Hub collection from which the saved model takes further languages, instead of the one in its
                configuration.
            push_to_hub: Whether to call :meth:`push_to_hub` as well.
            **arguments: With ``push_to_hub``: ``repo_id`` (default: the name of the folder) and arguments of
                :meth:`push_to_hub`. The base class's arguments about weights have no effect.

        Raises:
            InputError: The copy of an adapter would replace the files of another one that the model has loaded.
            FileExistsError: The folder holds another model, such as the base LLM.
            OSError: The folder cannot be written.
        """
        if not is_main_process:
            return
        folder = Path(save_directory)
        with self.extractor.lock:  # no other thread may change a language meanwhile
            write_model(self, folder, collection)
        if push_to_hub:
            repo_id = arguments.pop("repo_id", folder.name)
            self.push_to_hub(repo_id, collection=collection, **without_weight_arguments(arguments))

    def push_to_hub(self, repo_id: str, **arguments: Any) -> Any:  # type: ignore[override]
        """Pushes configuration, code, adapters and a card to a model repository in one commit, never the base weights.

        Of an adapter that is on the Hub, only the commit is written.

        Args:
            repo_id: ``"owner/name"``; created if missing.
            **arguments: ``collection``, ``private``, ``create_pr``, ``commit_message``, ``token`` (:func:`hub.push.push_model`).

        Returns:
            The repository, commit and URL (:class:`hub.push.PushResult`).

        Raises:
            MissingPackageError: The package is not installed; remote code can load models, but not publish them.
            HubError: The Hub refuses it or cannot be reached; the repository is unchanged then.
        """
        return from_package("hub.push", "push_model")(self, repo_id, **arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        """Makes pickle and copy store the origin of the model, and load it again from there.

        Raises:
            InputTypeError: The model was built from parts in memory, a server decodes for it, or its adapters were changed.
        """
        return load_again, (Origin.of(self),)

    # Languages

    @property
    def languages(self) -> dict[str, str]:
        """The source of each adapter, by language code; ``mul`` is the multilingual adapter.

        Examples:
            >>> model.languages
            {'de': 'someone/retrieveall-de@0f1c2d...', 'sw': 'runs/sw'}
        """
        return {language: adapter.source for language, adapter in sorted(self.adapters.copy().items())}

    def add_language(self, source: str | Path, revision: str | None = None) -> str:
        """Adds a language adapter, or replaces that of its language. The adapters of other languages do not change.

        Args:
            source: The adapter's folder, or its repository on the Hub.
            revision: Branch, tag or commit hash of the repository.

        Returns:
            The language code.

        Raises:
            AdapterError: It is not an adapter, or it belongs to another base LLM, encoder layer or prompt.
            HubError: The Hub does not have it, or cannot be reached.
        """
        adapter = LanguageAdapter.load(resolve_adapter(source, self.hub, revision))
        with self.extractor.lock:
            self.registry.add(adapter)
        return adapter.language

    def remove_language(self, language: str) -> None:
        """Removes a language. The adapters of other languages do not change.

        Args:
            language: Its code.

        Raises:
            InputError: There is no such language.
        """
        with self.extractor.lock:
            self.registry.remove(language)

    def add_examples(self, language: str, examples: Iterable[Example]) -> int:
        """Adds labelled sentences to the index of a language. They take effect at once, without training.

        A sentence with the same words as an existing example replaces that example. :meth:`save_pretrained` stores them.

        Args:
            language: The language.
            examples: The labelled sentences, as :func:`load_examples` reads them.

        Returns:
            How many were added or replaced.

        Raises:
            InputError: There is no such language, or an entity has a type that the adapter does not have.

        Examples:
            >>> model.add_examples("sw", load_examples("corrected.jsonl", "train").examples)
            20
        """
        return self.extractor.add_examples(language, examples)

    def remove_examples(self, language: str, examples: Iterable[Example]) -> int:
        """Removes examples from the index of a language.

        Args:
            language: The language.
            examples: Sentences. The examples that have the same words are removed.

        Returns:
            How many were removed.

        Raises:
            InputError: There is no such language, or it would have no examples left.
        """
        return self.extractor.remove_examples(language, examples)

    # Extraction

    @overload
    def extract(  # type: ignore[overload-overlap]  # a string is a sequence of strings as well
        self, texts: str | Sentence, **options: Unpack[ExtractOptions]
    ) -> Extraction: ...

    @overload
    def extract(self, texts: Sequence[str | Sentence | Sequence[str]], **options: Unpack[ExtractOptions]) -> list[Extraction]: ...

    def extract(
        self,
        texts: str | Sentence | Sequence[str | Sentence | Sequence[str]],
        *,
        language: str | Sequence[str] | None = None,
        prior: Mapping[str, float] | None = None,
        labels: Sequence[str] | None = None,
        threshold: float | Mapping[str, float] = 0.0,
        is_split_into_words: bool = False,
        decoding: Decoding | None = None,
        batch_size: int | None = None,
        details: bool = False,
        near_misses: float | None = None,
        consistent_labels: bool = False,
    ) -> Extraction | list[Extraction]:
        """Extracts the named entities of texts in any mixture of languages.

        A text is processed sentence by sentence. The sentences of one text are routed together.

        Args:
            texts: A text or a list of texts, of any length.
            language: The language of all texts or of each text; without it the texts are routed.
            prior: Prior weight of each language, such as ``{"da": 2, "nb": 1}``. Other languages are ruled out, and no sentence
                is treated as being in an unknown language.
            labels: The entity types to return, such as ``["PER"]``; all by default.
            threshold: Minimum score of an entity: a number, or numbers by entity type, such as ``{"PER": 0.5, "ORG": 0.8}``.
            is_split_into_words: Whether each text is a sentence that is split into words, as a list of strings. Offsets are then
                into ``" ".join(words)``.
            decoding: ``"tags"`` or ``"generation"``, instead of what the configuration says.
            batch_size: Maximum number of sentences that are decoded together, instead of what the configuration says.
            details: Whether the results keep posterior, retrieved examples, known mentions and prompt of each sentence.
            near_misses: Also return spans with at least this score that are no entities, as ``near_misses`` of the results.
            consistent_labels: Whether a name that occurs several times in a text gets the same type everywhere, unless the
                context of an occurrence clearly says otherwise. It needs adapters that decode tags.

        Returns:
            One :class:`Extraction` for a string, a list for a list. Entities are in order of appearance and do not overlap;
            ``text[entity.start : entity.end] == entity.text``.

        Raises:
            InputTypeError: A text is not a string.
            InputError: A language is not one of the model's, or a number is out of its range.
            AdapterError: The adapter of the given language is damaged.
            HubError: The weights of an adapter cannot be fetched.
            PrecisionError: The base LLM overflows in its data type.
            ServerError: A server decodes, and fails.
            UnknownLanguageError: A sentence is in no language of the model, and ``config.when_unknown`` is ``"error"``.
            MemoryError: A sentence does not fit into memory, even alone.

        Examples:
            >>> model.extract("Wangari Maathai alizaliwa Nyeri.", language="mul").entities[0].text
            'Wangari Maathai'
        """
        listed, single = checked_texts(texts, is_split_into_words)
        request = Request(language, prior, labels, threshold, decoding, batch_size, details, near_misses, consistent_labels)
        results = self.extractor.extract(listed, request)
        return results[0] if single else results

    def prepare(
        self,
        texts: Sequence[str | Sentence],
        *,
        language: str | Sequence[str] | None = None,
        prior: Mapping[str, float] | None = None,
        decoding: Decoding | None = None,
    ) -> list[list[PreparedSentence]]:
        """Runs all steps of :meth:`extract` before decoding.

        Args:
            texts: A list of texts.
            language: As for :meth:`extract`.
            prior: As for :meth:`extract`.
            decoding: As for :meth:`extract`.

        Returns:
            The prepared sentences of each text, with route, labels and prompt.

        Raises:
            InputTypeError: A text is not a string.
            InputError: A language is not one of the model's.
        """
        listed, _ = checked_texts(texts, is_split_into_words=False)
        return self.extractor.prepare(listed, Request(language, prior, decoding=decoding))

    def use_backend(self, backend: DecodingBackend) -> None:
        """Decodes with another backend from now on. Routing, retrieval and prompts stay in this process.

        Args:
            backend: The backend.
        """
        with self.extractor.lock:
            self.extractor.backend = backend

    def use_server(self, url: str, api_key: str = "none") -> None:
        """Decodes on a vLLM server from now on. Routing, retrieval and prompts stay in this process.

        Args:
            url: The address of the server, with ``/v1``.
            api_key: The value of ``vllm serve --api-key``.

        Raises:
            MissingPackageError: The package or its extra ``vllm`` is not installed.
        """
        backend = from_package("serving.vllm_client", "VLLMBackend", extra="vllm")
        self.use_backend(backend(url, self.answers, api_key))

    def calibrate_router(self, texts: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Fits the router to sentences of known languages, for another base LLM or another kind of text.

        It sets ``routing_temperature``, so that confidences are calibrated, and ``max_distance``, so that 1 % of these sentences
        are farther away. :meth:`save_pretrained` stores both. It does not change the scores of entities.

        Args:
            texts: For each language that is routed to, some hundred sentences that no adapter was trained on.

        Returns:
            The fields that were set: none with ``router="vote"``, and ``max_distance`` alone with one language.

        Raises:
            InputError: A language is missing, is not one of the model's, or has no sentences.

        Examples:
            >>> model.calibrate_router({"de": german_sentences, "ru": russian_sentences})
            {'routing_temperature': 8.0, 'max_distance': 1.93}
        """
        return self.extractor.calibrate_router(texts)

    # Tensors in, tensors out

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        language: str | Sequence[str] | None = None,
        return_dict_in_generate: bool = False,
        **unsupported: Any,
    ) -> Tensor | RetrieveAllOutput:
        """Takes the tokens of sentences and returns the tokens of answers. It is :meth:`extract` for tensors.

        Args:
            input_ids: ``[batch, tokens]``: sentences in the base LLM's tokenizer, padded on either side.
            attention_mask: ``[batch, tokens]``: 0 at padding.
            language: The language of all rows or of each row; without it the rows are routed.
            return_dict_in_generate: Whether to return entities, routes, prompts and scores too.
            **unsupported: Sampling and length arguments are refused: decoding is greedy, and the grammar ends every answer.

        Returns:
            ``[batch, answer_tokens]``, padded on the right; or a :class:`RetrieveAllOutput`. A row with several sentences has
            their answers one after another, each ended by its line break.

        Raises:
            InputTypeError: An argument is not supported.
            InputError: A tensor has another shape.
        """
        if unsupported:
            raise InputTypeError(
                f"generate() got {', '.join(sorted(unsupported))}: answers are decoded greedily under a grammar that ends them. "
                "Call generate(input_ids, attention_mask, language=None, return_dict_in_generate=False)."
            )
        texts = sentences_of(self.tokenizer, input_ids, attention_mask)
        sequences, output = output_of(self.extract(texts, language=language, details=True), self.answers, input_ids.device)
        return output if return_dict_in_generate else sequences

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        candidates: Tensor | None = None,
        prefix_ids: Tensor | None = None,
        prefix_mask: Tensor | None = None,
    ) -> CausalLMOutput:
        """Runs the base LLM over prompts, or computes the loss of prompts with answers.

        Args:
            input_ids: ``[batch, tokens]``: prompt and answer.
            attention_mask: ``[batch, tokens]``: 0 at padding, which is on the right.
            labels: ``[batch, tokens]``: the token to predict from the position before; -100 where there is no loss.
            candidates: ``[n]``: the sorted tokens among which labels are predicted; the whole vocabulary when not given.
            prefix_ids: ``[batch, prefix]``: tokens before the prompt, which the base LLM reads without the LoRA in training.
            prefix_mask: ``[batch, prefix]``: 0 at padding of the prefix, which is on the right.

        Returns:
            The logits ``[batch, tokens, vocabulary]`` without labels; the loss alone with labels, as logits of the whole
            vocabulary at every position would cost more than all layers.
        """
        states = hidden_states(self.base, input_ids, attention_mask, prefix_ids, prefix_mask)  # [batch, tokens, hidden]
        if labels is None:
            return CausalLMOutput(logits=self._head.full(states))
        logits, targets = labelled_logits(self._head, states, labels, candidates)
        return CausalLMOutput(loss=torch.nn.functional.cross_entropy(logits, targets))
