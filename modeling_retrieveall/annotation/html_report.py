"""Writes annotated texts as an HTML page with highlighted entities; right-to-left text has the right direction.

>>> write_report([("Bonn.", {"entities": [...], "language": "de", "known": True})], "entities.html")
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

_COLOURS = ("#9ecae1", "#fdae6b", "#a1d99b", "#bcbddc", "#fc9272", "#fee08b", "#c7e9c0", "#d9d9d9")
_TEMPLATES = Environment(loader=PackageLoader(__name__.rpartition(".")[0], "templates"), autoescape=True, trim_blocks=True)


def write_report(results: Iterable[tuple[str | Sequence[str] | None, dict[str, Any]]], path: str | Path) -> None:
    """Writes a self-contained page, one text at a time. A lone surrogate becomes a question mark.

    Args:
        results: Texts, or lists of words, each with its ``entities``, ``language`` and ``known``.
        path: The file to write.
    """

    def texts() -> Iterator[dict[str, Any]]:
        for text, found in results:
            whole = text if isinstance(text, str) else " ".join(text or ())
            yield {**found, "pieces": list(split_at_entities(whole, found["entities"]))}

    with open(path, "w", encoding="utf-8", errors="replace", newline="\n") as stream:
        template = _TEMPLATES.get_template("report.html")
        stream.writelines(template.generate(texts=texts(), colours=LabelColours()))


def split_at_entities(text: str, entities: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Splits a text at the borders of its entities.

    Args:
        text: The text.
        entities: Entities with ``start`` and ``end``, in order, without overlaps.

    Yields:
        Each piece of the text with its entity, or with ``None`` between entities. Joined, the pieces are the text.

    Examples:
        >>> list(split_at_entities("in Bonn", [{"start": 3, "end": 7, "label": "LOC", "score": 1.0}]))
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


class LabelColours(dict[str, str]):
    """Maps each label to a colour. Labels get their colours in the order of their first use."""

    def __missing__(self, label: str) -> str:
        self[label] = _COLOURS[len(self) % len(_COLOURS)]
        return self[label]
