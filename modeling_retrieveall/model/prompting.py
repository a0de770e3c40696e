"""The hierarchical prompt: retrieved entities, then retrieved sentences, then the sentence itself.

    x_input = (P_e, se_1..se_n, P_c, sc_1..sc_m, P_t, x)        (RetrieveAll, arXiv 2505.19128)

The prompt of a German sentence, with the least similar examples first:

    Known entities: Sambia = LOC; Angela Müller = PER
    Text: Der Kanzler reiste nach Lusaka.
    Entities: Lusaka = LOC
    Text: Angela Merkel besuchte Nairobi.
    Entities:

A prompt for tags, one per word, has the sentence twice. The base LLM processes the first copy without adapters, and the rest with
them:

    Angela Merkel besuchte Nairobi.
    Tags: Angela Merkel besuchte Nairobi.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Literal

from .answer_format import AnswerFormat
from .entities import Example, Mention, Sentence

PROMPT_VERSION = 2
"""Increased whenever the wording or the tokens change, because an adapter only works with the prompt it was trained on."""
SUPPORTED_PROMPT_VERSIONS = (1, 2)
"""Version 1 differs only in rare sentences: it has no occurrence numbers, keeps soft hyphens, and does not split Korean words."""

Decoding = Literal["tags", "generation"]
"""How the LLM answers: with one tag per word in one forward pass, or with the entities as text, token by token."""
DECODINGS: tuple[Decoding, ...] = ("tags", "generation")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in tokens, and the examples that it includes.

    Attributes:
        ids: Tokens. Without a prefix they start with the beginning-of-sequence token, if the base LLM has one.
        mentions: The retrieved mentions that are included, least similar first.
        examples: The retrieved sentences that are included, least similar first.
        prefix: In a prompt for tags, the tokens before ``ids``, which the base LLM processes without adapters.
        unit_ends: In a prompt for tags, for each word the positions in ``ids`` of the last token of each of its units. In raw
            text, every word is one unit.
    """

    ids: list[int]
    mentions: tuple[Mention, ...]
    examples: tuple[Example, ...]
    prefix: tuple[int, ...] = ()
    unit_ends: tuple[tuple[int, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.prefix) + len(self.ids)


class PromptWriter:
    """Writes prompts in the tokens of one base LLM.

    Args:
        answers: The answer format with the tokenizer of the base LLM.
        max_example_tokens: Maximum number of tokens of the retrieved part. The sentence itself is never truncated.

    Attributes:
        bos: The beginning-of-sequence token at the start of a prompt, if the tokenizer has one.
    """

    def __init__(self, answers: AnswerFormat, max_example_tokens: int) -> None:
        self.answers = answers
        self.max_example_tokens = max_example_tokens
        bos = answers.tokenizer.bos_token_id
        self.bos = [] if bos is None else [bos]
        self._entities_head = answers.ids("Known entities:")
        self._text_head = answers.ids("Text:")
        self._answer_head = answers.ids("\nEntities:")
        self._tags_head = answers.ids("Tags:")
        self._line_break = answers.ids("\n")

    def write(
        self,
        sentence: Sentence,
        mentions: Sequence[Mention] = (),
        examples: Sequence[Example] = (),
        decoding: Decoding = "generation",
    ) -> Prompt:
        """Writes the prompt of a sentence.

        Args:
            sentence: The sentence whose entities are asked for.
            mentions: Retrieved mentions, most similar first.
            examples: Retrieved sentences, most similar first.
            decoding: How the LLM will answer.

        Returns:
            The prompt. The most similar examples come last, next to the sentence.
        """
        shown_mentions, shown_examples = self._within_budget(mentions, examples)
        shown = self._mention_list([ids for _, ids in shown_mentions])
        shown += [token for _, example_ids in shown_examples for token in example_ids]
        included = tuple(mention for mention, _ in shown_mentions), tuple(example for example, _ in shown_examples)
        if decoding == "generation":
            return Prompt(self.bos + shown + self._question_ids(sentence), *included)
        words = self.answers.unit_ids(sentence)
        sentence_ids = [token for word in words for unit in word for token in unit]
        before = self._line_break + shown + self._tags_head
        ends = accumulate((len(unit) for word in words for unit in word), initial=len(before) - 1)
        next(ends)
        unit_ends = tuple(tuple(islice(ends, len(word))) for word in words)
        return Prompt(before + sentence_ids, *included, (*self.bos, *sentence_ids), unit_ends)

    def _within_budget(
        self, mentions: Sequence[Mention], examples: Sequence[Example]
    ) -> tuple[list[tuple[Mention, list[int]]], list[tuple[Example, list[int]]]]:
        """The mentions and sentences that fit into the budget, with their tokens, least similar first.

        Sentences and mentions take turns in the order of their similarity. Once one does not fit, no less similar one of its kind
        is included.
        """
        budget = self.max_example_tokens
        shown_mentions: list[tuple[Mention, list[int]]] = []
        shown_examples: list[tuple[Example, list[int]]] = []
        for rank in range(max(len(mentions), len(examples))):
            if rank < len(examples):
                ids = self._example_ids(examples[rank])
                if len(ids) <= budget and len(shown_examples) == rank:
                    shown_examples.append((examples[rank], ids))
                    budget -= len(ids)
            if rank < len(mentions):
                ids = self._mention_ids(mentions[rank])
                cost = len(ids) + (len(self.answers.next_mention) if rank else len(self._entities_head + self._line_break))
                if cost <= budget and len(shown_mentions) == rank:
                    shown_mentions.append((mentions[rank], ids))
                    budget -= cost
        return shown_mentions[::-1], shown_examples[::-1]

    def _mention_list(self, mentions: list[list[int]]) -> list[int]:
        """P_e, se_1..se_n. Empty without mentions."""
        if not mentions:
            return []
        ids = list(self._entities_head)
        for position, mention in enumerate(mentions):
            ids += (self.answers.next_mention if position else []) + mention
        return ids + self._line_break

    def _mention_ids(self, mention: Mention) -> list[int]:
        span = mention.span
        words = self.answers.word_ids(mention.example.sentence.slice(span.start, span.end))
        return self.answers.mention_ids(words, span.label)

    def _example_ids(self, example: Example) -> list[int]:
        return self._question_ids(example.sentence) + self.answers.answer_ids(example.sentence, example.spans)

    def _question_ids(self, sentence: Sentence) -> list[int]:
        words = [token for word in self.answers.word_ids(sentence) for token in word]
        return self._text_head + words + self._answer_head
