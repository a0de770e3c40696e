"""The peer of the benchmarks is treated fairly: a right answer of it counts."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peer import parsed
from modeling_retrieveall.answers import AnswerFormat
from modeling_retrieveall.entities import Sentence

from .strategies import spans_within

LINE = ["Papst", "Johannes", "Paul", "II", ".", "(", "Rom", ")", "=", "Bonn", ",", "Bonn", "北", "京", "О.", "Петров"]


@given(words=st.lists(st.sampled_from(LINE), min_size=1, max_size=12), data=st.data())
def test_a_right_answer_of_the_peer_is_read_as_the_entities_it_names(
    answers: AnswerFormat, words: list[str], data: st.DataObject
) -> None:
    sentence = Sentence.from_words(words)
    spans = data.draw(spans_within(len(words)))
    answer = answers.tokenizer.decode(answers.answer_ids(sentence, spans))
    found = parsed(answer, sentence, ["LOC", "ORG", "PER"])
    # The same words may stand in several places, of which the peer's answer cannot tell; how many and which words it can.
    named = ["".join(sentence.text[e.start : e.end].split()) for e in found]
    assert named == ["".join(words[span.start : span.end]) for span in spans]
    assert [entity.label for entity in found] == [span.label for span in spans]
