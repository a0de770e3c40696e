"""Every number of the method, with the reason for its default."""

import json
from collections.abc import Iterable, Mapping
from copy import copy
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedConfig
from transformers.utils import CONFIG_NAME

from .embedded_llm import EMBEDDED_BASE
from .errors import InputError, InputTypeError
from .prompting import DECODINGS

_LARGEST, _MOST_SLOTS = 1_000_000, 4096
_CHOICES = {
    "decoding": ("auto", *DECODINGS),
    "router": ("discriminant", "vote", "combined"),
    "when_unknown": ("nearest", "mul", "both", "error", "empty"),
}
_AT_LEAST_ONE = (
    "routing_temperature",
    "k_neighbours",
    "adapters_per_sentence",
    "adapter_slots",
    "batch_size",
    "max_batch_tokens",
    "max_sentence_tokens",
)
_SHARES = ("min_weight", "stay_probability")
_FIXED = ("base_model", "base_revision", "adapters", "encoder_layer", "adapter_slots", "max_batch_tokens")
"""Fields that a loaded model is built from."""
_INSTEAD = {
    "base_revision": "Load it again with base_model=.",
    "adapters": "Use model.add_language and model.remove_language.",
    "encoder_layer": "Train adapters with another encoder_layer.",
}


class RetrieveAllConfig(PreTrainedConfig):
    """What a RetrieveAll model is made of: its base LLM, its adapters, and how it routes, retrieves and prompts.

    Every field is checked when it is set. On a loaded model, as in ``model.config.router = "vote"``, a new value takes effect at
    the next call, with these exceptions. A model is built from ``base_model``, ``base_revision``, ``adapters``,
    ``encoder_layer``, ``adapter_slots`` and ``max_batch_tokens``, so setting one of these raises :class:`InputError`; load the
    model again with the new value instead. ``max_rank`` holds for the adapters that are added or first used from then on, and
    ``collection`` for the next :meth:`RetrieveAllModel.save_pretrained`. :meth:`change` sets several fields at once.

    Args:
        base_model: The frozen LLM: ``"embedded/gemma-3-270m"``, a Hub id or a directory of any causal LM.
        base_revision: Commit hash of the base on the Hub; ``None`` takes its newest.
        adapters: Language code to its adapter: ``"owner/name@commit"`` on the Hub, or a folder inside the model's own.
        collection: Slug of a Hub collection, whose adapters are loaded as well; those in ``adapters`` come first.
        encoder_layer: Hidden layer whose states are the sentence and word vectors. Of 9, 12, 15 and 18 of the embedded LLM, 12
            finds the most mentions of the right label (78 % of the nearest; 15: 74 %, 9: 72 %) and is a third cheaper than the
            top. Measured on validation sentences by ``benchmarks.defaults``.
        n_entities: Retrieved entities in a prompt at most (n). Six, a line of the prompt. A prompt never has more than its
            adapters were trained with, which the manifest of each adapter says; a larger number is met with a warning.
        n_sentences: Retrieved sentences in a prompt at most (m), with the same limit. Two: each costs as much as the sentence
            itself.
        entity_threshold: An entity is shown when its similarity exceeds mean + ``entity_threshold`` * std of all; 1.0 leaves
            about the best sixth to choose from, so a sentence with nothing near it is shown nothing.
        sentence_threshold: The same for sentences.
        decoding: How the LLM answers: with ``"tags"``, one for each word and all in one pass; by ``"generation"`` of the
            entities, token by token; or ``"auto"``, as the manifest of each adapter prefers.
        router: ``"discriminant"``, linear discriminant analysis over the sentence vectors; ``"vote"``, the paper's nearest
            examples; or ``"combined"``, the product of both posteriors: the best calibrated, and no worse in anything that
            ``benchmarks.routing`` measures.
        routing_temperature: Of the discriminant's posterior, which is too sure of itself at 1: its Gaussians have 640 dimensions.
            Fitted by :meth:`RetrieveAllModel.calibrate`; of 1 to 24, 8 gives validation sentences of 17 languages the highest
            likelihood.
        k_neighbours: Votes (k) of ``router="vote"``. Of 1, 5, 10 and 20, ten route best at layers 12 and 15: an odd neighbour
            does not decide, and a language of twenty examples can win.
        stay_probability: That a sentence of a text keeps the language of the one before, whatever it says itself; sentences of
            one text share their evidence by it. At 0 each stands for itself.
        adapters_per_sentence: Languages in a sentence's row of M at most: at 1 it is one-hot. Two make up for what routing
            mistakes (``benchmarks.routing``, with the discriminant: F1 73.8 at 1, 74.7 at 2, no more at 3); of a sure sentence
            one is left.
        min_weight: Languages of a smaller posterior are left out of the row.
        max_distance: A sentence farther than this from the mean of every language is of an unknown one. In standard deviations
            a dimension of the router's space; fitted by :meth:`RetrieveAllModel.calibrate` so that one in a hundred sentences
            of known languages is taken for unknown. Has no effect with ``router="vote"``.
        when_unknown: What serves such a sentence: the shared ``"mul"``, if there is one; the ``"nearest"`` languages, as if it
            were known; ``"both"``, at equal weights; nothing, as its entities are ``"empty"``; or an ``"error"``. With ``"mul"``
            three languages left out came within half a point of the best other adapter, with ``"nearest"`` one fell 2.9 below.
        max_example_tokens: Budget of the retrieved part of a prompt; the farthest examples are dropped first. 192 is five
            times a typical sentence, enough for all of ``n_entities`` and ``n_sentences`` nine times in ten.
        max_sentence_tokens: Longer sentences are split at word borders into windows of at most this many tokens.
        max_rank: Adapters of a higher LoRA rank are refused: a stranger's adapter must not take all memory. Ranks in use are
            between 4 and 128.
        adapter_slots: LoRA adapters resident at a time; the least recently used leaves first.
        batch_size: Sentences decoded together unless the caller says otherwise.
        max_batch_tokens: Tokens of one forward pass, padding included, to begin with; running out of memory halves it.

    Examples:
        >>> RetrieveAllConfig(n_sentences=1).n_sentences
        1
    """

    model_type = "retrieveall"
    _auto_class = "AutoConfig"
    _in_use: bool | None = None  # none while the fields are set for the first time

    if TYPE_CHECKING:
        # That of PreTrainedConfig would give every misspelt field the type Any.
        def __getattribute__(self, key: str) -> object: ...

    def __init__(
        self,
        base_model: str = EMBEDDED_BASE,
        base_revision: str | None = None,
        adapters: dict[str, str] | None = None,
        collection: str | None = None,
        encoder_layer: int = 12,
        n_entities: int = 6,
        n_sentences: int = 2,
        entity_threshold: float = 1.0,
        sentence_threshold: float = 1.0,
        decoding: str = "auto",
        router: str = "combined",
        routing_temperature: float = 8.0,
        k_neighbours: int = 10,
        stay_probability: float = 0.9,
        adapters_per_sentence: int = 2,
        min_weight: float = 0.2,
        max_distance: float = 1.93,
        when_unknown: str = "mul",
        max_example_tokens: int = 192,
        max_sentence_tokens: int = 256,
        max_rank: int = 256,
        adapter_slots: int = 16,
        batch_size: int = 16,
        max_batch_tokens: int = 8192,
        **kwargs: Any,
    ) -> None:
        self.base_model = base_model
        self.base_revision = base_revision
        if not isinstance(adapters, dict | None):
            raise InputError(f"adapters is {adapters!r}; give language codes and where their adapters lie.")
        self.adapters = dict(adapters or {})
        self.collection = collection
        self.encoder_layer = encoder_layer
        self.n_entities = n_entities
        self.n_sentences = n_sentences
        self.entity_threshold = entity_threshold
        self.sentence_threshold = sentence_threshold
        self.decoding = decoding
        self.router = router
        self.routing_temperature = routing_temperature
        self.k_neighbours = k_neighbours
        self.stay_probability = stay_probability
        self.adapters_per_sentence = adapters_per_sentence
        self.min_weight = min_weight
        self.max_distance = max_distance
        self.when_unknown = when_unknown
        self.max_example_tokens = max_example_tokens
        self.max_sentence_tokens = max_sentence_tokens
        self.max_rank = max_rank
        self.adapter_slots = adapter_slots
        self.batch_size = batch_size
        self.max_batch_tokens = max_batch_tokens
        self._check()
        super().__init__(**kwargs)
        self._in_use = False

    def __setattr__(self, name: str, value: Any) -> None:
        if self._in_use is not None and name in self.own_fields():
            self.change({name: value})
        else:
            super().__setattr__(name, value)  # type: ignore[no-untyped-call]

    def change(self, changes: Mapping[str, Any]) -> None:
        """Replaces fields; all of them or, when one cannot be, none.

        Raises:
            InputError: A value cannot be used, or a loaded model is built from the field.
        """
        fixed = [name for name in _FIXED if name in changes and changes[name] != getattr(self, name)]
        if self._in_use and fixed:
            raise InputError(
                f"{fixed[0]} cannot be changed after loading: the model is built with {getattr(self, fixed[0])!r}. "
                f"{_INSTEAD.get(fixed[0], f'Load it again: from_pretrained(..., {fixed[0]}={changes[fixed[0]]!r}).')}"
            )
        changed = copy(self)
        changed.__dict__.update(changes)
        changed._check()
        self.__dict__.update(changes)

    def set_in_use(self) -> None:
        """Marks the configuration as that of a loaded model: the fields that the model is built from are fixed from now on."""
        self._in_use = True

    def to_dict(self) -> dict[str, Any]:
        """The fields, as ``config.json`` has them."""
        return {name: value for name, value in super().to_dict().items() if name != "_in_use"}

    def _check(self) -> None:
        """Refuses what cannot be meant: a configuration may come from the Hub."""
        for name, parameter in signature(type(self).__init__).parameters.items():
            value, default = getattr(self, name, None), parameter.default
            if not isinstance(default, int | float):
                continue
            # Thresholds count standard deviations, to both sides.
            least = 1 if name in _AT_LEAST_ONE else -_LARGEST if name.endswith("_threshold") else 0
            most = _MOST_SLOTS if name == "adapter_slots" else 1 if name in _SHARES else _LARGEST
            fits = isinstance(value, int if isinstance(default, int) else int | float) and least <= value <= most
            if not fits or isinstance(value, bool):
                raise InputError(f"{name} is {value!r}; give a number like {default}, at least {least} and at most {most:,}.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is {getattr(self, name)!r}; give one of {', '.join(map(repr, choices))}.")
        for name, kind in (("base_model", str), ("base_revision", str | None), ("collection", str | None)):
            if not isinstance(getattr(self, name), kind):
                raise InputError(f"{name} is {getattr(self, name)!r}; give a string.")
        needed = self.adapters_per_sentence + (self.when_unknown == "both")
        if needed > self.adapter_slots:
            raise InputError(
                f"{needed} adapters may serve a sentence, but adapter_slots is {self.adapter_slots}. Raise it, or lower "
                "adapters_per_sentence."
            )
        pins = self.adapters
        if not all(isinstance(text, str) for text in (*pins, *pins.values())):
            raise InputError(f"adapters is {pins!r}; give language codes and where their adapters lie.")

    @classmethod
    def parameters(cls) -> set[str]:
        """The names of all fields of ours."""
        return set(signature(cls.__init__).parameters) - {"self", "kwargs"}

    @classmethod
    def own_fields(cls) -> set[str]:
        """The names of all fields of ours, and of those that say how to load the model."""
        return cls.parameters() | {
            "model_type",
            "auto_map",
            "architectures",
            "custom_pipelines",
        }

    @classmethod
    def changeable(cls) -> set[str]:
        """The names of the fields that whoever loads a model may change; its base LLM and its adapters are its own."""
        return cls.parameters() - {"base_model", "base_revision", "adapters"}

    @classmethod
    def check_names(cls, arguments: Iterable[str]) -> None:
        """Points out a misspelt argument of ``from_pretrained``, of which the base LLM would complain from deep inside.

        Raises:
            InputTypeError: An argument is nearly one of ours.
        """
        ours = {"languages", "base_model", "strict", "revision", "token", "cache_dir", "local_files_only"} | cls.changeable()
        for name in arguments:
            if similar := get_close_matches(name, sorted(ours), n=1, cutoff=0.85):
                raise InputTypeError(f"from_pretrained() got {name!r}; did you mean {similar[0]!r}?")


def check_holds_no_other_model(folder: Path) -> None:
    """Refuses to write a configuration over that of another model, which would no longer load.

    Raises:
        FileExistsError: There is the configuration of another model.
    """
    file = folder / CONFIG_NAME
    if file.is_file():
        try:
            kind = json.loads(file.read_text(encoding="utf-8"))["model_type"]
        except (ValueError, LookupError, TypeError):
            kind = None
        if kind != RetrieveAllConfig.model_type:
            raise FileExistsError(f"{folder} holds a model of type {kind!r}, which would be lost. Choose another folder.")
