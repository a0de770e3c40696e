"""How ``retrieveall extract`` prints its results: a table, JSON lines, CoNLL, or with all details.

>>> show = view(as_json=True)
>>> show(model.extract("Angela Merkel besuchte Nairobi."))
{"text": "Angela Merkel besuchte Nairobi.", "language": "de", "known": true, "entities": [...]}
"""

import json
from typing import TYPE_CHECKING, Protocol

import typer

from ..model.errors import InputError
from .console import escaped, table

if TYPE_CHECKING:
    from ..model.entities import Entity
    from ..model.outputs import Extraction, SentenceResult

_LISTED_LANGUAGES = 3
_TITLE_LENGTH = 80


class View(Protocol):
    """Prints the results of texts, one after another."""

    def __call__(self, result: "Extraction") -> None:
        """Prints one result."""

    def close(self) -> None:
        """Prints what can only be printed after the last result."""


def view(as_json: bool = False, conll: bool = False, explain: bool = False) -> View:
    """The view that the options select; by default a table.

    Raises:
        InputError: The options exclude each other.
    """
    if conll and (as_json or explain):
        raise InputError("--conll excludes --json and --explain; give one.")
    if as_json:
        return _JsonView(explain)
    return _ConllView() if conll else _DetailedView() if explain else _TableView()


class _ImmediateView:
    """A view that prints each result at once."""

    def close(self) -> None:
        """Does nothing."""


class _JsonView(_ImmediateView):
    def __init__(self, explain: bool) -> None:
        self._explain = explain

    def __call__(self, result: "Extraction") -> None:
        row = result.to_dict(details=self._explain)
        typer.echo(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace"))


class _ConllView(_ImmediateView):
    def __call__(self, result: "Extraction") -> None:
        from ..model.entities import Sentence, tags_from_entities

        sentence = Sentence.from_text(result.text)
        for word, tag in zip(sentence.words, tags_from_entities(result.entities, sentence), strict=True):
            typer.echo(f"{word.text}\t{tag}")
        typer.echo()


class _DetailedView(_ImmediateView):
    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False, emoji=False)

    def __call__(self, result: "Extraction") -> None:
        entities = list(reversed(result.entities))
        for sentence in result.sentences:
            self._show_sentence(result, sentence)
            while entities and entities[-1].start < sentence.end:
                self._show_entity(result, entities.pop())

    def _show_sentence(self, result: "Extraction", sentence: "SentenceResult") -> None:
        show, route, details = self._console.print, sentence.route, sentence.details
        assert details is not None  # `extract --explain` asks for them
        self._console.rule(escaped(result.text[sentence.start : sentence.end][:_TITLE_LENGTH]))
        likely = ", ".join(f"{name} {share:.2f}" for name, share in list(details.posterior.items())[:_LISTED_LANGUAGES])
        adapters = ", ".join(f"{name} {weight:.2f}" for name, weight in route.mixture.items()) or "none"
        show(f"language {likely or route.language}{'' if route.known else ' (unknown)'}; adapters: {adapters}")
        for mention in details.retrieved.mentions:
            show(f"  {mention.similarity:.2f}  {escaped(mention.item.text)} = {escaped(mention.item.span.label)}")
        for example in details.retrieved.examples:
            show(f"  {example.similarity:.2f}  {escaped(example.item.sentence.text)}")
        for known in details.known_mentions:
            show(f"  known mention  {escaped(known.text)}: {escaped(known.summary)}")
        show(escaped(details.prompt), style="dim")

    def _show_entity(self, result: "Extraction", entity: "Entity") -> None:
        support = ", ".join(f"{mention.similarity:.2f}" for mention in result.support(entity))
        mentioned = f"  in retrieved examples: {support}" if support else ""
        where = f"{entity.start}-{entity.end}  {entity.score:.2f}"
        self._console.print(f"  {escaped(entity.label):5} {escaped(entity.text)}  {where}{mentioned}")


class _TableView:
    """Collects the results of all texts in one table."""

    def __init__(self) -> None:
        self._table = table("text", "language", "entities", show_lines=True)

    def __call__(self, result: "Extraction") -> None:
        language = result.language if result.known else f"{result.language}?"
        entities = "\n".join(f"[bold]{escaped(e.label)}[/] {escaped(e.text)} [dim]{e.score:.2f}[/]" for e in result.entities)
        self._table.add_row(escaped(result.text), language, entities)

    def close(self) -> None:
        """Prints the table."""
        from rich.console import Console

        Console(emoji=False).print(self._table)
