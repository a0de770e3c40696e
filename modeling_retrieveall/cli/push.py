"""``retrieveall push``: publish an adapter or a model on the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from .console import plain_errors, quiet_libraries
from .options import Private


@plain_errors
def push(
    source: Annotated[str, typer.Argument(help="Folder of an adapter or of a model, slug of a collection, or `shipped`.")],
    repository: Annotated[str, typer.Argument(help="Repository to push to, `owner/name`; created if missing.")],
    collection: Annotated[
        str | None,
        typer.Option(
            help="For an adapter: the collection to add it to. For a model: the collection from which it loads further "
            "languages. A slug, or `owner/Title` to create one."
        ),
    ] = None,
    model_repo: Annotated[
        str | None, typer.Option(help="Model repository that the example in the card of an adapter uses.")
    ] = None,
    private: Private = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of changing the branch.")] = False,
    message: Annotated[str | None, typer.Option(help="Title of the commit.")] = None,
) -> None:
    """Push an adapter, or a model with its configuration, code and adapters, to the Hub in one commit.

    Example: `retrieveall push runs/sw someone/retrieveall-sw --collection "someone/African languages"`
    """
    from ..hub.push import push_adapter, push_model
    from ..model.language_adapter import LanguageAdapter
    from ..model.manifest import MANIFEST
    from ..model.modeling_retrieveall import RetrieveAllModel

    quiet_libraries()
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
