"""Labelled datasets in the formats that people have, as examples: one file, a folder of splits, or a dataset of the Hub.

>>> train = load_examples("unimelb-nlp/wikiann:sw", "train")          # Hub id, with the configuration after a colon
>>> train = load_examples("data/panx/de", "train")                    # a directory of train.parquet, test.parquet, ...
>>> train = load_examples("doccano.jsonl", "train")                   # one file: all of it
>>> train.examples[0].spans, train.labels
((Span(start=0, end=2, label='PER'),), ['LOC', 'ORG', 'PER'])
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..model.entities import Example, Sentence, Span
from .alignment import aligned
from .conll import read_conll
from .json_files import read_json
from .records import Record, rows_of
from .rows import Columns, DatasetError, Notes, Row, SpanRow, TaggedRow
from .split_files import FORMATS, opened, split_files, suffix_of
from .subwords import as_written, kind_of_tokens
from .tables import hub_dataset, read_hub, read_parquet
from .tags import TagError, canonical_tags, detect_scheme, is_outside, is_prefixed, spans_from_tags
from .text_files import EncodingError

_BARE = "types of tags without a prefix, of which neighbouring words of one type were read as one mention"
_BLANKS = " \t\r\n"


@dataclass(frozen=True)
class LabelledData:
    """The examples of one split.

    Attributes:
        examples: Sentences that have words, with their spans.
        labels: Entity types of the dataset, sorted, also those that no example of this split has.
        repairs: Where the tags stand that are invalid in their scheme, with what was made of them.
        notes: What else was changed or left out in reading: how often, with an example.
        rows: The other columns of the record of each example.
        predicted: Whether the labels are a model's, which nobody has corrected: those of ``retrieveall annotate``.
    """

    examples: list[Example]
    labels: list[str]
    repairs: list[str]
    notes: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    predicted: bool = False


def load_examples(dataset: str, split: str, columns: Columns | None = None) -> LabelledData:
    """Loads one split of a labelled dataset.

    Args:
        dataset: A Hub id (``name``, ``name:configuration``, ``name:configuration@revision``), a directory with files of its
            splits, or a single file, which then is every split: column files (CoNLL and its kin), JSON of doccano, Label Studio,
            Prodigy, spaCy, Hugging Face or ``retrieveall annotate``, parquet, and spaCy's DocBin.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        columns: Where words and labels stand, if the data does not show it.

    Raises:
        DatasetError: There is no such dataset or split, words or labels are missing, it is not clear where they stand, or a tag
            is of no scheme.
    """
    columns, notes = columns or Columns(), Notes()
    path = Path(dataset).expanduser()
    if not path.exists():
        if suffix_of(path) in FORMATS or dataset.startswith((".", "/", "~")) or hub_dataset(dataset) is None:
            # And no dataset of the Hub, which would be asked for half a minute.
            raise DatasetError(f"There is no {dataset}. Give one that is there, a folder, or a dataset of the Hub.")
        records, names = read_hub(dataset, split)
        return _labelled(*rows_of(records, dataset, columns, names, notes), dataset, notes)
    if path.is_file() and suffix_of(path) not in FORMATS:
        ending = f"ends with {path.suffix!r}" if path.suffix else "has no ending"
        raise DatasetError(f"{dataset} {ending}; give a file that ends with one of {', '.join(FORMATS)}.")
    files = [path] if path.is_file() else split_files(path, split)
    if not files:
        present = sorted(file.name for file in path.iterdir())
        raise DatasetError(
            f"{path} has no {split} split: no file like {split}.parquet or {split}.conll, only {present or 'nothing'}. "
            "Name a directory that has one, or a single file."
        )
    try:
        rows, tags = _read(files, columns, notes)
    except EncodingError as error:
        raise DatasetError(str(error)) from error
    return _labelled(rows, tags, str(files[0]), notes)


def _read(files: Sequence[Path], columns: Columns, notes: Notes) -> tuple[list[Row], Sequence[str]]:
    """The rows of files of one format, and the tags that they list."""
    kind = FORMATS[suffix_of(files[0])]
    source = str(files[0] if len(files) == 1 else files[0].parent)  # records are counted over all files
    if kind == "conll":
        return [row for file in files for row in _read_columns(file, columns, notes)], []
    if kind == "spacy":
        from .doc_bins import read_doc_bin

        return [row for file in files for row in read_doc_bin(file, notes)], []
    if kind == "parquet":
        records, names = read_parquet(files, source)
        return rows_of(records, source, columns, names, notes)
    records = [record for file in files for record in _read_json(file, columns, notes)]
    return rows_of(records, source, columns, {}, notes)


def _read_columns(file: Path, columns: Columns, notes: Notes) -> list[TaggedRow]:
    with opened(file) as stream:
        return read_conll(stream, str(file), columns, notes)


def _read_json(file: Path, columns: Columns, notes: Notes) -> list[tuple[Record, str]]:
    with opened(file) as stream:
        return read_json(stream, str(file), columns, notes)


def has_split(dataset: str, split: str, columns: Columns | None = None) -> bool:
    """Whether a dataset has that split as one of its own; a single file has none but ``"train"``."""
    path = Path(dataset).expanduser()
    if path.is_file():
        return split == "train"
    if path.is_dir():
        return bool(split_files(path, split))
    try:
        return bool(load_examples(dataset, split, columns).examples)
    except DatasetError:
        return False


def dataset_name(dataset: str) -> str:
    """How a manifest calls a dataset: a Hub id as it is; a path by its last part, after ``./``, which begins no Hub id."""
    path = Path(dataset).expanduser()
    return f"./{path.resolve().name}" if path.exists() else dataset


def sample(examples: Sequence[Example], limit: int | None, seed: int) -> list[Example]:
    """At most ``limit`` examples, drawn by ``seed``; all of them, in order, when no limit is given."""
    if limit is None or limit >= len(examples):
        return list(examples)
    return random.Random(seed).sample(list(examples), limit)


def without(examples: Iterable[Example], keys: set[str]) -> list[Example]:
    """The examples whose words are not among ``keys``."""
    return [example for example in examples if example.key not in keys]


def told_repairs(repairs: Sequence[str]) -> str:
    """What a person is told of :attr:`LabelledData.repairs`: the first, and how many more.

    >>> told_repairs(["sw.conll, line 2, word 'Okonjo': I-PRE was taken for a PRE of one word"])
    "A tag that does not fit its neighbours: sw.conll, line 2, word 'Okonjo': I-PRE was taken for a PRE of one word"
    """
    more = f" (and {len(repairs) - 1} more)" if len(repairs) > 1 else ""
    return f"A tag that does not fit its neighbours: {repairs[0]}{more}"


def _labelled(rows: list[Row], listed: Sequence[str], source: str, notes: Notes) -> LabelledData:
    tagged = [row for row in rows if isinstance(row, TaggedRow)]
    for tagged_row in tagged:
        _check_row(tagged_row)
    canonical = _canonical(tagged, listed if tagged else [], source, notes)
    scheme = detect_scheme([canonical[tag] for tag in row.tags] for row in tagged)
    labels = {tag.partition("-")[2] for tag in canonical.values()} - {""}
    kind = kind_of_tokens(row.words for row in tagged)
    if kind:
        notes.add(f"sentences split into {kind}, which were joined to words as people write them", tagged[0].place)
    examples, others, repairs = [], [], []
    for row in rows:
        if isinstance(row, TaggedRow):
            spans, repaired = spans_from_tags([canonical[tag] for tag in row.tags], scheme)
            repairs += [f"{row.place_of(i)}: {row.tags[i]} was taken for {_meant(spans, i)}" for i in repaired]
            example = _example(row.words, spans, kind)
        else:
            example = aligned(row, notes)
            labels |= {span.label for span in row.spans}
        if example.sentence.words:
            examples.append(example)
            others.append(row.other)
    if not examples:
        raise DatasetError(f"{source} has no sentences. Give a file with a word and a tag on each line, or with filled columns.")
    predicted = any(isinstance(row, SpanRow) and row.scored for row in rows)
    return LabelledData(examples, sorted(labels), repairs, list(notes), others, predicted)


def _example(tokens: Sequence[str], spans: Sequence[Span], kind: str | None) -> Example:
    if kind:
        return Example(*as_written(tokens, spans, kind))
    return Example(Sentence.from_words([word.strip(_BLANKS) or word for word in tokens]), tuple(spans))


def _canonical(rows: list[TaggedRow], listed: Sequence[str], source: str, notes: Notes) -> dict[str, str]:
    """The tags of all rows, and those that the dataset lists, as BIO or BILOU writes them."""
    try:
        canonical = canonical_tags([*listed, *(tag for row in rows for tag in row.tags)])
    except TagError as error:
        places = (row.place_of(row.tags.index(error.tag)) for row in rows if error.tag in row.tags)
        raise DatasetError(f"{next(places, source)}: {error}") from error
    for tag in canonical:
        if not is_outside(tag) and not is_prefixed(tag):
            notes.add(_BARE, repr(tag))
    return canonical


def _meant(spans: Iterable[Span], position: int) -> str:
    """What a repaired tag at a position became."""
    span = next(span for span in spans if span.start <= position < span.end)
    if span.end - span.start == 1:
        return f"a {span.label} of one word"
    return f"the {'first' if span.start == position else 'last'} word of a {span.label}"


def _check_row(row: TaggedRow) -> None:
    """Refuses what is not a tag a word."""
    for name, cells in (("words", row.words), ("tags", row.tags)):
        if not isinstance(cells, list) or not all(isinstance(cell, str) for cell in cells):
            raise DatasetError(f"the {name} of {row.place} are {cells!r}, not a list of strings.")
    if len(row.words) != len(row.tags):
        raise DatasetError(f"{row.place} has {len(row.words)} words and {len(row.tags)} tags; give one tag a word.")
