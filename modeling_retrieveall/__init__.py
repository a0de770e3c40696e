"""RetrieveAll: named entity recognition in many languages with one frozen LLM and a LoRA adapter per language.

>>> from modeling_retrieveall import RetrieveAllModel
>>> model = RetrieveAllModel.from_pretrained("shipped")
>>> model.extract("Angela Merkel besuchte Nairobi.").entities[0].label
'PER'
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from .annotation.journal import JournalError
    from .annotation.readers import RecordError
    from .annotation.worker_pool import WorkerError
    from .data.loading import load_examples
    from .data.reader_types import DatasetError
    from .data.tags import TagError
    from .data.text_files import EncodingError
    from .evaluation.span_f1 import evaluate
    from .hub.push import push_adapter
    from .model.configuration_retrieveall import RetrieveAllConfig
    from .model.decoding import PrecisionError
    from .model.entities import Entity
    from .model.errors import AdapterError, InputError, InputTypeError, MissingPackageError, RetrieveAllError, ServerError
    from .model.extractor import UnknownLanguageError
    from .model.hub_files import HubError, HubFileMissingError, HubNotCachedError, HubUnreachableError
    from .model.language_adapter import LanguageAdapter
    from .model.modeling_retrieveall import RetrieveAllModel
    from .model.outputs import Extraction, RetrieveAllOutput, SentenceDetails, SentenceResult
    from .model.router import Route
    from .serving.request_batcher import QueueFullError
    from .training.arguments import AdapterTrainingArguments
    from .training.trainer import train

__all__ = [
    "AdapterError",
    "AdapterTrainingArguments",
    "DatasetError",
    "EncodingError",
    "Entity",
    "Extraction",
    "HubError",
    "HubFileMissingError",
    "HubNotCachedError",
    "HubUnreachableError",
    "InputError",
    "InputTypeError",
    "JournalError",
    "LanguageAdapter",
    "MissingPackageError",
    "PrecisionError",
    "QueueFullError",
    "RecordError",
    "RetrieveAllConfig",
    "RetrieveAllError",
    "RetrieveAllModel",
    "RetrieveAllOutput",
    "Route",
    "SentenceDetails",
    "SentenceResult",
    "ServerError",
    "TagError",
    "UnknownLanguageError",
    "WorkerError",
    "evaluate",
    "load_examples",
    "push_adapter",
    "train",
]

__version__ = "0.1.0"

_HOMES = {
    "AdapterError": "model.errors",
    "DatasetError": "data.reader_types",
    "EncodingError": "data.text_files",
    "Entity": "model.entities",
    "Extraction": "model.outputs",
    "HubError": "model.hub_files",
    "HubFileMissingError": "model.hub_files",
    "HubNotCachedError": "model.hub_files",
    "HubUnreachableError": "model.hub_files",
    "InputError": "model.errors",
    "InputTypeError": "model.errors",
    "JournalError": "annotation.journal",
    "LanguageAdapter": "model.language_adapter",
    "MissingPackageError": "model.errors",
    "PrecisionError": "model.decoding",
    "QueueFullError": "serving.request_batcher",
    "RecordError": "annotation.readers",
    "RetrieveAllConfig": "model.configuration_retrieveall",
    "RetrieveAllError": "model.errors",
    "RetrieveAllModel": "model.modeling_retrieveall",
    "RetrieveAllOutput": "model.outputs",
    "Route": "model.router",
    "SentenceDetails": "model.outputs",
    "SentenceResult": "model.outputs",
    "ServerError": "model.errors",
    "TagError": "data.tags",
    "AdapterTrainingArguments": "training.arguments",
    "UnknownLanguageError": "model.extractor",
    "WorkerError": "annotation.worker_pool",
    "evaluate": "evaluation.span_f1",
    "load_examples": "data.loading",
    "push_adapter": "hub.push",
    "train": "training.trainer",
}


_TRAIN = ("datasets", "matplotlib", "peft", "seqeval")
_NEED_EXTRA = {"evaluate": _TRAIN, "train": _TRAIN}
"""The functions whose modules import packages of an extra, and these packages."""


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Imports what is asked for: torch and transformers take seconds, and the help of the command line needs neither."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEED_EXTRA.get(name, ()):
            raise
        return _unavailable(name, error)


def _unavailable(name: str, error: ModuleNotFoundError) -> Callable[..., NoReturn]:
    """A function in place of one whose package is missing, so that ``from modeling_retrieveall import *`` imports all others."""
    from .model.errors import MissingPackageError

    package = (error.name or "").partition(".")[0]

    def unavailable(*_: Any, **__: Any) -> NoReturn:
        raise MissingPackageError(f'{name}() needs the package {package}. Run: pip install "retrieveall[train]"') from error

    unavailable.__name__ = unavailable.__qualname__ = name
    return unavailable
