"""Loads a labelled dataset in any supported format: one file, a folder of splits, or a dataset of the Hub.

>>> train = load_examples("unimelb-nlp/wikiann:sw", "train")          # a Hub id, and its configuration after a colon
>>> train = load_examples("data/panx/de", "train")                    # a folder with train.parquet, test.parquet, ...
>>> train = load_examples("doccano.jsonl", "train")                   # one file, used as a whole
>>> train.examples[0].spans, train.labels
((Span(start=0, end=2, label='PER'),), ['LOC', 'ORG', 'PER'])
"""

from collections.abc import Sequence
from pathlib import Path

from .conll import read_conll
from .dataset_files import FORMATS, find_split_files, format_suffix, open_unpacked
from .hub_and_parquet import hub_splits, parse_hub_name, read_hub_split, read_parquet
from .json_files import read_json
from .labelled_data import LabelledData, build_labelled_data
from .reader_types import ColumnNames, DatasetError, Notes, RawExample, SourceRecord, TaggedSentence
from .record_conversion import convert_records
from .text_files import EncodingError


def load_examples(dataset: str, split: str, columns: ColumnNames | None = None) -> LabelledData:
    """Loads one split of a labelled dataset.

    Args:
        dataset: One of

            - a Hub id: ``name``, ``name:configuration`` or ``name:configuration@revision``;
            - a folder with one file, or several numbered files, for each split;
            - a single file, which is then used for every split.

            Files may be CoNLL and similar column files; JSON of doccano, Label Studio, Prodigy, spaCy, Hugging Face or
            ``retrieveall annotate``; parquet; or spaCy's DocBin.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        columns: The columns of words and labels, for data in which they cannot be found.

    Returns:
        The labelled sentences, and notes on what was changed or left out.

    Raises:
        DatasetError: There is no such dataset or split, words or labels are missing, it is not clear which columns hold them, or
            a tag belongs to no scheme.
    """
    columns, notes = columns or ColumnNames(), Notes()
    path = Path(dataset).expanduser()
    if not path.exists():
        _check_hub_name(dataset)
        records, class_labels = read_hub_split(dataset, split)
        return build_labelled_data(*convert_records(records, dataset, columns, class_labels, notes), dataset, notes)
    if path.is_file() and format_suffix(path) not in FORMATS:
        suffix = f"has the suffix {path.suffix!r}" if path.suffix else "has no suffix"
        raise DatasetError(f"{dataset} {suffix}; supported are {', '.join(FORMATS)}.")
    files = [path] if path.is_file() else find_split_files(path, split)
    if not files:
        present = sorted(file.name for file in path.iterdir())
        raise DatasetError(
            f"{path} has no {split} split: no file such as {split}.parquet or {split}.conll, only {present or 'nothing'}. "
            "Give a folder that has one, or a single file."
        )
    try:
        raw_examples, tag_names = _read(files, columns, notes)
    except EncodingError as error:
        raise DatasetError(str(error)) from error
    return build_labelled_data(raw_examples, tag_names, str(files[0]), notes)


def _read(files: Sequence[Path], columns: ColumnNames, notes: Notes) -> tuple[list[RawExample], Sequence[str]]:
    """What the files of one split hold, and the tags that they list."""
    kind = FORMATS[format_suffix(files[0])]
    source = str(files[0] if len(files) == 1 else files[0].parent)  # rows are counted over all files
    if kind == "conll":
        return [raw for file in files for raw in _read_conll_file(file, columns, notes)], []
    if kind == "spacy":
        from .spacy_files import read_doc_bin

        return [raw for file in files for raw in read_doc_bin(file, notes)], []
    if kind == "parquet":
        records, class_labels = read_parquet(files, source)
        return convert_records(records, source, columns, class_labels, notes)
    records = [record for file in files for record in _read_json_file(file, columns, notes)]
    return convert_records(records, source, columns, {}, notes)


def _read_conll_file(file: Path, columns: ColumnNames, notes: Notes) -> list[TaggedSentence]:
    with open_unpacked(file) as stream:
        return read_conll(stream, str(file), columns, notes)


def _read_json_file(file: Path, columns: ColumnNames, notes: Notes) -> list[SourceRecord]:
    with open_unpacked(file) as stream:
        return read_json(stream, str(file), columns, notes)


def has_split(dataset: str, split: str) -> bool:
    """Whether a dataset has a split of its own with this name.

    A single file counts as the ``"train"`` split only, although :func:`load_examples` reads it for every split.

    Raises:
        DatasetError: There is no such dataset, or the Hub cannot be reached.
    """
    path = Path(dataset).expanduser()
    if path.is_file():
        return split == "train"
    if path.is_dir():
        return bool(find_split_files(path, split))
    _check_hub_name(dataset)
    return split in hub_splits(dataset)


def _check_hub_name(dataset: str) -> None:
    """Refuses a mistyped path: the Hub would take half a minute to answer that it has no such dataset."""
    path = Path(dataset).expanduser()
    if format_suffix(path) in FORMATS or dataset.startswith((".", "/", "~")) or parse_hub_name(dataset) is None:
        raise DatasetError(f"There is no {dataset}. Give an existing file or folder, or a dataset of the Hub.")


def dataset_name(dataset: str) -> str:
    """The name of a dataset in the manifest of an adapter: a Hub id, or the last part of a path after ``./``.

    The ``./`` marks paths, as no Hub id begins with it.
    """
    path = Path(dataset).expanduser()
    return f"./{path.resolve().name}" if path.exists() else dataset
