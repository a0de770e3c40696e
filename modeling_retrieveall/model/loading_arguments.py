"""The arguments of ``from_pretrained``: which of them are for the Hub, for the configuration, and for the base LLM.

>>> given = LoadingArguments.sorted({"local_files_only": True, "n_sentences": 2, "attn_implementation": "sdpa"}, None)
>>> given.hub.local_files_only, given.fields, given.base
(True, {'n_sentences': 2}, {'attn_implementation': 'sdpa'})
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .configuration_retrieveall import RetrieveAllConfig, suggestion
from .errors import InputTypeError
from .hub_files import Hub

_HUB = {"token", "cache_dir", "local_files_only"}
_NAMED = {"base_model", "device", "dtype", "languages", "quantization", "revision", "strict"}
_AUTO = {"trust_remote_code", "adapter_kwargs", "_from_auto", "_commit_hash"}  # of AutoModel, without effect here
_UNSUPPORTED = ("force_download", "proxies", "subfolder")


@dataclass(frozen=True)
class LoadingArguments:
    """The further arguments of one call of ``from_pretrained``.

    Attributes:
        hub: Access to the Hub with the given token and cache.
        fields: Fields of the configuration that replace the stored ones.
        base: Arguments of the base LLM's ``from_pretrained``.
    """

    hub: Hub
    fields: dict[str, Any]
    base: dict[str, Any]

    @classmethod
    def sorted(cls, arguments: Mapping[str, Any], config: RetrieveAllConfig | None) -> "LoadingArguments":
        """Sorts arguments by what they are for.

        Args:
            arguments: The further arguments of the call.
            config: A configuration that replaces the stored one. Single fields among the arguments take precedence.

        Raises:
            InputTypeError: An argument is not supported, or its name is similar to one that ``from_pretrained`` accepts.
        """
        if given := [name for name in _UNSUPPORTED if arguments.get(name)]:
            raise InputTypeError(f"from_pretrained() does not support {', '.join(given)}.")
        changeable = RetrieveAllConfig.changeable()
        if given := sorted(arguments.keys() & (RetrieveAllConfig.field_names() - changeable)):
            raise InputTypeError(f"from_pretrained() does not accept {', '.join(given)}, which the stored configuration decides.")
        ignored = {*_HUB, *_AUTO, *_UNSUPPORTED, *changeable}
        base = {name: value for name, value in arguments.items() if name not in ignored}
        _check_names(base, {*_HUB, *_NAMED, *changeable})
        fields = {name: value for name, value in arguments.items() if name in changeable}
        if config is not None:
            fields = {name: getattr(config, name) for name in changeable} | fields
            if config._attn_implementation:  # AutoConfig takes it out of the arguments
                base.setdefault("attn_implementation", config._attn_implementation)
        return cls(Hub(**{name: value for name, value in arguments.items() if name in _HUB}), fields, base)


def _check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Reports a misspelt argument, which would otherwise be passed on to the base LLM."""
    for name in names:
        if similar := suggestion(name, known):
            raise InputTypeError(f"from_pretrained() got {name!r}{similar}")
