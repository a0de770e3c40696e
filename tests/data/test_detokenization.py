"""Corpora of single characters and sub-words give the same sentences as raw text."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_retrieveall import LanguageAdapter
from modeling_retrieveall.data.detokenization import CHARACTERS, PIECES, detect_token_kind, join_subwords
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.model.answer_format import AnswerFormat
from modeling_retrieveall.model.entities import Example, Sentence, Span
from modeling_retrieveall.model.retrieval import ExampleIndex
from tests.strategies import spans_within

characters = st.lists(st.sampled_from(list("서울에北京スー 2JRéกبב。،")), min_size=2, max_size=12)


def tokens_of(answers: AnswerFormat, sentence: Sentence) -> list[int]:
    return [token for word in answers.word_ids(sentence) for token in word]


@pytest.mark.parametrize(
    ("sentences", "kind"),
    [
        ([list("서울에서 만나")], CHARACTERS),
        ([list("東京スーパー"), list("北京。")], CHARACTERS),
        ([list("مرحبا بك")], CHARACTERS),
        ([["서울", "##에서"], ["Bonn"]], PIECES),
        ([["서울에서", "만나"]], None),
        ([["在", "北京", "。"]], None),
        ([["A", "b"]], None),
        ([["#", "##"], ["C", "##"]], None),
        ([["북"]], None),
        ([["##berlin", "ist", "##schön"]], None),
        ([["In", "##berlin"], ["St.", "Pauli"] * 60], None),
        ([], None),
    ],
)
def test_the_kind_of_tokens_is_detected_from_the_whole_corpus(sentences: list[list[str]], kind: str | None) -> None:
    assert detect_token_kind(sentences) == kind


@given(drawn=characters.flatmap(lambda tokens: st.tuples(st.just(tokens), spans_within(len(tokens)))))
def test_mentions_keep_their_characters(drawn: tuple[list[str], list[Span]]) -> None:
    tokens, spans = drawn
    sentence, moved = join_subwords(tokens, spans, CHARACTERS)
    assert sentence.text == "".join(tokens)
    seen = [(sentence.entity(span).text, span.label) for span in moved]
    expected = [("".join(tokens[span.start : span.end]).strip(), span.label) for span in spans]
    assert seen == [(text, label) for text, label in expected if text]


@pytest.mark.parametrize(
    "text", ["서울에서 JR을 타고", "東京スーパーは2024年にJRと", "屠呦呦出生于宁波，在Google学习。", "ولد في القاهرة"]
)
def test_joined_tokens_without_mentions_equal_the_raw_text(answers: AnswerFormat, text: str) -> None:
    sentence, _ = join_subwords(list(text), [], CHARACTERS)
    assert sentence == Sentence.from_text(text)
    pieces = ["서울", "##에서", "만", "##나", "."]
    assert tokens_of(answers, join_subwords(pieces, [], PIECES)[0]) == tokens_of(answers, Sentence.from_text("서울에서 만나."))


def test_a_file_of_single_characters_is_joined_to_words(tmp_path: Path) -> None:
    file = tmp_path / "klue.conll"
    tags = ["B-LOC", "I-LOC", "O", "O", "O", "O", "O"]
    file.write_text("".join(f"{c}\t{t}\n" for c, t in zip("서울에서 만나", tags, strict=True)) + "\n", encoding="utf-8")
    (read,) = load_examples(str(file), "train").examples
    assert read.sentence == Sentence.from_text("서울에서 만나")
    assert [read.sentence.entity(span).text for span in read.spans] == ["서울"]


def test_pieces_of_words_are_joined(tmp_path: Path) -> None:
    file = tmp_path / "pieces.jsonl"
    file.write_text(json.dumps({"tokens": ["Ange", "##la", "ruft"], "ner_tags": ["B-PER", "I-PER", "O"]}) + "\n")
    (read,) = load_examples(str(file), "train").examples
    assert read.sentence.text == "Angela ruft" and read.spans == (Span(0, 1, "PER"),)


@given(text=st.sampled_from(["Nordrhein-Westfalen, (Bonn)", "서울에서 만나", "l'ONU à Genève", "3:2 gewann TSV"]))
@settings(max_examples=8, deadline=None)
def test_an_adapter_stores_which_words_have_no_space_before_them(
    tmp_path_factory: pytest.TempPathFactory, tiny_adapter, text: str
) -> None:
    adapter = LanguageAdapter.load(tiny_adapter("de"))
    sentence = Sentence.from_text(text)
    index = adapter.index
    example = Example(sentence, ())
    one = ExampleIndex([example], index.sentence_vectors[:1], index.mention_vectors[:0])
    folder = tmp_path_factory.mktemp("adapter")
    copied = adapter.copy_to(folder, "de")
    LanguageAdapter(adapter.manifest, one, adapter.routing_vectors, adapter.training_hashes, folder / "de").save_index(
        folder / "de"
    )
    (read,) = LanguageAdapter.load(folder / "de").index.examples
    assert copied and [(word.text, word.glued) for word in read.sentence.words] == [(w.text, w.glued) for w in sentence.words]
