"""Sentences of the Hebrew treebank as they are written.

The Hebrew treebank of Universal Dependencies, on which the Hebrew corpus of Universal NER is built, splits words into morphemes.
Some of them have underscores and are not in natural text: articles ("ב ה_ דקה" for "בדקה") and pronouns in place of suffixes. A
model that learns such words does not know the words of natural text.

>>> sentence = Sentence.from_words(["יכולת_", "_של_", "_הוא", "ב", "ה_", "גליל", "."])
>>> as_written(Example(sentence, (Span(4, 6, "LOC"),)))
Example(sentence=..., spans=(Span(start=2, end=3, label='LOC'),))
>>> [word.text for word in as_written(Example(sentence, ())).sentence.words]
['יכולתו', 'ב', 'גליל', '.']
"""

from bisect import bisect_left

import regex

from ..model.entities import Example, Sentence, Span

_UNWRITTEN = ("ה_", "_של_")
_SUFFIXES = {
    **{"_הוא": "ו", "_היא": "ה", "_הם": "ם", "_הן": "ן", "_אני": "י", "_אנחנו": "נו"},
    **{"_אתה": "ך", "_את": "ך", "_אתם": "כם", "_אתן": "כן"},
}
"""The possessive and prepositional suffix of each pronoun."""
_FINAL_FORMS = str.maketrans("םןךףץ", "מנכפצ")
_HEBREW = regex.compile(r"\p{Hebrew}+")
_MARKED = regex.compile(r"_*(\p{Hebrew}+)_*")


def as_written(example: Example) -> Example:
    """The sentence without morphemes that are not written, with suffixes joined to their words, and with its entities.

    Irregular forms, such as "ממנו" for "מן_" and "_הוא", are joined like regular ones. Sentences without underscores are returned
    unchanged.

    Args:
        example: A labelled sentence with the morphemes of the treebank as words.
    """
    if not any("_" in word.text for word in example.sentence.words):
        return example
    words: list[str] = []
    sources: list[int] = []  # for each word the position of its morpheme in the treebank
    for position, word in enumerate(example.sentence.words):
        if word.text in _UNWRITTEN:
            continue
        if words and _HEBREW.fullmatch(words[-1]) and (suffix := _SUFFIXES.get(word.text)):
            words[-1] = words[-1][:-1] + words[-1][-1].translate(_FINAL_FORMS) + suffix
            continue
        marked = _MARKED.fullmatch(word.text)
        words.append(marked[1] if marked else word.text)
        sources.append(position)
    spans = (Span(bisect_left(sources, start), bisect_left(sources, end), label) for start, end, label in example.spans)
    return Example(Sentence.from_words(words), tuple(span for span in spans if span.start < span.end))
