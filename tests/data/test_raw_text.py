"""Examples as raw text have the same entities as before."""

from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.data.raw_text import as_raw_text
from modeling_retrieveall.model.entities import Example, Sentence, Span
from tests.conftest import SENTENCES
from tests.strategies import spans_within

WORDS = ["Der", "US-Kongress", "北京", "大学", "İstanbul'da", "서울에서", "(", ")", ".", ",", "О.", "ירושלים", "3.5"]


def without_spaces(example: Example) -> list[tuple[str, str]]:
    entities = [example.sentence.entity(span) for span in example.spans]
    return [("".join(entity.text.split()), entity.label) for entity in entities]


@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=10), data=st.data())
def test_the_entities_are_the_same(words: list[str], data: st.DataObject) -> None:
    example = Example(Sentence.from_words(words), tuple(data.draw(spans_within(len(words)))))
    raw = as_raw_text(example)
    assert without_spaces(raw) == without_spaces(example)
    assert raw.sentence == Sentence.from_text(raw.sentence.text)


def test_sentences_of_all_languages_keep_their_entities() -> None:
    files = SENTENCES.glob("*.conll")
    examples = [example for file in files for example in load_examples(str(file), "train").examples]
    changed = [example for example in examples if without_spaces(as_raw_text(example)) != without_spaces(example)]
    # A Korean corpus in characters does not say that there is a space between "울산HD" and "3-0".
    assert [example.key[:3] for example in changed] in ([], ["울 산"])


def test_the_words_of_raw_text_are_its_units() -> None:
    raw = as_raw_text(Example(Sentence.from_words(["北京", "大学", "很", "好", "。"]), (Span(0, 2, "ORG"),)))
    assert raw == Example(Sentence.from_text("北京大学很好。"), (Span(0, 4, "ORG"),))
