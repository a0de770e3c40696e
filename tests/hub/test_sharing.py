"""Adapters whose examples may be passed on."""

from collections.abc import Callable
from pathlib import Path

from modeling_retrieveall import LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.data.labelled import load_examples
from modeling_retrieveall.hub.sharing import share
from tests.conftest import SENTENCES


def test_sharing_replaces_the_sentences_and_keeps_weights_votes_and_hashes(
    tiny_adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    trained = LanguageAdapter.load(tiny_adapter("de"))
    model = RetrieveAllModel.from_pretrained(trained.path)
    folder = share(trained.path, load_examples(str(SENTENCES / "es.conll"), "train").examples, tmp_path / "de", model)
    shared = LanguageAdapter.load(folder)
    trained_keys = {example.key for example in trained.index.examples}
    assert not trained_keys & {example.key for example in shared.index.examples}
    assert len(shared.sentence_vectors()) == len(shared.index.examples) + len(trained.sentence_vectors())
    assert shared.training_hashes.equal(trained.training_hashes)
    weights = "adapter_model.safetensors"
    assert (folder / weights).read_bytes() == (trained.path / weights).read_bytes()
    for key in trained_keys:
        assert key not in (folder / "README.md").read_text(encoding="utf-8")


def test_the_shared_adapter_gets_no_vote(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> None:
    model = RetrieveAllModel.from_pretrained(tiny_adapter("mul"))
    folder = share(tiny_adapter("mul"), load_examples(str(SENTENCES / "es.conll"), "train").examples, tmp_path / "mul", model)
    assert len(LanguageAdapter.load(folder).routing_vectors) == 0
