"""An adapter whose examples may be passed on: the licence of a training set often forbids to share its sentences.

>>> share(Path("runs/de"), own_sentences, Path("adapter_cards/de"), model)
PosixPath('adapter_cards/de')
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..entities import Example
from ..language_adapter import LanguageAdapter
from ..lora_files import LORA_CONFIG, LORA_WEIGHTS
from ..manifest import SHARED_LANGUAGE
from ..modeling_retrieveall import RetrieveAllModel
from ..retrieval import ExampleIndex
from .cards import write_card


def share(adapter_folder: Path, examples: Sequence[Example], output: Path, model: RetrieveAllModel) -> Path:
    """Copies an adapter with other examples in place of its training sentences.

    The LoRA weights stay. The training sentences stay only as bare vectors, for routing, and as hashes. The figures go: they
    were measured with the training sentences as examples.

    Args:
        adapter_folder: The adapter, as trained.
        examples: Labelled sentences that may be shared.
        output: The folder of the copy; replaced if it is there.
        model: A model of the adapter's base, which encodes the examples.

    Returns:
        The folder of the copy.

    Raises:
        ValueError: An example has a label that the adapter does not give.
    """
    adapter = LanguageAdapter.load(adapter_folder)
    labels = {span.label for example in examples for span in example.spans}
    if foreign := sorted(labels - set(adapter.manifest.entity_types)):
        raise ValueError(
            f"The examples have labels {foreign}; the adapter gives {adapter.manifest.entity_types}. Use its labels."
        )
    vectors = model.encoder.encode([model.answers.word_ids(example.sentence) for example in examples])
    # The shared adapter is no language, so nothing is routed to it by likeness.
    routing = adapter.sentence_vectors()[: 0 if adapter.language == SHARED_LANGUAGE else None]
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    for name in (LORA_CONFIG, LORA_WEIGHTS):
        shutil.copyfile(adapter_folder / name, output / name)
    manifest = replace(adapter.manifest, metrics=[])
    shared = LanguageAdapter(manifest, ExampleIndex.build(examples, vectors), routing, adapter.training_hashes, output)
    shared.save_knowledge(output)
    write_card(shared)
    return output
