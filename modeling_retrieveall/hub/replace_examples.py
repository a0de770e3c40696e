"""Replaces the examples of an adapter, for training sets whose licence forbids publishing their sentences.

>>> replace_examples(Path("runs/de"), own_sentences, Path("adapter_cards/de"), model)
PosixPath('adapter_cards/de')
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..model.atomic import check_sources, replacing
from ..model.entities import Example
from ..model.language_adapter import LanguageAdapter, check_holds_only_adapter, checked_examples
from ..model.manifest import MULTILINGUAL
from ..model.modeling_retrieveall import RetrieveAllModel
from ..model.retrieval import ExampleIndex
from .cards import write_card


def replace_examples(adapter_folder: Path, examples: Sequence[Example], output: Path, model: RetrieveAllModel) -> Path:
    """Copies an adapter and replaces its examples.

    The LoRA weights are unchanged. Of the training sentences that are not among the examples, the copy keeps only the vectors,
    for routing, and the hashes. The results are removed, because they were measured with the original examples.

    Args:
        adapter_folder: The trained adapter.
        examples: Labelled sentences that may be published.
        output: The folder of the copy, which must not be that of the adapter. An existing adapter there is replaced.
        model: A model with the adapter's base LLM, which encodes the examples.

    Returns:
        The folder of the copy.

    Raises:
        InputError: An example has a label that is not an entity type of the adapter, or the copy would replace the adapter.
        FileExistsError: The output folder holds something other than an adapter.
    """
    check_sources(output, [adapter_folder])
    check_holds_only_adapter(output)
    adapter = LanguageAdapter.load(adapter_folder)
    checked_examples(examples, adapter.manifest)
    vectors = model.encoder.encode([model.answers.word_ids(example.sentence) for example in examples])
    kept = {example.key for example in examples}
    others = [i for i, example in enumerate(adapter.index.examples) if example.key not in kept]
    routing = torch.cat([adapter.index.sentence_vectors[others].float(), adapter.routing_vectors.float()])
    if adapter.language == MULTILINGUAL:
        routing = routing[:0]  # no sentence is routed to the multilingual adapter by similarity
    manifest = replace(adapter.manifest, metrics=[], multilingual_sha256=None)
    with replacing(output, [adapter_folder]) as folder:
        folder.mkdir()
        adapter.write_lora(folder)
        copy = LanguageAdapter(manifest, ExampleIndex.build(examples, vectors), routing, adapter.training_hashes, folder)
        copy.save_index(folder)
        write_card(copy)
    return output
