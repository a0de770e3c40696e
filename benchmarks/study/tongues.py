"""The study's languages, and which sentences of them every system learns from and is measured on.

>>> draw(Path("../shared/data"), "ta", size=600, seed=0, limit=250).train[0].spans
(Span(start=0, end=2, label='PER'),)
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from modeling_retrieveall.data.labelled import load_examples, sample
from modeling_retrieveall.model.entities import Example

FOLDERS = {
    **{code: f"panx/{code}" for code in ("bg", "bn", "da", "de", "en", "es", "no", "ru", "ta")},
    "sw": "masakhaner2/swa",
    "yo": "masakhaner2/yor",
    "ha": "masakhaner2/hau",
    "wo": "masakhaner2/wol",
    "am": "masakhaner1/amh",
    "zh": "uner/zh_gsd",
    "hr": "uner/hr_set",
    "pt": "uner/pt_bosque",
}
"""Where the data of each language lies, inside the folder of all data."""

ALL = ",".join(FOLDERS)


def hub_name(language: str) -> str:
    """What the dataset of a language is called on the Hub."""
    source, _, name = FOLDERS[language].partition("/")
    return f"{_ON_THE_HUB[source]}:{name}"


_ON_THE_HUB = {
    "panx": "unimelb-nlp/wikiann",
    "masakhaner2": "masakhane/masakhaner2",
    "masakhaner1": "masakhaner",
    "uner": "universalner/universal_ner",
}

SHARED = ("bg", "bn", "da", "de", "en", "es", "no", "ru", "ta", "zh", "hr", "pt")
"""The languages that `mul` is taught: those whose data may be used for what is passed on. African languages are new to it."""

LOW_RESOURCE = ("bn", "ta", "sw", "yo", "ha", "wo", "am")
"""Languages of which Gemma's training data, like the web, has little."""

_TEST_SEED = 0  # the test sentences do not change with the draw of the training sentences


@dataclass(frozen=True)
class Draw:
    """One language's sentences.

    Attributes:
        train: What every system learns from.
        test: What every system is measured on: none stands, word for word, anywhere in the training split.
        labels: The entity types of the dataset.
        dropped: Test sentences that stand in the training split.
    """

    train: list[Example]
    test: list[Example]
    labels: list[str]
    dropped: int


@cache
def draw(data: Path, language: str, size: int, seed: int, limit: int) -> Draw:
    """Draws a language's sentences as ``retrieveall train --max_train_examples SIZE --seed SEED`` does.

    Args:
        data: The folder of all data.
        language: One of :data:`FOLDERS`.
        size: Training sentences.
        seed: Decides which.
        limit: Test sentences.
    """
    folder = str(data / FOLDERS[language])
    train, test = load_examples(folder, "train"), load_examples(folder, "test").examples
    known = {example.key for example in train.examples}
    fresh = [example for example in test if example.key not in known]
    return Draw(sample(train.examples, size, seed), sample(fresh, limit, _TEST_SEED), train.labels, len(test) - len(fresh))
