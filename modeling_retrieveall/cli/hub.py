"""The commands that speak to the Hub: ``retrieveall push``, ``pull`` and ``collection``."""

from pathlib import Path
from typing import Annotated

import typer

from ..model.errors import InputError
from ..model.hub_files import Hub, explained, is_collection
from .console import console, escaped, plain_errors, table

collection_app = typer.Typer(
    help="Collections of language adapters on the Hub.", no_args_is_help=True, rich_markup_mode="markdown"
)

Slug = Annotated[str, typer.Argument(help="The collection's slug: `owner/title-64f9a55bb3115b4f513ec026`.")]
Repository = Annotated[str, typer.Argument(help="The adapter's repository: `owner/name`.")]
Private = Annotated[
    bool | None, typer.Option("--private/--public", help="Who sees what is created; --private refuses what is public.")
]


@plain_errors
def push(
    source: Annotated[str, typer.Argument(help="Folder of an adapter or of a model, slug of a collection, or 'shipped'.")],
    repository: Annotated[str, typer.Argument(help="Where to: `owner/name`; created if missing.")],
    collection: Annotated[
        str | None, typer.Option(help="List the adapter in this collection: its slug, or `owner/Title` to create it.")
    ] = None,
    model_repo: Annotated[str | None, typer.Option(help="Model repository for the example in the card.")] = None,
    private: Private = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of changing the branch.")] = False,
    message: Annotated[str | None, typer.Option(help="Title of the commit.")] = None,
) -> None:
    """Push an adapter, or a model's configuration, code and pins, to the Hub in one commit.

    Example: `retrieveall push runs/sw someone/retrieveall-sw --collection "someone/African languages"`
    """
    from ..hub.push import push_adapter, push_model
    from ..model.language_adapter import LanguageAdapter
    from ..model.manifest import MANIFEST
    from ..model.modeling_retrieveall import RetrieveAllModel

    if (Path(source) / MANIFEST).is_file():
        adapter = LanguageAdapter.load(source)
        typer.echo(f"Publishing the {adapter.language!r} adapter with its {len(adapter.index.examples)} labelled sentences")
        done = push_adapter(
            adapter,
            repository,
            collection=collection,
            model_repo=model_repo,
            private=private,
            create_pr=create_pr,
            commit_message=message,
        )
    else:
        model = RetrieveAllModel.from_pretrained(source)
        done = push_model(model, repository, collection=collection, private=private, create_pr=create_pr, commit_message=message)
    typer.echo(f"Pushed to {done.repository}, commit {done.commit}\n{done.url}")
    if done.collection:
        typer.echo(f"Listed in the collection {done.collection}")


@plain_errors
def pull(
    source: Annotated[str, typer.Argument(help="Repository of an adapter or a model, or slug of a collection.")],
    output: Annotated[Path | None, typer.Option(help="Copy the adapters to folders of this one, named by language.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit hash of the repository.")] = None,
) -> None:
    """Fetch a model with all its languages into the cache, so that it works offline; or adapters into folders.

    Example: `retrieveall pull someone/retrieveall-sw --output adapters`
    """
    from ..hub.pull import pull as fetch

    rows = table("language", "from", "entity types", "MB")
    for adapter in fetch(source, output, revision):
        size = sum(file.stat().st_size for file in adapter.path.iterdir() if file.is_file()) / 1e6
        rows.add_row(adapter.language, escaped(adapter.source), escaped(", ".join(adapter.manifest.entity_types)), f"{size:.1f}")
    console().print(rows)


@collection_app.command("list")
@plain_errors
def list_(
    name: Annotated[str | None, typer.Argument(help="A collection's slug, or an owner; yourself when not given.")] = None,
) -> None:
    """Show the adapters of a collection, or the collections of an owner.

    Example: `retrieveall collection list someone`
    """
    from ..model.model_source import Refusals, read_items

    hub, refusals = Hub(), Refusals()
    if name is not None and is_collection(name):
        rows = table("language", "repository", "commit", "base LLM", "entity types", "F1", title=name)
        for snapshot, manifest in read_items(name, hub, refusals).items():
            f1 = ", ".join(f"{figures.get('f1')} on {figures.get('n_test')}" for figures in manifest.metrics)
            cells = (snapshot.repository, snapshot.commit, manifest.base_model, ", ".join(manifest.entity_types), f1)
            rows.add_row(manifest.language, *map(escaped, cells))
    else:
        owner = name or _own_name(hub)
        with explained(f"user {owner}"):
            found = list(hub.api.list_collections(owner=owner))
        if "/" in owner or not found:
            raise InputError(f"There is no collection of {owner!r}. Give an owner, or a whole slug like owner/title-64f9a55b...")
        rows = table("collection", "title", "description", title=owner)
        for collection in found:
            rows.add_row(collection.slug, escaped(collection.title), escaped(collection.description or ""))
    console().print(rows)
    for reason in refusals.reasons:
        typer.echo(f"not usable: {reason}")


def _own_name(hub: Hub) -> str:
    with explained("your account"):
        name: str = hub.api.whoami()["name"]
        return name


@collection_app.command()
@plain_errors
def create(
    name: Annotated[str, typer.Argument(help="`owner/Title`.")],
    description: Annotated[str | None, typer.Option(help="What it says of itself, in 150 characters.")] = None,
    private: Private = None,
) -> None:
    """Create a collection; one of the same title is kept.

    Example: `retrieveall collection create "someone/African languages"`
    """
    from ..hub.collections import open_collection

    typer.echo(open_collection(name, Hub().api, private=private, description=description))


@collection_app.command()
@plain_errors
def add(slug: Slug, repository: Repository, note: Annotated[str | None, typer.Option(help="A note beside it.")] = None) -> None:
    """List an adapter's repository in a collection; whoever loads the collection has the language from then on.

    Example: `retrieveall collection add someone/african-languages-64f9a55bb3115b4f513ec026 other/retrieveall-sw`
    """
    from ..hub.collections import add_to_collection

    if not is_collection(slug):
        raise InputError(f"{slug!r} is no slug; `retrieveall collection list OWNER` shows them, `... create` makes one.")
    add_to_collection(slug, repository, Hub(), note)
    typer.echo(f"{slug} lists {repository}")


@collection_app.command()
@plain_errors
def remove(slug: Slug, repository: Repository) -> None:
    """Take an adapter's repository off a collection; the repository itself stays.

    Example: `retrieveall collection remove someone/african-languages-64f9a55bb3115b4f513ec026 other/retrieveall-sw`
    """
    from ..hub.collections import remove_from_collection

    remove_from_collection(slug, repository, Hub().api)
    typer.echo(f"{slug} lists {repository} no longer")
