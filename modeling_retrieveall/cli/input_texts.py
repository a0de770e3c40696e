"""The texts that a command processes: its arguments, the lines of a file, or standard input."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..model.errors import InputError


def input_texts(texts: list[str] | None, file: Path | None, document: bool = False) -> Iterator[str]:
    """Yields the texts; a file is read lazily.

    Args:
        texts: The texts given as arguments.
        file: File with one text per line; ``-`` is standard input, which is also read if neither texts nor a file are given.
        document: Treat the whole file as one text.

    Raises:
        InputError: There is nothing to read, or the options exclude each other.
        FileNotFoundError: The file does not exist.
        EncodingError: The encoding of the file cannot be detected.
    """
    if texts and file:
        raise InputError("Give texts as arguments or a --file, not both.")
    if texts and document:
        raise InputError("--document is for a --file or standard input; each argument is one text already.")
    if texts:
        return iter(texts)
    if file is not None and str(file) != "-":
        if not file.exists() or file.is_dir():
            raise FileNotFoundError(f"There is no file {file}. Give a text file, or `-` for standard input.")
        if file.is_file():  # a pipe can be read only once
            for _ in _read(file.open("rb"), str(file), document):  # reports a wrong encoding before the model is loaded
                pass
        return _read(file.open("rb"), str(file), document)
    if file is None and sys.stdin.isatty():
        raise InputError('There are no texts. Try: retrieveall extract "Angela Merkel besuchte Nairobi."')
    return _read(sys.stdin.buffer, "standard input", document)


def _read(stream: BinaryIO, name: str, document: bool) -> Iterator[str]:
    """Yields the lines of a stream, or its whole text at once."""
    from ..data.text_files import read_lines

    with stream:
        if not document:
            yield from read_lines(stream, name)
        elif text := "".join(read_lines(stream, name, keep_ends=True)):
            yield text
