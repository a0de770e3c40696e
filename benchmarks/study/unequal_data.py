"""Training sentences of languages with many sentences and of languages with few, in proportion or balanced.

>>> mixture = Mixture(Path("../shared/data"), Path("runs/unequal"), few=100, many=2000)
>>> mixture.training_file("ta")
PosixPath('runs/unequal/sentences/ta-100-0.conll')
"""

import hashlib
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from modeling_retrieveall.data.labelled_data import exclude_by_key, sample_examples
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.data.writing import write_examples
from modeling_retrieveall.model.atomic import replacing
from modeling_retrieveall.model.entities import Example

LABELS = ("LOC", "ORG", "PER")
MANY = {
    **{"de": "germeval2014/de", "en": "conll2003/en", "es": "conll2002/es", "hr": "uner/hr_set", "nb": "norne/nb"},
    **{"pt": "uner/pt_bosque", "ru": "slavicner/ru", "zh": "uner/zh_gsd"},
}
"""Corpora of the languages with many sentences: at most 5,000 each."""
FEW = {
    **{"am": "masakhaner1/amh", "bn": "bengali_ner/bn", "ha": "masakhaner2/hau", "ko": "klue/ko", "si": "multiner/si"},
    **{"sw": "masakhaner2/swa", "ta": "multiner/ta", "wo": "masakhaner2/wol", "yo": "masakhaner2/yor"},
}
"""Corpora of the languages of which a system sees few sentences. Korean has a script of its own that the LLM knows well."""


@dataclass(frozen=True)
class Mixture:
    """The training sentences of one cell of the study.

    Attributes:
        data: Folder of all corpora.
        runs: Folder for the drawn sentences and for the trained systems.
        few: Number of training sentences of each language with few.
        many: Number of training sentences of each language with many.
        temperature: A joint system draws from a language with N sentences in proportion to N ** (1 / temperature). 1 keeps the
            sentences as they are; higher values repeat the sentences of small languages and leave out some of large ones. The
            total number stays the same (Conneau et al. 2020).
        seed: Random seed of all draws.
        few_languages: The languages with few sentences.
        many_languages: The languages with many.
    """

    data: Path
    runs: Path
    few: int
    many: int
    temperature: float = 1.0
    seed: int = 0
    few_languages: tuple[str, ...] = tuple(FEW)
    many_languages: tuple[str, ...] = tuple(MANY)

    @property
    def name(self) -> str:
        """The name of the cell in folders. It differs for other numbers, languages, temperatures and seeds."""
        languages = hashlib.sha256(" ".join(self.languages).encode()).hexdigest()[:6]
        return f"{self.few}-{self.many}-{self.temperature}-{self.seed}-{languages}"

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that have training sentences."""
        return (*self.few_languages, *(self.many_languages if self.many else ()))

    def drawn(self, language: str) -> list[Example]:
        """The training sentences of a language."""
        number = self.few if language in self.few_languages else self.many
        return sample_examples(_split(self.data, language, "train"), number, self.seed)

    def mixed(self, language: str) -> list[Example]:
        """The training sentences of a language in a joint system: some of them several times, or not at all."""
        drawn = self.drawn(language)
        if self.temperature == 1:
            return drawn
        sizes = {other: len(self.drawn(other)) for other in self.languages}
        weights = {other: size ** (1 / self.temperature) for other, size in sizes.items()}
        number: int = max(1, round(sum(sizes.values()) * weights[language] / sum(weights.values())))
        whole, rest = divmod(number, len(drawn))
        return drawn * whole + random.Random(self.seed).sample(drawn, rest)

    def training_file(self, language: str) -> Path:
        """The training sentences of a language as a file."""
        return self._written(self.drawn(language), f"{language}-{len(self.drawn(language))}-{self.seed}.conll")

    def mixed_file(self, language: str) -> Path:
        """The sentences of a language in a joint system as a file."""
        return self._written(self.mixed(language), f"{self.name}/{language}.conll")

    def _written(self, examples: list[Example], name: str) -> Path:
        target = self.runs / "sentences" / name
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as file:
                write_examples(examples, file, "conll")
        return target


def unseen_test_sentences(data: Path, language: str, limit: int) -> list[Example]:
    """Test sentences of a language that occur neither in its training split nor in that of another language."""
    known = {example.key for other in (*FEW, *MANY) if _has(data, other) for example in _split(data, other, "train")}
    return sample_examples(exclude_by_key(_split(data, language, "test"), known), limit, 0)


def _has(data: Path, language: str) -> bool:
    return (data / (FEW | MANY)[language]).is_dir()


@cache
def _split(data: Path, language: str, split: str) -> list[Example]:
    """A split of a language's corpus, with people, organisations and places only."""
    examples = load_examples(str(data / (FEW | MANY)[language]), split).examples
    return [Example(e.sentence, tuple(span for span in e.spans if span.label in LABELS)) for e in examples]
