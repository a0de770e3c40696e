"""An adapter whose examples may be passed on: the licence of a training set often forbids to share its sentences.

>>> share(Path("runs/de"), own_sentences, Path("adapter_cards/de"), model)
PosixPath('adapter_cards/de')
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..model.atomic import check_sources, replacing
from ..model.entities import Example
from ..model.errors import InputError
from ..model.language_adapter import LanguageAdapter, check_only_adapter
from ..model.lora_files import LORA_CONFIG, LORA_WEIGHTS
from ..model.manifest import SHARED_LANGUAGE
from ..model.modeling_retrieveall import RetrieveAllModel
from ..model.retrieval import ExampleIndex
from .cards import write_card


def share(adapter_folder: Path, examples: Sequence[Example], output: Path, model: RetrieveAllModel) -> Path:
    """Copies an adapter with other examples in place of its training sentences.

    The LoRA weights stay. The training sentences stay only as bare vectors, for routing, and as hashes. The figures go: they
    were measured with the training sentences as examples.

    Args:
        adapter_folder: The adapter, as trained.
        examples: Labelled sentences that may be shared.
        output: The folder of the copy, another one than the adapter's; an adapter that is there is replaced.
        model: A model of the adapter's base, which encodes the examples.

    Returns:
        The folder of the copy.

    Raises:
        InputError: An example has a label that the adapter does not give, or the copy would replace the adapter itself.
        FileExistsError: The output holds something else than an adapter.
    """
    check_sources(output, [adapter_folder])
    check_only_adapter(output)
    adapter = LanguageAdapter.load(adapter_folder)
    labels = {span.label for example in examples for span in example.spans}
    if foreign := sorted(labels - set(adapter.manifest.entity_types)):
        raise InputError(
            f"The examples have labels {foreign}; the adapter gives {adapter.manifest.entity_types}. Use its labels."
        )
    vectors = model.encoder.encode([model.answers.word_ids(example.sentence) for example in examples])
    # The shared adapter is no language, so nothing is routed to it by likeness.
    routing = adapter.sentence_vectors()[: 0 if adapter.language == SHARED_LANGUAGE else None]
    manifest = replace(adapter.manifest, metrics=[])
    with replacing(output, [adapter_folder]) as folder:
        folder.mkdir()
        for name in (LORA_CONFIG, LORA_WEIGHTS):
            shutil.copyfile(adapter_folder / name, folder / name)
        shared = LanguageAdapter(manifest, ExampleIndex.build(examples, vectors), routing, adapter.training_hashes, folder)
        shared.save_knowledge(folder)
        write_card(shared)
    return output
