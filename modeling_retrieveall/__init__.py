"""RetrieveAll: named entity recognition in many languages with one frozen LLM and a LoRA adapter per language.

>>> from modeling_retrieveall import RetrieveAllModel
>>> model = RetrieveAllModel.from_pretrained("shipped")
>>> model.extract(["Angela Merkel besuchte Nairobi."])[0][0].label
'PER'
"""

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
