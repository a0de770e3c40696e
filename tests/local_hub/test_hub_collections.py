"""Collections."""

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
)

from tests.local_hub.conftest import REPO


def test_a_collection_is_created_changed_and_deleted(ann: HfApi, anyone: HfApi) -> None:
    made = ann.create_collection("NER adapters!", description="One per language")
    assert made.slug.startswith("ann/ner-adapters-") and len(made.slug.rsplit("-", 1)[1]) == 24
    assert ann.create_collection("NER adapters!", exists_ok=True).slug == made.slug
    with pytest.raises(HfHubHTTPError) as conflict:
        ann.create_collection("NER adapters!")
    assert conflict.value.response.status_code == 409
    for language in "abcde":
        ann.create_repo(f"ann/{language}")
        ann.add_collection_item(made.slug, f"ann/{language}", "model", note=language)
    (listed,) = anyone.list_collections(owner="ann")
    assert (listed.slug, len(listed.items)) == (made.slug, 4)
    assert [found.slug for found in anyone.list_collections(item="models/ann/e")] == [made.slug]
    assert not list(anyone.list_collections(owner="ben")) and not list(anyone.list_collections(item="models/ann/f"))
    items = anyone.get_collection(made.slug).items
    assert [(item.item_id, item.item_type, item.note) for item in items][-1] == ("ann/e", "model", "e")
    ann.update_collection_item(made.slug, items[-1].item_object_id, note="first", position=0)
    ann.delete_collection_item(made.slug, items[0].item_object_id)
    ann.delete_collection_item(made.slug, items[0].item_object_id, missing_ok=True)
    ann.delete_repo("ann/b")
    assert [(item.item_id, item.note) for item in anyone.get_collection(made.slug).items] == [
        ("ann/e", "first"),
        ("ann/c", "c"),
        ("ann/d", "d"),
    ]
    ann.delete_collection(made.slug)
    ann.delete_collection(made.slug, missing_ok=True)
    with pytest.raises(HfHubHTTPError) as missing:
        ann.get_collection(made.slug)
    assert missing.value.response.status_code == 404


def test_an_item_must_exist_and_can_be_added_only_once(ann: HfApi) -> None:
    slug = ann.create_collection("NER").slug
    ann.add_collection_item(slug, REPO, "model")
    assert len(ann.add_collection_item(slug, REPO, "model", exists_ok=True).items) == 1
    for item, status in ((REPO, 409), ("ann/nowhere", 404)):
        with pytest.raises(HfHubHTTPError) as rejected:
            ann.add_collection_item(slug, item, "model")
        assert rejected.value.response.status_code == status
    with pytest.raises(BadRequestError, match="at most 500"):
        ann.update_collection_item(slug, ann.get_collection(slug).items[0].item_object_id, note="x" * 501)


def test_only_the_owner_can_change_a_collection(ann: HfApi, ben: HfApi) -> None:
    public, private = ann.create_collection("Public").slug, ann.create_collection("Private", private=True).slug
    for slug, status in ((public, 403), (private, 404)):
        with pytest.raises(HfHubHTTPError) as rejected:
            ben.delete_collection(slug)
        assert rejected.value.response.status_code == status
    assert [found.slug for found in ben.list_collections(owner="ann")] == [public]
    with pytest.raises(HfHubHTTPError) as denied:
        ben.create_collection("Mine", namespace="ann")
    assert denied.value.response.status_code == 403
