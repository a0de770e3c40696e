"""An adapter whose examples may be passed on: the licence of a training set often forbids to share its sentences.

>>> share(Path("runs/de"), ["examples/sentences/de.conll"], Path("adapter_cards/de"), model)
PosixPath('adapter_cards/de')
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from ..language_adapter import SHARED_LANGUAGE, LanguageAdapter
from ..modeling_retrieveall import RetrieveAllModel
from ..retrieval import ExampleIndex
from ..training.data import load_examples
from .cards import write_card


def share(adapter_folder: Path, examples: Sequence[str], output: Path, model: RetrieveAllModel) -> Path:
    """Copies an adapter with other examples in place of its training sentences.

    The LoRA weights stay. The training sentences stay only as bare vectors, which vote in routing, and as hashes.

    Args:
        adapter_folder: The adapter, as trained.
        examples: Datasets of labelled sentences that may be shared, each as for ``load_examples``.
        output: The folder of the copy; replaced if it is there.
        model: A model of the adapter's base, which encodes the examples.

    Returns:
        The folder of the copy.
    """
    adapter = LanguageAdapter.load(adapter_folder)
    labelled = [example for name in examples for example in load_examples(name, "train").examples]
    vectors = model.encoder.encode([model.answers.word_ids(example.sentence) for example in labelled])
    shutil.copytree(adapter_folder, output, dirs_exist_ok=True)
    voting = adapter.voting_vectors()
    if adapter.language == SHARED_LANGUAGE:
        voting = voting[:0]  # it is no language, so it has no vote
    shared = LanguageAdapter(adapter.manifest, ExampleIndex.build(labelled, vectors), voting, adapter.training_hashes, output)
    shared.save_knowledge(output)
    write_card(shared)
    return output
