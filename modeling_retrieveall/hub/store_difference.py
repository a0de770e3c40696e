"""Stores an adapter as a small difference to the multilingual adapter, so that a package can hold dozens of languages.

The difference consists of a LoRA of low rank, and of the hashes of those training sentences that ``mul`` was not trained on.

>>> store_difference(Path("adapter_cards/de"), rank=8)  # with adapter_cards/mul beside it
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import torch

from ..model.atomic import updating
from ..model.errors import InputError
from ..model.language_adapter import LanguageAdapter
from ..model.lora_bank import LoraWeights
from ..model.lora_difference import lora_difference
from ..model.lora_files import LORA_CONFIG, LORA_WEIGHTS, read_lora, write_difference
from ..model.manifest import MULTILINGUAL
from ..model.vector_files import VECTORS, read_hashes, read_vectors
from .cards import write_card


def store_difference(folder: Path, rank: int, mul_share: float = 0.0) -> None:
    """Replaces an adapter by its difference to the adapter in the folder ``mul`` next to it.

    The adapter then depends on that folder. Copies that `save_pretrained` and `retrieveall push` write hold the whole LoRA again.

    Args:
        folder: The folder of an adapter that was trained from ``mul``.
        rank: The rank of the difference. What does not fit into this rank is lost.
        mul_share: Share of ``mul`` in the weights that are stored, from 0 to 1. An average of both is often better than the
            adapter (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).

    Raises:
        InputError: The share is not between 0 and 1.
        AdapterError: One of the adapters is damaged, or they adapt different modules.
    """
    if not 0 <= mul_share <= 1:
        raise InputError(f"mul_share is {mul_share}; give a number from 0 to 1.")
    shared_folder = folder.absolute().parent / MULTILINGUAL
    adapter = LanguageAdapter.load(folder)
    shared = read_lora(shared_folder, torch.float32)
    difference = lora_difference(adapter.lora_weights(torch.float32), shared, rank)
    kept = LoraWeights(difference.a, {name: b * (1 - mul_share) for name, b in difference.b.items()}, difference.scaling)
    sha256 = hashlib.sha256((shared_folder / LORA_WEIGHTS).read_bytes()).hexdigest()
    joined_rank = rank + max(a.shape[0] for a in shared.a.values())
    training = {**adapter.manifest.training, "rank": joined_rank, "lora_alpha": joined_rank, "mul_share": mul_share}
    with updating(folder) as written:
        write_difference(written, kept, folder / LORA_CONFIG)
        vectors = read_vectors(folder / VECTORS, adapter.manifest.hidden_size)
        known = torch.isin(vectors.training_hashes, read_hashes(shared_folder / VECTORS))
        vectors.with_hashes(vectors.training_hashes[~known]).write(written / VECTORS)
        replace(adapter.manifest, multilingual_sha256=sha256, training=training).save(written)
    write_card(LanguageAdapter.load(folder))
