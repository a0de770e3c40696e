"""Replacing the examples of an adapter."""

from collections.abc import Callable
from pathlib import Path

from modeling_retrieveall import LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.hub.replace_examples import replace_examples
from tests.conftest import SENTENCES


def test_the_sentences_are_replaced_and_weights_routing_vectors_and_hashes_are_kept(
    tiny_adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    trained = LanguageAdapter.load(tiny_adapter("de"))
    model = RetrieveAllModel.from_pretrained(trained.path)
    folder = replace_examples(trained.path, load_examples(str(SENTENCES / "es.conll"), "train").examples, tmp_path / "de", model)
    replaced = LanguageAdapter.load(folder)
    trained_keys = {example.key for example in trained.index.examples}
    assert not trained_keys & {example.key for example in replaced.index.examples}
    assert len(replaced.sentence_vectors()) == len(replaced.index.examples) + len(trained.sentence_vectors())
    assert replaced.training_hashes.equal(trained.training_hashes)
    weights = "adapter_model.safetensors"
    assert (folder / weights).read_bytes() == (trained.path / weights).read_bytes()
    for key in trained_keys:
        assert key not in (folder / "README.md").read_text(encoding="utf-8")


def test_a_training_sentence_that_stays_an_example_is_counted_once(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> None:
    trained = LanguageAdapter.load(tiny_adapter("de"))
    model = RetrieveAllModel.from_pretrained(trained.path)
    replaced = LanguageAdapter.load(replace_examples(trained.path, trained.index.examples[:4], tmp_path / "de", model))
    assert len(replaced.sentence_vectors()) == len(trained.sentence_vectors())


def test_the_multilingual_adapter_gets_no_routing_vectors(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> None:
    model = RetrieveAllModel.from_pretrained(tiny_adapter("mul"))
    folder = replace_examples(
        tiny_adapter("mul"), load_examples(str(SENTENCES / "es.conll"), "train").examples, tmp_path / "mul", model
    )
    assert len(LanguageAdapter.load(folder).routing_vectors) == 0
