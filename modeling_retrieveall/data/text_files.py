r"""Lines of text files in the encodings that people have.

>>> list(lines(io.BytesIO(b"\xef\xbb\xbfBonn ruft.\r\n"), "bonn.txt"))
['Bonn ruft.']
"""

import codecs
import io
import re
import sys
from collections.abc import Iterator
from typing import BinaryIO

from ..model.errors import RetrieveAllError

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = [
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
]
_CHUNK = 1 << 16
_MARK = "\ufeff"
_UNMARKED = re.compile(rb"(?:[^\n]*\n\0)+[^\n]*|(?:[^\n]*\0\n)+[^\n]*|(?:[^\0]\0){2,}|(?:\0[^\0]){2,}", re.DOTALL)
"""UTF-16 without a mark: each line feed has a NUL byte beside it, or a line of Latin letters has one beside each."""


class EncodingError(RetrieveAllError, ValueError):
    """A text file is in an encoding that its bytes do not tell; the message has the line."""


def lines(stream: BinaryIO, name: str, keep_ends: bool = False) -> Iterator[str]:
    """The lines of a file, without their ends, read as they are asked for.

    The byte order mark decides between UTF-8, UTF-16 and UTF-32; without one the file is UTF-8. A byte order mark is no part
    of a line, not even inside a file that was joined from several. A line feed ends a line, with or without a carriage return
    before it; a carriage return alone does in files without line feeds. U+2028 and similar characters are characters of words.

    Args:
        stream: The file, open for reading bytes.
        name: What an error calls the file.
        keep_ends: Leave the line ends as they are; joined, the lines are then the whole text.

    Raises:
        EncodingError: The file is in another encoding.
    """
    head = stream.read(_CHUNK)
    mark, encoding = next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), (b"", "utf-8"))
    if not mark and b"\0" in head and _UNMARKED.fullmatch(head):
        raise EncodingError(f"{name} seems to be UTF-16 without a byte order mark. Save the file as UTF-8.")
    decoder = codecs.getincrementaldecoder(encoding)()
    end = "\r" if b"\r" in head[:-1] and b"\n" not in head else "\n"
    number, parts, chunk, ended = 1, [""], head[len(mark) :], False  # the parts of a line that has not ended yet
    while not ended:
        more = stream.read(_CHUNK)
        ended = not more
        try:
            first, *others = decoder.decode(chunk, final=ended).split(end)
        except UnicodeDecodeError as error:
            number += error.object[: error.start].count(end.encode(encoding))
            raise EncodingError(_message(name, number, encoding, error)) from error
        parts.append(first)
        whole = [f"{''.join(parts)}{end}", *(f"{line}{end}" for line in others[:-1])] if others else []
        number += len(whole)
        if others:
            parts = [others[-1]]
        if ended and (last := "".join(parts)):
            whole.append(last)
        for line in whole:
            line = line.lstrip(_MARK)
            yield line if keep_ends else line.removesuffix(end).removesuffix("\r")
        chunk = more


def _message(name: str, number: int, encoding: str, error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    return f"{name}, line {number}: byte 0x{byte:02x} is not {encoding.upper()}. Save the file as UTF-8."


def write_utf8() -> None:
    """Lets the standard streams take every letter: on Windows, files and pipes are in the code page of the system.

    A terminal keeps its encoding. What cannot be encoded, such as a lone surrogate, is escaped.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
