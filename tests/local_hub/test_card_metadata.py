"""The metadata of model cards."""

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    BadRequestError,
)

from tests.local_hub import LocalHub
from tests.local_hub.conftest import REPO, put


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ("license: [mit, apache-2.0]", '"license" must be a string'),
        ("pipeline_tag: 3", '"pipeline_tag" must be a string'),
        ("language: no", '"language" must be a string'),
        ("tags: [ner, 1]", '"tags" must be'),
        ("a: [", "cannot be parsed"),
    ],
)
def test_a_card_with_invalid_metadata_is_rejected(ann: HfApi, metadata: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        put(ann, "README.md", f"---\n{metadata}\n---\n".encode())


def test_invalid_metadata_is_also_rejected_by_the_commit(hub: LocalHub, ann: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HfApi, "_validate_yaml", lambda *args, **options: None)
    with pytest.raises(BadRequestError, match="license"):
        put(ann, "README.md", b"---\nlicense: 3\n---\n")


def test_a_card_without_metadata_causes_a_warning(ann: HfApi) -> None:
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        put(ann, "README.md", b"# German")
    assert ann.model_info(REPO).card_data is None


def test_a_date_in_the_metadata_is_returned_as_text(ann: HfApi) -> None:
    put(ann, "README.md", b"---\ndate: 2026-01-31\n---\n")
    assert ann.model_info(REPO).card_data.date == "2026-01-31"
