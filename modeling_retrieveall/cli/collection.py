"""``retrieveall collection``: list, create and edit collections of language adapters on the Hub."""

from typing import TYPE_CHECKING, Annotated

import typer

from ..model.errors import InputError
from .console import escaped, plain_errors, quiet_libraries, standard_output, table
from .options import Private

if TYPE_CHECKING:
    from rich.table import Table

    from ..model.hub_files import Hub
    from ..model.model_source import SkippedAdapters

collection_app = typer.Typer(
    help="List, create and edit collections of language adapters on the Hub.", no_args_is_help=True, rich_markup_mode="markdown"
)

Slug = Annotated[str, typer.Argument(help="Slug of the collection: `owner/title-64f9a55bb3115b4f513ec026`.")]
Repository = Annotated[str, typer.Argument(help="Repository of the adapter: `owner/name`.")]


@collection_app.command("list")
@plain_errors
def list_(
    name: Annotated[str | None, typer.Argument(help="Slug of a collection, or an owner. Default: your own account.")] = None,
) -> None:
    """Show the adapters of a collection, or the collections of an owner.

    Example: `retrieveall collection list someone`
    """
    from ..model.hub_files import Hub, is_collection
    from ..model.model_source import SkippedAdapters

    quiet_libraries()
    hub, skipped = Hub(), SkippedAdapters()
    if name is not None and is_collection(name):
        rows = _adapters(name, hub, skipped)
    else:
        rows = _collections(name or _own_name(hub), hub)
    standard_output().print(rows)
    for reason in skipped.reasons:
        typer.echo(f"not usable: {reason}")


def _adapters(slug: str, hub: "Hub", skipped: "SkippedAdapters") -> "Table":
    from ..model.model_source import read_collection

    rows = table("language", "repository", "commit", "base LLM", "entity types", "F1", title=slug)
    for snapshot, manifest in read_collection(slug, hub, skipped).items():
        f1 = ", ".join(f"{metrics.get('f1')} on {metrics.get('n_test')}" for metrics in manifest.metrics)
        cells = (snapshot.repository, snapshot.commit, manifest.base_model, ", ".join(manifest.entity_types), f1)
        rows.add_row(manifest.language, *map(escaped, cells))
    return rows


def _collections(owner: str, hub: "Hub") -> "Table":
    from ..model.hub_files import translate_hub_errors

    with translate_hub_errors(f"user {owner}"):
        found = list(hub.api.list_collections(owner=owner))
    if "/" in owner or not found:
        raise InputError(f"There is no collection of {owner!r}. Give an owner, or a whole slug like owner/title-64f9a55b...")
    rows = table("collection", "title", "description", title=owner)
    for collection in found:
        rows.add_row(collection.slug, escaped(collection.title), escaped(collection.description or ""))
    return rows


def _own_name(hub: "Hub") -> str:
    from ..model.hub_files import translate_hub_errors

    with translate_hub_errors("your account"):
        name: str = hub.api.whoami()["name"]
        return name


@collection_app.command()
@plain_errors
def create(
    name: Annotated[str, typer.Argument(help="Owner and title of the collection: `owner/Title`.")],
    description: Annotated[str | None, typer.Option(help="Description of at most 150 characters.")] = None,
    private: Private = None,
) -> None:
    """Create a collection, unless there is one with the same title.

    Example: `retrieveall collection create "someone/African languages"`
    """
    from ..hub.collections import open_collection
    from ..model.hub_files import Hub

    typer.echo(open_collection(name, Hub().api, private=private, description=description))


@collection_app.command()
@plain_errors
def add(
    slug: Slug,
    repository: Repository,
    note: Annotated[str | None, typer.Option(help="Note that the collection shows beside the adapter.")] = None,
) -> None:
    """Add an adapter's repository to a collection. Models loaded from the collection then have its language.

    Example: `retrieveall collection add someone/african-languages-64f9a55bb3115b4f513ec026 other/retrieveall-sw`
    """
    from ..hub.collections import add_to_collection
    from ..model.hub_files import Hub, is_collection

    if not is_collection(slug):
        raise InputError(
            f"{slug!r} is not the slug of a collection. `retrieveall collection list OWNER` lists the slugs of an owner; "
            "`retrieveall collection create` creates a collection."
        )
    quiet_libraries()
    add_to_collection(slug, repository, Hub(), note)
    typer.echo(f"{slug} lists {repository}")


@collection_app.command()
@plain_errors
def remove(slug: Slug, repository: Repository) -> None:
    """Remove an adapter's repository from a collection. The repository itself is kept.

    Example: `retrieveall collection remove someone/african-languages-64f9a55bb3115b4f513ec026 other/retrieveall-sw`
    """
    from ..hub.collections import remove_from_collection
    from ..model.hub_files import Hub

    remove_from_collection(slug, repository, Hub().api)
    typer.echo(f"{slug} no longer lists {repository}")
