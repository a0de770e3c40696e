"""The manifest of a language adapter, ``retrieveall.json``.

>>> read_manifest(Path("adapter_cards/de")).entity_types
['LOC', 'ORG', 'PER']
"""

import json
import re
import reprlib
from collections.abc import Collection
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .atomic import replacing
from .errors import AdapterError, InputError
from .prompting import DECODINGS, PROMPT_VERSION, Decoding
from .untrusted_files import LIMITS, errors_name_file, read_json

MANIFEST = "retrieveall.json"
SCHEMA_VERSION = 1
_INDIVIDUAL_LANGUAGES = {"no": "nb"}
MULTILINGUAL = "mul"
"""Code of the multilingual adapter: BCP-47 for "multiple languages"."""


@dataclass
class Manifest:
    """The contents of ``retrieveall.json``.

    Attributes:
        language: BCP-47 code of the language, or ``"mul"``.
        entity_types: The labels of the adapter's entities, as in its dataset.
        base_model: The LLM that the adapter was trained on.
        base_revision: Commit hash of that LLM; for the embedded LLM, the checksum of its file.
        hidden_size: Width of the LLM's hidden states, and so of all vectors.
        encoder_layer: Layer from which the vectors were taken.
        prompt_version: Version of the prompt that the adapter was trained with.
        decodings: The decodings that the adapter was trained for. The first one is the default.
        n_entities: Maximum number of retrieved entities in a prompt; 0 if the adapter was trained without them.
        n_sentences: Maximum number of retrieved sentences in a prompt; 0 if the adapter was trained without them.
        initialised_from: The adapter from which training started, such as ``"someone/retrieveall-mul@1f0c..."``, or ``None``.
        multilingual_sha256: ``None`` if the files hold the whole LoRA. Otherwise they hold its difference to that of the adapter
            in the folder ``mul`` next to this one, and this is the SHA-256 of its weights. The package stores its own adapters in
            this way; all copies hold the whole LoRA.
        score_calibration: For each calibrated way of decoding the slope and the intercept of its scores
            (:class:`ScoreCalibration`).
        training: Datasets, number of removed duplicates and hyperparameters, for the model card.
        metrics: Results on a dataset, for the model card.
        schema_version: Version of this format.
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
    multilingual_sha256: str | None = None
    score_calibration: dict[str, list[float]] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION

    def save(self, folder: Path) -> None:
        """Writes the manifest into the folder of an adapter."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"
        with replacing(folder / MANIFEST) as file:
            file.write_text(text, encoding="utf-8")


def read_manifest(path: Path) -> Manifest:
    """Reads and checks the manifest of an adapter.

    Args:
        path: The folder of the adapter.

    Raises:
        AdapterError: The manifest is missing or damaged, or a newer release wrote it.
    """
    file = path / MANIFEST
    if not file.is_file():
        inside = ", ".join(str(found.parent) for found in sorted(path.glob(f"[!.]*/{MANIFEST}")))
        problem = f"it has no {MANIFEST}" if path.is_dir() else "there is no such folder"
        raise AdapterError(
            f"{path} is not a language adapter: {problem}. "
            + (f"Give one of its subfolders: {inside}" if inside else "Give the folder that `retrieveall train` wrote.")
        )
    with errors_name_file(file):
        data = read_json(file)
        version = data.get("schema_version")
        if not isinstance(version, int):
            raise TypeError(f"schema_version is {reprlib.repr(version)}, not an integer")
        if version > SCHEMA_VERSION:
            raise AdapterError(
                f"{file} has schema {version}; this release reads up to {SCHEMA_VERSION}. Run: pip install -U retrieveall"
            )
        if missing := [f.name for f in fields(Manifest) if f.default is f.default_factory is MISSING and f.name not in data]:
            raise ValueError(f"it has no {', '.join(missing)}")
        manifest = Manifest(**{f.name: data[f.name] for f in fields(Manifest) if f.name in data})
        _check(manifest)
    return manifest


def check_language(language: object) -> None:
    """Checks that a language code has the form of one. Folders are named after it.

    Raises:
        InputError: It does not have the form of a BCP-47 code.
    """
    if not isinstance(language, str) or not re.fullmatch(r"[a-z]{2,8}(-[A-Za-z0-9]{1,8})*", language):
        raise InputError(f"{reprlib.repr(language)} is not a language code. Examples: 'de', 'sw', 'zh-Hant', 'mul'.")


def matching_code(language: str, available: Collection[str]) -> str:
    """The code under which a language is available: Norwegian (``no``) is understood as Bokmål (``nb``) if only that is there.

    >>> matching_code("no", ["nb", "nn"]), matching_code("no", ["no"]), matching_code("sw", ["nb"])
    ('nb', 'no', 'sw')
    """
    other = _INDIVIDUAL_LANGUAGES.get(language, language)
    return other if other in available and language not in available else language


def check_label(label: object) -> None:
    """Checks that a label can be written into a prompt without ambiguity.

    Raises:
        InputError: It is not a string, is empty or too long, or contains a line break, ``=`` or ``;``.
    """
    printable = isinstance(label, str) and label == label.strip() and label.isprintable()
    if not printable or not 0 < len(str(label)) <= LIMITS.label_characters or re.search("[=;]", str(label)):
        raise InputError(
            f"{reprlib.repr(label)} is not a label. A label has 1 to {LIMITS.label_characters} printable "
            "characters other than '=' and ';'"
        )


def _is_calibration(numbers: object) -> bool:
    if not isinstance(numbers, list) or len(numbers) != 2 or not all(isinstance(number, float) for number in numbers):
        return False
    slope, intercept = numbers
    return bool(0 < slope <= LIMITS.calibration and abs(intercept) <= LIMITS.calibration)


def _check(manifest: Manifest) -> None:
    """Checks the types and ranges of all fields that the rest of the code relies on."""
    check_language(manifest.language)
    expected: dict[str, Any] = {
        **dict.fromkeys(("hidden_size", "encoder_layer", "prompt_version", "n_entities", "n_sentences"), int),
        "base_model": str,
        **dict.fromkeys(("base_revision", "initialised_from", "multilingual_sha256"), str | None),
        "entity_types": list,
        "score_calibration": dict,
        "training": dict,
        "metrics": list,
        "decodings": list,
    }
    for name, kind in expected.items():
        value = getattr(manifest, name)
        if not isinstance(value, kind) or (kind is int and not 0 <= value < 1 << 31):
            raise TypeError(f"{name} is {reprlib.repr(value)}")
    if not all(isinstance(result, dict) for result in manifest.metrics):
        raise TypeError(f"metrics is {reprlib.repr(manifest.metrics)}, not a list of objects")
    for decoding, numbers in manifest.score_calibration.items():
        if decoding not in DECODINGS or not _is_calibration(numbers):
            found = reprlib.repr(manifest.score_calibration)
            raise ValueError(f"score_calibration is {found}, not a slope above 0 and an intercept for each decoding")
    if not manifest.decodings or not all(decoding in DECODINGS for decoding in manifest.decodings):
        raise ValueError(f"decodings is {reprlib.repr(manifest.decodings)}; the possible ones are {', '.join(DECODINGS)}")
    if len(manifest.entity_types) > LIMITS.labels:
        raise ValueError(f"entity_types has {len(manifest.entity_types):,} labels; at most {LIMITS.labels:,} are read")
    for label in manifest.entity_types:
        check_label(label)
