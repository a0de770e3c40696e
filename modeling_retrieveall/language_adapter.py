"""One language on disk: LoRA weights, labelled examples, their index and a manifest.

de/
  adapter_config.json, adapter_model.safetensors   plain PEFT LoRA
  retrieveall.json                                 the manifest
  examples.parquet                                 tokens and spans of the labelled examples
  retrieval.safetensors                            their vectors, and the vectors that routing votes with
  README.md                                        the model card

>>> adapter = LanguageAdapter.load("adapter_cards/de")
>>> adapter.language, adapter.manifest.entity_types, len(adapter.index.examples)
('de', ['LOC', 'ORG', 'PER'], 399)
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from .entities import Example, Sentence, Span
from .lora_bank import LoraWeights
from .prompting import PROMPT_VERSION
from .retrieval import ExampleIndex

SCHEMA_VERSION = 1
SHARED_LANGUAGE = "mul"
"""The shared multilingual adapter: BCP-47 for "multiple languages"."""

MANIFEST = "retrieveall.json"
_CONFIG, _WEIGHTS, _EXAMPLES, _VECTORS = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "examples.parquet",
    "retrieval.safetensors",
)
_PEFT_PREFIX = "base_model.model."


class AdapterError(ValueError):
    """A folder that cannot serve as a language adapter; the message names it and what is wrong."""


@dataclass
class Manifest:
    """What an adapter says of itself in ``retrieveall.json``.

    Attributes:
        language: BCP-47 code of its language, or ``"mul"``.
        entity_types: The labels it gives, as its dataset names them.
        base_model: The LLM it was trained on.
        base_revision: Commit hash of that LLM, or the checksum of the embedded one.
        hidden_size: Width of the LLM's hidden states, and so of all vectors.
        encoder_layer: Layer the vectors were read from.
        prompt_version: The prompt it was trained with.
        n_entities: Retrieved entities in a prompt at most; 0 when it was trained without.
        n_sentences: Retrieved sentences in a prompt at most; 0 when it was trained without.
        initialised_from: The adapter it started from, such as ``"mul@1f0c..."``, or ``None``.
        training: Data, duplicates dropped and hyper-parameters, for the card.
        metrics: Figures measured on a dataset, for the card.
        schema_version: Version of this layout.
    """

    language: str
    entity_types: list[str]
    base_model: str
    base_revision: str | None
    hidden_size: int
    encoder_layer: int
    prompt_version: int = PROMPT_VERSION
    n_entities: int = 6
    n_sentences: int = 2
    initialised_from: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION


class LanguageAdapter:
    """A language: manifest and index in memory, LoRA weights on disk until a route asks for them.

    Args:
        manifest: What the adapter is.
        index: Its labelled examples, with their vectors.
        routing_vectors: ``[n, hidden]``: further sentence vectors of the language, without text, that vote in routing.
        training_hashes: ``[n]`` int64: hashes of the sentences it was trained on (:func:`sentence_hash`), sorted.
        path: The folder that holds its LoRA weights.
    """

    def __init__(
        self, manifest: Manifest, index: ExampleIndex, routing_vectors: Tensor, training_hashes: Tensor, path: Path
    ) -> None:
        self.manifest = manifest
        self.index = index
        self.routing_vectors = routing_vectors
        self.training_hashes = training_hashes
        self.path = path

    @property
    def language(self) -> str:
        """BCP-47 code of the language."""
        return self.manifest.language

    @classmethod
    def load(cls, path: str | Path) -> "LanguageAdapter":
        """Reads everything but the LoRA weights, which are only checked to be there.

        Raises:
            AdapterError: The folder is not a language adapter, or a file of it is missing, damaged or of a newer schema.
        """
        path = Path(path)
        manifest = read_manifest(path)
        for name in (_CONFIG, _WEIGHTS, _EXAMPLES, _VECTORS):
            if not (path / name).is_file():
                raise AdapterError(f"{path} is incomplete: {name} is missing. Train or download the adapter again.")
        try:
            vectors = load_file(path / _VECTORS)
            _check_vectors(vectors, manifest.hidden_size)
            index = ExampleIndex(_read_examples(path / _EXAMPLES), vectors["sentences"], vectors["mentions"])
            return cls(manifest, index, vectors["routing"], vectors["training_hashes"], path)
        except (ValueError, KeyError, TypeError, IndexError, OSError, pa.ArrowException, SafetensorError) as error:
            raise AdapterError(f"{path} cannot be read as a language adapter: {error}. Train or download it again.") from error

    def save_knowledge(self, path: str | Path) -> None:
        """Writes manifest, examples and vectors into a folder; PEFT writes the LoRA weights beside them."""
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        (path / MANIFEST).write_text(json.dumps(asdict(self.manifest), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        _write_examples(self.index.examples, path / _EXAMPLES)
        tensors = {
            "sentences": _compact(self.index.sentence_vectors),
            "mentions": _compact(self.index.mention_vectors),
            "routing": _compact(self.routing_vectors),
            "training_hashes": self.training_hashes,
        }
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path / _VECTORS)

    def voting_vectors(self) -> Tensor:
        """``[examples + n, hidden]``, float32: all sentence vectors of the language."""
        return torch.cat([self.index.sentence_vectors.float(), self.routing_vectors.float()])

    def known_hashes(self) -> set[int]:
        """Hashes of every sentence that this adapter has seen: its training sentences and its examples."""
        return set(self.training_hashes.tolist()) | {sentence_hash(example.key) for example in self.index.examples}

    def lora_weights(self, dtype: torch.dtype) -> LoraWeights:
        """Reads the LoRA weights.

        Raises:
            AdapterError: The weights are not those of a plain PEFT LoRA, or not all finite.
        """
        weights = read_lora_weights(self.path, dtype)
        for name in weights.a:
            if not (weights.a[name].isfinite().all() and weights.b[name].isfinite().all()):
                raise AdapterError(
                    f"{self.path}: the weights of {name!r} are not all finite. Train or download the adapter again."
                )
        return weights

    def lora_shapes(self) -> LoraWeights:
        """The LoRA without values, on the meta device: only the header of its file is read.

        Raises:
            AdapterError: The weights are not those of a plain PEFT LoRA.
        """
        return read_lora_weights(self.path, None)


def read_lora_weights(path: Path, dtype: torch.dtype | None) -> LoraWeights:
    """The LoRA of a folder that PEFT wrote.

    Args:
        path: The folder.
        dtype: The dtype of the tensors; ``None`` reads their shapes alone.

    Raises:
        AdapterError: It is of another kind than plain LoRA, or damaged.
    """
    try:
        config = json.loads((path / _CONFIG).read_text(encoding="utf-8"))
        tensors = _shapes(path / _WEIGHTS) if dtype is None else load_file(path / _WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise AdapterError(f"{path}: the LoRA weights cannot be read: {error}. Train or download the adapter again.") from error
    _check_plain_lora(path, config)
    a: dict[str, Tensor] = {}
    b: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        name, dot, side = key.removeprefix(_PEFT_PREFIX).removesuffix(".weight").rpartition(".lora_")
        if not dot or side not in ("A", "B") or tensor.ndim != 2:
            raise AdapterError(f"{path}: tensor {key!r} is not of a plain LoRA. Train the adapter with `retrieveall train`.")
        (a if side == "A" else b)[name] = tensor.to(dtype)
    if a.keys() != b.keys():
        raise AdapterError(f"{path}: A or B is missing for {sorted(a.keys() ^ b.keys())[0]!r}. Download the adapter again.")
    if any(name.rpartition(".")[2] == "lm_head" for name in a):
        raise AdapterError(f"{path} adapts the LM head, which decoding reads row by row. Train it with `retrieveall train`.")
    return LoraWeights(a, b, {name: _scaling(config, name, a[name].shape[0]) for name in a})


def _shapes(file: Path) -> dict[str, Tensor]:
    with safe_open(file, "pt") as tensors:
        return {name: torch.empty(tensors.get_slice(name).get_shape(), device="meta") for name in tensors.keys()}  # noqa: SIM118


def _check_plain_lora(path: Path, config: Any) -> None:
    plain = isinstance(config, dict) and config.get("peft_type") == "LORA"
    if not plain or config.get("use_dora") or config.get("modules_to_save"):
        raise AdapterError(f"{path} is not a plain LoRA (no DoRA, no modules_to_save). Train it with `retrieveall train`.")
    if not isinstance(config.get("lora_alpha"), int | float):
        raise AdapterError(f"{path}: adapter_config.json has no lora_alpha. Train or download the adapter again.")


def sentence_hash(key: str) -> int:
    """A signed 64-bit hash of a sentence's words; tells a known sentence without keeping its text."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), signed=True)


def hash_sentences(examples: Iterable[Example]) -> Tensor:
    """``[n]`` int64: the sorted distinct hashes of sentences."""
    return torch.tensor(sorted({sentence_hash(example.key) for example in examples}), dtype=torch.int64)


def _scaling(config: dict[str, Any], module_name: str, rank: int) -> float:
    patterns: dict[str, float] = config.get("alpha_pattern") or {}
    # As PEFT reads them: regular expressions, of which the first that matches counts.
    matching = (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module_name))
    alpha: float = next(matching, config["lora_alpha"])
    return alpha / rank**0.5 if config.get("use_rslora") else alpha / rank


def read_manifest(path: Path) -> Manifest:
    """The manifest of an adapter's folder.

    Raises:
        AdapterError: It is missing, damaged or of a newer schema.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise AdapterError(
            f"{path} is not a language adapter: it has no {MANIFEST}. Give the folder that `retrieveall train` wrote."
        )
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        version = data["schema_version"]
        if not isinstance(version, int):
            raise TypeError(f"schema_version is {version!r}, not a number")
    except (ValueError, KeyError, TypeError) as error:
        raise AdapterError(f"{file} is damaged: {error!r}. Train or download the adapter again.") from error
    if version > SCHEMA_VERSION:
        raise AdapterError(
            f"{file} has schema {version}; this release reads up to {SCHEMA_VERSION}. Run: pip install -U retrieveall"
        )
    known = {f.name for f in fields(Manifest)}
    try:
        manifest = Manifest(**{key: value for key, value in data.items() if key in known})
        check_language(manifest.language)
        if not isinstance(manifest.entity_types, list) or not all(isinstance(label, str) for label in manifest.entity_types):
            raise ValueError(f"entity_types is {manifest.entity_types!r}, not a list of labels")
    except (TypeError, ValueError) as error:
        raise AdapterError(f"{file} is damaged or incomplete: {error}. Train or download the adapter again.") from error
    return manifest


def check_language(language: object) -> None:
    """Makes sure that a language code can be one, for it names folders too.

    Raises:
        ValueError: It does not have the form of a BCP-47 code.
    """
    if not isinstance(language, str) or not re.fullmatch(r"[a-z]{2,8}(-[A-Za-z0-9]{1,8})*", language):
        raise ValueError(f"{language!r} is no language code; write it like 'de', 'sw', 'zh-Hant' or 'mul'.")


def _compact(vectors: Tensor) -> Tensor:
    """In half precision, unless a component is too large for it."""
    half = vectors.half()
    return half if half.isfinite().all() else vectors.float()


def _check_vectors(vectors: dict[str, Tensor], hidden_size: int) -> None:
    for name in ("sentences", "mentions", "routing"):
        if vectors[name].ndim != 2 or vectors[name].shape[1] != hidden_size:
            raise ValueError(f"its {name} vectors have shape {tuple(vectors[name].shape)}, not [n, {hidden_size}]")
        if not vectors[name].isfinite().all():
            raise ValueError(f"its {name} vectors are not all finite")


def _read_examples(file: Path) -> list[Example]:
    examples = []
    for row in pq.read_table(file).to_pylist():
        spans = tuple(Span(span["start"], span["end"], span["label"]) for span in row["spans"])
        if any(not 0 <= span.start < span.end <= len(row["tokens"]) for span in spans):
            raise ValueError(f"a span of {spans} leaves its {len(row['tokens'])} words")
        examples.append(Example(Sentence.from_words(row["tokens"]), spans))
    return examples


def _write_examples(examples: Sequence[Example], file: Path) -> None:
    span = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("label", pa.string())])
    schema = pa.schema([("tokens", pa.list_(pa.string())), ("spans", pa.list_(span))])
    rows = [
        {"tokens": [word.text for word in example.sentence.words], "spans": [s._asdict() for s in example.spans]}
        for example in examples
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
