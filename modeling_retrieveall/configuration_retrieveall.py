"""Every number of the method, with the reason for its default."""

from collections.abc import Iterable, Mapping
from copy import copy
from difflib import get_close_matches
from inspect import signature
from typing import Any

from transformers import PreTrainedConfig

from .embedded import EMBEDDED_BASE

_LARGEST, _MOST_SLOTS = 1_000_000, 4096
_CHOICES = {"router": ("discriminant", "vote", "combined"), "when_unknown": ("nearest", "mul", "both", "error", "empty")}
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


class RetrieveAllConfig(PreTrainedConfig):
    """What a RetrieveAll model is made of: its base LLM, its adapters, and how it routes, retrieves and prompts.

    Args:
        base_model: The frozen LLM: ``"embedded/gemma-3-270m"``, a Hub id or a directory of any causal LM.
        base_revision: Commit hash of the base on the Hub; ``None`` takes its newest.
        adapters: Language code to its adapter: ``"owner/name@commit"`` on the Hub, or a folder inside the model's own.
        collection: Slug of a Hub collection, whose adapters are loaded as well; those in ``adapters`` come first.
        encoder_layer: Hidden layer whose states are the sentence and word vectors. Of 9, 12, 15 and 18 of the embedded LLM, 12
            finds the most mentions of the right label (78 % of the nearest; 15: 74 %, 9: 72 %) and is a third cheaper than the
            top. Measured on validation sentences by ``benchmarks.defaults``.
        n_entities: Retrieved entities in a prompt (n). Six, a line of the prompt.
        n_sentences: Retrieved sentences in a prompt (m). Two: each costs as much as the sentence itself.
        entity_threshold: An entity is shown when its similarity exceeds mean + ``entity_threshold`` * std of all; 1.0 leaves
            about the best sixth to choose from, so a sentence with nothing near it is shown nothing.
        sentence_threshold: The same for sentences.
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
            raise ValueError(f"adapters is {adapters!r}; give language codes and where their adapters lie.")
        self.adapters = dict(adapters or {})
        self.collection = collection
        self.encoder_layer = encoder_layer
        self.n_entities = n_entities
        self.n_sentences = n_sentences
        self.entity_threshold = entity_threshold
        self.sentence_threshold = sentence_threshold
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

    def change(self, changes: Mapping[str, Any]) -> None:
        """Replaces fields; all of them or, when one cannot be, none.

        Raises:
            ValueError: A value cannot be meant.
        """
        changed = copy(self)
        for name, value in changes.items():
            setattr(changed, name, value)
        changed._check()
        for name, value in changes.items():
            setattr(self, name, value)

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
                raise ValueError(f"{name} is {value!r}; give a number like {default}, at least {least} and at most {most:,}.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; give one of {', '.join(map(repr, choices))}.")
        for name, kind in (("base_model", str), ("base_revision", str | None), ("collection", str | None)):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} is {getattr(self, name)!r}; give a string.")
        needed = self.adapters_per_sentence + (self.when_unknown == "both")
        if needed > self.adapter_slots:
            raise ValueError(
                f"{needed} adapters may serve a sentence, but adapter_slots is {self.adapter_slots}. Raise it, or lower "
                "adapters_per_sentence."
            )
        pins = self.adapters
        if not all(isinstance(text, str) for text in (*pins, *pins.values())):
            raise ValueError(f"adapters is {pins!r}; give language codes and where their adapters lie.")

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
            TypeError: An argument is nearly one of ours.
        """
        ours = {"languages", "base_model", "strict", "revision", "token", "cache_dir", "local_files_only"} | cls.changeable()
        for name in arguments:
            if similar := get_close_matches(name, sorted(ours), n=1, cutoff=0.85):
                raise TypeError(f"from_pretrained() got {name!r}; did you mean {similar[0]!r}?")
