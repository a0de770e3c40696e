"""RetrieveAll: named entity recognition in many languages with one frozen LLM and a LoRA adapter per language.

>>> from modeling_retrieveall import RetrieveAllModel
>>> model = RetrieveAllModel.from_pretrained("shipped")
>>> model.extract(["Angela Merkel besuchte Nairobi."])[0][0].label
'PER'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .configuration_retrieveall import RetrieveAllConfig
    from .data.rows import DatasetError
    from .data.tags import TagError
    from .data.text_files import EncodingError
    from .decoding import PrecisionError
    from .entities import Entity
    from .errors import InputError, InputTypeError, MissingPackageError, RetrieveAllError, ServerError
    from .extractor import UnknownLanguageError
    from .hub_files import HubError, HubFileMissingError, HubNotCachedError, HubUnreachableError
    from .integrations.journal import JournalError
    from .integrations.records import RecordError
    from .language_adapter import LanguageAdapter
    from .lora_files import AdapterError
    from .modeling_retrieveall import RetrieveAllModel
    from .outputs import Extraction, RetrieveAllOutput, ServedSentence
    from .routing import Route

__all__ = [
    "AdapterError",
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
    "RecordError",
    "RetrieveAllConfig",
    "RetrieveAllError",
    "RetrieveAllModel",
    "RetrieveAllOutput",
    "Route",
    "ServedSentence",
    "ServerError",
    "TagError",
    "UnknownLanguageError",
]

_HOMES = {
    "AdapterError": "lora_files",
    "DatasetError": "data.rows",
    "EncodingError": "data.text_files",
    "Entity": "entities",
    "Extraction": "outputs",
    "HubError": "hub_files",
    "HubFileMissingError": "hub_files",
    "HubNotCachedError": "hub_files",
    "HubUnreachableError": "hub_files",
    "InputError": "errors",
    "InputTypeError": "errors",
    "JournalError": "integrations.journal",
    "LanguageAdapter": "language_adapter",
    "MissingPackageError": "errors",
    "PrecisionError": "decoding",
    "RecordError": "integrations.records",
    "RetrieveAllConfig": "configuration_retrieveall",
    "RetrieveAllError": "errors",
    "RetrieveAllModel": "modeling_retrieveall",
    "RetrieveAllOutput": "outputs",
    "Route": "routing",
    "ServedSentence": "outputs",
    "ServerError": "errors",
    "TagError": "data.tags",
    "UnknownLanguageError": "extractor",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Imports what is asked for: torch and transformers take seconds, and the help of the command line needs neither."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
