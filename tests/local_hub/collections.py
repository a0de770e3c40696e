"""Collections: titled lists of repositories. This module is independent of HTTP.

>>> collection = Collections(store).create("ann", "NER adapters")
>>> collection.slug
'ann/ner-adapters-64f9a55bb3115b4f513ec026'
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from .describe import moment
from .store import Conflict, Denied, Invalid, Missing, Store

LISTED_ITEMS = 4
"""The maximum number of items per collection in a listing. A request for one collection returns all items."""
LONGEST_DESCRIPTION, LONGEST_NOTE = 150, 500


@dataclass
class Item:
    """A repository in a collection. ``id`` identifies the entry, ``repository`` the repository.

    >>> Item("model", "ann/ner-de", "German")
    """

    kind: str
    repository: str
    note: str | None = None
    id: str = field(default_factory=lambda: token_hex(12))


@dataclass
class Collection:
    """One collection.

    >>> Collection("ann", "NER adapters").slug
    'ann/ner-adapters-64f9a55bb3115b4f513ec026'
    """

    owner: str
    title: str
    description: str | None = None
    private: bool = False
    items: list[Item] = field(default_factory=list)
    id: str = field(default_factory=lambda: token_hex(12))
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def slug(self) -> str:
        words = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")
        return f"{self.owner}/{words}-{self.id}"

    def item(self, id: str) -> Item:
        for item in self.items:
            if item.id == id:
                return item
        raise Missing("Item not found")

    def update(self, id: str, note: str | None, position: int | None) -> None:
        """Changes the arguments that are not ``None``."""
        item = self.item(id)
        if note is not None:
            item.note = _check_length(note, LONGEST_NOTE)
        if position is not None:
            self.items.remove(item)
            self.items.insert(position, item)
        self.updated = datetime.now(UTC)

    def remove(self, id: str) -> None:
        self.items.remove(self.item(id))
        self.updated = datetime.now(UTC)


class Collections:
    """All collections of a Hub, by their slugs.

    >>> collections.find("ann/ner-adapters-64f9a55bb3115b4f513ec026", user="ann").title
    'NER adapters'
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._collections: dict[str, Collection] = {}

    def clear(self) -> None:
        self._collections.clear()

    def create(self, owner: str, title: str, description: str | None = None, private: bool = False) -> Collection:
        collection = Collection(owner, title, _check_length(description, LONGEST_DESCRIPTION), private)
        self._collections[collection.slug] = collection
        return collection

    def titled(self, owner: str, title: str) -> Collection | None:
        """The collection of an owner with this title, if it exists. Titles are unique per owner."""
        return next((known for known in self._collections.values() if (known.owner, known.title) == (owner, title)), None)

    def find(self, slug: str, user: str | None) -> Collection:
        collection = self._collections.get(slug)
        if collection is None or (collection.private and user != collection.owner):
            raise Missing("Collection not found")
        return collection

    def own(self, slug: str, user: str | None) -> Collection:
        """Finds a collection that the user is allowed to change."""
        collection = self.find(slug, user)
        if user != collection.owner:
            raise Denied("You don't have write access to this collection")
        return collection

    def delete(self, collection: Collection) -> None:
        del self._collections[collection.slug]

    def listed(self, owners: Iterable[str], items: Iterable[str], user: str | None) -> list[Collection]:
        """The visible collections of these owners with one of these items, such as ``models/ann/ner-de``; empty: any."""
        owners, items = set(owners), set(items)
        return [
            known
            for known in self._collections.values()
            if (not known.private or user == known.owner)
            and (not owners or known.owner in owners)
            and (not items or any(f"{item.kind}s/{item.repository}" in items for item in known.items))
        ]

    def add(self, collection: Collection, kind: str, repository: str, note: str | None, user: str | None) -> None:
        """Adds a repository to the end of a collection."""
        self.store.find(kind, repository, user)
        if any((item.kind, item.repository) == (kind, repository) for item in collection.items):
            raise Conflict("Item already in collection")
        collection.items.append(Item(kind, repository, _check_length(note, LONGEST_NOTE)))
        collection.updated = datetime.now(UTC)

    def summarised(self, collection: Collection, user: str | None) -> dict[str, Any]:
        """The collection as in a listing."""
        full = self.described(collection, user)
        # The client sets the positions in a listing itself.
        del full["position"]
        return full | {"items": full["items"][:LISTED_ITEMS]}

    def described(self, collection: Collection, user: str | None) -> dict[str, Any]:
        """The collection as JSON, without repositories that were deleted or that the user cannot see."""
        visible = [
            (position, item) for position, item in enumerate(collection.items) if self._visible(item.kind, item.repository, user)
        ]
        return {
            "slug": collection.slug,
            "title": collection.title,
            "description": collection.description,
            "owner": {"name": collection.owner, "type": "user"},
            "private": collection.private,
            "lastUpdated": moment(collection.updated),
            "position": 0,
            "theme": "blue",
            "upvotes": 0,
            "items": [
                {
                    "_id": item.id,
                    "id": item.repository,
                    "type": item.kind,
                    "position": position,
                    **({"note": {"text": item.note, "html": item.note}} if item.note else {}),
                }
                for position, item in visible
            ],
        }

    def _visible(self, kind: str, repository: str, user: str | None) -> bool:
        found = self.store.repositories.get((kind, repository))
        return found is not None and found.readable(user)


def _check_length(text: str | None, most: int) -> str | None:
    if text is not None and len(text) > most:
        raise Invalid(f"Text must be at most {most} characters long")
    return text
