"""A text's sentences, in whatever language it may turn out to be.

>>> text = "Prof. Dr. Merkel kam am 3. Mai nach Bonn. Graz liegt an der Mur."
>>> [text[start:end] for start, end in sentence_bounds(text, ["de", "en"])]
['Prof. Dr. Merkel kam am 3. Mai nach Bonn. ', 'Graz liegt an der Mur.']
"""

import re
from collections.abc import Iterable

from sentencex import get_sentence_boundaries

_SURROGATE = re.compile("[\ud800-\udfff]")


def sentence_bounds(text: str, languages: Iterable[str]) -> list[tuple[int, int]]:
    """Where sentences begin and end, in code points; together they are the whole text.

    A language's full stops and abbreviations are those of sentencex. Before a text is routed nobody knows its language, so it
    is cut only where all languages would: two sentences that stay together cost little, a name cut in two is lost.

    Args:
        text: The text.
        languages: The codes of the languages it may be in; without any the text is not cut.
    """
    cuts: set[int] | None = None
    text = _SURROGATE.sub("\ufffd", text)  # no library in another language takes half a character
    for language in languages:
        found = {boundary["end_index"] for boundary in get_sentence_boundaries(language, text)}
        cuts = found if cuts is None else cuts & found
        if len(cuts) < 2:
            break
    ends = sorted((cuts or set()) | {len(text)})
    return list(zip([0, *ends], ends, strict=False))
