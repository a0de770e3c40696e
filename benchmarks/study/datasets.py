"""The languages of the study, and the sentences on which every system is trained and tested.

>>> draw(Path("../shared/data"), "ta", size=600, seed=0, limit=250).train[0].spans
(Span(start=0, end=2, label='PER'),)
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from modeling_retrieveall.data.labelled_data import sample_examples
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.model.entities import Example

FOLDERS = {
    **{code: f"panx/{code}" for code in ("bg", "bn", "da", "de", "en", "es", "ru", "ta")},
    "nb": "panx/no",  # PAN-X does not separate Bokmål from Nynorsk; nearly all of it is Bokmål
    "sw": "masakhaner2/swa",
    "yo": "masakhaner2/yor",
    "ha": "masakhaner2/hau",
    "wo": "masakhaner2/wol",
    "am": "masakhaner1/amh",
    "zh": "uner/zh_gsd",
    "hr": "uner/hr_set",
    "pt": "uner/pt_bosque",
}
"""The folder of each language's dataset inside the folder of all datasets."""

ALL = ",".join(FOLDERS)

MUL_LANGUAGES = ("bg", "bn", "da", "de", "en", "es", "nb", "ru", "ta", "zh", "hr", "pt")
"""The languages of `mul`: those whose licence allows a published adapter. The African languages are new to it."""

LOW_RESOURCE = ("bn", "ta", "sw", "yo", "ha", "wo", "am")
"""Languages that are rare on the web, and so probably rare in the training data of Gemma."""

_TEST_SEED = 0  # all draws of training sentences share the same test sentences


@dataclass(frozen=True)
class Draw:
    """The sentences of one language.

    Attributes:
        train: Training sentences of every system.
        test: Test sentences of every system. None of them occurs in the training split.
        labels: Entity types of the dataset.
        dropped: Number of test sentences that were dropped because they occur in the training split.
    """

    train: list[Example]
    test: list[Example]
    labels: list[str]
    dropped: int


@cache
def draw(data: Path, language: str, size: int, seed: int, limit: int) -> Draw:
    """Draws a language's sentences as ``retrieveall train --max-train-samples SIZE --seed SEED`` does.

    Args:
        data: Folder of all datasets.
        language: A key of :data:`FOLDERS`.
        size: Number of training sentences.
        seed: Random seed of their choice.
        limit: Number of test sentences.
    """
    folder = str(data / FOLDERS[language])
    train, test = load_examples(folder, "train"), load_examples(folder, "test").examples
    known = {example.key for example in train.examples}
    fresh = [example for example in test if example.key not in known]
    return Draw(
        sample_examples(train.examples, size, seed),
        sample_examples(fresh, limit, _TEST_SEED),
        train.labels,
        len(test) - len(fresh),
    )
