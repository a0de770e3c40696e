r"""Reads and writes CoNLL files: CoNLL-2003, IOB, GermEval, Universal NER, CoNLL-U and CoNLL-U Plus.

>>> sentences = read_conll(io.BytesIO(b"# id = 1\n1\tBonn\tB-LOC\n2\truft\tO\n"), "bonn.iob2", ColumnNames(), Notes())
>>> sentences[0].words, sentences[0].tags
(['Bonn', 'ruft'], ['B-LOC', 'O'])
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import BinaryIO

from ..model.errors import InputError
from .conll_columns import Column, Line, Table, find_columns, find_word_column, has_index
from .detokenization import CHARACTERS, detect_token_kind
from .reader_types import ColumnNames, DatasetError, Notes, TaggedSentence
from .tags import is_outside, is_prefixed
from .text_files import read_lines

_ENDS_WITH_PUNCTUATION = re.compile(r".*\w[,;:!?.]")
_PUNCTUATION = re.compile(r"[^\w\s]+")
_HOW = "Write the word, a tab and its tag."
_UNWRITABLE = re.compile(r"[\t\n]|^ | $|^$|^-DOCSTART-$|^\ufeff|\r$")


def read_conll(stream: BinaryIO, name: str, columns: ColumnNames, notes: Notes) -> list[TaggedSentence]:
    """The tagged sentences of a CoNLL file.

    Columns are separated by tabs, or by spaces on lines without a tab. An empty line ends a sentence. ``-DOCSTART-`` lines and
    comments are ignored. In CoNLL-U a multiword token is one word, and empty nodes are ignored.

    Args:
        stream: The file, open for reading bytes.
        name: The file, for messages.
        columns: The columns of words and tags; those not given are found by :func:`find_columns`.
        notes: Collects what is left out or looks wrong.

    Raises:
        DatasetError: A line has no word or no tag, or it is not clear which columns hold them.
        EncodingError: The bytes of the file do not fit its encoding.
    """
    table = _table(stream, name)
    if not table.lines:
        return []
    words, tags = find_columns(table, columns, notes)
    _note_glued_punctuation(table, words, notes)
    in_characters = detect_token_kind([words.values]) == CHARACTERS  # a space may then be a word
    for line, word in zip(table.lines, words.values, strict=True):
        if not word or (word == " " and not in_characters):
            raise DatasetError(f"{name}, line {line.number}: {' '.join(line.cells)!r} is not a word and a tag. {_HOW}")
    sentences = []
    cells = zip(table.lines, words.values, tags.values, strict=True)
    for _, block in groupby(cells, key=lambda cell: cell[0].block):
        block_lines, block_words, block_tags = zip(*block, strict=True)
        sentences.append(TaggedSentence(list(block_words), list(block_tags), name, [line.number for line in block_lines]))
    return sentences


def read_words(stream: BinaryIO, name: str, column: str | None = None) -> list[list[str]]:
    """The words of each sentence of a CoNLL file, with or without tags.

    Args:
        stream: As for :func:`read_conll`.
        name: As for :func:`read_conll`.
        column: Name or number of the column of words; if not given, it is found.

    Raises:
        DatasetError: It is not clear which column holds the words.
        EncodingError: The bytes of the file do not fit its encoding.
    """
    table = _table(stream, name)
    if not table.lines:
        return []
    words = zip(table.lines, find_word_column(table, ColumnNames(tokens_column=column)).values, strict=True)
    return [[word for _, word in block] for _, block in groupby(words, key=lambda pair: pair[0].block)]


def _table(stream: BinaryIO, name: str) -> Table:
    """The lines that hold words, all with the same number of columns."""
    kept: list[Line] = []
    hashes: list[Line] = []  # comments, and words that begin with #
    names: list[str] = []
    block = 0
    for number, text in enumerate(read_lines(stream, name), start=1):
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
    # Other spaces, such as U+00A0 and U+3000, are part of a word.
    return [cell.strip(" ") for cell in text.split("\t")] if "\t" in text else re.split(" +", text.strip(" "))


def _width(kept: list[Line], name: str) -> int:
    """The number of columns, not counting empty ones at the end of a line.

    Raises:
        DatasetError: Lines have different numbers of columns.
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
        f"{name}, line {odd.number}: {' '.join(odd.cells)!r:.80} has {widths[other]} columns, but line {even.number} "
        f"has {usual}: {' '.join(even.cells)!r:.80}. Give all lines the same number of columns, and separate columns with tabs "
        "if words contain spaces."
    )


def _header(kept: list[Line]) -> list[str]:
    """The names of the columns, if the first line is a header."""
    first, *others = kept or [Line(0, 0, [])]
    names = {"word", "words", "token", "tokens", "form"}
    if not others or not any(cell.lower() in names for cell in first.cells[:2]):
        return []
    if any(is_outside(cell) or is_prefixed(cell) for cell in first.cells):
        return []
    return [] if any(line.cells[-1] == first.cells[-1] for line in others) else first.cells


def _surface_lines(kept: list[Line]) -> list[Line]:
    """The lines of CoNLL-U without empty nodes, and with one line for each multiword token."""
    surface: list[Line] = []
    token = (-1, 0)  # block and last word of the current multiword token
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
    """The line of a multiword token, its empty cells filled from one of its words, so that it is in the mentions of its words."""
    cells = token[:2]
    for own, given in zip(token[2:], word[2:], strict=True):
        if "=" in given and own != "_":
            cells.append(f"{own}|{given}")
        else:
            cells.append(given if own == "_" or is_outside(own) else own)
    return cells


def _note_glued_punctuation(table: Table, words: Column, notes: Notes) -> None:
    """Notes words that end with punctuation, if no punctuation mark is a word of its own, as in CoNLL exports of Label Studio.

    The model reads each punctuation mark of raw text as a word.
    """
    if any(_PUNCTUATION.fullmatch(word) for word in words.values):
        return
    followers = [*(line.block for line in table.lines[1:]), -1]
    for line, word, next_block in zip(table.lines, words.values, followers, strict=True):
        # A full stop inside a sentence belongs to an abbreviation.
        if _ENDS_WITH_PUNCTUATION.fullmatch(word) and (word[-1] != "." or next_block != line.block):
            notes.add(
                "words that end with punctuation, which the model reads as a separate word (write it on its own line, or use the "
                "JSON export of the tool)",
                f"{word!r} ({table.file}, line {line.number})",
            )


def conll_lines(words: Sequence[str], tags: Sequence[str]) -> Iterable[str]:
    r"""The lines of a sentence: one word, a tab and its tag per line, and an empty line at the end.

    Raises:
        InputError: A word cannot be written in a column.

    Examples:
        >>> "\n".join(conll_lines(["Bonn", "ruft"], ["B-LOC", "O"]))
        'Bonn\tB-LOC\nruft\tO\n'
    """
    for word, tag in zip(words, tags, strict=True):
        if _UNWRITABLE.search(word):
            raise InputError(f"{word!r} cannot be written as a word of a CoNLL file. Write JSON lines, or change the word.")
        yield f"{word}\t{tag}"
    yield ""
