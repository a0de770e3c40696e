r"""Lines of text files in the encodings that people have.

>>> list(lines(io.BytesIO(b"\xef\xbb\xbfBonn ruft.\r\n"), "bonn.txt"))
['Bonn ruft.']
"""

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import RetrieveAllError

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
_NULLS = 0.01  # share of NUL bytes above which a file is no text in UTF-8: UTF-16 has one in every space and line end


class EncodingError(RetrieveAllError, ValueError):
    """A text file is in an encoding that its bytes do not tell; the message has the line."""


def lines(stream: BinaryIO, name: str, keep_ends: bool = False) -> Iterator[str]:
    """The lines of a file, without their ends, read as they are asked for.

    The byte order mark decides between UTF-8, UTF-16 and UTF-32; without one the file is UTF-8. A byte order mark is no part
    of a line, not even inside a file that was joined from several. Only a line feed ends a line, with or without a carriage
    return before it: U+2028 and similar characters are characters of words.

    Args:
        stream: The file, open for reading bytes.
        name: What an error calls the file.
        keep_ends: Leave the line ends as they are; joined, the lines are then the whole text.

    Raises:
        EncodingError: The file is in another encoding.
    """
    head = stream.read(4)
    mark, encoding = next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), (b"", "utf-8"))
    decoder = codecs.getincrementaldecoder(encoding)()
    number, rest, chunk, ended = 1, "", head[len(mark) :], False
    while not ended:
        more = stream.read(_CHUNK)
        ended = not more
        if not mark and chunk.count(0) > _NULLS * len(chunk):
            raise EncodingError(f"{name} holds NUL bytes, as UTF-16 without a byte order mark does. Save the file as UTF-8.")
        try:
            rest += decoder.decode(chunk, final=ended)
        except UnicodeDecodeError as error:
            number += (rest.encode(encoding, "surrogatepass") + error.object[: error.start]).count("\n".encode(encoding))
            raise EncodingError(_message(name, number, encoding, error)) from error
        *whole, rest = rest.split("\n")
        number += len(whole)
        whole = [f"{line}\n" for line in whole]
        if ended and rest:
            whole.append(rest)
        for line in whole:
            line = line.lstrip(_MARK)
            yield line if keep_ends else line.removesuffix("\n").removesuffix("\r")
        chunk = more


def _message(name: str, number: int, encoding: str, error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    return f"{name}, line {number}: byte 0x{byte:02x} is not {encoding.upper()}. Save the file as UTF-8."
