"""Puts adapters of the tiny base LLM on the local Hub."""

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from modeling_retrieveall.hub.push import push_adapter
from tests.adapter_folders import copy_adapter

TINY = Callable[[str], Path]


def publish(tiny_adapter: TINY, *languages: str, title: str = "Tiny adapters") -> str:
    """Pushes the adapter of each language to ``ann/tiny-<language>`` and returns the slug of their collection."""
    slug = f"ann/{title}"
    for language in languages:
        slug = push_adapter(tiny_adapter(language), f"ann/tiny-{language}", collection=slug).collection or slug
    return slug


def commit_folder(folder: Path, repository: str) -> str:
    """Commits the files of a folder to a repository without any checks. Returns the commit hash."""
    api = HfApi()
    api.create_repo(repository, exist_ok=True)
    files = [CommitOperationAdd(file.name, file) for file in sorted(folder.iterdir())]
    return api.create_commit(repository, files, commit_message="Add").oid


def publish_changed(tiny_adapter: TINY, language: str, repository: str, slug: str, scratch: Path, **changes: object) -> str:
    """Puts a copy of an adapter with a changed manifest on the Hub and into a collection. Returns the commit hash."""
    commit = commit_folder(copy_adapter(tiny_adapter(language), scratch, **changes), repository)
    HfApi().add_collection_item(slug, repository, "model", exists_ok=True)
    return commit
