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
    from .entities import Entity
    from .extractor import UnknownLanguageError
    from .language_adapter import LanguageAdapter
    from .lora_files import AdapterError
    from .modeling_retrieveall import RetrieveAllModel
    from .outputs import Extraction, RetrieveAllOutput, ServedSentence
    from .routing import Route

__all__ = [
    "AdapterError",
    "Entity",
    "Extraction",
    "LanguageAdapter",
    "RetrieveAllConfig",
    "RetrieveAllModel",
    "RetrieveAllOutput",
    "Route",
    "ServedSentence",
    "UnknownLanguageError",
]

_HOMES = {
    "AdapterError": "lora_files",
    "Entity": "entities",
    "Extraction": "outputs",
    "LanguageAdapter": "language_adapter",
    "RetrieveAllConfig": "configuration_retrieveall",
    "RetrieveAllModel": "modeling_retrieveall",
    "RetrieveAllOutput": "outputs",
    "Route": "routing",
    "ServedSentence": "outputs",
    "UnknownLanguageError": "extractor",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Imports what is asked for: torch and transformers take seconds, and the help of the command line needs neither."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
