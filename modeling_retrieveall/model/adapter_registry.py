"""The adapters of a loaded model, with the router and the LoRA bank that depend on them.

>>> registry = AdapterRegistry(base, config)
>>> registry.add(LanguageAdapter.load("adapter_cards/de"))
>>> registry.remove("de")
"""

from collections.abc import Collection, Iterable, Sequence

import torch
from transformers import PreTrainedModel

from .compatibility import check_hidden_size, check_lora_fits, check_manifest_fits
from .configuration_retrieveall import RetrieveAllConfig
from .errors import AdapterError, InputError
from .language_adapter import LanguageAdapter
from .lora_bank import LoraBank
from .manifest import MULTILINGUAL, matching_code
from .model_source import AdapterLocation, SkippedAdapters, load_adapters
from .router import Router
from .writing_systems import usual_scripts


class AdapterRegistry:
    """The adapters of a model. Adding or removing a language changes nothing for the others.

    Args:
        base: The base LLM.
        config: The model's configuration.

    Attributes:
        adapters: The adapter of each language, by its code.
        bank: The LoRA weights of the adapters that are resident.
        router: Chooses the adapters of a sentence.
    """

    def __init__(self, base: PreTrainedModel, config: RetrieveAllConfig) -> None:
        self.base = base
        self.config = config
        self.adapters: dict[str, LanguageAdapter] = {}
        self.bank = LoraBank(base, config.adapter_slots)
        self.router = Router(config)
        self._checked: set[str] = set()  # languages whose weights were fetched and checked

    def add(self, adapter: LanguageAdapter) -> None:
        """Adds an adapter, and replaces one of the same language. Weights on the Hub are fetched and checked at their first use.

        Raises:
            AdapterError: It belongs to another base LLM, encoder layer or prompt.
        """
        check_manifest_fits(adapter.source, adapter.manifest, self.config)
        check_hidden_size(adapter, self.base)
        if adapter.snapshot is None:
            check_lora_fits(adapter, self.base, self.config.max_rank)
        language = adapter.language
        self.bank.unload(language)
        self._checked.discard(language)
        self.replace(adapter)

    def replace(self, adapter: LanguageAdapter) -> None:
        """Uses an adapter for its language. LoRA weights of the language that are in the bank stay there."""
        self.adapters[adapter.language] = adapter
        if adapter.language == MULTILINGUAL:
            self.router.fallback = adapter.language
        else:
            scripts = usual_scripts(example.sentence.text for example in adapter.index.examples)
            self.router.add(adapter.language, adapter.sentence_vectors(), scripts)

    def remove(self, language: str) -> None:
        """Removes a language.

        Raises:
            InputError: There is no such language.
        """
        language = self.adapter(language).language
        del self.adapters[language]
        self.bank.unload(language)
        self._checked.discard(language)
        self.router.remove(language)
        if language == MULTILINGUAL:
            self.router.fallback = None

    def adapter(self, language: str) -> LanguageAdapter:
        """The adapter of a language.

        Raises:
            InputError: There is no such language.
        """
        language = matching_code(language, self.adapters)
        self.check([language])
        return self.adapters[language]

    def check(self, languages: Iterable[str]) -> None:
        """Checks that the model has languages.

        Raises:
            InputError: It does not have one of them.
        """
        if unknown := sorted({str(language) for language in languages} - self.adapters.keys()):
            raise InputError(f"No adapter for language {', '.join(map(repr, unknown))}. There are: {_listed(self.adapters)}.")

    def add_all(self, sources: dict[str, AdapterLocation], wanted: Sequence[str] | None, skipped: SkippedAdapters) -> None:
        """Adds the adapters of a model.

        Args:
            sources: The folder or repository of each language's adapter.
            wanted: The languages to add, beside the multilingual adapter; all when ``None``.
            skipped: Records the adapters on the Hub that cannot be used.

        Raises:
            InputError: A wanted language is not there.
            AdapterError: The adapter of a wanted language cannot be used, or none at all can.
        """
        asked = {matching_code(code, sources) for code in ([wanted] if isinstance(wanted, str) else wanted or ())}
        if missing := sorted(asked - sources.keys()):
            reasons = "".join(f"\n  skipped: {reason}" for reason in skipped.reasons)
            raise InputError(f"No adapter for language {', '.join(map(repr, missing))}. There are: {_listed(sources)}.{reasons}")
        chosen = sorted(sources if wanted is None else (asked | {MULTILINGUAL}) & sources.keys())
        for language, adapter in load_adapters({language: sources[language] for language in chosen}, skipped).items():
            try:
                self.add(adapter)
            except AdapterError as error:
                if adapter.snapshot is None:
                    raise
                skipped.skip(sources[language], error)
        if skipped.reasons and (asked - self.adapters.keys() or not self.adapters):
            raise AdapterError("These adapters cannot be used:\n" + "\n".join(f"  {reason}" for reason in skipped.reasons))
        skipped.warn()

    def make_resident(self, languages: Collection[str]) -> None:
        """Reads LoRA weights into the bank, unless they are there.

        Raises:
            AdapterError: Weights are missing or damaged.
            HubError: Weights cannot be fetched.
            MemoryError: The weights do not fit into the memory of the device.
        """
        try:
            self.bank.make_resident(languages, lambda language: self.adapters[language].lora_weights(self.base.dtype))
        except torch.OutOfMemoryError as error:
            raise MemoryError(
                f"The LoRA weights of {', '.join(sorted(languages))} do not fit into the memory of the device. "
                f"Load the model with fewer adapter_slots than {self.config.adapter_slots}, or with quantization='4bit'."
            ) from error

    def load_weights(self, language: str) -> None:
        """Fetches and checks the LoRA weights of a language at their first use, and reads them into the bank.

        Raises:
            AdapterError: They are missing, damaged or do not fit the base LLM.
            HubError: They cannot be fetched.
        """
        if language not in self._checked:
            check_lora_fits(self.adapters[language], self.base, self.config.max_rank)
            # They stay in the bank for decoding, so that they are read once.
            self.make_resident([language])
            self._checked.add(language)


def _listed(languages: Iterable[str]) -> str:
    return ", ".join(sorted(languages)) or "none"
