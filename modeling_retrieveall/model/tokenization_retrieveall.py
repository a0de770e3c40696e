"""The tokenizer of a model repository, which is loaded from the repository of the base LLM.

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
    """Lets ``AutoTokenizer`` load the tokenizer of the base LLM."""

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | Path, *_: Any, **arguments: Any
    ) -> PreTrainedTokenizerBase:
        """Loads the tokenizer of the model's base LLM.

        Args:
            pretrained_model_name_or_path: Folder or repository of a RetrieveAll model.
            **arguments: ``revision`` applies to the RetrieveAll model; ``token``, ``cache_dir`` and ``local_files_only`` apply
                to both repositories; all others are passed to the tokenizer of the base LLM.
        """
        shared = {name: arguments[name] for name in ("token", "cache_dir", "local_files_only") if name in arguments}
        revision = arguments.pop("revision", None)
        for name in ("trust_remote_code", "_from_auto", "_commit_hash"):
            arguments.pop(name, None)
        config = RetrieveAllConfig.from_pretrained(pretrained_model_name_or_path, revision=revision, **shared)
        # The user trusts the code of this repository, but not that of the base LLM, which the repository only names.
        arguments["trust_remote_code"] = False
        if config.base_model != EMBEDDED_BASE:
            arguments["revision"] = config.base_revision
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(resolve_base(config.base_model), **arguments)
        return tokenizer


def write_tokenizer_pointer(folder: Path) -> None:
    """Writes ``tokenizer_config.json``, which makes ``AutoTokenizer`` use :class:`RetrieveAllTokenizer`."""
    pointer = {"auto_map": {"AutoTokenizer": [None, f"{Path(__file__).stem}.{RetrieveAllTokenizer.__name__}"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(pointer, indent=2) + "\n", encoding="utf-8")
