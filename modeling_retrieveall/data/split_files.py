"""The files of a dataset on disk: which belong to a split, and in which format each is.

>>> split_files(Path("data/uner/de"), "train")
[PosixPath('data/uner/de/de_gsd-ud-train.iob2')]
"""

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from .rows import DatasetError

FORMATS = {
    **dict.fromkeys((".bio", ".conll", ".conllu", ".conllup", ".iob", ".iob2", ".bmes", ".tsv", ".txt"), "conll"),
    **dict.fromkeys((".jsonl", ".json", ".ndjson"), "json"),
    ".parquet": "parquet",
    ".spacy": "spacy",
}
"""Suffix to the reader of its files; text files may end with ``.gz`` as well."""
_SPLIT_NAMES = {"validation": ("validation", "valid", "val", "dev"), "train": ("train",), "test": ("test",)}
_PART = r"([-_.]?\d+)?([-_]of[-_]\d+)?"


def suffix_of(file: Path) -> str:
    """The suffix that tells the format, in small letters."""
    suffixes = [suffix.lower() for suffix in file.suffixes[-2:]]
    packed = suffixes[-1:] == [".gz"] and FORMATS.get(suffixes[0]) in ("conll", "json")
    return suffixes[0] if packed else "".join(suffixes[-1:])


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """A file, unpacked, open for reading bytes.

    Raises:
        DatasetError: It is no gzip file, though its name says so.
    """
    if file.suffix.lower() != ".gz":
        with file.open("rb") as stream:
            yield stream
        return
    with gzip.open(file, "rb") as packed:
        try:
            yield cast(BinaryIO, packed)
        except (gzip.BadGzipFile, EOFError) as error:
            raise DatasetError(f"{file} is damaged: {error}. Pack it again, or give it unpacked.") from error


def split_files(directory: Path, split: str) -> list[Path]:
    """The files of a split in a directory; none when it has no such split.

    ``train.conll`` or its parts, ``train-00000-of-00002.parquet``, come before names that end with the split
    (``de_gsd-ud-train.iob2``), and those before others that begin with it.

    Raises:
        DatasetError: Several files are as likely.
    """
    names = "|".join(_SPLIT_NAMES[split])
    for pattern in (rf"({names}){_PART}", rf".+[-_.]({names})", rf"({names})[-_. ].+"):
        for folder in (directory, directory / "data"):
            files = sorted(folder.iterdir()) if folder.is_dir() else []
            found = [file for file in files if suffix_of(file) in FORMATS and re.fullmatch(pattern, _stem(file))]
            if found:
                _check_parts(found, split)
                return found
    return []


def _stem(file: Path) -> str:
    return file.name.lower().removesuffix(".gz").removesuffix(suffix_of(file))


def _check_parts(files: list[Path], split: str) -> None:
    """Refuses several files that are not the parts of one, as ``train.conll`` and ``train.jsonl``."""
    parts = {re.sub(rf"{_PART}$", "", _stem(file)) + suffix_of(file) for file in files}
    if len(files) > 1 and (len(parts) > 1 or not all(_stem(file)[-1].isdigit() for file in files)):
        raise DatasetError(
            f"{files[0].parent} has several files of the {split} split: {', '.join(file.name for file in files)}. Give the one "
            "that is meant, or move the others elsewhere."
        )
