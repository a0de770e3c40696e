"""Sentences without an entity, for datasets that have too few of them.

Exports of annotation tools, and datasets such as WikiANN, often contain only sentences with an entity. An adapter that is trained
on these alone finds an entity in nearly every sentence.

>>> example = Example(Sentence.from_text("Gestern reiste Angela Merkel mit dem Zug ab."), (Span(2, 4, "PER"),))
>>> [" ".join(word.text for word in fragment.sentence.words) for fragment in fragments([example])]
['mit dem Zug ab .']
"""

import random
from collections.abc import Iterable, Sequence

from ..model.entities import Example
from ..model.language_adapter import LanguageAdapter
from ..model.manifest import MANIFEST, MULTILINGUAL
from ..model.model_source import shipped_adapters

_MIN_WORDS = 3
"""Minimum length of a fragment. Where each character is a word (Chinese, Japanese), shorter ones may be parts of words."""


def empty_sentences(examples: Sequence[Example], share: float, language: str, seed: int) -> list[Example]:
    """New sentences without an entity that raise the share of such sentences to ``share``, as far as enough can be found.

    The package's own sentences of the language are taken first, then fragments of the given sentences.

    Args:
        examples: The training sentences.
        share: Share of sentences without an entity among the old and new sentences, in [0, 1).
        language: Language code of the sentences.
        seed: Random seed of the choice.

    Returns:
        New examples without spans; none if the share is already reached.
    """
    empty = sum(not example.spans for example in examples)
    missing = round((share * len(examples) - empty) / (1 - share))
    if missing <= 0:
        return []
    rng, known = random.Random(seed), {example.key for example in examples}
    chosen: dict[str, Example] = {}
    for source in (_package_sentences(language), fragments(examples)):
        unused = {example.key: example for example in source if example.key not in known | chosen.keys()}
        keys = sorted(unused)
        chosen |= {key: unused[key] for key in rng.sample(keys, min(len(keys), missing - len(chosen)))}
    return list(chosen.values())


def fragments(examples: Iterable[Example]) -> list[Example]:
    """The parts of sentences before, between and after their entities that have at least three words."""
    found = []
    for example in examples:
        starts = [0, *(span.end for span in example.spans)]
        ends = [*(span.start for span in example.spans), len(example.sentence.words)]
        if example.spans:
            parts = [(start, end) for start, end in zip(starts, ends, strict=True) if end - start >= _MIN_WORDS]
            found += [Example(example.sentence.slice(start, end), ()) for start, end in parts]
    return found


def _package_sentences(language: str) -> list[Example]:
    """The sentences without an entity in the index of the packaged adapter of a language."""
    folder = shipped_adapters() / language
    if language == MULTILINGUAL or not (folder / MANIFEST).is_file():
        return []
    return [example for example in LanguageAdapter.load(folder).index.examples if not example.spans]
