"""The cache of sentence and word vectors."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.training import vector_cache
from tests.conftest import example


def test_sentences_that_differ_only_in_their_spaces_have_vectors_of_their_own(
    tiny_adapter: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRIEVEALL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(vector_cache, "_MIN_SENTENCES", 1)
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"))
    apart, together = example("Bonn ."), example("Bonn.")
    assert apart.key == together.key
    (first,), (second,), (again,) = (vector_cache.encode_examples(model, [each]) for each in (apart, together, together))
    assert not torch.equal(first.words, second.words)
    assert torch.equal(second.words, again.words)
