r"""Reads lines of text files in UTF-8, UTF-16 or UTF-32.

>>> list(read_lines(io.BytesIO(b"\xef\xbb\xbfBonn ruft.\r\n"), "bonn.txt"))
['Bonn ruft.']
"""

import codecs
import io
import re
import sys
from collections.abc import Iterator
from typing import BinaryIO

from ..model.errors import RetrieveAllError

# UTF-32 comes first, as its little-endian mark begins with the mark of UTF-16.
_MARKS = [
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
]
_CHUNK = 1 << 16
_MARK = "\ufeff"
_UNMARKED_UTF_16 = re.compile(rb"(?:[^\n]*\n\0)+[^\n]*|(?:[^\n]*\0\n)+[^\n]*|(?:[^\0]\0){2,}|(?:\0[^\0]){2,}", re.DOTALL)
"""UTF-16 without a byte order mark: there is a NUL byte beside each line feed, or beside each letter of a Latin text."""


class EncodingError(RetrieveAllError, ValueError):
    """The bytes of a text file do not fit its encoding; the message names the line."""


def read_lines(stream: BinaryIO, name: str, keep_ends: bool = False) -> Iterator[str]:
    """The lines of a file, without their line ends, read one by one.

    A file with a byte order mark is UTF-8, UTF-16 or UTF-32; a file without one is UTF-8. Byte order marks are removed, also
    inside a file that was joined from several. A line ends with a line feed, or a carriage return and a line feed; in files
    without line feeds it ends with a carriage return. U+2028 and similar characters do not end a line.

    Args:
        stream: The file, open for reading bytes.
        name: The file, for messages.
        keep_ends: Keep the line ends, so that the joined lines are the whole text.

    Raises:
        EncodingError: The bytes of the file do not fit its encoding.
    """
    head = stream.read(_CHUNK)
    mark, encoding = next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), (b"", "utf-8"))
    if not mark and b"\0" in head and _UNMARKED_UTF_16.fullmatch(head):
        raise EncodingError(f"{name} seems to be UTF-16 without a byte order mark. Save the file as UTF-8.")
    decoder = codecs.getincrementaldecoder(encoding)()
    end = "\r" if b"\r" in head[:-1] and b"\n" not in head else "\n"
    number, parts, chunk, ended = 1, [""], head[len(mark) :], False  # parts: the beginning of the current line
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


def use_utf8_output() -> None:
    """Writes the standard streams in UTF-8 if they are files or pipes. On Windows they have the code page of the system.

    A terminal keeps its encoding. Characters that cannot be encoded, such as a lone surrogate, are escaped.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
