"""Where a command's texts come from: its arguments, a file or standard input."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..model.errors import InputError


def input_texts(texts: list[str] | None, file: Path | None, document: bool = False) -> Iterator[str]:
    """The texts, read as they are asked for.

    Args:
        texts: Those given as arguments.
        file: Takes a text from each of its lines instead; ``-`` is standard input, and so is nothing at all.
        document: All of the file is one text.

    Raises:
        InputError: There is nothing to read from, or too much.
        FileNotFoundError: There is no such file.
        EncodingError: It is text in an encoding that it does not tell.
    """
    if texts and file:
        raise InputError("Give texts as arguments or a --file, not both.")
    if texts and document:
        raise InputError("--document is for a --file or standard input; a text given as an argument is one text.")
    if texts:
        return iter(texts)
    if file is not None and str(file) != "-":
        if not file.is_file():
            raise FileNotFoundError(f"There is no file {file}. Give a text file, or `-` for standard input.")
        for _ in _texts_of(file.open("rb"), str(file), document):  # another encoding is refused before the model is loaded
            pass
        return _texts_of(file.open("rb"), str(file), document)
    if file is None and sys.stdin.isatty():
        raise InputError('Nothing to extract from. Try: retrieveall extract "Angela Merkel besuchte Nairobi."')
    return _texts_of(sys.stdin.buffer, "standard input", document)


def _texts_of(stream: BinaryIO, name: str, document: bool) -> Iterator[str]:
    """The lines of a stream, or all of it at once."""
    from ..data.text_files import lines

    with stream:
        if not document:
            yield from lines(stream, name)
        elif text := "".join(lines(stream, name, keep_ends=True)):
            yield text
