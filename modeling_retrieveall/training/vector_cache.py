"""Sentence and word vectors of training sentences, encoded once and cached on disk.

>>> encode_examples(model, examples)[0].words.shape  # [words, hidden]
torch.Size([5, 640])
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..model.atomic import replacing
from ..model.base_llm import quantization_of
from ..model.embedded_llm import cache_dir
from ..model.encoder import SentenceVectors
from ..model.entities import Example
from ..model.modeling_retrieveall import RetrieveAllModel

_MIN_SENTENCES = 100
"""Fewer sentences are not cached, because encoding them takes only a second or two."""
_MAX_CACHE_BYTES = 4 << 30
"""Maximum size of the cache. A thousand sentences take about 25 MB with the embedded LLM."""


def encode_examples(model: RetrieveAllModel, examples: Sequence[Example]) -> list[SentenceVectors]:
    """The vectors of sentences, from the cache if they were encoded before.

    They are stored in half precision, and new vectors are rounded to it too, so that a run does not depend on the cache. The
    cache is the folder ``vectors`` in :func:`~modeling_retrieveall.model.embedded_llm.cache_dir`. Above 4 GB, the least recently
    used files are removed.

    Args:
        model: A model of the base LLM; its adapters are not used.
        examples: The sentences.

    Returns:
        The vectors of each sentence.
    """
    word_ids = [model.answers.word_ids(example.sentence) for example in examples]
    if len(examples) < _MIN_SENTENCES:
        return model.encoder.encode(word_ids)
    file = cache_dir() / "vectors" / f"{_fingerprint(model, word_ids)}.safetensors"
    try:
        stored = load_file(file)
        file.touch()  # marks it as recently used
        sentences, words = stored["sentences"].float(), stored["words"].float()
    except (OSError, SafetensorError, KeyError):
        encoded = model.encoder.encode(word_ids)
        sentences = torch.stack([vectors.sentence for vectors in encoded]).half()
        words = torch.cat([vectors.words for vectors in encoded]).half()
        if not (sentences.isfinite().all() and words.isfinite().all()):
            return encoded  # the values are too large for half precision
        _save({"sentences": sentences, "words": words}, file)
        sentences, words = sentences.float(), words.float()
    words_by_sentence = torch.split(words, [len(ids) for ids in word_ids])
    return [SentenceVectors(s, w) for s, w in zip(sentences, words_by_sentence, strict=True)]


def _fingerprint(model: RetrieveAllModel, word_ids: list[list[list[int]]]) -> str:
    """A hash of everything that the vectors depend on: base LLM, layer, precision and the tokens of each word."""
    config = model.config
    base = [
        config.base_model,
        config.base_revision,
        config.encoder_layer,
        str(model.base.dtype),
        _weight_files(config.base_model),
    ]
    quantized = str(quantization_of(model.base))
    return hashlib.sha256(json.dumps([base, quantized, word_ids]).encode()).hexdigest()


def _weight_files(base: str) -> list[tuple[str, int, int]]:
    """Name, size and time of each weight file of a local base LLM, whose content may change without its name."""
    folder = Path(base)
    if not folder.is_dir():
        return []
    return sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in folder.glob("*.safetensors"))


def _save(tensors: dict[str, torch.Tensor], file: Path) -> None:
    with suppress(OSError, SafetensorError):  # the run does not need the cache, which fails if the disk is full
        with replacing(file) as path:
            save_file(tensors, path)
        _remove_oldest(file.parent, _MAX_CACHE_BYTES)


def _remove_oldest(folder: Path, max_bytes: int) -> None:
    """Removes the least recently used files until the others fit; the most recent one always stays."""
    files = sorted((file.stat().st_mtime_ns, file.stat().st_size, file) for file in folder.glob("*.safetensors"))
    total = sum(size for _, size, _ in files)
    for _, size, file in files[:-1]:
        if total <= max_bytes:
            return
        file.unlink(missing_ok=True)
        total -= size
