"""Annotated texts as a page that a person can look at: entities highlighted, right-to-left text shown right.

>>> write_report([("Bonn.", {"entities": [...], "language": "de", "known": True})], "entities.html")
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

_COLOURS = ("#9ecae1", "#fdae6b", "#a1d99b", "#bcbddc", "#fc9272", "#fee08b", "#c7e9c0", "#d9d9d9")
_TEMPLATES = Environment(loader=PackageLoader(__name__.rpartition(".")[0], "templates"), autoescape=True, trim_blocks=True)


def write_report(results: Iterable[tuple[str | Sequence[str] | None, dict[str, Any]]], path: str | Path) -> None:
    """Writes the page as the results come; it needs no other file. A lone surrogate becomes a question mark.

    Args:
        results: Texts, or their words, each with ``entities``, ``language`` and ``known``.
        path: The file.
    """

    def texts() -> Iterator[dict[str, Any]]:
        for text, found in results:
            whole = text if isinstance(text, str) else " ".join(text or ())
            yield {**found, "pieces": list(pieces(whole, found["entities"]))}

    with open(path, "w", encoding="utf-8", errors="replace", newline="\n") as stream:
        template = _TEMPLATES.get_template("report.html")
        stream.writelines(template.generate(texts=texts(), colours=Colours()))


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
