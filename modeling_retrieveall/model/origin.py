"""What a model was loaded from. Pickle and copy store this instead of gigabytes of weights, and load the model again from it.

>>> pickle.loads(pickle.dumps(model)).extract(texts) == model.extract(texts)
True
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .backends import LocalBackend
from .base_llm import load_base
from .configuration_retrieveall import RetrieveAllConfig
from .errors import InputTypeError
from .hub_files import Hub, Snapshot
from .language_adapter import INDEX_FILES, WEIGHT_FILES
from .model_source import AdapterLocation, SkippedAdapters

if TYPE_CHECKING:
    from .modeling_retrieveall import RetrieveAllModel

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
    adapters: dict[str, AdapterLocation]
    hub: Hub
    home: Snapshot | None
    files: list[FileState]

    @classmethod
    def of(cls, model: "RetrieveAllModel") -> "Origin":
        """Returns the origin of a model, with its present configuration, adapters and device.

        Raises:
            InputTypeError: The model was built from parts in memory, a server decodes for it, or its adapters were changed.
        """
        base = _checked_base(model)
        adapters = {code: adapter.snapshot or adapter.path for code, adapter in sorted(model.adapters.items())}
        name = str(Path(base.name).absolute()) if Path(base.name).is_dir() else base.name
        # A quantised base has several dtypes, none of which it was loaded with.
        dtype = {} if getattr(model.base, "is_quantized", False) else {"dtype": model.base.dtype}
        return cls(
            base=BaseOrigin(name, base.revision, base.arguments | dtype),
            device=None if "device_map" in base.arguments else str(model.base.device),
            config={field: getattr(model.config, field) for field in sorted(RetrieveAllConfig.field_names())},
            adapters=adapters,
            hub=model.hub,
            home=model.home,
            files=file_states(name, adapters.values()),
        )


def _checked_base(model: "RetrieveAllModel") -> BaseOrigin:
    """The origin of the base LLM of a model that can be loaded again."""
    if model.base_origin is None:
        raise InputTypeError(
            "This model was built from a base LLM in memory, which is not stored with it, so it cannot be pickled or copied. "
            "Load a model in each process with RetrieveAllModel.from_pretrained."
        )
    if not isinstance(backend := model.extractor.backend, LocalBackend):
        raise InputTypeError(
            f"This model decodes with a {type(backend).__name__}, so it cannot be pickled or copied. Load a model in each "
            "process with RetrieveAllModel.from_pretrained, and choose the backend there."
        )
    if edited := [code for code, adapter in sorted(model.adapters.items()) if adapter.edited]:
        raise InputTypeError(
            f"The adapters of {', '.join(edited)} were changed in memory, so the model cannot be pickled or copied. Save it with "
            "save_pretrained, and load it from there."
        )
    return model.base_origin


def file_states(base: str, adapters: Iterable[AdapterLocation]) -> list[FileState]:
    """The states of the files that a model is read from and that can change: a commit on the Hub cannot.

    Args:
        base: The name of the base LLM.
        adapters: Where the adapters lie.
    """
    folder = Path(base).expanduser()
    files = sorted(file for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []
    for adapter in adapters:
        if isinstance(adapter, Path):
            files += [adapter / name for name in (*INDEX_FILES, *WEIGHT_FILES) if (adapter / name).is_file()]
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def load_again(origin: Origin) -> "RetrieveAllModel":
    """Loads a model that was pickled or copied.

    AutoModel creates a subclass of RetrieveAllModel that pickle cannot find, so the class is not stored.

    Args:
        origin: What the model was loaded from.
    """
    from .modeling_retrieveall import RetrieveAllModel  # which imports this module

    base, tokenizer = load_base(origin.base.name, origin.base.revision, origin.hub, **origin.base.arguments)
    model = RetrieveAllModel(RetrieveAllConfig(**origin.config), base, tokenizer)
    model.hub, model.home, model.base_origin = origin.hub, origin.home, origin.base
    model.registry.add_all(origin.adapters, None, SkippedAdapters(strict=True))
    if origin.device:
        model.to(origin.device)
    model.eval()
    return model
