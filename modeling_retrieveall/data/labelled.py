"""Labelled datasets from the Hub, from parquet or from CoNLL files, as examples.

>>> train = load_examples("unimelb-nlp/wikiann:sw", "train")          # Hub id, with the configuration after a colon
>>> train = load_examples("data/panx/de", "train")                    # a directory of train.parquet, test.parquet, ...
>>> train = load_examples("examples/sentences/sw.conll", "train")     # one file: all of it
>>> train.examples[0].spans, train.labels
((Span(start=0, end=2, label='PER'),), ['LOC', 'ORG', 'PER'])
"""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..entities import Example, Sentence, Span, detect_scheme, spans_from_tags, split_tag

_CONLL_SUFFIXES = {".conll", ".bio", ".iob", ".iob2", ".tsv", ".txt"}
_SUFFIXES = {*_CONLL_SUFFIXES, ".parquet"}
_TAG = re.compile(r"O|[BILOUES]-.+")
_SPLIT_NAMES = {"validation": ("validation", "valid", "dev"), "train": ("train",), "test": ("test",)}


class DatasetError(ValueError):
    """A dataset that cannot be read as labelled sentences; the message says what to change."""


@dataclass(frozen=True)
class LabelledData:
    """The examples of one split.

    Attributes:
        examples: Sentences that have words, with their spans.
        labels: Entity types of the dataset, sorted, also those that no example of this split has.
        repairs: Where the tags stand that are invalid in their scheme, with what was made of them.
    """

    examples: list[Example]
    labels: list[str]
    repairs: list[str]


@dataclass(frozen=True)
class _Row:
    """A sentence as it stands in a file; the lines are those of its words, none where the file has no lines."""

    words: list[str]
    tags: list[str]
    place: str
    lines: list[int] = field(default_factory=list)

    def place_of(self, position: int) -> str:
        """Where the word at a position stands, and which it is."""
        place = f"{self.place}, line {self.lines[position]}" if self.lines else self.place
        return f"{place}, word {self.words[position]!r}"


def load_examples(dataset: str, split: str) -> LabelledData:
    """Loads one split of a labelled dataset.

    Args:
        dataset: A Hub id (``name`` or ``name:configuration``), a directory with a parquet or CoNLL file a split, or a
            single parquet or CoNLL file, which then is every split.
        split: ``"train"``, ``"validation"`` or ``"test"``.

    Raises:
        DatasetError: There is no such dataset or split, a column is missing, or a tag is not BIO, IOB1 or BILOU.
    """
    path = Path(dataset).expanduser()
    if not path.exists() and (path.suffix in _SUFFIXES or dataset.startswith((".", "/", "~"))):
        # And no dataset of the Hub, which would be asked for half a minute.
        raise DatasetError(f"There is no {dataset}. Give one that is there, a folder, or a dataset of the Hub.")
    if path.is_file() and path.suffix not in _SUFFIXES:
        ending = f"ends with {path.suffix!r}" if path.suffix else "has no ending"
        raise DatasetError(f"{dataset} {ending}; give a file that ends with one of {', '.join(sorted(_SUFFIXES))}.")
    if path.exists():
        files = [path] if path.is_file() else _split_files(path, split)
        if files[0].suffix in _CONLL_SUFFIXES:
            return _labelled([row for file in files for row in _read_conll(file)], None, str(files[0]))
        source = files[0] if len(files) == 1 else files[0].parent  # rows are counted over all files
        return _from_columns(_load_dataset("parquet", split="train", data_files=[str(file) for file in files]), str(source))
    name, _, configuration = dataset.partition(":")
    return _from_columns(_load_dataset(name, configuration or None, split=split), dataset)


def has_split(dataset: str, split: str) -> bool:
    """Whether a dataset has that split as one of its own; a single file has none but ``"train"``."""
    path = Path(dataset).expanduser()
    if path.is_file():
        return split == "train"
    try:
        if path.is_dir():
            return bool(_split_files(path, split))
        return bool(load_examples(dataset, split).examples)
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


def _split_files(directory: Path, split: str) -> list[Path]:
    """The files of a split, all of one kind: parquet, which may be in several parts, before CoNLL."""
    for name in _SPLIT_NAMES[split]:
        for folder in (directory, directory / "data"):
            files = sorted(folder.glob(f"{name}*"))
            parquet = [file for file in files if file.suffix == ".parquet"]
            if found := parquet or [file for file in files if file.suffix in _CONLL_SUFFIXES]:
                return found
    names = sorted(file.name for file in directory.iterdir())
    raise DatasetError(
        f"{directory} has no {split} split: no file like {split}.parquet or {split}.conll, only {names or 'nothing'}. "
        "Name a directory that has one, or a single file."
    )


def _load_dataset(*args: Any, **kwargs: Any) -> Any:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ImportError('Reading datasets needs the datasets library: pip install "retrieveall[train]"') from error
    try:
        return load_dataset(*args, **kwargs)
    except Exception as error:  # the library raises a dozen unrelated types for a name that does not exist
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DatasetError(
            f"Could not load dataset {kwargs.get('data_files', args[0])!r}: {reason}. "
            "Give a Hub id (name or name:configuration), a directory of parquet or CoNLL files, or one such file."
        ) from error


def _from_columns(table: Any, source: str) -> LabelledData:
    if missing := {"tokens", "ner_tags"} - set(table.column_names):
        raise DatasetError(
            f"{source} has no column {' and '.join(sorted(missing))}, only {table.column_names}. Rename its columns: "
            "'tokens' holds the words of each sentence, 'ner_tags' a tag a word (names, or a ClassLabel of names)."
        )
    feature = table.features["ner_tags"]
    names: list[str] | None = getattr(getattr(feature, "feature", feature), "names", None)
    columns = [(tokens, tags or []) for tokens, tags in zip(table["tokens"], table["ner_tags"], strict=True)]
    if names is not None:
        columns = [(tokens, [_tag_name(tag, names, source) for tag in tags]) for tokens, tags in columns]
    elif any(isinstance(tag, int) for _, tags in columns for tag in tags):
        raise DatasetError(
            f"{source} has numbers in 'ner_tags' without their names. Make the column a ClassLabel or write names."
        )
    rows = [_Row(tokens, tags, f"{source}, row {number}") for number, (tokens, tags) in enumerate(columns)]
    return _labelled(rows, names, source)


def _tag_name(tag: int, names: list[str], source: str) -> str:
    if not 0 <= tag < len(names):
        raise DatasetError(f"{source} has a tag {tag}, but its ClassLabel names 0 to {len(names) - 1}. Is this split labelled?")
    return names[tag]


def _labelled(rows: list[_Row], names: list[str] | None, source: str) -> LabelledData:
    for row in rows:
        _check_row(row)
    scheme = detect_scheme(row.tags for row in rows)
    examples, repairs = [], []
    for row in rows:
        spans, repaired = spans_from_tags(row.tags, scheme)
        repairs += [f"{row.place_of(i)}: {row.tags[i]} was taken for {_meant(spans, i)}" for i in repaired]
        if row.words:
            examples.append(Example(Sentence.from_words(row.words), tuple(spans)))
    if not examples:
        raise DatasetError(f"{source} has no sentences. Give a file with a word and a tag on each line, or with filled columns.")
    seen = names if names is not None else {tag for row in rows for tag in row.tags}
    return LabelledData(examples, sorted({name.partition("-")[2] for name in seen} - {""}), repairs)


def _meant(spans: Iterable[Span], position: int) -> str:
    """What a repaired tag at a position became."""
    span = next(span for span in spans if span.start <= position < span.end)
    if span.end - span.start == 1:
        return f"a {span.label} of one word"
    return f"the {'first' if span.start == position else 'last'} word of a {span.label}"


def _check_row(row: _Row) -> None:
    """Refuses what is not a tag a word."""
    for name, cells in (("words", row.words), ("tags", row.tags)):
        if not isinstance(cells, list) or not all(isinstance(cell, str) for cell in cells):
            raise DatasetError(f"the {name} of {row.place} are {cells!r}, not a list of strings.")
    if len(row.words) != len(row.tags):
        raise DatasetError(f"{row.place} has {len(row.words)} words and {len(row.tags)} tags; give one tag a word.")
    for position, tag in enumerate(row.tags):
        try:
            split_tag(tag)
        except ValueError as error:
            raise DatasetError(f"{row.place_of(position)}: {error}") from error


def _read_conll(file: Path) -> list[_Row]:
    """Word first, tag last on each line; an empty line ends a sentence; lines of ``-DOCSTART-`` and ``# `` are passed over."""
    rows = [_Row([], [], str(file))]
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file} is not UTF-8 ({error}). Save it as UTF-8.") from error
    # Only line feeds end lines: U+2028 and its kind are characters of words.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            rows.append(_Row([], [], str(file)))
            continue
        columns = line.split("\t") if "\t" in line else line.split()
        # A number sign is a word like any other where a tag follows it.
        comment = line.startswith("# ") and not (len(columns) == 2 and _TAG.fullmatch(columns[1]))
        if columns[0] == "-DOCSTART-" or comment:
            continue
        if len(columns) < 2 or not columns[0]:
            raise DatasetError(f"{file}, line {number}: {line!r} is not a word and a tag. Write the word, a tab and its tag.")
        row = rows[-1]
        row.words.append(columns[0])
        row.tags.append(columns[-1].strip())
        row.lines.append(number)
    return [row for row in rows if row.words]
