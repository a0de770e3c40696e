"""Baselines without an LLM: a CRF with the usual features, and spaCy's ``ner`` trained from scratch.

>>> crf(train, test)[0]
['B-PER', 'I-PER', 'O', 'B-LOC', 'O']
"""

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pycrfsuite
from spacy import blank
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example as SpacyExample
from spacy.training import biluo_tags_to_spans, iob_to_biluo
from spacy.util import fix_random_seed  # type: ignore[attr-defined]

from modeling_retrieveall.model.entities import Example, tags_from_spans

_SPACY_EPOCHS, _SPACY_BATCH = 30, 16


def words_of(example: Example) -> list[str]:
    """The words of a sentence."""
    return [word.text for word in example.sentence.words]


def tags_of(example: Example) -> list[str]:
    """The BIO tags of a sentence."""
    return list(tags_from_spans(example.spans, len(example.sentence.words)))


def crf(train: Sequence[Example], test: Sequence[Example]) -> list[list[str]]:
    """Predicts BIO tags with a linear-chain CRF (python-crfsuite, with the L1 and L2 weights of its tutorial)."""
    trainer = pycrfsuite.Trainer(verbose=False)
    for example in train:
        trainer.append(_features(words_of(example)), tags_of(example))
    trainer.set_params({"c1": 0.1, "c2": 0.01, "max_iterations": 200, "feature.possible_transitions": True})
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "crf")
        trainer.train(file)
        tagger = pycrfsuite.Tagger()
        tagger.open(file)
        return [tagger.tag(_features(words_of(example))) for example in test]


def _features(words: list[str]) -> list[list[str]]:
    return [[*_own(words, i), *_beside(words, i, -1), *_beside(words, i, 1)] for i in range(len(words))]


def _own(words: list[str], i: int) -> list[str]:
    word = words[i]
    affixes = [f"{side}{n}={part}" for n in (1, 2, 3, 4) for side, part in (("suf", word[-n:]), ("pre", word[:n]))]
    return ["bias", f"word={word}", f"lower={word.lower()}", f"shape={_shape(word)}", f"title={word.istitle()}", *affixes]


def _beside(words: list[str], i: int, step: int) -> list[str]:
    if not 0 <= i + step < len(words):
        return [f"{step}:edge"]
    word = words[i + step]
    return [f"{step}:lower={word.lower()}", f"{step}:shape={_shape(word)}", f"{step}:title={word.istitle()}"]


def _shape(word: str) -> str:
    kinds = ["X" if c.isupper() else "x" if c.islower() else "9" if c.isdigit() else "w" if c.isalpha() else c for c in word]
    return "".join(kind for i, kind in enumerate(kinds) if i == 0 or kind != kinds[i - 1])


def spacy_ner(train: Sequence[Example], test: Sequence[Example], seed: int = 0) -> list[list[str]]:
    """Predicts BIO tags with spaCy's transition-based ``ner`` and its default CNN, trained for 30 epochs."""
    fix_random_seed(seed)
    nlp = blank("xx")
    nlp.add_pipe("ner")
    examples = [_spacy_example(nlp, example) for example in train]
    optimizer = nlp.initialize(lambda: examples)
    rng = random.Random(seed)
    for _ in range(_SPACY_EPOCHS):
        rng.shuffle(examples)
        for start in range(0, len(examples), _SPACY_BATCH):
            nlp.update(examples[start : start + _SPACY_BATCH], sgd=optimizer, drop=0.2)
    found = []
    for example in test:
        doc = nlp.get_pipe("ner")(Doc(nlp.vocab, words_of(example)))
        found.append([f"{word.ent_iob_}-{word.ent_type_}" if word.ent_type_ else "O" for word in doc])
    return found


def _spacy_example(nlp: Language, example: Example) -> SpacyExample:
    predicted, reference = Doc(nlp.vocab, words_of(example)), Doc(nlp.vocab, words_of(example))
    reference.ents = biluo_tags_to_spans(reference, iob_to_biluo(tags_of(example)))
    return SpacyExample(predicted, reference)
