"""The grammar as text admits what the grammar in tokens admits, in the libraries that vLLM constrains decoding with."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer, grammar_from

from modeling_retrieveall.model.answer_format import AnswerFormat
from modeling_retrieveall.model.decoding import ScoredSpan
from modeling_retrieveall.model.entities import Example, Sentence, Span
from modeling_retrieveall.model.grammar import AnswerGrammar
from modeling_retrieveall.serving.ebnf_grammar import SpelledFormat, grammar_text, read_answer
from tests.strategies import spans_within, texts, word_lists

LABELS = ("LOC", "ORG", "ORG-government")
BYTES = LLTokenizer("byte")
Admits = Callable[[str, str], bool]

sentences = st.one_of(texts.map(Sentence.from_text), word_lists.map(Sentence.from_words)).filter(lambda s: len(s.words) > 0)
# Words that begin like one another, of which some are written together.
confusable = st.lists(st.sampled_from(["a", "ab", "b", ",", "a,", "a,b", "京", "北京"]), min_size=1, max_size=6).map(
    Sentence.from_words
)


def llguidance_admits(grammar: str, text: str) -> bool:
    matcher = LLMatcher(BYTES, grammar_from("grammar", grammar))
    assert not matcher.get_error()
    tokens = list(text.encode())
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


def xgrammar_admits(grammar: str, text: str) -> bool:
    xgrammar = pytest.importorskip("xgrammar", reason="not among our dependencies: it brings Triton")
    vocabulary = xgrammar.TokenizerInfo([*"abc", "</s>"], stop_token_ids=3)
    matcher = xgrammar.GrammarMatcher(xgrammar.GrammarCompiler(vocabulary).compile_grammar(xgrammar.Grammar.from_ebnf(grammar)))
    return bool(matcher.accept_string(text) and matcher.is_completed())


@pytest.fixture(params=[llguidance_admits, xgrammar_admits], scope="module")
def admits(request: pytest.FixtureRequest) -> Admits:
    admits: Admits = request.param
    return admits


@pytest.fixture(scope="module")
def spelled(answers: AnswerFormat) -> SpelledFormat:
    return SpelledFormat(answers)


def labelled(sentence: Sentence) -> st.SearchStrategy[Example]:
    return spans_within(len(sentence.words), LABELS).map(lambda spans: Example(sentence, tuple(spans)))


def served_answer(answers: AnswerFormat, example: Example) -> list[int]:
    """The tokens of an answer as a server may give it: it cannot say which occurrence of a mention is meant."""
    words, ids = answers.word_ids(example.sentence), []
    for span in example.spans:
        ids += (answers.next_mention if ids else []) + answers.mention_ids(words[span.start : span.end], span.label)
    return ids + answers.end


@given(example=st.one_of(sentences, confusable).flatmap(labelled))
def test_every_answer_is_admitted_and_read_as_what_it_names(spelled: SpelledFormat, admits: Admits, example: Example) -> None:
    tokens = served_answer(spelled.in_tokens, example)
    text = spelled.text(tokens)
    assert "".join(spelled.texts(tokens)) == text
    assert admits(grammar_text(spelled, example.sentence, LABELS), text)
    by_token = AnswerGrammar(spelled.in_tokens, example.sentence, LABELS)
    assert by_token.accepts(tokens)
    names = [spelled_mention(spelled, example.sentence, span) for span in by_token.spans]
    for ids in (tokens, spelled.in_tokens.ids(text)):
        answer = read_answer(spelled, example.sentence, LABELS, ids, [0.0] * len(ids))
        assert [spelled_mention(spelled, example.sentence, scored.span) for scored in answer.spans] == names


def spelled_mention(spelled: SpelledFormat, sentence: Sentence, span: Span) -> tuple[str, str]:
    words = spelled.word_ids(sentence)[span.start : span.end]
    return "".join(chr(character) for word in words for character in word), span.label


spans_anywhere = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5), st.sampled_from([*LABELS, "PER"])), max_size=3)


@given(words=st.lists(st.sampled_from(["Bonn", "Bo", "nn", "in", "Graz"]), min_size=1, max_size=5), spans=spans_anywhere)
def test_a_list_of_mentions_is_admitted_when_the_grammar_in_tokens_accepts_it(
    spelled: SpelledFormat, admits: Admits, words: list[str], spans: list[tuple[int, int, str]]
) -> None:
    sentence, answers = Sentence.from_words(words), spelled.in_tokens
    tokens: list[int] = []
    for start, end, label in spans:
        tokens += (answers.next_mention if tokens else []) + answers.mention_ids(answers.word_ids(sentence)[start:end], label)
    tokens += answers.end
    accepted = AnswerGrammar(answers, sentence, LABELS).accepts(tokens)
    assert admits(grammar_text(spelled, sentence, LABELS), spelled.text(tokens)) == accepted


@given(data=st.data(), example=st.one_of(confusable, sentences).flatmap(labelled))
def test_a_damaged_answer_is_admitted_when_it_is_another_answer(
    spelled: SpelledFormat, admits: Admits, data: st.DataObject, example: Example
) -> None:
    text = spelled.text(served_answer(spelled.in_tokens, example))
    at = data.draw(st.integers(0, len(text)))
    damaged = text[:at] + data.draw(st.sampled_from(["", " ", ";", "\n", "a", ",", " = LOC"])) + text[at + 1 :]
    accepted = AnswerGrammar(spelled, example.sentence, LABELS).accepts(spelled.ids(damaged))
    assert admits(grammar_text(spelled, example.sentence, LABELS), damaged) == accepted


def test_it_grows_with_the_sentence_not_with_its_square(spelled: SpelledFormat) -> None:
    short, long = (len(grammar_text(spelled, Sentence.from_words(["Bonn"] * n), LABELS)) for n in (50, 200))
    assert long < 4.5 * short


def test_a_score_is_the_probability_of_the_tokens_since_the_mention_before(spelled: SpelledFormat) -> None:
    sentence = Sentence.from_text("Bonn und Graz")
    tokens = spelled.in_tokens.ids(" Bonn = LOC; Graz = ORG\n")
    mark = tokens.index(spelled.in_tokens.next_mention[0])
    spans = read_answer(spelled, sentence, LABELS, tokens, [-0.1] * len(tokens)).spans
    assert [scored.span for scored in spans] == [Span(0, 1, "LOC"), Span(2, 3, "ORG")]
    # The mark belongs to the mention that it begins, the end to none.
    assert [scored.score for scored in spans] == pytest.approx([math.exp(-0.1 * n) for n in (mark, len(tokens) - 1 - mark)])


def test_a_character_beyond_ascii_stands_apart_from_a_digit_that_xgrammar_would_take_for_its_code(spelled: SpelledFormat) -> None:
    assert '" dí" "a"' in grammar_text(spelled, Sentence.from_text("El día"), LABELS)


@pytest.mark.parametrize("answer", [" Bonn = LOC", " Wien = LOC\n", "Bonn"])
def test_what_is_no_answer_is_refused(spelled: SpelledFormat, answer: str) -> None:
    tokens = spelled.in_tokens.ids(answer)
    with pytest.raises(ValueError, match=r"is not allowed here|has no end"):
        read_answer(spelled, Sentence.from_text("Bonn"), LABELS, tokens, [0.0] * len(tokens))


def test_what_follows_the_end_is_not_read(spelled: SpelledFormat) -> None:
    tokens = [*spelled.in_tokens.ids(" Bonn = LOC\n"), spelled.in_tokens.tokenizer.eos_token_id]
    spans = read_answer(spelled, Sentence.from_text("Bonn"), LABELS, tokens, [0.0] * len(tokens)).spans
    assert spans == [ScoredSpan(Span(0, 1, "LOC"), 1.0)]


def test_without_labels_there_is_one_answer(spelled: SpelledFormat, admits: Admits) -> None:
    grammar = grammar_text(spelled, Sentence.from_text("Bonn"), [])
    assert admits(grammar, "\n") and not admits(grammar, " Bonn = LOC\n")
