"""The hierarchical prompt: retrieved entities, then retrieved sentences, then the sentence itself.

    x_input = (P_e, se_1..se_n, P_c, sc_1..sc_m, P_t, x)        (RetrieveAll, arXiv 2505.19128)

For a German sentence it reads, farthest examples first:

    Known entities: Sambia = LOC; Angela Müller = PER
    Text: Der Kanzler reiste nach Lusaka.
    Entities: Lusaka = LOC
    Text: Angela Merkel besuchte Nairobi.
    Entities:
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .answers import AnswerFormat
from .entities import Example, Mention, Sentence

PROMPT_VERSION = 2
"""Raised whenever the wording or the tokens change: an adapter serves only a prompt that it can read."""
SERVED_VERSIONS = (1, 2)
"""Version 1 differs in rare sentences alone: it did not say which occurrence of a mention is meant, read soft hyphens, and took a
Korean word for one unit."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in tokens, and what found room in it.

    Attributes:
        ids: Tokens, the beginning-of-sequence token first when the base has one.
        mentions: The retrieved mentions shown, farthest first.
        examples: The retrieved sentences shown, farthest first.
    """

    ids: list[int]
    mentions: tuple[Mention, ...]
    examples: tuple[Example, ...]


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
        self._line_break = answers.ids("\n")

    def write(self, sentence: Sentence, mentions: Sequence[Mention] = (), examples: Sequence[Example] = ()) -> Prompt:
        """The prompt of a sentence.

        Args:
            sentence: The sentence whose entities are asked for.
            mentions: Retrieved mentions, nearest first.
            examples: Retrieved sentences, nearest first.

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
        return Prompt(
            self._bos
            + self._mention_list([ids for _, ids in reversed(shown_mentions)])
            + [token for _, ids in reversed(shown_examples) for token in ids]
            + self._question_ids(sentence),
            tuple(mention for mention, _ in reversed(shown_mentions)),
            tuple(example for example, _ in reversed(shown_examples)),
        )

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
