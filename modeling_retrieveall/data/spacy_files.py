"""Reads and writes ``.spacy`` files, in which spaCy stores documents.

>>> read_doc_bin(Path("train.spacy"), Notes())[0].spans
[CharSpan(start=0, end=4, label='LOC')]
"""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..model.entities import Example
from ..model.errors import MissingPackageError
from .detokenization import detokenize, detokenize_example
from .reader_types import CharSpan, DatasetError, Notes, SpanText

_NOT_ANNOTATED = "documents whose entities were never annotated, which were left out"


def read_doc_bin(file: Path, notes: Notes) -> list[SpanText]:
    """The texts of a ``.spacy`` file with their entities.

    Raises:
        DatasetError: The file is damaged, or is not a ``.spacy`` file.
        MissingPackageError: spaCy is not installed.
    """
    spacy = _spacy()
    try:
        stored = spacy.tokens.DocBin().from_bytes(file.read_bytes())
        documents = list(stored.get_docs(spacy.blank("xx").vocab))
    except Exception as error:  # msgpack, zlib and spaCy raise a dozen unrelated types
        raise DatasetError(f"{file} is not a file of spaCy documents ({error}). Write it again with DocBin.to_disk.") from error
    texts = []
    for number, document in enumerate(documents, start=1):
        place = f"{file}, document {number}"
        if not document.has_annotation("ENT_IOB"):
            notes.add(_NOT_ANNOTATED, place)
            continue
        spans = [CharSpan(entity.start_char, entity.end_char, entity.label_) for entity in document.ents]
        texts.append(SpanText(document.text, spans, place))
    return texts


def write_doc_bin(examples: Iterable[Example], target: Path) -> None:
    """Writes examples as a ``.spacy`` file.

    Raises:
        MissingPackageError: spaCy is not installed.
    """
    spacy = _spacy()
    vocabulary = spacy.blank("xx").vocab
    stored = spacy.tokens.DocBin()
    for example in examples:
        text, starts = detokenize(example.sentence)
        bounds = {*starts, *(start + len(word.text) for start, word in zip(starts, example.sentence.words, strict=True))}
        tokens, spaces = _tokens(text, sorted({0, len(text)} | bounds))
        document = spacy.tokens.Doc(vocabulary, tokens, spaces)
        entities = detokenize_example(example)[1]
        document.set_ents([document.char_span(e.start, e.end, e.label) for e in entities], default="outside")
        stored.add(document)
    stored.to_disk(target)


def _tokens(text: str, bounds: list[int]) -> tuple[list[str], list[bool]]:
    """The text split at ``bounds``, and whether a space follows each token. Any other gap becomes a token."""
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
