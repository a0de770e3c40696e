"""Splits a text into sentences before its language is known.

>>> text = "Prof. Dr. Merkel kam am 3. Mai nach Bonn. Graz liegt an der Mur."
>>> [text[start:end] for start, end in sentence_bounds(text, ["de", "en"])]
['Prof. Dr. Merkel kam am 3. Mai nach Bonn. ', 'Graz liegt an der Mur.']

The same rules hold for all languages. Every stop that is followed by white space may end a sentence, unless a rule of this module
says otherwise: after an initial, an abbreviation or an ordinal, inside quotation marks, or before a word in lower case. In doubt
the text is not split: two sentences that stay together cost little, but a name that is split in two is lost.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import regex

from .abbreviations import ABBREVIATIONS
from .line_ends import paragraphs

STOPS = ".!?…‥．！？。｡।॥؟۔።፧։᙮។៕။෴‼⁇⁈⁉\u037e"
"""The marks that may end a sentence."""

_ORDINALS = frozenset(
    ("bs", "cs", "da", "de", "et", "eu", "fi", "fo", "hr", "hu", "is", "lb", "lv", "nb", "nn", "no", "sk", "sl", "sr", "tr")
)
"""Languages that write ordinal numbers with a full stop."""
_LOWER_CASE_STARTS = frozenset(("en", "pcm"))
"""Languages in which sentences often start in lower case, and which have few abbreviations."""

_STOP = rf"(?:[{STOPS}]|(?<=\p{{Greek}});)"
_CANDIDATE = regex.compile(rf"(?<stop>{_STOP}++(?:[ ]{_STOP}++)*+)(?<close>[\p{{Pe}}\p{{Pf}}\"'“]*+)(?<space>\s*+)")
_WITHOUT_SPACE = frozenset("。！？｡।॥።။។")
_IN_NAMES = frozenset(".!?…‥．！？‼⁇⁈⁉")
_NAME_SUFFIXES = frozenset(("Inc", "Corp", "Ltd", "LLC", "Co", "GmbH", "Jr", "Sr"))
"""Words that never start a sentence, as in "Yahoo! Inc."."""
_LINE_END = regex.compile(r"[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
_CLOSING_QUOTE = regex.compile(r"\"++(?:\s++|$)")
_QUOTES = regex.compile(r"\"++")
_OPENING = regex.compile(r"[„“«‹「『《〈(\[{（【]")
_CLOSING = regex.compile(r"[”»›」』》〉)\]}）】“]")
_MAX_TITLE = 40
"""Maximum number of characters of a title in quotation marks. Longer quotations are speech, which has sentences of its own."""
_MAX_BEFORE = 200
"""Number of characters before a stop that are examined, so that the time is linear in the length of the text."""

_WORD_BEFORE = regex.compile(r"""(?:[\p{L}\p{M}\p{N}\p{Cs}.'’\-‐‑/·\u200c\u200d]|(?<=\p{Hebrew})["״](?=\p{Hebrew}))++$""")
_WORD_AFTER = regex.compile(r"[^\w\p{M}]*+(?<word>[\p{L}\p{M}\p{N}]++)")
_SECOND_LOWER = regex.compile(r"(?V1),?\s[\p{Ll}--\p{Georgian}]")
_ONE_WORD = regex.compile(r"\p{L}{2,}\.(?=\s|$)")
_LOWER = regex.compile(r"(?V1)[\p{Ll}--\p{Georgian}]")
_LOWER_WORDS = regex.compile(r"(?V1)(?<!\w)[\p{Ll}--\p{Georgian}][\p{L}\p{M}]*+")
_CASED = regex.compile(r"[\p{Latin}\p{Cyrillic}\p{Greek}\p{Armenian}]")
_GRAPHEME = regex.compile(r"\X")
_HYPHEN = regex.compile(r"[-‐‑/]")
_ROMAN = regex.compile(r"[IVXLC]{2,}")
_CONSONANTS = regex.compile(r"[\p{Latin}\p{Cyrillic}\p{Greek}\p{Armenian}\p{Georgian}]{2,5}")
_VOWEL = regex.compile(r"[aeiouyæøœɛɔəɩʋɨʉɯɤʌɑɐıαεηιουωаеёиоуыэюяєіөүұәъаეიოუაեէըիոօ]")
_SYLLABIC = regex.compile(r"(?<=\p{Ll})[rlрл](?=\p{Ll})")
_NO_STOPS = regex.compile(r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
_HAN_OR_KANA = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
_WORD = regex.compile(r"\w[\w\p{M}]*+")
_SCORE = regex.compile(r"\d\s?[:,]\s?$|\w[-–]$|[$€£¥#]\s?$")
_LETTERS_BEFORE = regex.compile(r"[\p{L}\p{M}\p{N}]+(?=\s*$)")
_INDIC_VERBS = frozenset(("है", "हैं", "हो", "था", "थी", "थे", "थीं", "दी", "की", "दे", "ले", "छ", "છે", "ਹੈ", "ਹਨ", "වේ", "ය"))
"""Words of one letter with its marks that end sentences. All other words of one letter are initials."""


def sentence_bounds(text: str, languages: Iterable[str]) -> list[tuple[int, int]]:
    """The start and end of each sentence in code points. The sentences cover the whole text.

    Args:
        text: The text.
        languages: Codes of the languages that the text may be in. If one of them writes ordinal numbers with a full stop, the
            text is not split after a number of one or two digits. Without languages the text is not split.
    """
    codes = {language.partition("-")[0] for language in languages}
    if not codes:
        return [(0, len(text))]
    stops = _Stops(text, bool(codes & _ORDINALS), codes <= _LOWER_CASE_STARTS)
    cuts: set[int] = set()
    for paragraph in paragraphs(text):
        found = dict(stops.within(paragraph.start, paragraph.end))
        cuts |= {paragraph.start, paragraph.end, *found.values(), *paragraph.cuts(found.keys())}
    # White space before the first paragraph and after the last one belongs to these paragraphs.
    ends = [*sorted(cuts - {min(cuts, default=0), max(cuts, default=0)}), len(text)]
    return list(zip([0, *ends], ends, strict=False))


@dataclass(frozen=True)
class _Stop:
    """One or several marks that may end a sentence, and their context.

    Attributes:
        mark: The marks, without spaces.
        before: The text of the sentence before the mark, at most ``_MAX_BEFORE`` characters.
        word: The word before the mark, with the full stops inside it.
        following: The word after the mark.
        second_is_lower_case: Whether the second word after the mark starts in lower case.
        is_before_one_word: Whether the next sentence is a single word.
        at_line_end: Whether the mark is at the end of a line.
    """

    mark: str
    before: str
    word: str
    following: str
    second_is_lower_case: bool
    is_before_one_word: bool
    at_line_end: bool


class _Stops:
    """Finds the stops that end sentences.

    Args:
        text: The text.
        ordinals: Whether a number with a full stop may be an ordinal.
        lower_case_starts: Whether a sentence may start in lower case.
    """

    def __init__(self, text: str, ordinals: bool, lower_case_starts: bool) -> None:
        self.text = text
        self.ordinals = ordinals
        self.lower_case_starts = lower_case_starts

    def within(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """For each sentence of a paragraph its end, and the start of the next sentence."""
        sentence = read = start
        quotes = 0
        for match in _CANDIDATE.finditer(self.text, start, end):
            ends, begins = match.end("close"), match.end()
            quotes += len(_QUOTES.findall(self.text[read:begins]))
            read = begins
            if quotes % 2 and self.text[begins : begins + 1] == '"' and (quote := _CLOSING_QUOTE.match(self.text, begins, end)):
                ends, begins = begins + len(quote.group().rstrip()), quote.end()
            if begins < end and not match["space"] and match["stop"][-1] not in _WITHOUT_SPACE:
                continue
            at_line_end = bool(_LINE_END.search(self.text[ends:begins]))
            stop = self._stop(match.start(), match["stop"], sentence, begins, end, at_line_end)
            if self._ends_sentence(stop, self.text[begins : min(begins + 1, end)]) and not self._is_in_title(sentence, match):
                yield ends, begins
                sentence = begins

    def _stop(self, at: int, mark: str, sentence: int, begins: int, end: int, at_line_end: bool) -> _Stop:
        """The stop at a position of the text, and its context.

        Args:
            at: Where the mark starts.
            mark: The mark.
            sentence: Where the sentence before the mark starts.
            begins: Where the next sentence would start.
            end: Where the paragraph ends.
            at_line_end: Whether the mark is at the end of a line.
        """
        before = self.text[max(sentence, at - _MAX_BEFORE) : at]
        before = before[:-1] if before.endswith(" ") else before
        word = _WORD_BEFORE.search(before[-_MAX_TITLE:])
        after = self.text[begins : min(end, begins + _MAX_TITLE)]  # a slice: `regex` would search the whole text for literals
        following = _WORD_AFTER.match(after)
        return _Stop(
            "".join(mark.split()),
            before,
            word.group().strip("'’-‐‑/·.") if word else "",
            following["word"] if following else "",
            bool(following and _SECOND_LOWER.match(after, following.end())),
            bool(_ONE_WORD.match(after)),
            at_line_end or begins >= end,
        )

    def _ends_sentence(self, stop: _Stop, next_character: str) -> bool:
        if not stop.at_line_end and (not stop.following or next_character in ",;:)]}%([" or stop.following in _NAME_SUFFIXES):
            return False
        if _LOWER.match(stop.following) and not (
            self.lower_case_starts and stop.mark in (".", "?") and stop.word.isalpha() and len(stop.word) > 2
        ):
            return False
        if stop.mark == "." and (_NO_STOPS.search(stop.word[-1:] + stop.following[:1]) or self._is_abbreviation(stop)):
            return False
        return stop.at_line_end or _is_clause(stop)

    def _is_in_title(self, sentence: int, match: "regex.Match[str]") -> bool:
        """Whether the stop is inside a short quotation or brackets."""
        before = self.text[max(sentence, match.start() - _MAX_TITLE) : match.start()]
        opening = max((found.start() for found in _OPENING.finditer(before)), default=-1)
        if opening < 0 or match["close"] or _CLOSING.search(before, opening + 1):
            return False
        return bool(_CLOSING.search(self.text[match.end() : match.end() + _MAX_TITLE]))

    def _is_abbreviation(self, stop: _Stop) -> bool:
        """Whether the full stop is part of the word before it."""
        word = stop.word
        if not word:
            return False
        if word.isdecimal():
            return self._is_ordinal(stop, stop.before.removesuffix(word))
        lower = word.lower()
        if stop.following[:1].isdecimal() and _CASED.match(word) and len(word) <= (3 if word == lower else 4):
            return True  # "Art. 5", "p. 12"
        if word == lower and len(word) <= 5 and stop.before.removesuffix(word).endswith(". "):
            return True  # "Dr. med. habil.": the previous stop does not end a sentence either
        last = _HYPHEN.split(word)[-1]
        is_listed = lower.endswith("str") or not ABBREVIATIONS.isdisjoint((word, lower, last, last.lower()))
        if is_listed and (not word.isupper() or stop.following.isupper()):
            return True
        if "." in word:
            # "d.o.o." and "U.S." are abbreviations. "23.45." is a number, which may end a sentence before a letter.
            is_number = word[-1].isdecimal()
            return not _CASED.match(stop.following) if is_number else all(len(part) <= 3 for part in word.split("."))
        return bool(_ROMAN.fullmatch(word)) or _is_initial(word, lower) or _is_without_vowel(word, lower)

    def _is_ordinal(self, stop: _Stop, before: str) -> bool:
        """Whether the number before the full stop is an ordinal; ``before`` is the text before the number."""
        if len(stop.word) > 2 or _SCORE.search(before) or not stop.following:
            return False
        if stop.following[0].isdecimal():
            return True
        if not _CASED.match(stop.following):
            return False
        previous = _LETTERS_BEFORE.search(before[-_MAX_TITLE:])
        if len(stop.word) == 1 or not previous:
            return True
        if previous.group()[-1].isdecimal():
            return False
        return self.ordinals or len(previous.group()) <= 4


def _is_initial(word: str, lower: str) -> bool:
    """Whether a word is one letter with its marks, or a capital letter and a consonant, such as "Th"."""
    letters = _GRAPHEME.findall(word)
    plain = _without_marks(lower)
    if len(letters) == 1:
        is_vowel = word == lower != word.upper() and (plain != lower or not word.isascii()) and _VOWEL.search(plain)
        return word not in _INDIC_VERBS and not is_vowel
    return len(letters) == 2 and word[0].isupper() and word[1].islower() and not _VOWEL.search(plain[1:])


def _is_without_vowel(word: str, lower: str) -> bool:
    """Whether a word is short and has no vowel, such as "bzw". In words such as "vrt", r and l count as vowels."""
    if word.isupper() or not _CONSONANTS.fullmatch(plain := _without_marks(lower)):
        return False
    return not _VOWEL.search(plain) and not (word == lower and _SYLLABIC.search(plain))


def _is_clause(stop: _Stop) -> bool:
    """Whether the text before a stop is a sentence, and not part of a name such as "Oh! My Goddess" or "Live. Love. A$AP"."""
    if stop.mark[-1] not in _IN_NAMES:
        return True
    if stop.mark[-1] in _WITHOUT_SPACE:
        return len(stop.before.strip()) >= 5
    words = _WORD.findall(stop.before)
    if not _CASED.search(stop.before):
        return len(words) > 1 and not (_HAN_OR_KANA.match(stop.word[-1:]) and _HAN_OR_KANA.match(stop.following))
    if stop.mark == ".":
        is_row_of_words = len(words) == 1 and stop.is_before_one_word
        is_acronym = len(stop.following) > 1 and stop.following.isupper()
        return len(words) > 2 or is_row_of_words or (stop.second_is_lower_case and not is_acronym)
    lower = _LOWER_WORDS.findall(stop.before)
    if len(words) > 2 and (len(lower) > 1 or any(len(word) > 3 for word in lower)):
        return True
    return stop.second_is_lower_case and stop.mark[-1] in "!?"


def _without_marks(word: str) -> str:
    if word.isascii():
        return word
    return "".join(letter for letter in unicodedata.normalize("NFD", word) if not unicodedata.category(letter).startswith("M"))
