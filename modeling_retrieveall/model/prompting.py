"""The hierarchical prompt: retrieved entities, then retrieved sentences, then the sentence itself.

    x_input = (P_e, se_1..se_n, P_c, sc_1..sc_m, P_t, x)        (RetrieveAll, arXiv 2505.19128)

For a German sentence it reads, farthest examples first:

    Known entities: Sambia = LOC; Angela Müller = PER
    Text: Der Kanzler reiste nach Lusaka.
    Entities: Lusaka = LOC
    Text: Angela Merkel besuchte Nairobi.
    Entities:

A prompt whose answer is one tag a word has the sentence twice. The first copy is read by the base LLM alone, and what follows by
its adapters too:

    Angela Merkel besuchte Nairobi.
    Tags: Angela Merkel besuchte Nairobi.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from .answer_format import AnswerFormat
from .entities import Example, Mention, Sentence

PROMPT_VERSION = 2
"""Raised whenever the wording or the tokens change: an adapter serves only a prompt that it can read."""
SERVED_VERSIONS = (1, 2)
"""Version 1 differs in rare sentences alone: it did not say which occurrence of a mention is meant, read soft hyphens, and took a
Korean word for one unit."""

Decoding = Literal["tags", "generation"]
"""How the LLM answers: with one tag a word, all read in one pass, or with the entities in words, token by token."""
DECODINGS: tuple[Decoding, ...] = ("tags", "generation")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in tokens, and what found room in it.

    Attributes:
        ids: Tokens, the beginning-of-sequence token first when the base has one and there is no prefix.
        mentions: The retrieved mentions shown, farthest first.
        examples: The retrieved sentences shown, farthest first.
        prefix: Tokens before ``ids`` that the base LLM reads without its adapters, in a prompt for tags.
        word_ends: In a prompt for tags, the position in ``ids`` of each word's last token.
    """

    ids: list[int]
    mentions: tuple[Mention, ...]
    examples: tuple[Example, ...]
    prefix: tuple[int, ...] = ()
    word_ends: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.prefix) + len(self.ids)


class PromptWriter:
    """Writes prompts in the tokens of one base LLM.

    Args:
        answers: The answer format over the base's tokenizer.
        max_example_tokens: Budget of the retrieved part; the sentence itself is never cut.
    """

    def __init__(self, answers: AnswerFormat, max_example_tokens: int) -> None:
        self.answers = answers
        self.max_example_tokens = max_example_tokens
        bos = answers.tokenizer.bos_token_id
        self._bos = [] if bos is None else [bos]
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
        """The prompt of a sentence.

        Args:
            sentence: The sentence whose entities are asked for.
            mentions: Retrieved mentions, nearest first.
            examples: Retrieved sentences, nearest first.
            decoding: How the LLM will answer.

        Returns:
            The prompt. Nearest examples stand last, next to the sentence; over the budget the farthest are left out,
            mentions and sentences taking turns by rank.
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
        shown = self._mention_list([ids for _, ids in reversed(shown_mentions)])
        shown += [token for _, example_ids in reversed(shown_examples) for token in example_ids]
        found = tuple(m for m, _ in reversed(shown_mentions)), tuple(e for e, _ in reversed(shown_examples))
        if decoding == "generation":
            return Prompt(self._bos + shown + self._question_ids(sentence), *found)
        words = self.answers.word_ids(sentence)
        read = [token for word in words for token in word]
        before = self._line_break + shown + self._tags_head
        word_ends = tuple(len(before) - 1 + tokens for tokens in accumulate(map(len, words)))
        return Prompt(before + read, *found, (*self._bos, *read), word_ends)

    def _mention_list(self, mentions: list[list[int]]) -> list[int]:
        """P_e, se_1..se_n; nothing at all when no mention is shown."""
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
