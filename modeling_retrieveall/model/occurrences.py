"""Chooses the occurrence of a mention whose words are in the sentence more than once.

A generated answer names a mention by its words, and usually means their first occurrence. The LLM scores the mention once for
each occurrence, with the other occurrences masked:

    Text: Das Essen war kalt, klagte der Bürgermeister von _.    log P(Essen = LOC) = -6.7
    Text: Das _ war kalt, klagte der Bürgermeister von Essen.    log P(Essen = LOC) = -0.3     chosen

>>> chooser = OccurrenceChooser(decoder, answers)
>>> chooser.choose([sentence], [answer], [{"de": 1.0}])[0].spans[0].span
Span(start=9, end=10, label='LOC')
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .answer_format import AnswerFormat, occurrences
from .decoding import Answer, AnswerDecoder, ScoredSpan
from .entities import Sentence, Span
from .prompting import PromptWriter

_MARGIN = 5.0
"""Another occurrence is chosen only if its log-probability is higher by this margin. With a smaller margin, more mentions of
labelled text move away from the right occurrence than to it."""
_MAX_OCCURRENCES = 4
"""Number of occurrences that are compared. A word that is repeated more often usually has the same meaning everywhere."""
_MASK = "_"


@dataclass(frozen=True, slots=True)
class _Place:
    """One possible place of a mention.

    Attributes:
        row: Number of the sentence.
        mention: Position of the mention in the answer.
        span: The words at this place.
    """

    row: int
    mention: int
    span: Span


class OccurrenceChooser:
    """Moves decoded mentions to their most probable occurrence.

    Args:
        decoder: The decoder of the base LLM.
        answers: The answer format with the tokenizer of the base LLM.
    """

    def __init__(self, decoder: AnswerDecoder, answers: AnswerFormat) -> None:
        self._decoder = decoder
        self._answers = answers
        self._writer = PromptWriter(answers, max_example_tokens=0)

    def choose(
        self, sentences: Sequence[Sentence], answers: Sequence[Answer], mixtures: Sequence[dict[str, float]]
    ) -> list[Answer]:
        """Answers whose mentions are at the chosen occurrences, in order and without overlap.

        Args:
            sentences: The sentences.
            answers: The decoded answer of each sentence.
            mixtures: For each row the weight of each adapter; the adapters must be in the LoRA bank.
        """
        candidates = [self._candidates(sentence, answer) for sentence, answer in zip(sentences, answers, strict=True)]
        places = [
            _Place(row, mention, span)
            for row, mentions in enumerate(candidates)
            for mention, spans in enumerate(mentions)
            for span in spans
            if len(spans) > 1
        ]
        log_probabilities = self._score(places, candidates, sentences, answers, mixtures)
        chosen = list(answers)
        for row in {place.row for place in places}:
            gains = [
                {span: log_probabilities.get(_Place(row, mention, span), 0.0) - _MARGIN * (span != scored.span) for span in spans}
                for mention, (spans, scored) in enumerate(zip(candidates[row], answers[row].spans, strict=True))
            ]
            chosen[row] = self._moved(sentences[row], answers[row], _best_in_order(gains))
        return chosen

    def _score(
        self,
        places: Sequence[_Place],
        candidates: Sequence[Sequence[Sequence[Span]]],
        sentences: Sequence[Sentence],
        answers: Sequence[Answer],
        mixtures: Sequence[dict[str, float]],
    ) -> dict[_Place, float]:
        """The log-probability of each place, in batches of as many rows as there are sentences."""
        log_probabilities: dict[_Place, float] = {}
        for start in range(0, len(places), len(sentences)):
            batch = places[start : start + len(sentences)]
            prompts = [self._prompt(sentences[place.row], candidates[place.row][place.mention], place.span) for place in batch]
            mentions = [self._mention(sentences[place.row], answers[place.row], place) for place in batch]
            scores = self._decoder.log_probabilities(prompts, mentions, [mixtures[place.row] for place in batch])
            log_probabilities.update(zip(batch, scores, strict=True))
        return log_probabilities

    def _candidates(self, sentence: Sentence, answer: Answer) -> list[list[Span]]:
        """For each mention its possible places, which leave room for the mentions before and after it."""
        words = self._answers.word_ids(sentence)
        found: list[list[Span]] = []
        end = 0
        for scored in answer.spans:
            found.append(occurrences(words, scored.span, end))
            end = found[-1][0].end
        start = len(words)
        for position, spans in reversed(list(enumerate(found))):
            found[position] = [span for span in spans if span.end <= start]
            start = found[position][-1].start
        kept = [spans[:_MAX_OCCURRENCES] for spans in found]
        return [spans if scored.span in spans else [scored.span] for spans, scored in zip(kept, answer.spans, strict=True)]

    def _prompt(self, sentence: Sentence, spans: Sequence[Span], visible: Span) -> list[int]:
        """The prompt of the sentence with all places masked but one."""
        others = {word for span in spans for word in range(span.start, span.end)} - set(range(visible.start, visible.end))
        words = [replace(word, text=_MASK) if i in others else word for i, word in enumerate(sentence.words)]
        return self._writer.write(replace(sentence, words=tuple(words))).ids

    def _mention(self, sentence: Sentence, answer: Answer, place: _Place) -> tuple[list[int], list[int]]:
        """The tokens of the answer before the mention, and the tokens of the mention."""
        before = [scored.span for scored in answer.spans[: place.mention]]
        prefix = self._answers.answer_ids(sentence, before)[: -len(self._answers.end)]
        words = self._answers.word_ids(sentence)[place.span.start : place.span.end]
        mention = self._answers.mention_ids(words, place.span.label)
        return prefix + (self._answers.next_mention if prefix else []), mention

    def _moved(self, sentence: Sentence, answer: Answer, spans: Sequence[Span]) -> Answer:
        """The answer with its mentions at these spans."""
        if spans == [scored.span for scored in answer.spans]:
            return answer
        scored = [ScoredSpan(span, before.score) for span, before in zip(spans, answer.spans, strict=True)]
        return Answer(self._answers.answer_ids(sentence, spans), scored)


def _best_in_order(gains: Sequence[dict[Span, float]]) -> list[Span]:
    """One span per mention, in order and without overlap, with the largest sum of gains.

    >>> _best_in_order([{Span(0, 1, "LOC"): 0.0, Span(4, 5, "LOC"): 2.0}, {Span(2, 3, "PER"): 0.0, Span(6, 7, "PER"): 1.0}])
    [Span(start=4, end=5, label='LOC'), Span(start=6, end=7, label='PER')]
    """
    paths: list[tuple[float, list[Span]]] = [(0.0, [])]
    for spans in gains:
        longer: list[tuple[float, list[Span]]] = []
        for span, gain in spans.items():
            fitting = [path for path in paths if not path[1] or path[1][-1].end <= span.start]
            if fitting:
                total, before = max(fitting, key=lambda path: path[0])
                longer.append((total + gain, [*before, span]))
        paths = longer
    return max(paths, key=lambda path: path[0])[1]
