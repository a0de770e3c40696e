"""Which adapters belong to a model, and where they lie.

>>> resolve(SHIPPED).adapters
{'bg': PosixPath('.../adapter_cards/bg'), 'de': PosixPath('.../adapter_cards/de'), ...}
"""

import json
from dataclasses import dataclass
from pathlib import Path

from .configuration_retrieveall import RetrieveAllConfig
from .language_adapter import MANIFEST, AdapterError, read_manifest

SHIPPED = "shipped"
"""The name of the model that comes with the package: the embedded base LLM and the adapters of ``adapter_cards/``."""


@dataclass(frozen=True)
class Collection:
    """A configuration and the folder of each of its adapters, by language."""

    config: RetrieveAllConfig
    adapters: dict[str, Path]


def shipped_adapters() -> Path:
    """The folder of the shipped adapters: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "adapter_cards"
    return inside if inside.is_dir() else package.parent / "adapter_cards"


def resolve(source: str | Path) -> Collection:
    """Finds configuration and adapters of a model.

    Args:
        source: ``"shipped"``; or a folder that ``save_pretrained`` wrote; or the folder of one adapter; or a folder of such
            folders.

    Raises:
        FileNotFoundError: There is nothing of the kind.
        AdapterError: Two adapters are of one language, or were trained on different base LLMs.
    """
    path = shipped_adapters() if source == SHIPPED else Path(source).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(
            f"There is no model at {str(source)!r}. "
            f"Give '{SHIPPED}', or a folder written by `save_pretrained` or `retrieveall train`."
        )
    if (path / "config.json").is_file():
        config = _read_config(path)
        return Collection(config, {language: path / folder for language, folder in config.adapters.items()})
    folders = [path] if (path / MANIFEST).is_file() else sorted(f.parent for f in path.glob(f"[!.]*/{MANIFEST}"))
    if not folders:
        raise FileNotFoundError(
            f"{path} holds no model: neither config.json nor {MANIFEST}, nor a folder with one. "
            "Train an adapter with `retrieveall train`, or save a model with `model.save_pretrained`."
        )
    return _from_folders(folders)


def _from_folders(folders: list[Path]) -> Collection:
    manifests = {folder: read_manifest(folder) for folder in folders}
    adapters: dict[str, Path] = {}
    for folder, manifest in manifests.items():
        if manifest.language in adapters:
            raise AdapterError(
                f"{folder} and {adapters[manifest.language]} are both of {manifest.language!r}. Remove one of them."
            )
        adapters[manifest.language] = folder
    bases = {(manifest.base_model, manifest.base_revision, manifest.encoder_layer) for manifest in manifests.values()}
    if len(bases) > 1:
        raise AdapterError(
            f"The adapters of {folders[0].parent} are of different base LLMs or encoder layers: {sorted(map(str, bases))}."
        )
    base_model, base_revision, encoder_layer = bases.pop()
    return Collection(RetrieveAllConfig(base_model, base_revision, encoder_layer=encoder_layer), adapters)


def _read_config(path: Path) -> RetrieveAllConfig:
    try:
        data = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise AdapterError(f"{path / 'config.json'} is damaged: {error}. Save or download the model again.") from error
    if not isinstance(data, dict):
        raise AdapterError(f"{path / 'config.json'} is damaged: it holds {data!r}. Save or download the model again.")
    if data.get("model_type") != RetrieveAllConfig.model_type:
        raise AdapterError(
            f"{path} holds a model of type {data.get('model_type')!r}, not '{RetrieveAllConfig.model_type}'. "
            "To use it as the base LLM, give it as base_model."
        )
    config: RetrieveAllConfig = RetrieveAllConfig.from_dict(data)
    return config
