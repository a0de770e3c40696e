"""One language on disk: LoRA weights, labelled examples, their index and a manifest.

de/
  adapter_config.json, adapter_model.safetensors   plain PEFT LoRA
  retrieveall.json                                 the manifest
  examples.parquet                                 tokens and spans of the labelled examples, and where no space is between
  retrieval.safetensors                            their vectors, and more that routing learns from
  README.md                                        the model card

>>> adapter = LanguageAdapter.load("adapter_cards/de")
>>> adapter.language, adapter.manifest.entity_types, len(adapter.index.examples)
('de', ['LOC', 'ORG', 'PER'], 399)
"""

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from .atomic import replacing, updating
from .entities import Example, Sentence, Span
from .hub_files import HubError, HubUnreachableError, Snapshot
from .lora_bank import LoraWeights
from .lora_files import LORA_CONFIG, LORA_WEIGHTS, AdapterError, check_finite, read_lora, reading
from .manifest import MANIFEST, Manifest, read_manifest
from .retrieval import ExampleIndex
from .vector_files import VECTORS, StoredVectors, read_vectors, write_vectors

_EXAMPLES = "examples.parquet"
_MEBIBYTE = 1 << 20
KNOWLEDGE_FILES = {MANIFEST: _MEBIBYTE, _EXAMPLES: 256 * _MEBIBYTE, VECTORS: 2048 * _MEBIBYTE, LORA_CONFIG: _MEBIBYTE}
"""What is read when a model loads, and how many bytes of each file at most: some hundred times what is usual."""
WEIGHT_FILES = {LORA_WEIGHTS: 2048 * _MEBIBYTE}
"""What is read when a sentence first needs the language."""
PICTURED_FILES = {"README.md": _MEBIBYTE, "training.png": 4 * _MEBIBYTE}
"""What people look at; an adapter works without."""
ADAPTER_FILES = {**KNOWLEDGE_FILES, **WEIGHT_FILES, **PICTURED_FILES}
"""All files of an adapter."""
_LEFT_BY_FILE_MANAGERS = {".DS_Store", "Thumbs.db", "desktop.ini"}
_MOST_EXAMPLE_BYTES = 256 * _MEBIBYTE
_MOST_EXAMPLE_VALUES = 1 << 22
# Of which no value is longer than what it takes in the file, or is read as a dictionary.
_ENCODINGS = {"PLAIN", "RLE", "BIT_PACKED", "PLAIN_DICTIONARY", "RLE_DICTIONARY"}


class LanguageAdapter:
    """A language: manifest and index in memory, LoRA weights on disk or on the Hub until a route asks for them.

    Args:
        manifest: What the adapter is.
        index: Its labelled examples, with their vectors.
        routing_vectors: ``[n, hidden]``: further sentence vectors of the language, without text, for routing alone.
        training_hashes: ``[n]`` int64: hashes of the sentences it was trained on (:func:`sentence_hash`), sorted.
        path: The folder that holds its LoRA weights, or will hold them.
        snapshot: Where on the Hub the folder is from.
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
        self.path = path.absolute()  # the process may go to another folder before the weights are read
        self._given = path
        self.snapshot = snapshot
        self._stored: StoredVectors | None = None  # the vectors as they were read, if they were
        self._fetched = False  # whether the weights have come and were compared with their hash

    @property
    def language(self) -> str:
        """BCP-47 code of the language."""
        return self.manifest.language

    @property
    def source(self) -> str:
        """Where it is from: ``"someone/retrieveall-de@<commit>"`` or a folder."""
        return str(self.snapshot or self._given)

    @property
    def pin(self) -> str | None:
        """``"owner/name@<commit>"`` of an adapter with a repository of its own, which another model can refer to."""
        return str(self.snapshot) if self.snapshot and not self.snapshot.folder else None

    def copy_to(self, folder: Path, name: str) -> str:
        """Copies the adapter into a folder of another one, in place of an adapter that is there; returns the name of the former.

        Raises:
            FileExistsError: The folder holds something else than an adapter.
            HubError: Its weights are on the Hub still, and cannot be fetched.
        """
        if self.snapshot:
            self.snapshot.fetch(WEIGHT_FILES)
        target = folder / name
        if target.resolve() != self.path.resolve():
            check_only_adapter(target)
            with replacing(target, [self.path]) as copy:
                copy.mkdir()
                for file in ADAPTER_FILES:  # and nothing else that may lie beside them
                    if (self.path / file).is_file():
                        shutil.copyfile(self.path / file, copy / file)
        return name

    @classmethod
    def load(cls, source: str | Path | Snapshot) -> "LanguageAdapter":
        """Reads everything but the LoRA weights. Those of a folder must be there; those on the Hub are fetched when needed.

        Args:
            source: The adapter's folder, or a folder on the Hub.

        Raises:
            AdapterError: It is not a language adapter, or a file of it is missing, too large, damaged or of a newer schema.
            HubError: The Hub does not have it.
        """
        if isinstance(source, Snapshot):
            path = source.fetch(KNOWLEDGE_FILES)
            with called(path, source):
                return cls._read(path, source)
        path = Path(source)
        read_manifest(path)  # what is no adapter at all is told so, rather than what it lacks
        _check_files(path, KNOWLEDGE_FILES | WEIGHT_FILES)
        return cls._read(path, None)

    @classmethod
    def _read(cls, path: Path, snapshot: Snapshot | None) -> "LanguageAdapter":
        manifest = read_manifest(path)
        with reading(path / _EXAMPLES):
            examples = _read_examples(path / _EXAMPLES, manifest.entity_types)
        with reading(path / VECTORS):
            stored = read_vectors(path / VECTORS, manifest.hidden_size)
            index = ExampleIndex(examples, stored.sentences, stored.mentions)
        adapter = cls(manifest, index, stored.routing, stored.training_hashes, path, snapshot)
        adapter._stored = stored
        return adapter

    def save_knowledge(self, path: str | Path) -> None:
        """Writes manifest, examples and vectors into a folder; PEFT writes the LoRA weights beside them."""
        # Aside, for the vectors may be mapped from the very file that they are written to.
        with updating(Path(path)) as folder:
            self._write_knowledge(folder)

    def _write_knowledge(self, path: Path) -> None:
        self.manifest.save(path)
        _write_examples(self.index.examples, path / _EXAMPLES)
        vectors = (self.index.sentence_vectors, self.index.mention_vectors, self.routing_vectors, self.training_hashes)
        if self._stored and self._stored.holds(*vectors):
            self._stored.write(path / VECTORS)
        else:
            write_vectors(path / VECTORS, *vectors)
        readable_like(path / VECTORS, path / MANIFEST)

    def sentence_vectors(self) -> Tensor:
        """``[examples + n, hidden]``, float32: all sentence vectors of the language."""
        return torch.cat([self.index.sentence_vectors.float(), self.routing_vectors.float()])

    def known_hashes(self) -> set[int]:
        """Hashes of every sentence that this adapter has seen: its training sentences and its examples."""
        return set(self.training_hashes.tolist()) | {sentence_hash(example.key) for example in self.index.examples}

    def lora_weights(self, dtype: torch.dtype) -> LoraWeights:
        """Reads the LoRA weights; fetches them first if they are on the Hub still.

        Raises:
            AdapterError: The weights are missing, too large, not those of a plain PEFT LoRA, or not all finite.
            HubUnreachableError: The Hub cannot be asked for them.
        """
        weights = self._read_lora(dtype)
        with called(self.path, self.snapshot):
            check_finite(self.path, weights)
        return weights

    def lora_shapes(self) -> LoraWeights:
        """The LoRA without values, on the meta device: only the header of its file is read.

        Raises:
            AdapterError: The weights are missing, too large, or not those of a plain PEFT LoRA.
            HubUnreachableError: The Hub cannot be asked for them.
        """
        return self._read_lora(None)

    def _read_lora(self, dtype: torch.dtype | None) -> LoraWeights:
        if self.snapshot and not self._fetched:
            try:
                self.snapshot.fetch(WEIGHT_FILES)
                self._fetched = True
            except HubUnreachableError:
                raise
            except HubError as error:  # too large, missing, withdrawn: it is the adapter that is of no use
                raise AdapterError(str(error)) from error
        with called(self.path, self.snapshot):
            return read_lora(self.path, dtype)


def check_only_adapter(folder: Path) -> None:
    """Makes sure that nothing but an adapter is lost when a folder is replaced.

    Raises:
        FileExistsError: The folder holds something else, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file. Choose another output.")
    names = sorted(file.name for file in folder.iterdir()) if folder.exists() else []
    if names and MANIFEST not in names:
        raise FileExistsError(f"{folder} exists and is no language adapter. Choose another output; it would be replaced.")
    if others := [name for name in names if name not in ADAPTER_FILES and name not in _LEFT_BY_FILE_MANAGERS]:
        raise FileExistsError(
            f"{folder} holds {', '.join(others[:3])}{', ...' if len(others) > 3 else ''} beside the adapter, which would be lost "
            "with it. Move that away, or choose another output."
        )


def readable_like(file: Path, model: Path) -> None:
    """Gives a file the access rights of another one: safetensors writes files that their owner alone can read."""
    file.chmod(model.stat().st_mode)


def sentence_hash(key: str) -> int:
    """A signed 64-bit hash of a sentence's words; tells a known sentence without keeping its text."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), signed=True)


def hash_sentences(examples: Iterable[Example]) -> Tensor:
    """``[n]`` int64: the sorted distinct hashes of sentences."""
    return torch.tensor(sorted({sentence_hash(example.key) for example in examples}), dtype=torch.int64)


@contextmanager
def called(path: Path, snapshot: Snapshot | None) -> Iterator[None]:
    """Lets an error speak of a repository on the Hub instead of its folder in the cache."""
    try:
        yield
    except AdapterError as error:
        raise AdapterError(str(error).replace(str(path), str(snapshot or path))) from error


def _check_files(path: Path, limits: Mapping[str, int]) -> None:
    for name, limit in limits.items():
        if not (path / name).is_file():
            raise AdapterError(f"{path} is incomplete: {name} is missing. Train or download the adapter again.")
        if (size := (path / name).stat().st_size) > limit:
            raise AdapterError(f"{path}: {name} has {size:,} bytes; at most {limit:,} are read.")


def _read_examples(file: Path, labels: Sequence[str]) -> list[Example]:
    examples = []
    for row in _rows(file):
        spans = tuple(Span(span["start"], span["end"], span["label"]) for span in row["spans"])
        if not isinstance(row["tokens"], list) or any(type(n) is not int for span in spans for n in span[:2]):
            raise TypeError("tokens is no list of strings, or a span does not begin and end at a whole number")
        if any(not 0 <= span.start < span.end <= len(row["tokens"]) for span in spans):
            raise ValueError(f"a span of {spans} leaves its {len(row['tokens'])} words")
        if foreign := {span.label for span in spans} - set(labels):
            raise ValueError(f"an example has the label {min(foreign, key=str)!r}, which is none of {labels}")
        if (glued := row.get("glued")) is not None and len(glued) != len(row["tokens"]):
            raise ValueError(f"an example has {len(row['tokens'])} words and says of {len(glued)} whether they are glued")
        examples.append(Example(Sentence.from_words(row["tokens"], glued), spans))
    return examples


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table, a few at a time: a small file can hold a value a million times over."""
    metadata = pq.read_metadata(file)
    _check_table(metadata)
    columns = [metadata.schema.column(i) for i in range(metadata.num_columns)]
    # Repeated strings stay what they are in the file, numbers of an entry in a list, until their lengths have been added up.
    strings = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    fields = sorted(column.name for column in columns if column.path.startswith("spans."))
    if fields != ["end", "label", "start"]:
        raise ValueError(f"its spans have {fields}, not start, end and label")
    glued = ["glued"] if any(column.path.startswith("glued.") for column in columns) else []  # earlier releases wrote none
    left = _MOST_EXAMPLE_BYTES
    with pq.ParquetFile(file, read_dictionary=strings, metadata=metadata) as table:
        for batch in table.iter_batches(batch_size=256, columns=["tokens", "spans", *glued]):
            left -= batch.nbytes + _characters(batch.column("tokens").flatten())
            left -= _characters(batch.column("spans").flatten().field("label"))
            if left < 0:
                raise ValueError(f"it takes more than {_MOST_EXAMPLE_BYTES:,} bytes in memory")
            yield from batch.to_pylist()


def _check_table(metadata: pq.FileMetaData) -> None:
    """Compares with the limits what a table says of its size, before any of it is unpacked."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    if (values := sum(chunk.num_values for chunk in chunks)) > _MOST_EXAMPLE_VALUES:
        raise ValueError(f"it says that it holds {values:,} values; at most {_MOST_EXAMPLE_VALUES:,} are read")
    if (size := sum(chunk.total_uncompressed_size for chunk in chunks)) > _MOST_EXAMPLE_BYTES:
        raise ValueError(f"it says that it unpacks to {size:,} bytes; at most {_MOST_EXAMPLE_BYTES:,} are read")
    if unknown := {encoding for chunk in chunks for encoding in chunk.encodings} - _ENCODINGS:
        raise ValueError(f"it is encoded by {min(unknown)}; write it with the defaults of pyarrow")


def _characters(strings: pa.DictionaryArray) -> int:
    """The bytes of all strings together, each as often as it occurs."""
    return pc.sum(pc.binary_length(strings.dictionary).take(strings.indices)).as_py() or 0


def _write_examples(examples: Sequence[Example], file: Path) -> None:
    span = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("label", pa.string())])
    schema = pa.schema([("tokens", pa.list_(pa.string())), ("spans", pa.list_(span)), ("glued", pa.list_(pa.bool_()))])
    rows = [
        {
            "tokens": [word.text for word in example.sentence.words],
            "spans": [span._asdict() for span in example.spans],
            "glued": [word.glued for word in example.sentence.words],
        }
        for example in examples
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
