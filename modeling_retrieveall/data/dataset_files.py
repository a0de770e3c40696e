"""The files of a dataset on disk: which of them belong to a split, and in which format each of them is.

>>> find_split_files(Path("data/uner/de"), "train")
[PosixPath('data/uner/de/de_gsd-ud-train.iob2')]
"""

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from .reader_types import DatasetError

FORMATS = {
    **dict.fromkeys((".bio", ".conll", ".conllu", ".conllup", ".iob", ".iob2", ".bmes", ".tsv", ".txt"), "conll"),
    **dict.fromkeys((".jsonl", ".json", ".ndjson"), "json"),
    ".parquet": "parquet",
    ".spacy": "spacy",
}
"""For each suffix the format of its files. The suffix of a CoNLL or JSON file may be followed by ``.gz``."""
_SPLIT_NAMES = {"validation": ("validation", "valid", "val", "dev"), "train": ("train",), "test": ("test",)}
_PART = r"([-_.]?\d+)?([-_]of[-_]\d+)?"


def format_suffix(file: Path) -> str:
    """The suffix that decides the format, in lower case and without ``.gz``."""
    suffixes = [suffix.lower() for suffix in file.suffixes[-2:]]
    packed = suffixes[-1:] == [".gz"] and FORMATS.get(suffixes[0]) in ("conll", "json")
    return suffixes[0] if packed else "".join(suffixes[-1:])


@contextmanager
def open_unpacked(file: Path) -> Iterator[BinaryIO]:
    """Opens a file for reading bytes, and decompresses it if its name ends with ``.gz``.

    Raises:
        DatasetError: The name ends with ``.gz``, but the file is not a complete gzip file.
    """
    if file.suffix.lower() != ".gz":
        with file.open("rb") as stream:
            yield stream
        return
    with gzip.open(file, "rb") as packed:
        try:
            yield cast(BinaryIO, packed)
        except (gzip.BadGzipFile, EOFError) as error:
            raise DatasetError(f"{file} is damaged: {error}. Compress it again, or give it uncompressed.") from error


def find_split_files(directory: Path, split: str) -> list[Path]:
    """The files of a split in a directory, or an empty list.

    A name that is the split, such as ``train.conll`` or ``train-00000-of-00002.parquet``, is preferred to one that ends with the
    split (``de_gsd-ud-train.iob2``), and that to one that begins with it (``train_clean.jsonl``).

    Raises:
        DatasetError: Several files fit equally well.
    """
    names = "|".join(_SPLIT_NAMES[split])
    for pattern in (rf"({names}){_PART}", rf".+[-_.]({names})", rf"({names})[-_. ].+"):
        for folder in (directory, directory / "data"):
            files = sorted(folder.iterdir()) if folder.is_dir() else []
            found = [file for file in files if format_suffix(file) in FORMATS and re.fullmatch(pattern, _stem(file))]
            if found:
                _check_parts(found, split)
                return found
    return []


def _stem(file: Path) -> str:
    return file.name.lower().removesuffix(".gz").removesuffix(format_suffix(file))


def _check_parts(files: list[Path], split: str) -> None:
    """Refuses several files that are not the numbered parts of one, such as ``train.conll`` and ``train.jsonl``."""
    parts = {re.sub(rf"{_PART}$", "", _stem(file)) + format_suffix(file) for file in files}
    if len(files) > 1 and (len(parts) > 1 or not all(_stem(file)[-1].isdigit() for file in files)):
        raise DatasetError(
            f"{files[0].parent} has several files of the {split} split: {', '.join(file.name for file in files)}. Give one of "
            "them, or move the others to another directory."
        )
