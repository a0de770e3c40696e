"""The EBNF grammar accepts the same outputs as the grammar over tokens, in the libraries that vLLM constrains decoding with."""

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
from modeling_retrieveall.serving.ebnf_grammar import CharacterFormat, build_ebnf, parse_answer
from tests.strategies import spans_within, texts, word_lists

LABELS = ("LOC", "ORG", "ORG-government")
BYTES = LLTokenizer("byte")
Accepts = Callable[[str, str], bool]

sentences = st.one_of(texts.map(Sentence.from_text), word_lists.map(Sentence.from_words)).filter(lambda s: len(s.words) > 0)
# Words with common prefixes, some of which contain several words.
confusable = st.lists(st.sampled_from(["a", "ab", "b", ",", "a,", "a,b", "京", "北京"]), min_size=1, max_size=6).map(
    Sentence.from_words
)


def llguidance_accepts(grammar: str, text: str) -> bool:
    matcher = LLMatcher(BYTES, grammar_from("grammar", grammar))
    assert not matcher.get_error()
    tokens = list(text.encode())
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


def xgrammar_accepts(grammar: str, text: str) -> bool:
    xgrammar = pytest.importorskip("xgrammar", reason="xgrammar is not a dependency, because it requires Triton")
    vocabulary = xgrammar.TokenizerInfo([*"abc", "</s>"], stop_token_ids=3)
    matcher = xgrammar.GrammarMatcher(xgrammar.GrammarCompiler(vocabulary).compile_grammar(xgrammar.Grammar.from_ebnf(grammar)))
    return bool(matcher.accept_string(text) and matcher.is_completed())


@pytest.fixture(params=[llguidance_accepts, xgrammar_accepts], scope="module")
def accepts(request: pytest.FixtureRequest) -> Accepts:
    accepts: Accepts = request.param
    return accepts


@pytest.fixture(scope="module")
def characters(answers: AnswerFormat) -> CharacterFormat:
    return CharacterFormat(answers)


def labelled(sentence: Sentence) -> st.SearchStrategy[Example]:
    return spans_within(len(sentence.words), LABELS).map(lambda spans: Example(sentence, tuple(spans)))


def server_output(answers: AnswerFormat, example: Example) -> list[int]:
    """The tokens of an output without the choice between several occurrences of a mention, which a server does not make."""
    words, ids = answers.word_ids(example.sentence), []
    for span in example.spans:
        ids += (answers.next_mention if ids else []) + answers.mention_ids(words[span.start : span.end], span.label)
    return ids + answers.end


@given(example=st.one_of(sentences, confusable).flatmap(labelled))
def test_every_valid_output_is_accepted_and_parsed(characters: CharacterFormat, accepts: Accepts, example: Example) -> None:
    tokens = server_output(characters.token_format, example)
    text = characters.text(tokens)
    assert "".join(characters.texts(tokens)) == text
    assert accepts(build_ebnf(characters, example.sentence, LABELS), text)
    by_token = AnswerGrammar(characters.token_format, example.sentence, LABELS)
    assert by_token.accepts(tokens)
    names = [mention_text(characters, example.sentence, span) for span in by_token.spans]
    for ids in (tokens, characters.token_format.ids(text)):
        answer = parse_answer(characters, example.sentence, LABELS, ids, [0.0] * len(ids))
        assert [mention_text(characters, example.sentence, scored.span) for scored in answer.spans] == names


def mention_text(characters: CharacterFormat, sentence: Sentence, span: Span) -> tuple[str, str]:
    words = characters.word_ids(sentence)[span.start : span.end]
    return "".join(chr(character) for word in words for character in word), span.label


spans_anywhere = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5), st.sampled_from([*LABELS, "PER"])), max_size=3)


@given(words=st.lists(st.sampled_from(["Bonn", "Bo", "nn", "in", "Graz"]), min_size=1, max_size=5), spans=spans_anywhere)
def test_both_grammars_accept_the_same_lists_of_mentions(
    characters: CharacterFormat, accepts: Accepts, words: list[str], spans: list[tuple[int, int, str]]
) -> None:
    sentence, answers = Sentence.from_words(words), characters.token_format
    tokens: list[int] = []
    for start, end, label in spans:
        tokens += (answers.next_mention if tokens else []) + answers.mention_ids(answers.word_ids(sentence)[start:end], label)
    tokens += answers.end
    accepted = AnswerGrammar(answers, sentence, LABELS).accepts(tokens)
    assert accepts(build_ebnf(characters, sentence, LABELS), characters.text(tokens)) == accepted


@given(data=st.data(), example=st.one_of(confusable, sentences).flatmap(labelled))
def test_a_damaged_output_is_accepted_only_if_it_is_valid(
    characters: CharacterFormat, accepts: Accepts, data: st.DataObject, example: Example
) -> None:
    text = characters.text(server_output(characters.token_format, example))
    at = data.draw(st.integers(0, len(text)))
    damaged = text[:at] + data.draw(st.sampled_from(["", " ", ";", "\n", "a", ",", " = LOC"])) + text[at + 1 :]
    accepted = AnswerGrammar(characters, example.sentence, LABELS).accepts(characters.ids(damaged))
    assert accepts(build_ebnf(characters, example.sentence, LABELS), damaged) == accepted


def test_the_grammar_grows_linearly_with_the_sentence(characters: CharacterFormat) -> None:
    short, long = (len(build_ebnf(characters, Sentence.from_words(["Bonn"] * n), LABELS)) for n in (50, 200))
    assert long < 4.5 * short


def test_a_score_is_the_probability_of_the_tokens_since_the_previous_mention(characters: CharacterFormat) -> None:
    sentence = Sentence.from_text("Bonn und Graz")
    tokens = characters.token_format.ids(" Bonn = LOC; Graz = ORG\n")
    mark = tokens.index(characters.token_format.next_mention[0])
    spans = parse_answer(characters, sentence, LABELS, tokens, [-0.1] * len(tokens)).spans
    assert [scored.span for scored in spans] == [Span(0, 1, "LOC"), Span(2, 3, "ORG")]
    # The separator belongs to the mention that follows it, and the end to no mention.
    assert [scored.score for scored in spans] == pytest.approx([math.exp(-0.1 * n) for n in (mark, len(tokens) - 1 - mark)])


def test_a_non_ascii_character_and_a_hexadecimal_digit_are_separate_literals(
    characters: CharacterFormat,
) -> None:
    assert '" dí" "a"' in build_ebnf(characters, Sentence.from_text("El día"), LABELS)


@pytest.mark.parametrize("answer", [" Bonn = LOC", " Wien = LOC\n", "Bonn"])
def test_an_invalid_output_is_rejected(characters: CharacterFormat, answer: str) -> None:
    tokens = characters.token_format.ids(answer)
    with pytest.raises(ValueError, match=r"is not allowed here|is incomplete"):
        parse_answer(characters, Sentence.from_text("Bonn"), LABELS, tokens, [0.0] * len(tokens))


def test_tokens_after_the_end_are_ignored(characters: CharacterFormat) -> None:
    tokens = [*characters.token_format.ids(" Bonn = LOC\n"), characters.token_format.tokenizer.eos_token_id]
    spans = parse_answer(characters, Sentence.from_text("Bonn"), LABELS, tokens, [0.0] * len(tokens)).spans
    assert spans == [ScoredSpan(Span(0, 1, "LOC"), 1.0)]


def test_without_labels_only_the_empty_output_is_accepted(characters: CharacterFormat, accepts: Accepts) -> None:
    grammar = build_ebnf(characters, Sentence.from_text("Bonn"), [])
    assert accepts(grammar, "\n") and not accepts(grammar, " Bonn = LOC\n")
