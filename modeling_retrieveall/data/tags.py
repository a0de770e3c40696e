"""Reads BIO, IOB1, IO, BILOU, BIOES and BMES tags, in any usual spelling, as spans of words.

>>> canonical = canonical_tags(["O", "per-b", "per-i"])
>>> spans_from_tags([canonical[tag] for tag in ["per-b", "per-i", "O"]])
([Span(start=0, end=2, label='per')], [])
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from ..model.entities import Span
from ..model.errors import InputError

Scheme = Literal["BIO", "IOB1", "BILOU"]

_FIRST = re.compile(r"([BILUESM])([-_:])(.+)", re.IGNORECASE)
_LAST = re.compile(r"(.+)([-_:])([BILUESM])", re.IGNORECASE)
# A type without a prefix: "person-politician", "ORG", "creative work", but neither "X-PER" nor "B" nor "7".
_BARE = re.compile(r"(?![A-Za-z]([-_:]|$))[^\W\d_][\w .&/'-]*")
_CANONICAL = {"E": "L", "S": "U", "M": "I"}
_SEVERAL = re.compile(r"\|(O$|[BILUESM][-_:])")
_HOW = (
    "Write 'B-' and the entity type for the first word of a mention, as in 'B-PER', 'I-PER' for the words after it, and 'O' "
    "elsewhere."
)


class TagError(InputError):
    """A tag belongs to no tagging scheme.

    Attributes:
        tag: The tag.
    """

    def __init__(self, message: str, tag: str = "") -> None:
        super().__init__(message)
        self.tag = tag


def canonical_tags(tags: Iterable[str]) -> dict[str, str]:
    """For each tag of a dataset the form that :func:`spans_from_tags` reads: ``"B-PER"``, ``"I-PER"``, ..., ``"O"``.

    All tags of a dataset must have one spelling: the prefix first (``B-PER``, ``b_per``, ``B:PER``), the prefix last (``PER-B``),
    or no prefix (``PER``). Without prefixes some tags must be ``O``, and neighbouring words of one type are one mention. The
    ``M`` of BMES is read as ``I``.

    Args:
        tags: All tags of the dataset, in order.

    Raises:
        TagError: A tag has another spelling than the others, or no known spelling.

    Examples:
        >>> canonical_tags(["O", "person-politician"])
        {'O': 'O', 'person-politician': 'I-person-politician'}
    """
    distinct = list(dict.fromkeys(tags))
    named = [tag for tag in distinct if not is_outside(tag)]
    pattern = _spelling(named)
    if pattern is None:
        canonical = {tag: "O" if is_outside(tag) else f"I-{_bare(tag)}" for tag in distinct}
        if named and len(named) == len(distinct):
            raise TagError(f"tag {named[0]!r} has no prefix, and no word is tagged 'O'. {_HOW}", named[0])
        return canonical
    separators = {match[2] for tag in named if (match := pattern.fullmatch(tag))}
    # A type may contain the other separators: "B-creative_work", "B-GPE:city".
    separator = next(mark for mark in "-_:" if mark in separators)
    return {tag: "O" if is_outside(tag) else _prefixed(tag, pattern, separator) for tag in distinct}


def _spelling(named: list[str]) -> re.Pattern[str] | None:
    """The pattern of the tags, with the prefix first or last; ``None`` if the tags have no prefix."""
    if any(_FIRST.fullmatch(tag) for tag in named):
        return _FIRST
    if any(_LAST.fullmatch(tag) for tag in named) and all(_LAST.fullmatch(tag) for tag in named):
        return _LAST
    return None


def _prefixed(tag: str, pattern: re.Pattern[str], separator: str) -> str:
    match = pattern.fullmatch(tag)
    if match is None or match[2] != separator or _SEVERAL.search(tag):
        raise TagError(f"tag {tag!r} is not BIO, IOB1 or BILOU, as other tags here are. {_HOW}", tag)
    prefix, label = (match[1], match[3]) if pattern is _FIRST else (match[3], match[1])
    return f"{_CANONICAL.get(prefix.upper(), prefix.upper())}-{label}"


def _bare(tag: str) -> str:
    if not is_bare(tag):
        nameless = "names no entity type" if re.fullmatch("[BILUESM]", tag) else "is not BIO, IOB1 or BILOU"
        raise TagError(f"tag {tag!r} {nameless}. {_HOW}", tag)
    return tag


def is_outside(tag: str) -> bool:
    """Whether a tag marks a word outside of any mention: ``"O"`` or ``"o"``."""
    return tag in ("O", "o")


def is_prefixed(tag: str) -> bool:
    """Whether a tag has a prefix, first or last: ``"B-PER"``, ``"PER-B"``."""
    return bool(_FIRST.fullmatch(tag) or _LAST.fullmatch(tag))


def is_bare(tag: str) -> bool:
    """Whether a tag can be an entity type without a prefix."""
    return bool(_BARE.fullmatch(tag))


def spans_from_tags(tags: Sequence[str], scheme: Scheme = "BIO") -> tuple[list[Span], list[int]]:
    """Reads the tags of one sentence, and repairs invalid sequences.

    An ``I-`` or ``L-`` tag that continues no span of its label begins a new span, and a BILOU span without an ``L-`` tag ends
    with its last tag. ``E-`` and ``S-`` are read as ``L-`` and ``U-``.

    Args:
        tags: One tag per word, such as ``"B-PER"`` or ``"O"``.
        scheme: ``"BIO"`` (IOB2), ``"IOB1"`` (``B-`` only between adjacent spans of one label) or ``"BILOU"`` (BIOES).

    Returns:
        The spans in order, and the positions of the tags that were repaired.

    Raises:
        InputError: A tag does not have the form ``PREFIX-LABEL`` or ``O``.

    Examples:
        >>> spans_from_tags(["I-LOC", "I-LOC", "O"])
        ([Span(start=0, end=2, label='LOC')], [0])
    """
    spans: list[Span] = []
    repaired: set[int] = set()
    start, label = 0, ""  # the label is empty while no span is open

    def close(end: int) -> None:
        nonlocal label
        if label:
            spans.append(Span(start, end, label))
        label = ""

    for position, tag in enumerate(tags):
        prefix, tag_label = split_tag(tag)
        continues = prefix in "IL" and tag_label == label and bool(label)
        if not continues:
            # A valid BILOU span was closed before, by its own L or U tag.
            if scheme == "BILOU" and label:
                repaired.add(position - 1)
            close(position)
            if prefix != "O":
                if prefix in "IL" and scheme != "IOB1":
                    repaired.add(position)
                start, label = position, tag_label
        if prefix in "LU":
            close(position + 1)
    if scheme == "BILOU" and label:
        repaired.add(len(tags) - 1)
    close(len(tags))
    return spans, sorted(repaired)


def detect_scheme(sequences: Iterable[Sequence[str]]) -> Scheme:
    """The scheme of a dataset: BILOU if there are ``L-`` or ``U-`` tags, IOB1 if ``B-`` tags only separate spans, else BIO.

    Examples:
        >>> detect_scheme([["I-PER", "I-PER", "B-PER", "O"]])
        'IOB1'
    """
    opened_by_i = opened_by_b = 0
    for tags in sequences:
        before = ("O", "")
        for tag in tags:
            prefix, label = split_tag(tag)
            if prefix in "LU":
                return "BILOU"
            if before[1] != label:
                opened_by_b += prefix == "B"
                opened_by_i += prefix == "I"
            before = (prefix, label)
    return "IOB1" if opened_by_i and not opened_by_b else "BIO"


def split_tag(tag: str) -> tuple[str, str]:
    """Splits ``"B-PER"`` into ``("B", "PER")``, and ``"O"`` into ``("O", "")``. E and S are read as L and U.

    Raises:
        InputError: The tag has another form.
    """
    if tag == "O":
        return "O", ""
    prefix, dash, label = tag.partition("-")
    prefix = {"E": "L", "S": "U"}.get(prefix, prefix)
    if prefix not in ("B", "I", "L", "U") or not dash or not label:
        raise InputError(f"tag {tag!r} is not BIO, IOB1 or BILOU. {_HOW}")
    return prefix, label
