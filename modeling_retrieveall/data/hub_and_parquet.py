"""Records of Hub datasets and parquet files, both read with the ``datasets`` library.

>>> parse_hub_name("unimelb-nlp/wikiann:sw@refs/convert/parquet")
HubDataset(name='unimelb-nlp/wikiann', configuration='sw', revision='refs/convert/parquet')
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..model.errors import MissingPackageError
from ..model.hub_files import is_hub_id
from .reader_types import DatasetError, SourceRecord

_PARQUET = "refs/convert/parquet"
_HUB_ID = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<configuration>[^@/\\]+))?(?:@(?P<revision>.+))?")
_ADVICE = "Give a Hub id (name, name:configuration or name@revision), a directory of labelled files, or one such file."


class HubDataset(NamedTuple):
    """A dataset of the Hub.

    Attributes:
        name: Its Hub id.
        configuration: One of its configurations.
        revision: A branch, tag or commit hash.
    """

    name: str
    configuration: str | None
    revision: str | None


def parse_hub_name(dataset: str) -> HubDataset | None:
    """The parts of ``name:configuration@revision``; ``None`` if a text cannot name a dataset of the Hub."""
    match = _HUB_ID.fullmatch(dataset)
    if match is None or not is_hub_id(match["name"]):
        return None
    return HubDataset(match["name"], match["configuration"], match["revision"])


def read_hub_split(dataset: str, split: str) -> tuple[list[SourceRecord], dict[str, list[str]]]:
    """The records of a split, and the names of the tags in columns of numbers that have them.

    Raises:
        DatasetError: There is no such dataset, or only a script can read it.
    """
    asked = parse_hub_name(dataset)
    assert asked is not None
    configuration, options = _selection(asked)
    try:
        return _records(_call_datasets("load_dataset", asked.name, configuration, split=split, **options), dataset)
    except DatasetError as error:
        if "script" not in str(error):
            raise
        copy = f"{asked.name}:{configuration or 'CONFIGURATION'}@{_PARQUET}"
        raise DatasetError(f"{error} It needs a script, which datasets no longer runs. Use its parquet copy: {copy}.") from error


def hub_splits(dataset: str) -> list[str]:
    """The names of the splits of a dataset, whose records are not downloaded.

    Raises:
        DatasetError: There is no such dataset, or the Hub cannot be reached.
    """
    asked = parse_hub_name(dataset)
    assert asked is not None
    configuration, options = _selection(asked)
    names: list[str] = _call_datasets("get_dataset_split_names", asked.name, configuration, **options)
    return names


def _selection(asked: HubDataset) -> tuple[str | None, dict[str, str]]:
    """The configuration of a dataset and further arguments, as the ``datasets`` library expects them."""
    if asked.revision is None:
        return asked.configuration, {}
    if asked.revision == _PARQUET and asked.configuration:
        # On this branch each configuration is a folder.
        return None, {"revision": asked.revision, "data_dir": asked.configuration}
    return asked.configuration, {"revision": asked.revision}


def read_parquet(files: Sequence[Path], source: str) -> tuple[list[SourceRecord], dict[str, list[str]]]:
    """The records of parquet files, and the names of the tags, as in :func:`read_hub_split`.

    Raises:
        DatasetError: A file is damaged.
    """
    table = _call_datasets("load_dataset", "parquet", split="train", data_files=[str(file) for file in files])
    return _records(table, source)


def _records(table: Any, source: str) -> tuple[list[SourceRecord], dict[str, list[str]]]:
    features = {name: getattr(feature, "feature", feature) for name, feature in table.features.items()}
    names = {name: list(feature.names) for name, feature in features.items() if getattr(feature, "names", None)}
    columns = {name: table[name] for name in table.column_names}
    rows = zip(*columns.values(), strict=True)
    return [SourceRecord(dict(zip(columns, row, strict=True)), f"{source}, row {i}") for i, row in enumerate(rows)], names


def _call_datasets(function: str, *args: Any, **kwargs: Any) -> Any:
    """Calls a function of the ``datasets`` library, whose first argument is the name of a dataset."""
    try:
        import datasets
    except ImportError as error:
        raise MissingPackageError('Reading datasets needs the datasets library: pip install "retrieveall[train]"') from error
    try:
        return getattr(datasets, function)(*args, **kwargs)
    except Exception as error:  # the library raises a dozen unrelated types for a name that does not exist
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise DatasetError(f"Could not load dataset {kwargs.get('data_files', args[0])!r}: {reason}. {_ADVICE}") from error
