"""Documents that spaCy has stored: ``.spacy`` files, read and written.

>>> read_doc_bin(Path("train.spacy"), Notes())[0]
SpanRow(text='Bonn ruft.', spans=[CharSpan(start=0, end=4, label='LOC')], place='train.spacy, document 1', other={})
"""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..model.entities import Example
from ..model.errors import MissingPackageError
from .rows import CharSpan, DatasetError, Notes, SpanRow
from .writing import text_and_entities, written

_UNLABELLED = "documents without entities of their own or the word of anybody that there are none, which were left out"


def read_doc_bin(file: Path, notes: Notes) -> list[SpanRow]:
    """The texts of a ``.spacy`` file with their entities.

    Raises:
        DatasetError: It is damaged.
        ImportError: spaCy is not installed.
    """
    spacy = _spacy()
    try:
        stored = spacy.tokens.DocBin().from_bytes(file.read_bytes())
        documents = list(stored.get_docs(spacy.blank("xx").vocab))
    except Exception as error:  # msgpack, zlib and spaCy raise a dozen unrelated types
        raise DatasetError(f"{file} is no file of spaCy documents ({error}). Write it again with DocBin.to_disk.") from error
    rows = []
    for number, document in enumerate(documents, start=1):
        place = f"{file}, document {number}"
        if not document.has_annotation("ENT_IOB"):
            notes.add(_UNLABELLED, place)
            continue
        spans = [CharSpan(entity.start_char, entity.end_char, entity.label_) for entity in document.ents]
        rows.append(SpanRow(document.text, spans, place))
    return rows


def write_doc_bin(examples: Iterable[Example], target: Path) -> None:
    """Writes examples as a ``.spacy`` file.

    Raises:
        ImportError: spaCy is not installed.
    """
    spacy = _spacy()
    vocabulary = spacy.blank("xx").vocab
    stored = spacy.tokens.DocBin()
    for example in examples:
        text, starts = written(example.sentence)
        bounds = {*starts, *(start + len(word.text) for start, word in zip(starts, example.sentence.words, strict=True))}
        tokens, spaces = _tokens(text, sorted({0, len(text)} | bounds))
        document = spacy.tokens.Doc(vocabulary, tokens, spaces)
        entities = text_and_entities(example)[1]
        document.set_ents([document.char_span(e.start, e.end, e.label) for e in entities], default="outside")
        stored.add(document)
    stored.to_disk(target)


def _tokens(text: str, bounds: list[int]) -> tuple[list[str], list[bool]]:
    """The tokens of a text that is cut at these characters, and whether a space follows each; other gaps are tokens."""
    tokens: list[str] = []
    spaces: list[bool] = []
    for start, end in pairwise(bounds):
        if text[start:end] == " " and tokens and not spaces[-1]:
            spaces[-1] = True
        else:
            tokens.append(text[start:end])
            spaces.append(False)
    return tokens, spaces


def _spacy() -> Any:
    try:
        import spacy
        import spacy.tokens
    except ImportError as error:
        raise MissingPackageError('Files of spaCy documents need spaCy: pip install "retrieveall[spacy]"') from error
    return spacy
