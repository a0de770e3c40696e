"""Safe reading of untrusted files: the limits, and the functions that enforce them.

Adapters and models come from the Hub, where anybody can publish. A file may be damaged, or made to take all memory or to run
forever. Files of an adapter or a model are read only by the functions of this module, none of which executes code from a file:

    check_files             all files of an adapter, before one is opened
    read_json               manifests and configurations
    compile_module_pattern  regular expressions in ``adapter_config.json``
    read_example_rows       the table of labelled examples
    open_safetensors        vectors and LoRA weights

They raise ``ValueError`` or an error of the library that reads the format. :func:`errors_name_file` turns each of these into an
:class:`AdapterError` that names the file.

>>> read_json(Path("adapter_cards/de/retrieveall.json"))["language"]
'de'
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import safe_open

from .errors import AdapterError

_MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """The limits for untrusted files. Each is far above what an adapter needs.

    Attributes:
        json_bytes: Size of a manifest or configuration. The shipped ones have up to 7 kB.
        examples_file_bytes: Size of the table of examples. The shipped ones have up to 40 kB.
        examples_memory_bytes: Memory that the examples take once they are read. Parquet stores a repeated value only once, so a
            small file can take any amount of memory.
        examples_values: Values in all columns of the table. A null takes no space in the file but does take memory.
        tensors_file_bytes: Size of the file of vectors or of LoRA weights. The shipped ones have up to 15 MB.
        tensors_header_bytes: Size of the header of a safetensors file, which is enough for 100,000 tensors. The safetensors
            library itself accepts 100 MB.
        card_bytes: Size of a model card.
        plot_bytes: Size of the plot in a model card.
        labels: Entity types of an adapter. Each is a branch of the grammar that decoding follows.
        label_characters: Length of an entity type, which is repeated in the prompt.
        vector_component: Absolute value of a component of a vector. Hidden states stay far below, and the squares of values up
            to this limit do not overflow when they are summed.
        relative_variance: Variance of the vectors of a language, as a multiple of the median over languages. A language above it
            is left out of the covariance of the router; it could otherwise make every language look close.
        mention_units: Units of a mention that is looked up in sentences. Longer ones are ignored, so that the time for an index
            is proportional to its size.
        lora_alpha: Absolute value of ``lora_alpha``.
        lora_update: Norm of A times norm of B times scaling. It is about 10 in the shipped adapters, and float32 does not
            overflow at this limit.
        calibration: Slope and absolute intercept of a calibration of scores.
        alpha_patterns: Entries of ``alpha_pattern``. Each is compared with the name of every adapted module.
        pattern_choices: Alternatives (``|``) in one entry of ``alpha_pattern``.
        error_characters: Characters of a library's error message that are passed on, because it may quote the file.
    """

    json_bytes: int = _MEBIBYTE
    examples_file_bytes: int = 256 * _MEBIBYTE
    examples_memory_bytes: int = 256 * _MEBIBYTE
    examples_values: int = 1 << 22
    tensors_file_bytes: int = 2048 * _MEBIBYTE
    tensors_header_bytes: int = 16 * _MEBIBYTE
    card_bytes: int = _MEBIBYTE
    plot_bytes: int = 4 * _MEBIBYTE
    labels: int = 1000
    label_characters: int = 64
    vector_component: float = 1e9
    relative_variance: float = 100.0
    mention_units: int = 16
    lora_alpha: float = 1e6
    lora_update: float = 1e6
    calibration: float = 100.0
    alpha_patterns: int = 256
    pattern_choices: int = 10
    error_characters: int = 300


LIMITS = Limits()

# Parquet encodings that cannot expand a value beyond its size in the file, or are read as a dictionary.
_SAFE_ENCODINGS = {"PLAIN", "RLE", "BIT_PACKED", "PLAIN_DICTIONARY", "RLE_DICTIONARY"}


@contextmanager
def errors_name_file(file: Path) -> Iterator[None]:
    """Turns every error inside the ``with`` block into an :class:`AdapterError` of one line that names the file.

    Args:
        file: The file that is read in the block.

    Raises:
        AdapterError: The block raised an error.
    """
    try:
        yield
    except AdapterError:
        raise
    except Exception as error:  # libraries raise errors of any class when a file is malformed
        # The message may quote the file, including line breaks and escape sequences of a terminal.
        reason = "".join(c if c.isprintable() else " " for c in str(error) or repr(error))[: LIMITS.error_characters]
        raise AdapterError(f"{file} cannot be read: {reason.rstrip('.')}. Train, save or download it again.") from error


def check_files(folder: Path, limits: Mapping[str, int]) -> None:
    """Checks that a folder has certain files, and that none of them is too large.

    Args:
        folder: The folder.
        limits: The name and the maximum size in bytes of each file.

    Raises:
        AdapterError: A file is missing or too large.
    """
    for name, limit in limits.items():
        if not (folder / name).is_file():
            raise AdapterError(f"{folder} is incomplete: {name} is missing. Train or download the adapter again.")
        if (size := (folder / name).stat().st_size) > limit:
            raise AdapterError(f"{folder}: {name} has {size:,} bytes; at most {limit:,} are read.")


def is_folder_reference(reference: str) -> bool:
    """Whether a text is the relative path of a folder, without ``..`` or characters that have a meaning in a URL or in Markdown.

    >>> is_folder_reference("adapters/de"), is_folder_reference("../adapters"), is_folder_reference("https://example.org")
    (True, False, False)
    """
    return re.fullmatch(r"[\w.-]+(/[\w.-]+)*", reference) is not None and ".." not in reference.split("/")


def read_json(file: Path) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Raises:
        ValueError: The file is too large, is not UTF-8 or JSON, is nested too deeply, or holds something other than an object.
    """
    with file.open("rb") as stream:
        content = stream.read(LIMITS.json_bytes + 1)
    if len(content) > LIMITS.json_bytes:
        raise ValueError(f"it has more than {LIMITS.json_bytes:,} bytes")
    try:
        data = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    if not isinstance(data, dict):
        raise ValueError("it does not hold a JSON object")
    return data


def compile_module_pattern(pattern: str) -> re.Pattern[str]:
    """Compiles a regular expression that matches the end of the name of a module, as in PEFT's ``alpha_pattern``.

    Repetition and many alternatives are refused, because an expression with them can take exponential time.

    Raises:
        ValueError: The expression is invalid, has a repetition, or has too many alternatives.
    """
    try:
        re.compile(pattern)
        safe = not re.search(r"[*+?{]", pattern) and pattern.count("|") <= LIMITS.pattern_choices
    except (re.error, OverflowError, RecursionError):
        safe = False
    if not safe:
        raise ValueError(f"a name of modules must have no repetition and at most {LIMITS.pattern_choices} '|'")
    return re.compile(rf"(.*\.)?({pattern})$")


@contextmanager
def open_safetensors(file: Path) -> Iterator[Any]:
    """Opens a safetensors file without reading a tensor.

    Args:
        file: The file.

    Yields:
        The open file, as ``safetensors.safe_open`` returns it.

    Raises:
        ValueError: The header is too long.
        SafetensorError: The file is not a safetensors file.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    if length > LIMITS.tensors_header_bytes:
        raise ValueError(f"its header has {length:,} bytes; at most {LIMITS.tensors_header_bytes:,} are read")
    with safe_open(file, "pt") as tensors:
        yield tensors


def read_example_rows(file: Path) -> Iterator[dict[str, Any]]:
    """Reads the columns ``tokens``, ``spans`` and, if present, ``glued`` of a parquet file, in batches of bounded size.

    Args:
        file: The parquet file.

    Yields:
        The rows, in order.

    Raises:
        ValueError: The table has other columns, an encoding that is not allowed, or would take too much memory.
    """
    metadata = pq.read_metadata(file)
    _check_table(metadata)
    columns = [metadata.schema.column(i) for i in range(metadata.num_columns)]
    # Strings stay dictionary-encoded until their lengths are known, because one string can occur a million times.
    strings = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    fields = sorted(column.name for column in columns if column.path.startswith("spans."))
    if fields != ["end", "label", "start"]:
        raise ValueError(f"its spans have the fields {fields}, not start, end and label")
    # Earlier releases did not write this column.
    glued = ["glued"] if any(column.path.startswith("glued.") for column in columns) else []
    left = LIMITS.examples_memory_bytes
    with pq.ParquetFile(file, read_dictionary=strings, metadata=metadata) as table:
        for batch in table.iter_batches(batch_size=256, columns=["tokens", "spans", *glued]):
            left -= batch.nbytes + _string_bytes(batch.column("tokens").flatten())
            left -= _string_bytes(batch.column("spans").flatten().field("label"))
            if left < 0:
                raise ValueError(f"it takes more than {LIMITS.examples_memory_bytes:,} bytes in memory")
            yield from batch.to_pylist()


def _check_table(metadata: pq.FileMetaData) -> None:
    """Checks the sizes and encodings that the metadata of a table states, before any of its data is decompressed."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    if (values := sum(chunk.num_values for chunk in chunks)) > LIMITS.examples_values:
        raise ValueError(f"its metadata states {values:,} values; at most {LIMITS.examples_values:,} are read")
    if (size := sum(chunk.total_uncompressed_size for chunk in chunks)) > LIMITS.examples_memory_bytes:
        raise ValueError(
            f"its metadata states {size:,} bytes when decompressed; at most {LIMITS.examples_memory_bytes:,} are read"
        )
    if unsafe := {encoding for chunk in chunks for encoding in chunk.encodings} - _SAFE_ENCODINGS:
        raise ValueError(f"it has the encoding {min(unsafe)}; write it with the default settings of pyarrow")


def _string_bytes(strings: pa.DictionaryArray) -> int:
    """The length in bytes of all strings, each counted as often as it occurs."""
    return pc.sum(pc.binary_length(strings.dictionary).take(strings.indices)).as_py() or 0
