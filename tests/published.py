"""Adapters of the tiny base on the local Hub."""

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from modeling_retrieveall.hub.push import push_adapter
from tests.model.test_model_source import copy_adapter

TINY = Callable[[str], Path]


def publish(tiny_adapter: TINY, *languages: str, title: str = "Tiny adapters") -> str:
    """Pushes the adapter of each language to ``ann/tiny-<language>``; the slug of the collection that lists them."""
    slug = f"ann/{title}"
    for language in languages:
        slug = push_adapter(tiny_adapter(language), f"ann/tiny-{language}", collection=slug).collection or slug
    return slug


def commit_folder(folder: Path, repository: str) -> str:
    """Puts the files of a folder into a repository as they are, unchecked; the commit's hash."""
    api = HfApi()
    api.create_repo(repository, exist_ok=True)
    files = [CommitOperationAdd(file.name, file) for file in sorted(folder.iterdir())]
    return api.create_commit(repository, files, commit_message="Add").oid


def publish_changed(tiny_adapter: TINY, language: str, repository: str, slug: str, scratch: Path, **changes: object) -> str:
    """Puts a copy of an adapter with changes to its manifest on the Hub, and into a collection; the commit's hash."""
    commit = commit_folder(copy_adapter(tiny_adapter(language), scratch, **changes), repository)
    HfApi().add_collection_item(slug, repository, "model", exists_ok=True)
    return commit
