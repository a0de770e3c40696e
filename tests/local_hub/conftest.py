"""Fixtures for the tests of the local Hub, which use the real client."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

from tests.local_hub import LocalHub

REPO = "ann/ner-de"
CARD = "---\nlanguage: de\nlicense: apache-2.0\npipeline_tag: token-classification\ntags: [ner]\n---\n# German\n"
WEIGHTS = bytes(range(256)) * 8


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with LocalHub({"hf_ann": "ann", "hf_ben": "ben"}) as hub:
        yield hub


@pytest.fixture
def naps(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times that the client would have waited before its retries."""
    naps: list[float] = []
    monkeypatch.setattr("time.sleep", naps.append)
    return naps


@pytest.fixture
def ann(hub: LocalHub) -> HfApi:
    """The client of the owner of a repository without files."""
    api = HfApi(endpoint=hub.endpoint, token="hf_ann")
    api.create_repo(REPO)
    return api


@pytest.fixture
def ben(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_ben")


@pytest.fixture
def anyone(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder to publish, with a card, a text file and weights."""
    folder = tmp_path / "adapter"
    (folder / "index").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "config.json").write_text('{"base": "tiny"}')
    (folder / "index" / "vectors.safetensors").write_bytes(WEIGHTS)
    return folder


def put(api: HfApi, path: str, content: bytes, repo: str = REPO, **options: object) -> str:
    """Commits one file. Returns the commit hash."""
    return api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=repo, **options).oid


def count(hub: LocalHub, method: str, path: str) -> int:
    return sum(call.method == method and path in call.path for call in hub.requests)
