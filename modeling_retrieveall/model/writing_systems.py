"""The script a text is written in. A sentence in a script that no language has examples of is in an unknown language.

>>> dominant_script("Angela Merkel besuchte Найроби.")
'LATIN'
>>> usual_scripts(["Ангела Меркел", "София", "NATO"])
frozenset({'CYRILLIC', 'LATIN'})
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

_MIN_SHARE = 0.01
"""Scripts of a smaller share of a language's examples are ignored, as accidents of the data."""


def dominant_script(text: str) -> str | None:
    """The script of most letters: the first word of their Unicode names. ``None`` for a text without letters."""
    scripts = Counter(_script(letter) for letter in text if letter.isalpha())
    return scripts.most_common(1)[0][0] if scripts else None


def usual_scripts(texts: Iterable[str]) -> frozenset[str]:
    """The scripts that are dominant in at least 1 % of the texts."""
    scripts = Counter(script for text in texts if (script := dominant_script(text)))
    return frozenset(script for script, count in scripts.items() if count >= _MIN_SHARE * scripts.total())


@lru_cache(maxsize=100_000)
def _script(letter: str) -> str:
    normal = unicodedata.normalize("NFKC", letter)[:1] or letter  # full-width and mathematical letters count as Latin
    return unicodedata.name(normal, "UNKNOWN").split()[0]
