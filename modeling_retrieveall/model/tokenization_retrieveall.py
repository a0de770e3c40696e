"""The tokenizer of a model repository: that of its base LLM, which the repository does not repeat.

>>> AutoTokenizer.from_pretrained("someone/retrieveall-panx", trust_remote_code=True)
GemmaTokenizer(...)
"""

import json
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from .configuration_retrieveall import RetrieveAllConfig
from .embedded_llm import EMBEDDED_BASE, resolve_base


class RetrieveAllTokenizer(PreTrainedTokenizerBase):
    """What ``AutoTokenizer`` asks for the base's tokenizer."""

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | Path, *_: Any, **arguments: Any
    ) -> PreTrainedTokenizerBase:
        """The tokenizer of the model's base LLM.

        Args:
            pretrained_model_name_or_path: Folder or repository of a RetrieveAll model.
            **arguments: ``revision`` of that model; ``token``, ``cache_dir``, ``local_files_only`` for both; others for the
                base's tokenizer.
        """
        shared = {name: arguments[name] for name in ("token", "cache_dir", "local_files_only") if name in arguments}
        revision = arguments.pop("revision", None)
        for name in ("trust_remote_code", "_from_auto", "_commit_hash"):
            arguments.pop(name, None)
        config = RetrieveAllConfig.from_pretrained(pretrained_model_name_or_path, revision=revision, **shared)
        # Whoever trusts this repository has not thereby trusted its base.
        arguments["trust_remote_code"] = False
        if config.base_model != EMBEDDED_BASE:
            arguments["revision"] = config.base_revision
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(resolve_base(config.base_model), **arguments)
        return tokenizer


def write_tokenizer_pointer(folder: Path) -> None:
    """Tells ``AutoTokenizer`` which class to ask."""
    pointer = {"auto_map": {"AutoTokenizer": [None, f"{Path(__file__).stem}.{RetrieveAllTokenizer.__name__}"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(pointer, indent=2) + "\n", encoding="utf-8")
