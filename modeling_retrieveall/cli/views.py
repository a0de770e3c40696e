"""How the command line shows what it found: a table, CoNLL, JSON, or how it came about.

>>> show = view(as_json=True)
>>> show(model.extract("Angela Merkel besuchte Nairobi."))
{"text": "Angela Merkel besuchte Nairobi.", "language": "de", "known": true, "entities": [...]}
"""

import json
from typing import Any, Protocol

import typer
from rich.console import Console

from ..model.errors import InputError
from .console import escaped, table

_LANGUAGES_SHOWN = 3


class View(Protocol):
    """Shows one result after the other."""

    def __call__(self, result: Any) -> None:
        """Shows an Extraction."""

    def close(self) -> None:
        """Shows what was kept for the end."""


def view(as_json: bool = False, conll: bool = False, explain: bool = False) -> View:
    """The view that the options ask for; a table when none does.

    Raises:
        InputError: They exclude one another.
    """
    if conll and (as_json or explain):
        raise InputError("--conll excludes --json and --explain; give one.")
    if as_json:
        return _JsonView(explain)
    return _ConllView() if conll else _ExplainedView() if explain else _TableView()


class _AtOnce:
    """A view that keeps nothing."""

    def close(self) -> None:
        """Nothing is left to show."""


class _JsonView(_AtOnce):
    def __init__(self, explain: bool) -> None:
        self._explain = explain

    def __call__(self, result: Any) -> None:
        row = result.to_dict(details=self._explain)
        typer.echo(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace"))


class _ConllView(_AtOnce):
    def __call__(self, result: Any) -> None:
        from ..model.entities import Sentence, tags_from_entities

        sentence = Sentence.from_text(result.text)
        for word, tag in zip(sentence.words, tags_from_entities(result.entities, sentence), strict=True):
            typer.echo(f"{word.text}\t{tag}")
        typer.echo()


class _ExplainedView(_AtOnce):
    def __init__(self) -> None:
        self._console = Console(highlight=False, emoji=False)

    def __call__(self, result: Any) -> None:
        entities = list(reversed(result.entities))
        for sentence in result.sentences:
            self._show_sentence(result, sentence)
            while entities and entities[-1].start < sentence.end:
                self._show_entity(result, entities.pop())

    def _show_sentence(self, result: Any, sentence: Any) -> None:
        show, route, details = self._console.print, sentence.route, sentence.details
        self._console.rule(escaped(result.text[sentence.start : sentence.end][:80]))
        likely = ", ".join(f"{name} {share:.2f}" for name, share in list(details.posterior.items())[:_LANGUAGES_SHOWN])
        served = ", ".join(f"{name} {weight:.2f}" for name, weight in route.mixture.items()) or "none"
        show(f"language {likely or route.language}{'' if route.known else ' (unknown)'}; adapters: {served}")
        for hit in details.retrieved.mentions:
            show(f"  {hit.similarity:.2f}  {escaped(hit.item.text)} = {escaped(hit.item.span.label)}")
        for hit in details.retrieved.examples:
            show(f"  {hit.similarity:.2f}  {escaped(hit.item.sentence.text)}")
        show(escaped(details.prompt), style="dim")

    def _show_entity(self, result: Any, entity: Any) -> None:
        support = ", ".join(f"{hit.similarity:.2f}" for hit in result.support(entity))
        mentioned = f"  mentioned by examples: {support}" if support else ""
        where = f"{entity.start}-{entity.end}  {entity.score:.2f}"
        self._console.print(f"  {escaped(entity.label):5} {escaped(entity.text)}  {where}{mentioned}")


class _TableView:
    """Collects the results of all texts in one table."""

    def __init__(self) -> None:
        self._table = table("text", "language", "entities", show_lines=True)

    def __call__(self, result: Any) -> None:
        language = result.language if result.known else f"{result.language}?"
        entities = "\n".join(f"[bold]{escaped(e.label)}[/] {escaped(e.text)} [dim]{e.score:.2f}[/]" for e in result.entities)
        self._table.add_row(escaped(result.text), language, entities)

    def close(self) -> None:
        """Prints the table."""
        Console(emoji=False).print(self._table)
