r"""Finds the entities of a sentence with one tag per word, all in a single forward pass.

The prompt has the sentence twice. A causal LLM does not see the words to the right, but when it processes the second copy it has
read the whole sentence (arXiv 2601.17585). The base LLM processes the first copy without LoRA. The second copy is processed with
LoRA and attends to the cache of the first one (Activated LoRA, arXiv 2504.12397):

    prompt.prefix                            prompt.ids
    Angela Merkel besuchte Nairobi.          Tags: Angela Merkel besuchte Nairobi.
      |                                        |
    base LLM without LoRA                    base LLM with the adapters of the row
      |                                        |
      +------ keys and values in the cache --->+
                                               |  hidden states [rows, tokens, hidden]
                                             take the last token of the first unit of each word
                                               |  [words, hidden]
                                             LM head, only its rows for the tag tokens
                                               |  [words, tags]
                                             interpolated with the labels of mentions in the examples   known_mentions.py
                                               |
                                             Viterbi under the BIO rules
                                               |
                                             B-PER I-PER O B-LOC O

Each tag is one token of the LLM's vocabulary, so no weights are added. The result is the most probable sequence of tags that is
valid in BIO (Viterbi 1967).

>>> tagger = Tagger(base, bank, answers, config)
>>> prompt = PromptWriter(answers, 192).write(sentence, decoding="tags")
>>> tagger.tag([prompt], [sentence], [["LOC", "PER"]], [{"de": 1.0}])[0].spans
[ScoredSpan(span=Span(start=0, end=2, label='PER'), score=0.98), ScoredSpan(span=Span(start=3, end=4, label='LOC'), score=0.99)]
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, product
from math import prod
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from .answer_format import AnswerFormat
from .cached_sequences import CachedSequences, cache_argument
from .configuration_retrieveall import RetrieveAllConfig
from .decoding import Answer, LMHead, ScoredSpan, check_finite_logits
from .entities import Sentence, Span
from .errors import InputError
from .known_mentions import MentionMatch, interpolated
from .lora_bank import LoraBank
from .prompting import Prompt

Probabilities = Sequence[Sequence[float]]
"""The probability of each tag, for each word."""
_NEARLY = 0.05
"""Least probability of the first tag of a span that was nearly chosen."""


class TagFormat:
    """The token that represents each tag.

    ``O`` is the first token of " O", ``B-PER`` the first token of " PER" and ``I-PER`` the first token of "PER". If an earlier
    tag has the same token, a tag takes the next free token of its label, or else the first free token of the vocabulary.

    Args:
        answers: The answer format with the tokenizer of the base LLM.
    """

    def __init__(self, answers: AnswerFormat) -> None:
        self._answers = answers
        self._tokens: dict[tuple[str, ...], list[int]] = {}

    def tokens(self, labels: Sequence[str]) -> list[int]:
        """The tokens of ``O``, of ``B-`` with each label, and of ``I-`` with each label, in this order.

        Raises:
            InputError: The vocabulary of the base LLM has fewer tokens than there are tags.
        """
        key = tuple(labels)
        if key not in self._tokens:
            vocabulary = range(len(self._answers.tokenizer))
            if len(vocabulary) < 1 + 2 * len(key):
                raise InputError(
                    f"Tags of {len(key)} labels need {1 + 2 * len(key)} tokens; the base LLM has {len(vocabulary)}. Train "
                    "without tags: set tags_share=0."
                )
            taken: dict[int, None] = {}
            for text in (" O", *(f" {label}" for label in key), *key):
                taken[next(token for token in chain(self._answers.ids(text), vocabulary) if token not in taken)] = None
            self._tokens[key] = list(taken)
        return self._tokens[key]


def tag_ids(spans: Iterable[Span], words: int, labels: Sequence[str]) -> list[int]:
    """The tag of each word, as its position in :meth:`TagFormat.tokens`.

    Args:
        spans: The entities.
        words: Number of words in the sentence.
        labels: The labels of the tags.

    Examples:
        >>> tag_ids([Span(0, 2, "PER"), Span(3, 4, "LOC")], 5, ["LOC", "PER"])
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
        bank: Its LoRA bank, which holds the adapters of a batch.
        answers: The answer format with the tokenizer of the base LLM.
        config: The model's configuration.
    """

    def __init__(self, base: PreTrainedModel, bank: LoraBank, answers: AnswerFormat, config: RetrieveAllConfig) -> None:
        self._base = base
        self._config = config
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
        matches: Sequence[Sequence[MentionMatch]] | None = None,
        sequences: CachedSequences | None = None,
    ) -> list[Answer]:
        """Tags a batch of sentences.

        Args:
            prompts: Prompts for tags.
            sentences: The sentence of each prompt.
            labels: For each sentence the labels that it may have.
            mixtures: For each row the weight of each adapter.
            matches: For each sentence its words that are mentions in the examples; none by default.
            sequences: The prefixes of the prompts, if the base LLM has processed them already. They cannot be used again.

        Returns:
            The answers, in the order of the prompts: spans, near misses, and the tokens of the generated answer that would have
            the spans. The score of a span is the probability of its tags and of its end, with the words taken as independent.

        Raises:
            PrecisionError: The base LLM overflows in its dtype.
        """
        if sequences is None:
            sequences = CachedSequences(self._base, len(prompts))
            sequences.read([list(prompt.prefix) for prompt in prompts])
        with self._bank.rows(mixtures):
            states = sequences.read([prompt.ids for prompt in prompts])  # [rows, tokens, hidden], padded on the left
        at_words = []  # for each row [words, hidden]
        for row, prompt in enumerate(prompts):
            padding = states.shape[1] - len(prompt.ids)
            at_words.append(states[row, [padding + ends[0] for ends in prompt.unit_ends]])
        answers: dict[int, Answer] = {}
        by_labels = sorted(range(len(prompts)), key=lambda row: tuple(labels[row]))
        for key, group in groupby(by_labels, key=lambda row: tuple(labels[row])):
            rows = list(group)
            log_probabilities = [
                interpolated(of_row, matches[row] if matches else (), key, self._config.match_weight)
                for row, of_row in zip(rows, self._log_probabilities([at_words[row] for row in rows], key), strict=True)
            ]
            answers.update(
                zip(rows, tag_answers(log_probabilities, [sentences[row] for row in rows], key, self._answers), strict=True)
            )
        return [answers[row] for row in range(len(prompts))]

    def _log_probabilities(self, at_words: Sequence[Tensor], labels: Sequence[str]) -> tuple[Tensor, ...]:
        """For each row ``[words, tags]`` from ``[words, hidden]``, with one multiplication for all rows.

        Raises:
            PrecisionError: The base LLM overflows in its dtype.
        """
        states = torch.cat(list(at_words))  # [words of all rows, hidden]
        logits = self._head(states, torch.tensor(self._format.tokens(labels), device=states.device)).cpu()
        check_finite_logits(logits, states.dtype)
        return torch.split(logits.log_softmax(-1), [len(words) for words in at_words])


def tag_answers(
    log_probabilities: Sequence[Tensor], sentences: Sequence[Sentence], labels: Sequence[str], answers: AnswerFormat
) -> list[Answer]:
    """The answers with the most probable valid tags.

    Args:
        log_probabilities: For each sentence ``[words, tags]``, in the order of :meth:`TagFormat.tokens`.
        sentences: The sentences.
        labels: The labels of the tags.
        answers: The answer format.
    """
    result = []
    for sentence, tags, of_sentence in zip(sentences, viterbi(log_probabilities), log_probabilities, strict=True):
        probabilities = of_sentence.exp().tolist()
        spans, near_misses = list(_scored_spans(tags, probabilities, labels)), _near_misses(tags, probabilities, labels)
        ids = answers.answer_ids(sentence, [each.span for each in spans])
        result.append(Answer(ids, spans, near_misses, of_sentence))
    return result


@torch.no_grad()
def prefill_without_lora(decoder: Any, ids: Tensor, mask: Tensor, tokens: int) -> dict[str, Any]:
    """Processes the prefix of a batch without LoRA, in a base LLM whose layers PEFT is training.

    Args:
        decoder: The layers of the base LLM.
        ids: ``[batch, prefix]``: the tokens, padded on the right.
        mask: ``[batch, prefix]``: 0 at padding.
        tokens: Number of tokens of each row that follow the prefix.

    Returns:
        Arguments of the decoder for the tokens that follow: the cache and their positions, ``[batch, tokens]``.
    """
    # Not PEFT's `disable_adapter`: it also changes `requires_grad`, which must stay equal in all processes.
    cached = {cache_argument(decoder): DynamicCache(config=decoder.config)}
    layers: list[Any] = [module for module in decoder.modules() if hasattr(module, "_disable_adapters")]
    for layer in layers:
        layer._disable_adapters = True
    try:
        decoder(input_ids=ids, attention_mask=mask, use_cache=True, **cached)
    finally:
        for layer in layers:
            layer._disable_adapters = False
    positions = mask.sum(1, keepdim=True) + torch.arange(tokens, device=mask.device)
    return {**cached, "use_cache": True, "position_ids": positions}


def viterbi(log_probabilities: Sequence[Tensor]) -> list[list[int]]:
    """The most probable tags of each sentence among the valid sequences, in which ``I-`` continues a span of the same label.

    Args:
        log_probabilities: For each sentence ``[words, tags]``, in the order of :meth:`TagFormat.tokens`.

    Examples:
        >>> viterbi([torch.tensor([[0.5, 0.4, 0.1], [0.2, 0.1, 0.7]]).log()])  # O, B-PER, I-PER
        [[1, 2]]
    """
    lengths = [len(words) for words in log_probabilities]
    padded = torch.nn.utils.rnn.pad_sequence(list(log_probabilities), batch_first=True)  # [rows, words, tags]
    labels = padded.shape[2] // 2
    best = padded[:, 0].clone()  # [rows, tags]: log-probability of the best sequence that ends in each tag
    best[:, 1 + labels :] = -torch.inf  # no sentence starts with I-
    scores, origins = [best], []
    for word in range(1, padded.shape[1]):
        # O and B- may follow any tag, so they follow the best one. I- follows the better of B- and I- of its own label.
        any_score, any_origin = best.max(1, keepdim=True)  # [rows, 1]
        begin, inside = best[:, 1 : 1 + labels], best[:, 1 + labels :]
        same_score = torch.maximum(begin, inside)  # [rows, labels]
        same_origin = torch.arange(labels) + torch.where(begin >= inside, 1, 1 + labels)
        best = torch.cat([any_score.expand(-1, 1 + labels), same_score], 1) + padded[:, word]
        scores.append(best)
        origins.append(torch.cat([any_origin.expand(-1, 1 + labels), same_origin], 1))
    return [_path(scores, origins, row, length) for row, length in enumerate(lengths)]


def _path(scores: Sequence[Tensor], origins: Sequence[Tensor], row: int, length: int) -> list[int]:
    """The tags of one row, followed back from the best tag of its last word; ``scores`` and ``origins`` are [rows, tags]."""
    path = [int(scores[length - 1][row].argmax())] if length else []
    for word in range(length - 2, -1, -1):
        path.append(int(origins[word][row, path[-1]]))
    return path[::-1]


def _scored_spans(tags: Sequence[int], of_word: Probabilities, labels: Sequence[str]) -> Iterator[ScoredSpan]:
    """The spans of valid tags and their scores."""
    start = 0
    while start < len(tags):
        end = start + 1
        if tags[start]:
            while end < len(tags) and tags[end] == tags[start] + len(labels):
                end += 1
            yield _scored(start, end, tags[start], of_word, labels)
        start = end


def _near_misses(tags: Sequence[int], of_word: Probabilities, labels: Sequence[str]) -> list[ScoredSpan]:
    """Spans of words that are tagged O. Of spans that overlap, only the most probable one is returned.

    Args:
        tags: The tag of each word.
        of_word: The probability of each tag, for each word.
        labels: The labels of the tags.
    """
    candidates = []
    for start, tag in product(range(len(tags)), range(1, 1 + len(labels))):
        if tags[start] or of_word[start][tag] < _NEARLY:
            continue
        end, inside = start + 1, tag + len(labels)
        while end < len(tags) and of_word[end][inside] >= 0.5:
            end += 1
        if not any(tags[start:end]):
            candidates.append(_scored(start, end, tag, of_word, labels))
    chosen: list[ScoredSpan] = []
    for candidate in sorted(candidates, key=lambda scored: -scored.score):
        if all(candidate.span.end <= other.span.start or other.span.end <= candidate.span.start for other in chosen):
            chosen.append(candidate)
    return sorted(chosen, key=lambda scored: scored.span.start)


def _scored(start: int, end: int, tag: int, of_word: Probabilities, labels: Sequence[str]) -> ScoredSpan:
    """A span that begins with a tag B-, and the probability of its tags and of its end."""
    inside = tag + len(labels)
    score = of_word[start][tag] * prod(of_word[word][inside] for word in range(start + 1, end))
    if end < len(of_word):
        score *= 1 - of_word[end][inside]
    return ScoredSpan(Span(start, end, labels[tag - 1]), score)
