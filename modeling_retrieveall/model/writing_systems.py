"""Which script a text is written in: a sentence in a script that no language has examples of is of an unknown language.

>>> dominant_script("Angela Merkel besuchte Найроби.")
'LATIN'
>>> usual_scripts(["Ангела Меркел", "София", "NATO"])
frozenset({'CYRILLIC', 'LATIN'})
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

_USUAL = 0.01
"""Of a language's examples: in a script of fewer, they are accidents of the data."""


def dominant_script(text: str) -> str | None:
    """The script of most letters, as the first word of their Unicode names; ``None`` for a text without letters."""
    scripts = Counter(_script(letter) for letter in text if letter.isalpha())
    return scripts.most_common(1)[0][0] if scripts else None


def usual_scripts(texts: Iterable[str]) -> frozenset[str]:
    """The scripts in which at least one in a hundred of the texts is written."""
    scripts = Counter(script for text in texts if (script := dominant_script(text)))
    return frozenset(script for script, count in scripts.items() if count >= _USUAL * scripts.total())


@lru_cache(maxsize=100_000)
def _script(letter: str) -> str:
    plain = unicodedata.normalize("NFKC", letter)[:1] or letter  # a full-width or mathematical A is a Latin one
    return unicodedata.name(plain, "UNKNOWN").split()[0]
