"""Sentences without an entity for data that has too few of them.

Exports of annotation tools, and datasets such as WikiANN, often hold only sentences with an entity. An adapter that learns from
these alone finds an entity in nearly every sentence.

>>> example = Example(Sentence.from_text("Gestern reiste Angela Merkel mit dem Zug ab."), (Span(2, 4, "PER"),))
>>> [" ".join(word.text for word in fragment.sentence.words) for fragment in fragments([example])]
['mit dem Zug ab .']
"""

import random
from collections.abc import Iterable, Sequence

from ..model.entities import Example
from ..model.language_adapter import LanguageAdapter
from ..model.manifest import MANIFEST, SHARED_LANGUAGE
from ..model.model_source import shipped_adapters

_FEWEST_WORDS = 3
"""Of a fragment. In scripts without spaces, where each character is a word, some short fragments are parts of words."""


def empty_sentences(examples: Sequence[Example], share: float, language: str, seed: int) -> list[Example]:
    """Sentences without an entity that bring their share among all to ``share``, or as near as there are such sentences.

    The sentences of the language that ship with the package come first. The others are fragments of the given sentences.

    Args:
        examples: The training sentences.
        share: Share of sentences without an entity, in [0, 1).
        language: Their language.
        seed: Decides which are drawn.

    Returns:
        New examples without spans; none if the share is reached already.
    """
    empty = sum(not example.spans for example in examples)
    missing = round((share * len(examples) - empty) / (1 - share))
    if missing <= 0:
        return []
    rng, known = random.Random(seed), {example.key for example in examples}
    chosen: dict[str, Example] = {}
    for source in (_shipped(language), fragments(examples)):
        fresh = {example.key: example for example in source if example.key not in known | chosen.keys()}
        keys = sorted(fresh)
        chosen |= {key: fresh[key] for key in rng.sample(keys, min(len(keys), missing - len(chosen)))}
    return list(chosen.values())


def fragments(examples: Iterable[Example]) -> list[Example]:
    """The parts of sentences before, between and after their entities, of at least three words each."""
    found = []
    for example in examples:
        starts = [0, *(span.end for span in example.spans)]
        ends = [*(span.start for span in example.spans), len(example.sentence.words)]
        if example.spans:
            parts = [(start, end) for start, end in zip(starts, ends, strict=True) if end - start >= _FEWEST_WORDS]
            found += [Example(example.sentence.slice(start, end), ()) for start, end in parts]
    return found


def _shipped(language: str) -> list[Example]:
    """The sentences without an entity among the examples of the shipped adapter of a language."""
    folder = shipped_adapters() / language
    if language == SHARED_LANGUAGE or not (folder / MANIFEST).is_file():
        return []
    return [example for example in LanguageAdapter.load(folder).index.examples if not example.spans]
