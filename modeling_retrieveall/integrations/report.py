"""Annotated texts as a page that a person can look at: entities highlighted, right-to-left text shown right.

>>> write_report([{"text": "Bonn.", "entities": [...], "language": "de", "known": True}], "entities.html")
1
"""

from collections.abc import Iterable, Iterator
from typing import Any

from jinja2 import Environment, PackageLoader

from .records import text_of

_COLOURS = ("#9ecae1", "#fdae6b", "#a1d99b", "#bcbddc", "#fc9272", "#fee08b", "#c7e9c0", "#d9d9d9")
TEMPLATES = Environment(loader=PackageLoader(__name__.rpartition(".")[0], "templates"), autoescape=True, trim_blocks=True)


def write_report(rows: Iterable[dict[str, Any]], path: str, column: str | None = None) -> int:
    """Writes the page as the rows come; it needs nothing but itself.

    Args:
        rows: Texts with ``entities``, ``language`` and ``known``.
        path: The file.
        column: Where the text stands in a row.

    Returns:
        The number of texts.
    """
    count = 0

    def texts() -> Iterator[dict[str, Any]]:
        nonlocal count
        for count, row in enumerate(rows, start=1):
            text = text_of(row, column, f"record {count}")
            text = text if isinstance(text, str) else " ".join(text)
            yield {"language": row["language"], "known": row["known"], "pieces": list(pieces(text, row["entities"]))}

    with open(path, "w", encoding="utf-8", errors="replace") as stream:
        template = TEMPLATES.get_template("report.html")
        stream.writelines(template.generate(texts=texts(), colours=Colours()))
    return count


def pieces(text: str, entities: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """The text in pieces, each with its entity or none; together they are the text.

    Examples:
        >>> list(pieces("in Bonn", [{"start": 3, "end": 7, "label": "LOC", "score": 1.0}]))
        [('in ', None), ('Bonn', {'start': 3, 'end': 7, 'label': 'LOC', 'score': 1.0})]
    """
    position = 0
    for entity in entities:
        if entity["start"] > position:
            yield text[position : entity["start"]], None
        yield text[entity["start"] : entity["end"]], entity
        position = entity["end"]
    if position < len(text):
        yield text[position:], None


class Colours(dict[str, str]):
    """A colour for each label, in the order in which they come."""

    def __missing__(self, label: str) -> str:
        self[label] = _COLOURS[len(self) % len(_COLOURS)]
        return self[label]
