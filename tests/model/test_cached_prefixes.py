"""Tagging continues from the keys and values that encoding has computed, with the same results as without them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modeling_retrieveall import Extraction, RetrieveAllModel
from modeling_retrieveall.model import encoder
from modeling_retrieveall.model.encoder import SentenceEncoder
from modeling_retrieveall.model.tagging import Tagger
from tests.adapter_folders import edit_manifest
from tests.random_adapters import write_random_adapters

TEXTS = [
    "Angela Merkel besuchte Nairobi.",
    "Bonn",
    "Wangari Maathai spoke in New York; the United Nations met in Nairobi and in Bonn.",
    "北京 = 上海",
    "",
    "Graz liegt an der Mur. Wien liegt an der Donau. London is on the Thames.",
]


@pytest.fixture(scope="module")
def model(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained(write_random_adapters(tmp_path_factory.mktemp("adapters"), tiny_adapter))


def without_caches(model: RetrieveAllModel, texts: list[str], batch_size: int) -> list[Extraction]:
    def encode(words: list[list[list[int]]], batch_size: int) -> list[tuple[object, None]]:
        return [(vectors, None) for vectors in model.encoder.encode(words)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.encoder, "encode_and_cache", encode)
        return model.extract(texts, decoding="tags", batch_size=batch_size)


def assert_equal(found: list[Extraction], expected: list[Extraction]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert [(e.text, e.label, e.start, e.end) for e in one.entities] == [
            (e.text, e.label, e.start, e.end) for e in other.entities
        ]
        assert [e.score for e in one.entities] == pytest.approx([e.score for e in other.entities], abs=1e-4)
        assert [s.route.adapters for s in one.sentences] == [s.route.adapters for s in other.sentences]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=8), batch_size=st.integers(1, 5))
def test_the_results_are_those_without_caches(model: RetrieveAllModel, texts: list[str], batch_size: int) -> None:
    expected = without_caches(model, texts, batch_size)
    assert_equal(model.extract(texts, decoding="tags", batch_size=batch_size), expected)


def test_sentences_are_processed_once_by_the_base_llm_alone(model: RetrieveAllModel, monkeypatch: pytest.MonkeyPatch) -> None:
    given_sequences = []
    tag = Tagger.tag
    monkeypatch.setattr(Tagger, "tag", lambda self, *inputs: (given_sequences.append(inputs[-1]), tag(self, *inputs))[1])
    model.extract(TEXTS, decoding="tags")
    assert given_sequences and all(given_sequences)


def test_vectors_are_those_of_the_encoder_alone(model: RetrieveAllModel) -> None:
    words = [[[5], [6, 7]], [[8]], [[9, 10, 11], [12], [13]]]
    for vectors, (cached, _) in zip(model.encoder.encode(words), model.encoder.encode_and_cache(words, 2), strict=True):
        torch.testing.assert_close(cached.sentence, vectors.sentence)
        torch.testing.assert_close(cached.words, vectors.words)


def test_no_more_is_kept_than_fits_into_memory(model: RetrieveAllModel, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = model.extract(TEXTS, decoding="tags", batch_size=1)
    monkeypatch.setattr(encoder, "_MAX_CACHED_BYTES", 1)
    words = [[[5], [6, 7]], [[8]], [[9, 10, 11], [12], [13]]]
    cached = [each for _, each in model.encoder.encode_and_cache(words, 1)]
    assert sum(each is not None for each in cached) == 1
    assert_equal(model.extract(TEXTS, decoding="tags", batch_size=1), expected)


def test_known_languages_without_retrieval_are_not_encoded(
    tiny_adapter: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_random_adapters(tmp_path, tiny_adapter)
    for language in ("de", "en"):
        edit_manifest(folder / language, n_entities=0, n_sentences=0)
    model = RetrieveAllModel.from_pretrained(folder)
    expected = model.extract(TEXTS, language="de", decoding="tags")
    for method in ("encode", "encode_and_cache"):
        monkeypatch.setattr(SentenceEncoder, method, lambda *_: pytest.fail("the sentences were encoded"))
    assert model.extract(TEXTS, language="de", decoding="tags") == expected
    assert len(model.extract(TEXTS[:1], language="de", decoding="generation")) == 1


def test_more_adapters_than_slots_are_decoded_in_several_batches(model: RetrieveAllModel) -> None:
    few = RetrieveAllModel.from_pretrained(model.adapters["de"].path.parent, adapter_slots=2, adapters_per_sentence=1)
    languages = ["de", "en", "mul", "de", "en", "mul"]
    expected = model.extract(TEXTS, language=languages, decoding="tags")
    assert_equal(few.extract(TEXTS, language=languages, decoding="tags"), expected)


def test_sentences_are_processed_again_if_memory_runs_out(model: RetrieveAllModel, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = model.extract(TEXTS, decoding="tags", batch_size=3)
    tag, calls = Tagger.tag, []

    def failing_once(self: Tagger, *inputs: object) -> object:
        calls.append(inputs[-1])
        if len(calls) == 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return tag(self, *inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(Tagger, "tag", failing_once)
    assert_equal(model.extract(TEXTS, decoding="tags", batch_size=3), expected)
    assert calls[-1] is None
