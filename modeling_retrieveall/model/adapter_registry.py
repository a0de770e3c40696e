"""The languages that a loaded model serves: adapters, router and LoRA bank, kept in step.

>>> languages = Languages(base, config)
>>> languages.add(LanguageAdapter.load("adapter_cards/de"))
>>> languages.remove("de")
"""

import warnings
from collections.abc import Collection, Iterable, Sequence

from transformers import PreTrainedModel

from .compatibility import check_hidden_size, check_manifest, check_weights
from .configuration_retrieveall import RetrieveAllConfig
from .errors import InputError
from .language_adapter import LanguageAdapter
from .lora_bank import LoraBank
from .lora_files import AdapterError
from .manifest import SHARED_LANGUAGE
from .model_source import Refusals, Source, load_adapters
from .router import Router
from .writing_systems import usual_scripts


class Languages:
    """What is added and removed with a language; nothing else changes then.

    Args:
        base: The base LLM.
        config: The model's configuration.

    Attributes:
        adapters: The adapter of each language, by its code.
        bank: Their LoRA weights, as far as they are resident.
        router: Which of them serves a sentence.
    """

    def __init__(self, base: PreTrainedModel, config: RetrieveAllConfig) -> None:
        self.base = base
        self.config = config
        self.adapters: dict[str, LanguageAdapter] = {}
        self.bank = LoraBank(base, config.adapter_slots)
        self.router = Router(config)
        self._usable: set[str] = set()  # languages whose weights have been fetched and looked at

    def add(self, adapter: LanguageAdapter) -> None:
        """Adds a language, in place of an adapter of the same one. Weights on the Hub are looked at when first needed.

        Raises:
            AdapterError: It is of another base LLM, encoder layer or prompt.
        """
        check_manifest(adapter.source, adapter.manifest, self.config)
        check_hidden_size(adapter, self.base)
        if adapter.snapshot is None:
            check_weights(adapter, self.base, self.config.max_rank)
        language = adapter.language
        self.bank.unload(language)
        self._usable.discard(language)
        self.adapters[language] = adapter
        if language == SHARED_LANGUAGE:
            self.router.fallback = language
        else:
            scripts = usual_scripts(example.sentence.text for example in adapter.index.examples)
            self.router.add(language, adapter.sentence_vectors(), scripts)

    def remove(self, language: str) -> None:
        """Takes a language away.

        Raises:
            InputError: There is no such language.
        """
        self.check([language])
        del self.adapters[language]
        self.bank.unload(language)
        self._usable.discard(language)
        self.router.remove(language)
        if language == SHARED_LANGUAGE:
            self.router.fallback = None

    def check(self, languages: Iterable[str]) -> None:
        """Makes sure that there are such languages.

        Raises:
            InputError: There is one that is not.
        """
        if unknown := sorted({str(language) for language in languages} - self.adapters.keys()):
            raise InputError(f"No adapter for language {', '.join(map(repr, unknown))}. There are: {_listed(self.adapters)}.")

    def add_all(self, sources: dict[str, Source], wanted: Sequence[str] | None, refusals: Refusals) -> None:
        """Adds the adapters of a model.

        Args:
            sources: Where the adapter of each language lies.
            wanted: These languages only, and the shared adapter; all when not given.
            refusals: Takes note of adapters on the Hub that cannot be used.

        Raises:
            InputError: A wanted language is not there.
            AdapterError: The adapter of a wanted language cannot be used, or none at all can.
        """
        asked = {wanted} if isinstance(wanted, str) else set(wanted or ())
        if missing := sorted(asked - sources.keys()):
            reasons = "".join(f"\n  skipped: {reason}" for reason in refusals.reasons)
            raise InputError(f"No adapter for language {', '.join(map(repr, missing))}. There are: {_listed(sources)}.{reasons}")
        chosen = sorted(sources if wanted is None else (asked | {SHARED_LANGUAGE}) & sources.keys())
        for language, adapter in load_adapters({language: sources[language] for language in chosen}, refusals).items():
            try:
                self.add(adapter)
            except AdapterError as error:
                if adapter.snapshot is None:
                    raise
                refusals.add(sources[language], error)
        if refusals.reasons and (asked - self.adapters.keys() or not self.adapters):
            raise AdapterError("These adapters cannot be used:\n" + "\n".join(f"  {reason}" for reason in refusals.reasons))
        refusals.warn()

    def make_resident(self, languages: Collection[str]) -> None:
        """Reads the LoRA weights of languages into the bank, as far as they are not there.

        Raises:
            AdapterError: Weights are missing or damaged.
            HubError: Weights cannot be fetched.
        """
        self.bank.make_resident(languages, lambda language: self.adapters[language].lora_weights(self.base.dtype))

    def drop_unusable(self, languages: Iterable[str], strict: bool) -> set[str]:
        """Fetches the weights of languages that are needed for the first time; those that are of no use are removed.

        Args:
            languages: The languages that sentences are routed to.
            strict: Raise the reason instead.

        Returns:
            The languages removed.

        Raises:
            AdapterError: Weights are of no use, and ``strict`` is set.
            HubError: Weights cannot be fetched.
        """
        removed = set()
        for language in sorted(set(languages) - self._usable):
            adapter = self.adapters[language]
            try:
                check_weights(adapter, self.base, self.config.max_rank)
                # The weights stay where decoding needs them next, so that they are read once.
                self.make_resident([language])
                self._usable.add(language)
            except AdapterError as error:
                if strict:
                    raise
                warnings.warn(f"The language {language!r} is served no longer. {error}", stacklevel=2)
                self.remove(language)
                removed.add(language)
        return removed


def _listed(languages: Iterable[str]) -> str:
    return ", ".join(sorted(languages)) or "none"
