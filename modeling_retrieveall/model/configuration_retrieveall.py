"""The configuration of a model: its fields, their defaults and the values that each field accepts.

>>> RetrieveAllConfig(n_entities=-1)
Traceback (most recent call last):
    ...
InputError: n_entities is -1; give a whole number from 0 to 1,000,000.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import field, fields
from difflib import get_close_matches
from functools import wraps
from inspect import formatannotation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

from huggingface_hub.dataclasses import strict, validated_field
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError
from transformers import PreTrainedConfig
from transformers.utils import CONFIG_NAME

from .embedded_llm import EMBEDDED_BASE
from .errors import InputError, InputTypeError

C = TypeVar("C", bound=type)
RouterKind = Literal["discriminant", "vote", "combined"]

_LARGEST = 1_000_000
_FIXED = {
    "base_model": "Load the model again with base_model=.",
    "base_revision": "Load the model again with base_model=.",
    "adapters": "Use model.add_language and model.remove_language.",
    "encoder_layer": "Load adapters that were trained with the other encoder_layer.",
    "adapter_slots": "Load the model again with adapter_slots=.",
    "max_batch_tokens": "Load the model again with max_batch_tokens=.",
}
"""The fields that a model is built from, and what to do instead of changing them on a loaded model."""


def _number(default: float, least: float, most: float = _LARGEST) -> Any:
    """A dataclass field that accepts the numbers from ``least`` to ``most``."""

    def check_bounds(value: float) -> None:
        if not least <= value <= most:
            raise ValueError(f"{value} is not between {least} and {most}.")

    return validated_field(check_bounds, default=default, metadata={"bounds": (least, most)})


def _accepted_values(config_class: type[PreTrainedConfig], name: str) -> str:
    """What a field accepts, in words."""
    declared = config_class.__dataclass_fields__[name]
    if bounds := declared.metadata.get("bounds"):
        return f"{'a whole number' if declared.type is int else 'a number'} from {bounds[0]:,} to {bounds[1]:,}"
    if get_origin(declared.type) is Literal:
        return f"one of {', '.join(map(repr, get_args(declared.type)))}"
    return f"a value of type {formatannotation(declared.type)}"


def _raise_input_errors(config_class: C) -> C:
    """Makes a ``@strict`` class raise :class:`InputError`: the errors of ``@strict`` are not ``ValueError``."""
    changed: Any = config_class
    strict_init, strict_setattr = changed.__init__, changed.__setattr__

    @wraps(strict_init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            strict_init(self, *args, **kwargs)
        except StrictDataclassClassValidationError as error:
            raise InputError(str(error.__cause__)) from error

    @wraps(strict_setattr)
    def __setattr__(self: Any, name: str, value: Any) -> None:
        try:
            strict_setattr(self, name, value)
        except StrictDataclassFieldValidationError as error:
            raise InputError(f"{name} is {value!r}; give {_accepted_values(changed, name)}.") from error

    changed.__init__, changed.__setattr__ = __init__, __setattr__
    return config_class


@_raise_input_errors
@strict
class RetrieveAllConfig(PreTrainedConfig):
    """The base LLM and the adapters of a model, and how the model routes, retrieves and decodes.

    Every field is validated whenever it is set, alone and together with the others. :meth:`change` changes fields of a loaded
    model, and says which fields can be changed; ``model.config.router = "vote"`` is short for
    ``model.config.change({"router": "vote"})``.

    Attributes: The model
        base_model: The frozen LLM: ``"embedded/gemma-3-270m"``, or a Hub id or a folder of any causal LM.
        base_revision: Commit hash of the base LLM on the Hub. ``None`` takes the newest.
        adapters: Maps a language code to its adapter: ``"owner/name@commit"`` on the Hub, or a folder inside that of the model.
        collection: Slug of a Hub collection whose adapters are loaded as well. For a language in both, ``adapters`` wins.

    Attributes: Routing
        encoder_layer: Hidden layer whose states are the sentence and word vectors. A middle layer finds similar mentions better
            than the last one, and costs less.
        router: ``"discriminant"``: linear discriminant analysis (LDA) over the sentence vectors. ``"vote"``: the k nearest
            examples, as in the paper. ``"combined"``: the product of both posteriors, which is the best calibrated.
        routing_temperature: Softmax temperature of the LDA posterior. At 1 it is overconfident, because distances are summed
            over 640 dimensions. :meth:`RetrieveAllModel.calibrate_router` fits it.
        k_neighbours: Number of nearest examples (k) that vote.
        stay_probability: Probability that a sentence is in the language of the sentence before it in the text. It smooths the
            posteriors of a text; at 0 every sentence is routed independently.
        adapters_per_sentence: Maximum number of adapters that are mixed for one sentence. Two compensate for routing errors.
        min_weight: Languages with a smaller posterior are not mixed in.
        max_distance: A sentence farther than this from the mean of every language is treated as being in an unknown language. The
            unit is standard deviations per dimension of the LDA space. :meth:`RetrieveAllModel.calibrate_router` fits it. No
            effect with ``router="vote"``.
        when_unknown: What decodes a sentence in an unknown language: the multilingual adapter if there is one (``"mul"``), the
            adapters of the nearest languages (``"nearest"``), or both with equal weights (``"both"``). ``"empty"`` returns no
            entities, and ``"error"`` raises an error.

    Attributes: Retrieval
        n_entities: Maximum number of retrieved entities in a prompt (n). A prompt never has more than the adapter was trained
            with, which its manifest states; a warning says so.
        n_sentences: Maximum number of retrieved sentences in a prompt (m), with the same limit.
        entity_threshold: An entity is included in the prompt if its similarity exceeds mean + ``entity_threshold`` * standard
            deviation of the similarities to all entities of the index.
        sentence_threshold: The same for sentences.
        match_weight: Weight of the labels in the examples for words that are a mention there, from 0 to 1, when tags are decoded.
            A mention that occurs n times has ``match_weight * n / (n + 1)``.
        max_example_tokens: Maximum number of tokens of the retrieved part of a prompt. The least similar examples are dropped
            first.

    Attributes: Decoding
        decoding: ``"tags"``: one tag per word, all in one forward pass. ``"generation"``: the entities as text, token by token.
            ``"auto"``: what the manifest of each adapter recommends.
        batch_size: Default number of sentences that are decoded together.

    Attributes: Limits
        max_sentence_tokens: Longer sentences are split at word boundaries into windows of at most this many tokens.
        max_batch_tokens: Maximum number of tokens in one forward pass, with padding. Halved when memory runs out.
        adapter_slots: Number of LoRA adapters that stay in memory. The least recently used is replaced first.
        max_rank: Adapters with a higher LoRA rank are refused, so that an untrusted adapter cannot fill the memory.

    Raises:
        InputError: A field has a value that it does not accept.

    Examples:
        >>> config = RetrieveAllConfig(n_sentences=1)
        >>> config.change({"n_entities": 3, "n_sentences": 0})
        >>> config.n_entities, config.n_sentences
        (3, 0)
    """

    model_type = "retrieveall"
    _auto_class = "AutoConfig"

    if TYPE_CHECKING:
        # With the method of PreTrainedConfig, mypy would accept every misspelt field.
        def __getattribute__(self, key: str) -> object: ...

    base_model: str = EMBEDDED_BASE
    base_revision: str | None = None
    adapters: dict[str, str] = field(default_factory=dict)
    collection: str | None = None

    encoder_layer: int = _number(12, least=0)
    router: RouterKind = "combined"
    routing_temperature: int | float = _number(8.0, least=1)
    k_neighbours: int = _number(10, least=1)
    stay_probability: int | float = _number(0.9, least=0, most=1)
    adapters_per_sentence: int = _number(2, least=1)
    min_weight: int | float = _number(0.2, least=0, most=1)
    max_distance: int | float = _number(1.93, least=0)
    when_unknown: Literal["nearest", "mul", "both", "error", "empty"] = "mul"

    n_entities: int = _number(6, least=0)
    n_sentences: int = _number(2, least=0)
    entity_threshold: int | float = _number(1.0, least=-_LARGEST)
    sentence_threshold: int | float = _number(1.0, least=-_LARGEST)
    match_weight: int | float = _number(0.7, least=0, most=1)
    max_example_tokens: int = _number(192, least=0)

    decoding: Literal["auto", "tags", "generation"] = "auto"
    batch_size: int = _number(16, least=1)

    max_sentence_tokens: int = _number(256, least=1)
    max_batch_tokens: int = _number(8192, least=1)
    adapter_slots: int = _number(16, least=1, most=4096)
    max_rank: int = _number(256, least=0)

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        self._in_use = False

    def validate_adapter_slots(self) -> None:
        """Checks that the adapters of one sentence fit into the slots."""
        needed = self.adapters_per_sentence + (self.when_unknown == "both")
        if needed > self.adapter_slots:
            raise InputError(
                f"A sentence may need {needed} adapters, but adapter_slots is {self.adapter_slots}. Raise adapter_slots or lower "
                "adapters_per_sentence."
            )

    def __setattr__(self, name: str, value: Any) -> None:
        if "_in_use" in self.__dict__ and name in self.field_names():
            self.change({name: value})
        elif self.__dict__.get("_in_use") and not hasattr(self, name) and (similar := suggestion(name, self.field_names())):
            raise InputTypeError(f"RetrieveAllConfig has no field {name!r}{similar}")
        else:
            super().__setattr__(name, value)  # type: ignore[no-untyped-call]

    def change(self, changes: Mapping[str, Any]) -> None:
        """Changes fields. If one value is not accepted, no field changes.

        On a loaded model the new values take effect at the next call, except that ``max_rank`` applies to the adapters that are
        added or first used afterwards, and ``collection`` to the next :meth:`RetrieveAllModel.save_pretrained`. The fields that
        a model is built from cannot be changed on a loaded model: ``base_model``, ``base_revision``, ``adapters``,
        ``encoder_layer``, ``adapter_slots`` and ``max_batch_tokens``.

        Args:
            changes: Maps the names of fields to their new values.

        Raises:
            InputError: A value is not accepted, or a loaded model is built from the field.
            InputTypeError: There is no such field.
        """
        before = {name: getattr(self, name) for name in self.field_names()}
        if unknown := sorted(changes.keys() - before.keys()):
            raise InputTypeError(f"RetrieveAllConfig has no field {unknown[0]!r}{suggestion(unknown[0], before) or '.'}")
        for name in _FIXED:
            if self._in_use and name in changes and changes[name] != before[name]:
                raise InputError(
                    f"{name} cannot be changed after loading: the model is built with {before[name]!r}. {_FIXED[name]}"
                )
        type(self)(**before | dict(changes))  # validates the new values, also together with the old ones
        self.__dict__.update(changes)

    def set_in_use(self) -> None:
        """Marks the configuration as that of a loaded model: the fields that the model is built from can no longer change."""
        self._in_use = True

    def to_dict(self) -> dict[str, Any]:
        """The fields as they are written to ``config.json``."""
        return {name: value for name, value in super().to_dict().items() if name != "_in_use"}

    @classmethod
    def field_names(cls) -> set[str]:
        """The names of the fields that this class adds to ``PreTrainedConfig``."""
        return {declared.name for declared in fields(cls)} - {declared.name for declared in fields(PreTrainedConfig)}

    @classmethod
    def file_keys(cls) -> set[str]:
        """The keys that are read from ``config.json``: all fields, and those that tell transformers how to load the model."""
        return cls.field_names() | {"model_type", "auto_map", "architectures", "custom_pipelines"}

    @classmethod
    def changeable(cls) -> set[str]:
        """The names of the fields that ``from_pretrained`` accepts as arguments."""
        return cls.field_names() - {"base_model", "base_revision", "adapters"}


def suggestion(name: str, known: Iterable[str]) -> str:
    """The most similar of the known names as a question, or nothing."""
    similar = get_close_matches(name, sorted(known), n=1, cutoff=0.8)
    return f"; did you mean {similar[0]!r}?" if similar else ""


def check_holds_no_other_model(folder: Path) -> None:
    """Checks that a folder does not hold the configuration of another model, which saving would overwrite.

    Raises:
        FileExistsError: The folder holds the configuration of another model.
    """
    file = folder / CONFIG_NAME
    if file.is_file():
        try:
            kind = json.loads(file.read_text(encoding="utf-8"))["model_type"]
        except (ValueError, LookupError, TypeError):
            kind = None
        if kind != RetrieveAllConfig.model_type:
            raise FileExistsError(f"{folder} holds a model of type {kind!r}, which would be overwritten. Choose another folder.")
