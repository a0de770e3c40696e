"""What a language adapter says of itself, in ``retrieveall.json``.

>>> read_manifest(Path("adapter_cards/de")).entity_types
['LOC', 'ORG', 'PER']
"""

import json
import re
import reprlib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .atomic import replacing
from .errors import InputError
from .lora_files import AdapterError
from .prompting import DECODINGS, PROMPT_VERSION, Decoding

MANIFEST = "retrieveall.json"
SCHEMA_VERSION = 1
SHARED_LANGUAGE = "mul"
"""The shared multilingual adapter: BCP-47 for "multiple languages"."""

_LONGEST_LABEL = 64
MOST_LABELS = 1000  # each is a branch of the grammar of every answer


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
        decodings: The ways of answering that it has learned, the one to prefer first.
        n_entities: Retrieved entities in a prompt at most; 0 when it was trained without.
        n_sentences: Retrieved sentences in a prompt at most; 0 when it was trained without.
        initialised_from: The adapter it started from, such as ``"someone/retrieveall-mul@1f0c..."``, or ``None``.
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
    decodings: list[Decoding] = field(default_factory=lambda: ["generation"])
    n_entities: int = 6
    n_sentences: int = 2
    initialised_from: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION

    def save(self, folder: Path) -> None:
        """Writes it into an adapter's folder."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"
        with replacing(folder / MANIFEST) as file:
            file.write_text(text, encoding="utf-8")


def read_manifest(path: Path) -> Manifest:
    """The manifest of an adapter's folder.

    Raises:
        AdapterError: It is missing, damaged or of a newer schema.
    """
    file = path / MANIFEST
    if not file.is_file():
        inside = ", ".join(str(found.parent) for found in sorted(path.glob(f"[!.]*/{MANIFEST}")))
        raise AdapterError(
            f"{path} is not a language adapter: it has no {MANIFEST}. "
            f"Give {f'one of those in it: {inside}' if inside else 'the folder that `retrieveall train` wrote'}."
        )
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        version = data["schema_version"]
        if not isinstance(version, int):
            raise TypeError(f"schema_version is {version!r}, not a number")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise AdapterError(f"{file} is damaged: {error!r}. Train or download the adapter again.") from error
    if version > SCHEMA_VERSION:
        raise AdapterError(
            f"{file} has schema {version}; this release reads up to {SCHEMA_VERSION}. Run: pip install -U retrieveall"
        )
    known = {f.name for f in fields(Manifest)}
    try:
        manifest = Manifest(**{key: value for key, value in data.items() if key in known})
        _check(manifest)
    except (TypeError, ValueError) as error:
        raise AdapterError(f"{file} is damaged or incomplete: {error}. Train or download the adapter again.") from error
    return manifest


def check_language(language: object) -> None:
    """Makes sure that a language code can be one, for it names folders too.

    Raises:
        InputError: It does not have the form of a BCP-47 code.
    """
    if not isinstance(language, str) or not re.fullmatch(r"[a-z]{2,8}(-[A-Za-z0-9]{1,8})*", language):
        raise InputError(f"{reprlib.repr(language)} is no language code; write it like 'de', 'sw', 'zh-Hant' or 'mul'.")


def _check(manifest: Manifest) -> None:
    """Makes sure of the types that the rest of the code relies on: strangers write manifests too."""
    check_language(manifest.language)
    expected: dict[str, Any] = {
        **dict.fromkeys(("hidden_size", "encoder_layer", "prompt_version", "n_entities", "n_sentences"), int),
        "base_model": str,
        "base_revision": str | None,
        "initialised_from": str | None,
        "entity_types": list,
        "training": dict,
        "metrics": list,
        "decodings": list,
    }
    for name, kind in expected.items():
        value = getattr(manifest, name)
        if not isinstance(value, kind) or (kind is int and not 0 <= value < 1 << 31):
            raise TypeError(f"{name} is {reprlib.repr(value)}")
    if not all(isinstance(figures, dict) for figures in manifest.metrics):
        raise TypeError(f"metrics is {reprlib.repr(manifest.metrics)}, not a list of figures")
    if not manifest.decodings or not all(decoding in DECODINGS for decoding in manifest.decodings):
        raise ValueError(f"decodings is {reprlib.repr(manifest.decodings)}; it lists some of {', '.join(DECODINGS)}")
    if len(manifest.entity_types) > MOST_LABELS:
        raise ValueError(f"entity_types lists {len(manifest.entity_types):,} labels; at most {MOST_LABELS:,} are read")
    for label in manifest.entity_types:
        check_label(label)


def check_label(label: object) -> None:
    """Makes sure that a label can stand in a prompt and be told from what stands around it.

    Raises:
        InputError: It is no string, empty, too long, or has a line break or one of the marks ``=`` and ``;``.
    """
    fits = isinstance(label, str) and 0 < len(label) <= _LONGEST_LABEL and label == label.strip() and label.isprintable()
    if not fits or re.search("[=;]", str(label)):
        raise InputError(f"{reprlib.repr(label)} in entity_types is no label; write it like 'PER' or 'creative work'")
