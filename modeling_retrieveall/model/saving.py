"""Writes a model to a folder: configuration, code and adapters, but never the base weights.

>>> write_model(model, Path("my-model"), collection=None)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.dynamic_module_utils import custom_object_save

from .atomic import check_sources, updating
from .configuration_retrieveall import check_holds_no_other_model
from .pipeline_retrieveall import CUSTOM_PIPELINES
from .tokenization_retrieveall import write_tokenizer_pointer

if TYPE_CHECKING:
    from .modeling_retrieveall import RetrieveAllModel


_WEIGHT_ARGUMENTS = {
    *("state_dict", "max_shard_size", "variant", "safe_serialization", "save_peft_format", "save_original_format")
}
"""Arguments of the base class's ``save_pretrained`` that are about weights."""


def without_weight_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``save_pretrained`` without those that have no effect, because the base weights are not written."""
    return {name: value for name, value in arguments.items() if name not in _WEIGHT_ARGUMENTS}


def write_model(model: "RetrieveAllModel", folder: Path, collection: str | None) -> None:
    """Writes a model; see :meth:`RetrieveAllModel.save_pretrained`.

    Args:
        model: The model. Its languages must not change meanwhile.
        folder: The folder, which may be that of the model.
        collection: Slug of the Hub collection from which the saved model takes further languages, instead of its own.
    """
    check_holds_no_other_model(folder)
    places = {language: f"adapters/{language}" for language, adapter in model.adapters.items() if not adapter.pin}
    for language, name in places.items():
        check_sources(folder / name, [other.path for code, other in model.adapters.items() if code != language])
    config = type(model.config).from_dict(model.config.to_dict())
    config.collection = collection or config.collection
    config.adapters = {
        language: adapter.pin or adapter.copy_to(folder, places[language]) for language, adapter in sorted(model.adapters.items())
    }
    config.architectures = [type(model).__name__]
    config.custom_pipelines = CUSTOM_PIPELINES
    with updating(folder) as written:
        save_code: Any = custom_object_save  # its types allow only a configuration in a dictionary
        save_code(model, written, config=config)
        write_tokenizer_pointer(written)
        config.save_pretrained(written)
