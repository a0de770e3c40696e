"""What a model was loaded from: pickle and copy store this in place of gigabytes of weights, and load the model again from it.

>>> pickle.loads(pickle.dumps(model)).extract(texts) == model.extract(texts)
True
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .hub_files import Hub, Snapshot
from .language_adapter import KNOWLEDGE_FILES, WEIGHT_FILES
from .model_source import Source

FileState = tuple[str, int, int]
"""The name of a file, its bytes, and the time of its last change in nanoseconds."""


@dataclass(frozen=True)
class BaseOrigin:
    """What the base LLM of a model was loaded from.

    Attributes:
        name: As :func:`load_base` takes it.
        revision: Its commit on the Hub, or the checksum of the embedded one; ``None`` for a folder.
        arguments: The other arguments of :func:`load_base`.
    """

    name: str
    revision: str | None
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Origin:
    """What a model was loaded from, and what has been changed since.

    Attributes:
        base: The base LLM.
        device: Where to move the model, unless ``base.arguments`` place it.
        config: The fields of its configuration.
        adapters: Where the adapter of each language lies.
        hub: How the Hub is reached.
        home: The model's own repository, if it is from one.
        files: The states of all files in folders. They do not load anything, but tell a model from an earlier one whose
            adapters had the same places.
    """

    base: BaseOrigin
    device: str | None
    config: dict[str, Any]
    adapters: dict[str, Source]
    hub: Hub
    home: Snapshot | None
    files: list[FileState]


def file_states(base: str, adapters: Iterable[Source]) -> list[FileState]:
    """The states of the files that a model is read from and that can change: a commit on the Hub cannot.

    Args:
        base: The name of the base LLM.
        adapters: Where the adapters lie.
    """
    folder = Path(base).expanduser()
    files = sorted(file for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []
    for adapter in adapters:
        if isinstance(adapter, Path):
            files += [adapter / name for name in (*KNOWLEDGE_FILES, *WEIGHT_FILES) if (adapter / name).is_file()]
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
