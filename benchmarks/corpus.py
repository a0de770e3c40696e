"""The labelled sentences of the benchmarks: from datasets if a folder is given, otherwise from ``examples/sentences``."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from benchmarks.study.datasets import FOLDERS
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.data.labelled_data import exclude_by_key, sample_examples
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.evaluation.span_f1 import unseen
from modeling_retrieveall.model.entities import Example
from modeling_retrieveall.model.manifest import MULTILINGUAL, matching_code

RUNNING_TEXT = {
    **{"da": "uner/da_ddt", "de": "germeval2014/de", "en": "uner/en_ewt", "fi": "turku/fi", "hr": "uner/hr_set"},
    **{"pt": "uner/pt_bosque", "ru": "factrueval/ru", "sk": "uner/sk_snk", "sv": "uner/sv_talbanken", "ta": "multiner/ta"},
}
"""Folders of human-labelled running text, by language."""
SAMPLE_SENTENCES = Path(__file__).parent.parent / "examples" / "sentences"
_SPLIT_OF_FIVE = ("test", "validation", "train", "train", "train")


def labelled_sentences(
    model: RetrieveAllModel, data: Path | None, language: str, number: int, folders: Mapping[str, str] = FOLDERS
) -> list[Example]:
    """Test sentences of a language that no adapter was trained on.

    Without ``data`` they come from ``examples/sentences``, which the shipped adapters hold in their indexes.

    Args:
        model: The model to measure.
        data: Folder of all datasets.
        language: The language.
        number: The largest number of sentences.
        folders: The folder of each language, below ``data``.
    """
    if data is None:
        return sample_sentences(language, number)
    return sample_examples(unseen(model, load_examples(str(data / folders[language]), "test").examples), number, 0)


def test_sets(data: Path, wanted: Collection[str] = ()) -> Iterator[tuple[str, list[Example]]]:
    """The test splits in a folder of corpora with their names, such as ``"uner/hr_set"``: those wanted, or all."""
    for folder in sorted(data.glob("*/*")):
        name = f"{folder.parent.name}/{folder.name}"
        if (not wanted or name in wanted) and folder.is_dir() and any(folder.glob("test*")):
            yield name, load_examples(str(folder), "test").examples


def adapter_of(model: RetrieveAllModel, corpus: str) -> str:
    """The adapter for a corpus: that of its language, or ``mul`` if the model does not have that language."""
    language = corpus.partition("/")[2].partition("_")[0]
    language = matching_code(language, model.adapters)
    return language if language in model.adapters else MULTILINGUAL


def sample_sentences(language: str, number: int) -> list[Example]:
    """At most ``number`` sentences of a language from ``examples/sentences``."""
    return sample_examples(load_examples(str(SAMPLE_SENTENCES / f"{language}.conll"), "train").examples, number, 0)


def training_and_validation(data: Path, language: str, number: int) -> tuple[list[Example], list[Example]]:
    """All training sentences of a language, and at most ``number`` validation sentences that are not among them."""
    train = load_examples(str(data / FOLDERS[language]), "train").examples
    validation = load_examples(str(data / FOLDERS[language]), "validation").examples
    return train, sample_examples(exclude_by_key(validation, {example.key for example in train}), number, 0)


def write_sample_data(folder: Path) -> Path:
    """Writes the sentences of ``examples/sentences`` in the layout of the datasets, with three splits for each language.

    Args:
        folder: The folder to create.

    Returns:
        The folder.
    """
    for language, name in FOLDERS.items():
        file = SAMPLE_SENTENCES / f"{language}.conll"
        if not file.is_file():
            continue
        (folder / name).mkdir(parents=True)
        sentences = file.read_text(encoding="utf-8").strip().split("\n\n")
        for split in set(_SPLIT_OF_FIVE):
            chosen = [text for i, text in enumerate(sentences) if _SPLIT_OF_FIVE[i % 5] == split]
            (folder / name / f"{split}.conll").write_text("\n\n".join(chosen) + "\n", encoding="utf-8")
    return folder
