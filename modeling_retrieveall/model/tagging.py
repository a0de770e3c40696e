r"""The entities of a sentence from one tag a word, all read in a single forward pass.

The prompt holds the sentence twice. When a causal LLM meets a word for the second time, it has read the whole sentence, so its
state there tells what the word is (arXiv 2601.17585). The first copy is read by the base LLM alone and the second one by its
adapters too, which attend to the first (Activated LoRA, arXiv 2504.12397). The tag is read at the last token of the word:

    Angela Merkel besuchte Nairobi.                  the base LLM
    Tags: Angela Merkel besuchte Nairobi.            the base LLM with the adapters of the row
             |      |      |        |   |
           B-PER  I-PER    O      B-LOC O

Each tag is one token of the LLM's vocabulary, and only these rows of the LM head are multiplied, so no weights are added. The
tags of a sentence are the most probable sequence that is valid in BIO (Viterbi 1967).

>>> tagger = Tagger(base, bank, answers)
>>> prompt = PromptWriter(answers, 192).write(sentence, decoding="tags")
>>> tagger.tag([prompt], [sentence], [["LOC", "PER"]], [{"de": 1.0}])[0].spans
[ScoredSpan(span=Span(start=0, end=2, label='PER'), score=0.98), ScoredSpan(span=Span(start=3, end=4, label='LOC'), score=0.99)]
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from .answer_format import AnswerFormat
from .decoding import Answer, LMHead, PrecisionError, ScoredSpan, Sequences
from .entities import Sentence, Span
from .errors import InputError
from .lora_bank import LoraBank
from .prompting import Prompt


class TagFormat:
    """Which token stands for each tag.

    ``O`` is the first token of " O", ``B-PER`` that of " PER" and ``I-PER`` that of "PER". Where two tags would have the same
    token, the later one takes the next token of its label that is free, or else the first free one of the vocabulary.

    Args:
        answers: The answer format over the base's tokenizer.
    """

    def __init__(self, answers: AnswerFormat) -> None:
        self._answers = answers
        self._known: dict[tuple[str, ...], list[int]] = {}

    def tokens(self, labels: Sequence[str]) -> list[int]:
        """The tokens of ``O``, of ``B-`` with each label, and of ``I-`` with each label, in this order.

        Raises:
            InputError: The vocabulary of the base has fewer tokens than tags are needed.
        """
        key = tuple(labels)
        if key not in self._known:
            vocabulary = range(len(self._answers.tokenizer))
            if len(vocabulary) < 1 + 2 * len(key):
                raise InputError(
                    f"{len(key)} labels need {1 + 2 * len(key)} tokens; the base LLM has {len(vocabulary)}. Set tags_share=0."
                )
            taken: dict[int, None] = {}
            for text in (" O", *(f" {label}" for label in key), *key):
                taken[next(token for token in chain(self._answers.ids(text), vocabulary) if token not in taken)] = None
            self._known[key] = list(taken)
        return self._known[key]


def tag_numbers(spans: Iterable[Span], words: int, labels: Sequence[str]) -> list[int]:
    """The tag of each word, as its place among :meth:`TagFormat.tokens`.

    Args:
        spans: The entities.
        words: Words of the sentence.
        labels: The labels that tags are made of.

    Examples:
        >>> tag_numbers([Span(0, 2, "PER"), Span(3, 4, "LOC")], 5, ["LOC", "PER"])
        [2, 4, 0, 1, 0]
    """
    numbers = [0] * words
    for span in spans:
        begin = 1 + labels.index(span.label)
        numbers[span.start] = begin
        numbers[span.start + 1 : span.end] = [begin + len(labels)] * (span.end - span.start - 1)
    return numbers


class Tagger:
    """Tags the words of sentences with one base LLM.

    Args:
        base: The causal LM.
        bank: Its LoRA bank, in which the adapters of a batch are resident.
        answers: The answer format over the base's tokenizer.
    """

    def __init__(self, base: PreTrainedModel, bank: LoraBank, answers: AnswerFormat) -> None:
        self._base = base
        self._bank = bank
        self._answers = answers
        self._head = LMHead(base)
        self._format = TagFormat(answers)

    @torch.no_grad()
    def tag(
        self,
        prompts: Sequence[Prompt],
        sentences: Sequence[Sentence],
        labels: Sequence[Sequence[str]],
        mixtures: Sequence[dict[str, float]],
    ) -> list[Answer]:
        """Tags a batch of sentences.

        Args:
            prompts: Prompts for tags.
            sentences: The sentence of each prompt.
            labels: The labels that may be given in each sentence.
            mixtures: The adapters of each row and their weights.

        Returns:
            The answers, in the order of the prompts: the spans, and the tokens that an answer in words would have had. The score
            of a span is the probability of its tags and of its end, the words taken as independent.

        Raises:
            PrecisionError: The base overflows in its dtype.
        """
        sequences = Sequences(self._base, len(prompts))
        sequences.read([list(prompt.prefix) for prompt in prompts])
        with self._bank.rows(mixtures):
            states = sequences.read([prompt.ids for prompt in prompts])  # [rows, tokens, hidden]
        answers: dict[int, Answer] = {}
        by_labels = sorted(range(len(prompts)), key=lambda row: tuple(labels[row]))
        for key, group in groupby(by_labels, key=lambda row: tuple(labels[row])):
            rows = list(group)
            # Prompts are padded on the left.
            ends = [[states.shape[1] - len(prompts[row].ids) + end for end in prompts[row].word_ends] for row in rows]
            at_words = torch.cat([states[row, places] for row, places in zip(rows, ends, strict=True)])  # [words, hidden]
            logits = self._head(at_words, torch.tensor(self._format.tokens(key), device=states.device)).cpu()
            if not logits.isfinite().all():
                raise PrecisionError(
                    f"The base LLM overflows in {states.dtype}. Load it with dtype=torch.bfloat16 or torch.float32."
                )
            of_rows = torch.split(logits.log_softmax(-1), [len(places) for places in ends])  # of each row [words, tags]
            for row, log_probabilities, tags in zip(rows, of_rows, best_tags(of_rows), strict=True):
                spans = list(_scored_spans(tags, log_probabilities.exp(), key))
                answers[row] = Answer(self._answers.answer_ids(sentences[row], [each.span for each in spans]), spans)
        return [answers[row] for row in range(len(prompts))]


@torch.no_grad()
def read_without_lora(decoder: Any, ids: Tensor, mask: Tensor, tokens: int) -> dict[str, Any]:
    """Reads what stands before a batch with the base alone, while PEFT trains a LoRA in its layers.

    Args:
        decoder: The layers of the base LLM.
        ids: ``[batch, prefix]``: the tokens to be read, padded on the right.
        mask: ``[batch, prefix]``: 0 at padding.
        tokens: Tokens of each row that will be read after them.

    Returns:
        The arguments of the decoder for reading on: its cache and the positions ``[batch, tokens]``.
    """
    # Not PEFT's `disable_adapter`, which also changes what requires a gradient: processes have agreed on that.
    layers: list[Any] = [module for module in decoder.modules() if hasattr(module, "_disable_adapters")]
    for layer in layers:
        layer._disable_adapters = True
    try:
        cache = decoder(input_ids=ids, attention_mask=mask, use_cache=True).past_key_values
    finally:
        for layer in layers:
            layer._disable_adapters = False
    positions = mask.sum(1, keepdim=True) + torch.arange(tokens, device=mask.device)
    return {"past_key_values": cache, "use_cache": True, "position_ids": positions}


def best_tags(log_probabilities: Sequence[Tensor]) -> list[list[int]]:
    """The most probable tags of each sentence among the sequences in which ``I-`` continues a span of its own label.

    Args:
        log_probabilities: For each sentence ``[words, tags]``, in the order of :meth:`TagFormat.tokens`.

    Examples:
        >>> best_tags([torch.tensor([[0.5, 0.4, 0.1], [0.2, 0.1, 0.7]]).log()])  # O, B-PER, I-PER
        [[1, 2]]
    """
    lengths = [len(words) for words in log_probabilities]
    padded = torch.nn.utils.rnn.pad_sequence(list(log_probabilities), batch_first=True)  # [rows, words, tags]
    labels = padded.shape[2] // 2
    best = padded[:, 0].clone()  # [rows, tags]: the probability of the best sequence that ends in each tag
    best[:, 1 + labels :] = -torch.inf
    scores, origins = [best], []
    for word in range(1, padded.shape[1]):
        value, origin = best.max(1, keepdim=True)
        anywhere = value.expand(-1, 1 + labels), origin.expand(-1, 1 + labels)
        begun, inside = best[:, 1 : 1 + labels], best[:, 1 + labels :]
        same = torch.arange(labels) + torch.where(begun >= inside, 1, 1 + labels)
        best = torch.cat([anywhere[0], torch.maximum(begun, inside)], 1) + padded[:, word]
        scores.append(best)
        origins.append(torch.cat([anywhere[1], same], 1))
    tags = []
    for row, length in enumerate(lengths):
        path = [int(scores[length - 1][row].argmax())] if length else []
        for word in range(length - 2, -1, -1):
            path.append(int(origins[word][row, path[-1]]))
        tags.append(path[::-1])
    return tags


def _scored_spans(tags: Sequence[int], probabilities: Tensor, labels: Sequence[str]) -> Iterator[ScoredSpan]:
    """The spans of valid tags, each with its probability; ``probabilities`` is ``[words, tags]``."""
    of_word = probabilities.tolist()
    start = 0
    while start < len(tags):
        end = start + 1
        if tags[start]:
            inside = tags[start] + len(labels)
            score = of_word[start][tags[start]]
            while end < len(tags) and tags[end] == inside:
                score *= of_word[end][inside]
                end += 1
            if end < len(tags):
                score *= 1 - of_word[end][inside]
            yield ScoredSpan(Span(start, end, labels[tags[start] - 1]), score)
        start = end
