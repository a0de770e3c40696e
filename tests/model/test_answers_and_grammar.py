"""The grammar accepts every answer of the training data, and only well-formed answers."""

import random
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.model.answer_format import AnswerFormat
from modeling_retrieveall.model.entities import Example, Sentence, Span
from modeling_retrieveall.model.grammar import AnswerGrammar
from tests.conftest import example
from tests.strategies import spans_within, texts, word_lists

LABELS = ("LOC", "ORG", "PER")

sentences = st.one_of(texts.map(Sentence.from_text), word_lists.map(Sentence.from_words))
examples = sentences.flatmap(
    lambda sentence: spans_within(len(sentence.words), LABELS).map(lambda spans: Example(sentence, tuple(spans)))
)
repetitive_examples = st.lists(st.sampled_from(["Bonn", "Graz", "Bonn-Bonn", "-", "=", "2"]), min_size=1, max_size=8).flatmap(
    lambda words: spans_within(len(words), LABELS).map(lambda spans: Example(Sentence.from_words(words), tuple(spans)))
)


def in_order_within(spans: list[Span], length: int) -> bool:
    borders = [0] + [border for span in spans for border in (span.start, span.end)] + [length]
    return borders == sorted(borders) and all(span.start < span.end for span in spans)


def answer_text(answers: AnswerFormat, labelled: Example) -> str:
    text: str = answers.tokenizer.decode(answers.answer_ids(labelled.sentence, labelled.spans))
    return text


def test_the_answer_format_is_as_documented(answers: AnswerFormat) -> None:
    labelled = example("Angela Merkel besuchte Nairobi.", (3, 4, "LOC"), (0, 2, "PER"))
    assert answer_text(answers, labelled) == " Angela Merkel = PER; Nairobi = LOC\n"
    assert answer_text(answers, example("Es regnet.")) == "\n"


@given(sentence=sentences)
@settings(deadline=None)
def test_every_word_has_tokens_without_special_tokens_or_format_separators(answers: AnswerFormat, sentence: Sentence) -> None:
    words = answers.word_ids(sentence)
    assert len(words) == len(sentence.words)
    assert all(words)
    tokens = {token for word in words for token in word}
    assert not tokens & {*answers.separator, *answers.end, *answers.tokenizer.all_special_ids}
    assert not any("=" in answers.tokenizer.decode([token]) for token in tokens)


@given(text=texts)
@settings(deadline=None)
def test_a_pre_split_word_has_the_tokens_it_has_in_raw_text(answers: AnswerFormat, text: str) -> None:
    word = "".join(character for character in text if not character.isspace() and unicodedata.category(character) != "Cc")
    in_a_text = [token for tokens in answers.word_ids(Sentence.from_text(word)) for token in tokens]
    assert answers.word_ids(Sentence.from_words([word])) == [in_a_text[:128] or answers.ids(" _")]


def read_tokens(answers: AnswerFormat, sentence: Sentence) -> list[int]:
    return [token for word in answers.word_ids(sentence) for token in word]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (list("서울에서"), "서울에서"),
        (list("東京スーパー、ビール。"), "東京スーパー、ビール。"),
        (["東京", "スーパー", "、", "時々"], "東京スーパー、時々"),
        (list("屠呦呦出生于宁波。"), "屠呦呦出生于宁波。"),
        (["ו", "ל", "ירושלים", "."], "ולירושלים."),
        (["ב", "מצרים"], "במצרים"),
        (["ب", "القاهرة"], "بالقاهرة"),
        (["و", "ب", "القاهرة"], "وبالقاهرة"),
        (["Donau\u00addampf", "schiff\u200b"], "Donaudampf schiff"),
        (["Bonn\ufeff", "\u2060Graz"], "Bonn Graz"),
    ],
)
def test_words_characters_and_raw_text_give_the_same_tokens(answers: AnswerFormat, words: list[str], text: str) -> None:
    assert read_tokens(answers, Sentence.from_words(words)) == read_tokens(answers, Sentence.from_text(text))


def test_korean_words_keep_their_spaces(answers: AnswerFormat) -> None:
    in_text = read_tokens(answers, Sentence.from_text("서울에서 만나."))
    assert read_tokens(answers, Sentence.from_words(["서울에서", "만나", "."])) == in_text
    assert read_tokens(answers, Sentence.from_words(["서울에서만나", "."])) != in_text


def test_known_spaces_are_kept(answers: AnswerFormat) -> None:
    sentence = Sentence.from_words(["New", "York", "s"], glued=[False, False, True])
    assert [word.glued for word in sentence.words] == [False, False, True]


@pytest.mark.parametrize("invisible", ["\u00ad", "\u200b", "\u2060\ufeff", "\u200f\u00ad\u200b"])
@pytest.mark.parametrize("text", ["Donaudampfschiff", "Київ", "القاهرة", "वाराणसी", "서울", "北京"])
def test_invisible_characters_have_no_tokens(answers: AnswerFormat, text: str, invisible: str) -> None:
    sentence = Sentence.from_text(invisible.join(text) + invisible)
    assert read_tokens(answers, sentence) == read_tokens(answers, Sentence.from_text(text))
    assert sentence.words[0].start == 0 and sentence.words[-1].text[-1] == text[-1]
    assert all(sentence.text[word.start : word.end] == word.text for word in sentence.words)


def test_only_the_start_of_a_very_long_word_is_read(answers: AnswerFormat) -> None:
    assert len(answers.word_ids(Sentence.from_words(["Bonn" * 1000]))[0]) == 128


@given(labelled=examples)
@settings(deadline=None)
def test_the_grammar_recovers_the_spans_of_every_answer(answers: AnswerFormat, labelled: Example) -> None:
    grammar = AnswerGrammar(answers, labelled.sentence, LABELS)
    assert grammar.accepts(answers.answer_ids(labelled.sentence, labelled.spans))
    assert tuple(grammar.spans) == labelled.spans


@given(labelled=repetitive_examples)
@settings(deadline=None)
def test_the_grammar_recovers_spans_of_repeated_words(answers: AnswerFormat, labelled: Example) -> None:
    grammar = AnswerGrammar(answers, labelled.sentence, LABELS)
    assert grammar.accepts(answers.answer_ids(labelled.sentence, labelled.spans))
    assert tuple(grammar.spans) == labelled.spans


@given(sentence=sentences, rng=st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_random_walk_through_the_grammar_gives_ordered_spans_with_the_same_answer(
    answers: AnswerFormat, sentence: Sentence, rng: random.Random
) -> None:
    grammar = AnswerGrammar(answers, sentence, LABELS)
    longest_label = max(len(answers.label_ids(label)) for label in LABELS)
    marks = len(answers.separator) + len(answers.next_mention) + longest_label
    most = sum(len(word) + marks for word in answers.word_ids(sentence)) + len(answers.end)
    walk: list[int] = []
    while allowed := grammar.allowed():
        token = answers.end[0] if answers.end[0] in allowed and rng.random() < 0.2 else rng.choice(allowed)
        grammar.advance(token)
        walk.append(token)
        assert len(walk) <= most
    assert grammar.finished
    assert in_order_within(grammar.spans, len(sentence.words))
    assert {span.label for span in grammar.spans} <= set(LABELS)
    assert answers.answer_ids(sentence, grammar.spans) == walk


def test_a_repeated_name_refers_to_its_next_occurrence(answers: AnswerFormat) -> None:
    sentence = Sentence.from_text("Bonn und Bonn und Bonn")
    once, label = answers.ids(" Bonn"), answers.separator + answers.label_ids("LOC")
    grammar = AnswerGrammar(answers, sentence, LABELS)
    assert grammar.accepts(once + label + answers.next_mention + once + label + answers.end)
    assert grammar.spans == [Span(0, 1, "LOC"), Span(2, 3, "LOC")]


@pytest.mark.parametrize(
    ("text", "start", "answer"),
    [
        ("Das Essen war kalt, klagte der Bürgermeister von Essen.", 9, " Essen =2 LOC\n"),
        ("Das Essen war kalt, klagte der Bürgermeister von Essen.", 1, " Essen = LOC\n"),
        ("Bonn, Bonn, Bonn =2 LOC", 4, " Bonn =3 LOC\n"),
    ],
)
def test_the_occurrence_number_is_written_unless_it_is_1(answers: AnswerFormat, text: str, start: int, answer: str) -> None:
    sentence, spans = Sentence.from_text(text), [Span(start, start + 1, "LOC")]
    ids = answers.answer_ids(sentence, spans)
    grammar = AnswerGrammar(answers, sentence, ["LOC"])
    assert answers.tokenizer.decode(ids) == answer
    assert grammar.accepts(ids) and grammar.spans == spans


def test_a_missing_occurrence_is_not_accepted(answers: AnswerFormat) -> None:
    for answer in (" Bonn =3 LOC\n", " Bonn =1 LOC\n", " Bonn = LOC; Bonn =2 LOC\n", " Bonn =2 LOC; Bonn = LOC\n"):
        assert not AnswerGrammar(answers, Sentence.from_text("Bonn und Bonn"), LABELS).accepts(answers.ids(answer))


def test_advancing_reports_a_mention_with_the_token_that_follows_its_label(answers: AnswerFormat) -> None:
    sentence = Sentence.from_text("Angela Merkel kam.")
    grammar = AnswerGrammar(answers, sentence, LABELS)
    reported = [grammar.advance(token) for token in answers.answer_ids(sentence, [Span(0, 2, "PER")])]
    assert reported == [None] * (len(reported) - 1) + [Span(0, 2, "PER")]


@pytest.mark.parametrize("label", ["LOC", "LOC-city", "LOC-city-old"])
def test_a_label_that_is_a_prefix_of_another_one_is_distinguished(answers: AnswerFormat, label: str) -> None:
    sentence = Sentence.from_text("Bonn, Graz")
    spans = [Span(0, 1, label), Span(2, 3, label)]
    grammar = AnswerGrammar(answers, sentence, ["LOC", "LOC-city", "LOC-city-old"])
    assert grammar.accepts(answers.answer_ids(sentence, spans))
    assert grammar.spans == spans


@pytest.mark.parametrize("labels", [[], LABELS])
def test_a_sentence_without_words_has_only_the_empty_answer(answers: AnswerFormat, labels: list[str]) -> None:
    assert AnswerGrammar(answers, Sentence.from_text(""), labels).allowed() == answers.end


def test_without_labels_only_the_empty_answer_is_allowed(answers: AnswerFormat) -> None:
    grammar = AnswerGrammar(answers, Sentence.from_text("Angela Merkel kam."), [])
    assert grammar.allowed() == answers.end
    assert grammar.accepts(answers.end)
    assert grammar.spans == []


def test_a_token_that_is_not_allowed_is_an_error_and_changes_nothing(answers: AnswerFormat) -> None:
    grammar = AnswerGrammar(answers, Sentence.from_text("Bonn."), LABELS)
    allowed = grammar.allowed()
    for token in (answers.separator[0], answers.next_mention[0], answers.ids(" Graz")[0]):
        with pytest.raises(ValueError, match=f"Token {token} is not allowed here"):
            grammar.advance(token)
    assert grammar.allowed() == allowed


def test_nothing_may_follow_the_end(answers: AnswerFormat) -> None:
    grammar = AnswerGrammar(answers, Sentence.from_text("Bonn."), LABELS)
    grammar.advance(answers.end[0])
    assert grammar.finished
    assert grammar.allowed() == []
    with pytest.raises(ValueError, match="not allowed here"):
        grammar.advance(answers.end[0])


@pytest.mark.parametrize(
    "answer",
    [
        "",  # no end
        " Bonn = LOC",  # no end
        " Bonn = LOC;\n",  # nothing after the semicolon
        " Bonn = MISC\n",  # no label of the adapter
        " Bonn\n",  # no label
        " Wien = LOC\n",  # not in the sentence
        " Graz = LOC; Bonn = LOC\n",  # out of order
        " Bonn und Graz = LOC; Graz = LOC\n",  # overlapping
        " Bonn Graz = LOC\n",  # not a run of words
        " Bonn = LOC\n\n",  # more after the end of the answer
    ],
)
def test_a_malformed_answer_is_not_accepted(answers: AnswerFormat, answer: str) -> None:
    grammar = AnswerGrammar(answers, Sentence.from_text("Bonn und Graz"), LABELS)
    assert not grammar.accepts(answers.ids(answer))


@pytest.mark.parametrize(("split", "number"), [("validation", 20), pytest.param("train", 150, marks=pytest.mark.slow)])
def test_real_answers_are_accepted_by_the_grammars_of_their_sentences(
    answers: AnswerFormat, shared_data: Path, split: str, number: int
) -> None:
    datasets = sorted(file.parent for file in shared_data.glob(f"*/*/{split}.parquet"))
    assert datasets
    for dataset in datasets:
        data = load_examples(str(dataset), split)
        for labelled in data.examples[:number]:
            grammar = AnswerGrammar(answers, labelled.sentence, data.labels)
            assert grammar.accepts(answers.answer_ids(labelled.sentence, labelled.spans)), (dataset, labelled)
            assert tuple(grammar.spans) == labelled.spans, (dataset, labelled)
