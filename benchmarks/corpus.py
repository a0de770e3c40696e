"""Sentences that the benchmarks measure on: real ones where a dataset is at hand, else the package's own."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.study.tongues import FOLDERS
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.data.labelled import load_examples, sample, without
from modeling_retrieveall.evaluation.span_f1 import unseen
from modeling_retrieveall.model.entities import Example
from modeling_retrieveall.model.manifest import SHARED_LANGUAGE

OWN = Path(__file__).parent.parent / "examples" / "sentences"
_NORWEGIAN = {"nb": "no", "nn": "no"}
_SPLIT_OF_FIVE = ("test", "validation", "train", "train", "train")


def labelled_sentences(model: RetrieveAllModel, data: Path | None, language: str, number: int) -> list[Example]:
    """Test sentences of a language that no adapter has seen; without data the package's own, which the adapters hold.

    Args:
        model: The model that will be measured.
        data: Folder of all data.
        language: The language.
        number: Sentences at most.
    """
    if data is None:
        return own_sentences(language, number)
    return sample(unseen(model, load_examples(str(data / FOLDERS[language]), "test").examples), number, 0)


def test_sets(data: Path) -> Iterator[tuple[str, list[Example]]]:
    """All test splits of a folder of corpora, by name, such as ``"uner/hr_set"``."""
    for folder in sorted(data.glob("*/*")):
        if folder.is_dir() and any(folder.glob("test*")):
            yield f"{folder.parent.name}/{folder.name}", load_examples(str(folder), "test").examples


def adapter_of(model: RetrieveAllModel, corpus: str) -> str:
    """The adapter for a corpus: that of its language, or the shared one where the model has none."""
    language = corpus.partition("/")[2].partition("_")[0]
    language = _NORWEGIAN.get(language, language)
    return language if language in model.adapters else SHARED_LANGUAGE


def own_sentences(language: str, number: int) -> list[Example]:
    """The package's own sentences of a language, ``number`` at most."""
    return sample(load_examples(str(OWN / f"{language}.conll"), "train").examples, number, 0)


def training_and_validation(data: Path, language: str, number: int) -> tuple[list[Example], list[Example]]:
    """All training sentences of a language, and validation sentences that are not among them, ``number`` at most."""
    train = load_examples(str(data / FOLDERS[language]), "train").examples
    validation = load_examples(str(data / FOLDERS[language]), "validation").examples
    return train, sample(without(validation, {example.key for example in train}), number, 0)


def lay_out_own(folder: Path) -> Path:
    """Writes the package's own sentences as the study's data lies: a training, a validation and a test split by language.

    Args:
        folder: The folder of all data, which is made.
    """
    for language, name in FOLDERS.items():
        own = OWN / f"{language}.conll"
        if not own.is_file():
            continue
        (folder / name).mkdir(parents=True)
        sentences = own.read_text(encoding="utf-8").strip().split("\n\n")
        for split in set(_SPLIT_OF_FIVE):
            chosen = [text for i, text in enumerate(sentences) if _SPLIT_OF_FIVE[i % 5] == split]
            (folder / name / f"{split}.conll").write_text("\n\n".join(chosen) + "\n", encoding="utf-8")
    return folder
