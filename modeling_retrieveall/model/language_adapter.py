"""A language adapter: LoRA weights, labelled examples, an index of their vectors, and a manifest.

de/
  adapter_config.json, adapter_model.safetensors   a plain LoRA in the format of PEFT
  retrieveall.json                                 the manifest
  examples.parquet                                 the labelled examples
  retrieval.safetensors                            vectors of the examples, and further vectors for the router
  README.md                                        the model card

>>> adapter = LanguageAdapter.load("adapter_cards/de")
>>> adapter.language, adapter.manifest.entity_types, len(adapter.index.examples)
('de', ['LOC', 'ORG', 'PER'], 466)
"""

import hashlib
import shutil
from collections.abc import Iterable
from copy import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from .atomic import replacing, updating
from .entities import Example
from .errors import AdapterError, InputError, InputTypeError
from .example_files import EXAMPLES, check_spans, read_examples, write_examples
from .hub_files import HubError, HubUnreachableError, Snapshot, errors_name_repository
from .lora_bank import LoraWeights
from .lora_difference import join_lora, join_shapes
from .lora_files import LORA_CONFIG, LORA_WEIGHTS, check_finite, read_lora, write_lora
from .manifest import MANIFEST, MULTILINGUAL, Manifest, read_manifest
from .retrieval import ExampleIndex
from .untrusted_files import LIMITS, check_files, errors_name_file
from .vector_files import VECTORS, StoredVectors, read_hashes, read_vectors, write_vectors

INDEX_FILES = {
    MANIFEST: LIMITS.json_bytes,
    EXAMPLES: LIMITS.examples_file_bytes,
    VECTORS: LIMITS.tensors_file_bytes,
    LORA_CONFIG: LIMITS.json_bytes,
}
"""The files that are read when a model is loaded, with the maximum size of each in bytes."""
WEIGHT_FILES = {LORA_WEIGHTS: LIMITS.tensors_file_bytes}
"""The files that are read when the language is first used."""
CARD, PLOT = "README.md", "training.png"
CARD_FILES = {CARD: LIMITS.card_bytes, PLOT: LIMITS.plot_bytes}
"""The files of the model card. An adapter works without them."""
ADAPTER_FILES = {**INDEX_FILES, **WEIGHT_FILES, **CARD_FILES}
"""All files of an adapter."""
_FILES_OF_FILE_MANAGERS = {".DS_Store", "Thumbs.db", "desktop.ini"}


class LanguageAdapter:
    """One language: manifest and index in memory, LoRA weights on disk or on the Hub until they are needed.

    Args:
        manifest: The manifest.
        index: The labelled examples with their vectors.
        routing_vectors: ``[n, hidden]``: vectors of further sentences, whose text is not stored. Only the router uses them.
        training_hashes: ``[n]`` int64: sorted hashes (:func:`sentence_hash`) of the sentences that the adapter was trained on.
        path: The folder that holds the LoRA weights, or will hold them.
        snapshot: The repository on the Hub, if the adapter is from there.
    """

    def __init__(
        self,
        manifest: Manifest,
        index: ExampleIndex,
        routing_vectors: Tensor,
        training_hashes: Tensor,
        path: Path,
        snapshot: Snapshot | None = None,
    ) -> None:
        self.manifest = manifest
        self.index = index
        self.routing_vectors = routing_vectors
        self.training_hashes = training_hashes
        self.path = path.absolute()  # the working directory may change before the weights are read
        self._given = path
        self.snapshot = snapshot
        self.edited = False  # whether manifest or examples differ from those on disk or on the Hub
        self._stored: StoredVectors | None = None  # the vectors as they were read from disk
        self._fetched = False  # whether the weights have been downloaded and verified

    @property
    def language(self) -> str:
        """BCP-47 code of the language."""
        return self.manifest.language

    @property
    def source(self) -> str:
        """The origin of the adapter: ``"someone/retrieveall-de@<commit>"`` or a folder; "changed" if it was changed since."""
        return f"{self.snapshot or self._given}{' (changed)' if self.edited else ''}"

    @property
    def pin(self) -> str | None:
        """``"owner/name@<commit>"``, by which a model can refer to the adapter; ``None`` if it has no repository of its own."""
        return str(self.snapshot) if self.snapshot and not self.snapshot.folder and not self.edited else None

    def with_index(self, index: ExampleIndex) -> "LanguageAdapter":
        """The same adapter with other examples.

        Raises:
            InputError: No examples would be left for the router.
        """
        if self.language != MULTILINGUAL and not index.examples and not len(self.routing_vectors):
            raise InputError(f"{self.language!r} would have no examples left, and the router needs at least one.")
        adapter = copy(self)
        adapter.index, adapter.edited = index, True
        return adapter

    def without_examples(self, examples: Iterable[Example]) -> "LanguageAdapter":
        """The adapter without the examples that have the words of the given ones; the same object if it has none of them.

        Raises:
            InputTypeError: One of them is not an example.
            InputError: No examples would be left for the router.
        """
        left = self.index.without({example.units for example in checked_examples(examples)})
        return self if len(left.examples) == len(self.index.examples) else self.with_index(left)

    def with_manifest(self, manifest: Manifest) -> "LanguageAdapter":
        """The same adapter with another manifest."""
        adapter = copy(self)
        adapter.manifest, adapter.edited = manifest, True
        return adapter

    def copy_to(self, folder: Path, name: str) -> str:
        """Copies the adapter to ``folder/name`` and replaces an adapter that is there.

        The copy holds the whole LoRA, even if the files of this adapter hold its difference to the multilingual adapter.

        Returns:
            ``name``.

        Raises:
            AdapterError: The weights are a difference, and the multilingual adapter is missing or another one.
            FileExistsError: ``folder/name`` holds something other than an adapter.
            HubError: The weights are on the Hub and cannot be downloaded.
        """
        if self.snapshot:
            self.snapshot.fetch(WEIGHT_FILES)
        target = folder / name
        if target.resolve() != self.path.resolve():
            check_holds_only_adapter(target)
            with replacing(target, [self.path]) as written:
                written.mkdir()
                for file in ADAPTER_FILES:  # other files in the folder are not copied
                    if (self.path / file).is_file():
                        shutil.copyfile(self.path / file, written / file)
                if self.manifest.multilingual_sha256 or self.edited:
                    self.write_lora(written)
                    self.with_manifest(replace(self.manifest, multilingual_sha256=None)).save_index(written)
        elif self.edited:
            self.save_index(self.path)
            self.edited = False
        return name

    def write_lora(self, folder: Path) -> None:
        """Writes the whole LoRA into an existing folder, in the format of PEFT.

        Raises:
            AdapterError: The weights are a difference, and the multilingual adapter is missing or another one.
        """
        if self.manifest.multilingual_sha256:
            write_lora(folder, self.lora_weights(torch.bfloat16), self.path / LORA_CONFIG)
        else:
            for name in (LORA_CONFIG, LORA_WEIGHTS):
                shutil.copyfile(self.path / name, folder / name)

    @classmethod
    def load(cls, source: str | Path | Snapshot) -> "LanguageAdapter":
        """Reads an adapter without its LoRA weights. Weights on the Hub are downloaded when they are needed.

        Args:
            source: The folder of the adapter, or a snapshot of a repository on the Hub.

        Raises:
            AdapterError: The folder is not a language adapter, a newer release wrote it, or a file is missing, damaged or too
                large.
            HubError: The Hub does not have the adapter.
        """
        if isinstance(source, Snapshot):
            path = source.fetch(INDEX_FILES)
            with errors_name_repository(path, source):
                return cls._read(path, source)
        path = Path(source)
        read_manifest(path)  # first, because its error says whether the folder is an adapter at all
        check_files(path, INDEX_FILES | WEIGHT_FILES)
        return cls._read(path, None)

    @classmethod
    def _read(cls, path: Path, snapshot: Snapshot | None) -> "LanguageAdapter":
        manifest = read_manifest(path)
        with errors_name_file(path / EXAMPLES):
            examples = read_examples(path / EXAMPLES, manifest.entity_types)
        with errors_name_file(path / VECTORS):
            stored = read_vectors(path / VECTORS, manifest.hidden_size)
            index = ExampleIndex(examples, stored.sentences, stored.mentions)
            if manifest.n_entities and index.mentions and not len(stored.mentions):
                raise ValueError("it has no vectors of the mentions, which prompts with entities need")
        shared = path.parent / MULTILINGUAL / VECTORS
        if manifest.multilingual_sha256 and shared.is_file():
            with errors_name_file(shared):
                stored = stored.with_hashes(torch.unique(torch.cat([stored.training_hashes, read_hashes(shared)])))
        adapter = cls(manifest, index, stored.routing, stored.training_hashes, path, snapshot)
        adapter._stored = stored
        return adapter

    def save_index(self, path: str | Path) -> None:
        """Writes manifest, examples and vectors into a folder. PEFT writes the LoRA weights into the same folder."""
        # Written to a temporary folder first, because the vectors may be memory-mapped from the file to be replaced.
        with updating(Path(path)) as folder:
            self.manifest.save(folder)
            write_examples(self.index.examples, folder / EXAMPLES)
            vectors = (self.index.sentence_vectors, self.index.mention_vectors, self.routing_vectors, self.training_hashes)
            with_mentions = self.manifest.n_entities > 0  # prompts without entities need no search over mentions
            if self._stored and self._stored.holds(*vectors):
                (self._stored if with_mentions else self._stored.without_mentions()).write(folder / VECTORS)
            else:
                sentences, mentions, *others = vectors
                write_vectors(folder / VECTORS, sentences, mentions if with_mentions else mentions[:0], *others)

    def sentence_vectors(self) -> Tensor:
        """``[examples + n, hidden]``, float32: all sentence vectors of the language."""
        return torch.cat([self.index.sentence_vectors.float(), self.routing_vectors.float()])

    def known_hashes(self) -> set[int]:
        """Hashes of the sentences that the adapter was trained on and of its examples."""
        return set(self.training_hashes.tolist()) | {sentence_hash(example.key) for example in self.index.examples}

    def lora_weights(self, dtype: torch.dtype) -> LoraWeights:
        """Reads the LoRA weights, and downloads them first if they are on the Hub.

        Args:
            dtype: The dtype of the tensors.

        Raises:
            AdapterError: The weights are missing, too large, not all finite, or not those of a plain LoRA.
            HubUnreachableError: The weights cannot be downloaded now.
        """
        weights = self._read_lora(dtype)
        with errors_name_repository(self.path, self.snapshot):
            check_finite(self.path, weights)
        return weights

    def lora_shapes(self) -> LoraWeights:
        """Reads the shapes of the LoRA weights, as tensors on the meta device, from the header of the file.

        Raises:
            AdapterError: The weights are missing, too large, or not those of a plain LoRA.
            HubUnreachableError: The weights cannot be downloaded now.
        """
        return self._read_lora(None)

    def _read_lora(self, dtype: torch.dtype | None) -> LoraWeights:
        if self.snapshot and not self._fetched:
            try:
                self.snapshot.fetch(WEIGHT_FILES)
                self._fetched = True
            except HubUnreachableError:
                raise
            except HubError as error:  # missing, too large or withdrawn: a retry cannot help
                raise AdapterError(str(error)) from error
        with errors_name_repository(self.path, self.snapshot):
            weights = read_lora(self.path, dtype)
            if self.manifest.multilingual_sha256 is None:
                return weights
            join = join_shapes if dtype is None else join_lora
            return join(self._read_multilingual(dtype), weights)

    def _read_multilingual(self, dtype: torch.dtype | None) -> LoraWeights:
        """The LoRA of the multilingual adapter to which the weights of this adapter are the difference."""
        shared = self.path.parent / MULTILINGUAL
        if not (shared / LORA_WEIGHTS).is_file():
            raise AdapterError(
                f"{self.path} holds only the difference to the multilingual adapter, which must be in {shared}. Use a copy that "
                "`save_pretrained` or `retrieveall push` wrote; these hold the whole LoRA."
            )
        if dtype is None:
            return read_lora(shared, None)
        state = (shared / LORA_WEIGHTS).stat()
        found, weights = _read_and_hashed(shared, dtype, state.st_mtime_ns, state.st_size)
        if found != self.manifest.multilingual_sha256:
            raise AdapterError(
                f"{self.path} holds the difference to another multilingual adapter than that in {shared}. Install the "
                "package again."
            )
        return weights


@lru_cache(maxsize=1)
def _read_and_hashed(folder: Path, dtype: torch.dtype, changed: int, size: int) -> tuple[str, LoraWeights]:
    """The checksum and the weights of a LoRA, which are kept in memory, because many languages are a difference to it.

    Args:
        folder: The folder of the adapter.
        dtype: The dtype of the weights.
        changed: When the file was changed, so that another file is read again.
        size: Its size.
    """
    with (folder / LORA_WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), read_lora(folder, dtype)


def check_holds_only_adapter(folder: Path) -> None:
    """Checks that a folder can be replaced without losing anything but an adapter.

    Raises:
        FileExistsError: The folder holds something else, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file. Choose another output.")
    names = sorted(file.name for file in folder.iterdir()) if folder.exists() else []
    if names and MANIFEST not in names:
        raise FileExistsError(f"{folder} exists and is not a language adapter, so it is not replaced. Choose another output.")
    if others := [name for name in names if name not in ADAPTER_FILES and name not in _FILES_OF_FILE_MANAGERS]:
        raise FileExistsError(
            f"{folder} contains files that do not belong to the adapter and would be lost: {', '.join(others[:3])}"
            f"{', ...' if len(others) > 3 else ''}. Move them away, or choose another output."
        )


def sentence_hash(key: str) -> int:
    """A signed 64-bit hash of the words of a sentence, by which a known sentence is recognised without storing its text.

    Args:
        key: The words, as :attr:`Example.key` joins them.
    """
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), signed=True)


def checked_examples(examples: Iterable[Example], manifest: Manifest | None = None) -> list[Example]:
    """Checks examples that are to be added to an adapter; returns them as a list.

    Args:
        examples: The examples.
        manifest: The manifest of the adapter. Without it their entities are not checked.

    Raises:
        InputTypeError: One of them is not an example.
        InputError: One of them has no words, overlapping entities or entities outside of its words, or an entity type that the
            adapter does not have.
    """
    if isinstance(examples, Example):
        raise InputTypeError("Give a list of examples, not one Example.")
    listed = list(examples)
    if others := [example for example in listed if not isinstance(example, Example)]:
        raise InputTypeError(f"{others[0]!r:.80} is not an Example. Read labelled sentences with load_examples.")
    if manifest is None:
        return listed
    for example in listed:
        try:
            check_spans(example.spans, len(example.sentence.words))
        except ValueError as error:
            raise InputError(f"{example.sentence.text!r:.80}: {error}") from None
    if unknown := sorted({span.label for example in listed for span in example.spans} - set(manifest.entity_types)):
        raise InputError(
            f"The examples have the entity types {', '.join(unknown)}, but the adapter of {manifest.language!r} has only "
            f"{', '.join(manifest.entity_types)}. Train an adapter that has them."
        )
    return listed


def entity_types(adapters: Iterable[LanguageAdapter]) -> list[str]:
    """The labels of the entities that any of the adapters finds, sorted."""
    return sorted({label for adapter in adapters for label in adapter.manifest.entity_types})


def hash_sentences(examples: Iterable[Example]) -> Tensor:
    """The hashes of sentences.

    Returns:
        ``[n]`` int64, sorted, without duplicates.
    """
    return torch.tensor(sorted({sentence_hash(example.key) for example in examples}), dtype=torch.int64)
