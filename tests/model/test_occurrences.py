"""Mentions whose words are in the sentence more than once."""

import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_retrieveall.model.answer_format import AnswerFormat, occurrences
from modeling_retrieveall.model.decoding import Answer, ScoredSpan
from modeling_retrieveall.model.entities import Sentence, Span
from modeling_retrieveall.model.grammar import AnswerGrammar
from modeling_retrieveall.model.occurrences import OccurrenceChooser
from tests.strategies import spans_within


class RandomDecoder:
    """A decoder that gives each occurrence a random probability."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.asked: list[list[int]] = []

    def log_probabilities(self, prompts, answers, mixtures):
        assert len(prompts) == len(answers) == len(mixtures)
        self.asked += prompts
        return [self.rng.uniform(-20, 0) for _ in prompts]


words = st.lists(st.sampled_from(["Bonn", "Graz", "in"]), min_size=1, max_size=9)
labelled = words.flatmap(lambda words: st.tuples(st.just(words), spans_within(len(words))))


def decoded(answers: AnswerFormat, sentence: Sentence, spans: list[Span]) -> Answer:
    return Answer(answers.answer_ids(sentence, spans), [ScoredSpan(span, 0.5) for span in spans])


@given(drawn=labelled, rng=st.randoms(use_true_random=False))
@settings(deadline=None)
def test_reassigned_mentions_keep_their_words_and_order(answers: AnswerFormat, drawn, rng) -> None:
    sentence, spans = Sentence.from_words(drawn[0]), drawn[1]
    before = decoded(answers, sentence, spans)
    (after,) = OccurrenceChooser(RandomDecoder(rng), answers).choose([sentence], [before], [{"de": 1.0}])
    moved = [scored.span for scored in after.spans]
    assert [drawn[0][span.start : span.end] for span in moved] == [drawn[0][span.start : span.end] for span in spans]
    assert all(left.end <= right.start for left, right in itertools.pairwise(moved))
    grammar = AnswerGrammar(answers, sentence, ["LOC", "ORG", "PER"])
    assert grammar.accepts(after.ids) and grammar.spans == moved


def test_the_llm_is_not_run_for_sentences_without_repeated_mentions(answers: AnswerFormat) -> None:
    decoder = RandomDecoder(random.Random(0))
    sentences = [Sentence.from_text("Bonn und Graz und in"), Sentence.from_text("Bonn und Bonn")]
    before = [
        decoded(answers, sentences[0], [Span(0, 1, "LOC")]),
        decoded(answers, sentences[1], [Span(0, 1, "LOC"), Span(2, 3, "LOC")]),
    ]
    assert OccurrenceChooser(decoder, answers).choose(sentences, before, [{"de": 1.0}] * 2) == before
    assert decoder.asked == []


def test_only_a_few_occurrences_of_a_word_are_compared(answers: AnswerFormat) -> None:
    decoder = RandomDecoder(random.Random(0))
    sentence = Sentence.from_words(["Bonn"] * 100)
    before = decoded(answers, sentence, [Span(0, 1, "LOC")])
    OccurrenceChooser(decoder, answers).choose([sentence], [before], [{"de": 1.0}])
    assert len(decoder.asked) == 4


def test_occurrences_are_compared_by_their_tokens(answers: AnswerFormat) -> None:
    ids = answers.word_ids(Sentence.from_words(["Bonn", "-", "Bonn", "x", "Bonn-Bonn"]))
    assert occurrences(ids, Span(4, 5, "LOC"), 0) in ([Span(0, 3, "LOC"), Span(4, 5, "LOC")], [Span(4, 5, "LOC")])
