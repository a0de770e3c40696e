"""``retrieveall pull``: download a model or adapters from the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from .console import escaped, plain_errors, quiet_libraries, standard_output, table


@plain_errors
def pull(
    source: Annotated[str, typer.Argument(help="Repository of an adapter or a model, or slug of a collection.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder for copies of the adapters, each in a subfolder with the name of its language.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit hash of the repository.")] = None,
) -> None:
    """Download a model with all its languages to the cache for offline use, or adapters to folders.

    Example: `retrieveall pull someone/retrieveall-sw --output adapters`
    """
    from ..hub.pull import pull as fetch

    quiet_libraries()
    rows = table("language", "from", "entity types", "MB")
    for adapter in fetch(source, output, revision):
        size = sum(file.stat().st_size for file in adapter.path.iterdir() if file.is_file()) / 1e6
        rows.add_row(adapter.language, escaped(adapter.source), escaped(", ".join(adapter.manifest.entity_types)), f"{size:.1f}")
    standard_output().print(rows)
