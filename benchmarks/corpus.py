"""Sentences that the benchmarks measure on: real ones where a dataset is at hand, else the package's own."""

from pathlib import Path

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.data.labelled import load_examples, sample
from modeling_retrieveall.entities import Example
from modeling_retrieveall.language_adapter import sentence_hash

OWN = Path(__file__).parent.parent / "examples" / "sentences"


def labelled_sentences(model: RetrieveAllModel, data: Path | None, language: str, number: int) -> list[Example]:
    """Test sentences of a language that no adapter has seen; without data the package's own, which the adapters hold.

    Args:
        model: The model that will be measured.
        data: Folder with a dataset folder for each language.
        language: The language.
        number: Sentences at most.
    """
    if data is None:
        return own_sentences(language, number)
    seen = {known for adapter in model.adapters.values() for known in adapter.known_hashes()}
    examples = load_examples(str(data / language), "test").examples
    return sample([example for example in examples if sentence_hash(example.key) not in seen], number, 0)


def own_sentences(language: str, number: int) -> list[Example]:
    """The package's own sentences of a language, so many at most."""
    return sample(load_examples(str(OWN / f"{language}.conll"), "train").examples, number, 0)
