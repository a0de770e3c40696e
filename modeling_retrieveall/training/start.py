"""The adapter that a new language starts from, so that it keeps what transfers.

>>> find_start("mul", "sw", EMBEDDED_BASE).language
'mul'
"""

from ..collection import locate, shipped_adapters
from ..hub_files import Hub
from ..language_adapter import LanguageAdapter
from ..lora_files import AdapterError
from ..manifest import SHARED_LANGUAGE, read_manifest


def find_start(init: str, language: str, base: str) -> LanguageAdapter | None:
    """The adapter that a run starts from, ``None`` for nothing.

    Args:
        init: A folder; or a repository on the Hub, with ``@revision`` if need be; ``"mul"`` for the shared adapter of the
            package; ``"none"``; or ``"auto"``, which is ``"mul"`` where it fits and nothing elsewhere.
        language: The language to be learned.
        base: The base LLM.

    Raises:
        AdapterError: It is of another base LLM.
        HubError: The Hub does not have it.
    """
    if init == "none" or (init == "auto" and language == SHARED_LANGUAGE):
        return None
    if init in ("auto", SHARED_LANGUAGE):
        shared = shipped_adapters() / SHARED_LANGUAGE
        if shared.is_dir() and read_manifest(shared).base_model == base:
            return LanguageAdapter.load(shared)
        if init == "auto":
            return None
        raise AdapterError(f"There is no 'mul' adapter for {base!r}. Use --init none, or train one with --language mul.")
    start = LanguageAdapter.load(locate(init, Hub()))
    if start.manifest.base_model != base:
        raise AdapterError(
            f"{start.source} was trained on {start.manifest.base_model!r}, not on {base!r}. Choose another --init or --base."
        )
    start.lora_shapes()  # fetches the weights, if they are on the Hub
    return start
