r"""Column files: CoNLL, IOB, GermEval, Universal NER, CoNLL-U and CoNLL-U Plus, read and written.

>>> rows = read_conll(io.BytesIO(b"# id = 1\n1\tBonn\tB-LOC\n2\truft\tO\n"), "bonn.iob2", Columns(), Notes())
>>> rows[0].words, rows[0].tags
(['Bonn', 'ruft'], ['B-LOC', 'O'])
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import BinaryIO

from ..model.errors import InputError
from .columns import Column, Line, Table, find_columns, find_words, has_index
from .rows import Columns, DatasetError, Notes, TaggedRow
from .subwords import CHARACTERS, kind_of_tokens
from .tags import is_outside, is_prefixed
from .text_files import lines

_GLUED = re.compile(r".*\w[,;:!?.]")
_MARKS = re.compile(r"[^\w\s]+")
_HOW = "Write the word, a tab and its tag."
_UNWRITABLE = re.compile(r"[\t\n]|^ | $|^$|^-DOCSTART-$|^\ufeff|\r$")


def read_conll(stream: BinaryIO, name: str, columns: Columns, notes: Notes) -> list[TaggedRow]:
    """The sentences of a column file.

    Columns are separated by tabs, or by blanks on lines without a tab; an empty line ends a sentence. Lines of ``-DOCSTART-``
    and comments are passed over. In CoNLL-U a token of several words is one word, and empty nodes are passed over.

    Args:
        stream: The file, open for reading bytes.
        name: What messages call the file.
        columns: The columns of words and tags; when not given :func:`find_columns` finds them.
        notes: Takes what is left out or looks odd.

    Raises:
        DatasetError: A line is no word and tag, or it is not clear which columns hold them.
        EncodingError: The file is in another encoding than its byte order mark says.
    """
    table = _table(stream, name)
    if not table.lines:
        return []
    words, tags = find_columns(table, columns, notes)
    _note_glued_punctuation(table, words, notes)
    in_characters = kind_of_tokens([words.values]) == CHARACTERS  # of which a space may be one
    for line, word in zip(table.lines, words.values, strict=True):
        if not word or (word == " " and not in_characters):
            raise DatasetError(f"{name}, line {line.number}: {' '.join(line.cells)!r} is not a word and a tag. {_HOW}")
    rows = []
    cells = zip(table.lines, words.values, tags.values, strict=True)
    for _, block in groupby(cells, key=lambda cell: cell[0].block):
        block_lines, block_words, block_tags = zip(*block, strict=True)
        rows.append(TaggedRow(list(block_words), list(block_tags), name, [line.number for line in block_lines]))
    return rows


def read_words(stream: BinaryIO, name: str, column: str | None = None) -> list[list[str]]:
    """The words of each sentence of a column file, which needs no tags.

    Args:
        stream: As for :func:`read_conll`.
        name: As for :func:`read_conll`.
        column: The name or number of the column that holds the words; found when not given.

    Raises:
        DatasetError: It is not clear which column holds the words.
        EncodingError: The file is in another encoding than its byte order mark says.
    """
    table = _table(stream, name)
    if not table.lines:
        return []
    words = zip(table.lines, find_words(table, Columns(tokens=column)).values, strict=True)
    return [[word for _, word in block] for _, block in groupby(words, key=lambda pair: pair[0].block)]


def _table(stream: BinaryIO, name: str) -> Table:
    """The lines that hold words, all with as many columns."""
    kept: list[Line] = []
    hashes: list[Line] = []  # a number sign is a word like any other where a tag follows it
    names: list[str] = []
    block = 0
    for number, text in enumerate(lines(stream, name), start=1):
        cells = _cells(text)
        if not cells or cells[0] == "-DOCSTART-":
            block += 1
        elif match := re.match(r"#\s*global\.columns\s*=\s*(.+)", text):
            names = match[1].split()
        else:
            (hashes if text.startswith("#") else kept).append(Line(number, block, cells))
    width = _width(kept, name)
    last_cells = {line.cells[-1] for line in kept if not line.cells[-1].isdigit()}
    for line in hashes:
        tag = line.cells[-1]
        has_tag = is_outside(tag) or is_prefixed(tag) or tag in last_cells
        if len(line.cells) == (width or 2) and (has_tag or width == 1):
            kept.append(line)
    kept = [Line(line.number, line.block, line.cells[:width] if width else line.cells) for line in kept]
    kept.sort(key=lambda line: line.number)
    if width != 1 and (header := _header(kept)):
        kept, names = kept[1:], names or header
    if not kept or not has_index(kept):
        return Table(name, kept, names)
    return Table(name, _surface_lines(kept), names, has_index=True)


def _cells(text: str) -> list[str]:
    """The columns of a line."""
    if not text.strip():
        return []
    if text.startswith(" \t"):
        return [" ", *_cells(text[1:])[1:]]
    # Other blanks, as U+00A0 and U+3000, are characters of words.
    return [cell.strip(" ") for cell in text.split("\t")] if "\t" in text else re.split(" +", text.strip(" "))


def _width(kept: list[Line], name: str) -> int:
    """The number of columns; separators at the end of a line make none.

    Raises:
        DatasetError: Lines differ in it.
    """
    widths = [len("\t".join(line.cells).rstrip("\t").split("\t")) for line in kept]
    width = max(widths, default=0)
    if all(len(line.cells) >= width for line in kept):
        return width
    usual, _ = Counter(widths).most_common(1)[0]
    other = next(i for i, number in enumerate(widths) if number != usual)
    odd, even = kept[other], kept[widths.index(usual)]
    if widths[other] == 1:
        raise DatasetError(f"{name}, line {odd.number}: {odd.cells[0]!r} is not a word and a tag. {_HOW}")
    raise DatasetError(
        f"{name}, line {odd.number}: {' '.join(odd.cells)!r:.80} has {widths[other]} columns, and line {even.number} has "
        f"{usual}: {' '.join(even.cells)!r:.80}. Give all lines as many columns; words with a blank in them need tabs between "
        "the columns."
    )


def _header(kept: list[Line]) -> list[str]:
    """The names of the columns, if the first line gives them instead of a word and its tag."""
    first, *others = kept or [Line(0, 0, [])]
    names = {"word", "words", "token", "tokens", "form"}
    if not others or not any(cell.lower() in names for cell in first.cells[:2]):
        return []
    if any(is_outside(cell) or is_prefixed(cell) for cell in first.cells):
        return []
    return [] if any(line.cells[-1] == first.cells[-1] for line in others) else first.cells


def _surface_lines(kept: list[Line]) -> list[Line]:
    """The lines of CoNLL-U as the text has its words: a token of several words is one line, and empty nodes are none."""
    surface: list[Line] = []
    token = (-1, 0)  # the block and the last word of the token that is open
    for line in kept:
        number = re.fullmatch(r"(\d+)(?:([-.])(\d+))?", line.cells[0])
        if number is None or number[2] == ".":
            continue
        if number[2] is None and line.block == token[0] and int(number[1]) <= token[1]:
            surface[-1] = Line(surface[-1].number, line.block, _joined(surface[-1].cells, line.cells))
            continue
        surface.append(line)
        if number[2] == "-":
            token = (line.block, int(number[3]))
    return surface


def _joined(token: list[str], word: list[str]) -> list[str]:
    """The line of a token, with what one of its words has where it has nothing: the token is in the mentions of its words."""
    cells = token[:2]
    for own, given in zip(token[2:], word[2:], strict=True):
        if "=" in given and own != "_":
            cells.append(f"{own}|{given}")
        else:
            cells.append(given if own == "_" or is_outside(own) else own)
    return cells


def _note_glued_punctuation(table: Table, words: Column, notes: Notes) -> None:
    """Says so if no punctuation mark stands alone, as in the CoNLL that Label Studio exports: in use each one is a word."""
    if any(_MARKS.fullmatch(word) for word in words.values):
        return
    followers = [*(line.block for line in table.lines[1:]), -1]
    for line, word, next_block in zip(table.lines, words.values, followers, strict=True):
        # A full stop inside a sentence is that of an abbreviation.
        if _GLUED.fullmatch(word) and (word[-1] != "." or next_block != line.block):
            notes.add(
                "words end with punctuation, which is a word of its own in use (write it on a line of its own, or take the JSON "
                "export of the tool)",
                f"{word!r} ({table.file}, line {line.number})",
            )


def conll_lines(words: Sequence[str], tags: Sequence[str]) -> Iterable[str]:
    r"""A sentence as lines of a word, a tab and its tag, and an empty line.

    Raises:
        ValueError: A word cannot stand in a column.

    Examples:
        >>> "\n".join(conll_lines(["Bonn", "ruft"], ["B-LOC", "O"]))
        'Bonn\tB-LOC\nruft\tO\n'
    """
    for word, tag in zip(words, tags, strict=True):
        if _UNWRITABLE.search(word):
            raise InputError(f"{word!r} cannot be written as a word of a CoNLL file. Write JSON lines, or change it.")
        yield f"{word}\t{tag}"
    yield ""
