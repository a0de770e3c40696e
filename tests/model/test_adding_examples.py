"""Examples that are added to a loaded model, and removed again."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall import LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.annotation.model_fingerprint import model_fingerprint
from modeling_retrieveall.hub.push import push_adapter
from modeling_retrieveall.model.encoder import SentenceVectors
from modeling_retrieveall.model.entities import Example, Sentence, Span
from modeling_retrieveall.model.errors import InputError, InputTypeError
from modeling_retrieveall.model.retrieval import ExampleIndex
from tests.adapter_folders import copy_adapter
from tests.local_hub import LocalHub

TEXT = "Herr Zzyzx besuchte Qqxland."
WORDS = Sentence.from_text("Zzyzx wohnt in Qqxland.")
NEW = Example(WORDS, (Span(0, 1, "PER"), Span(3, 4, "LOC")))
CORRECTED = Example(WORDS, (Span(0, 1, "PER"),))


@pytest.fixture
def folder(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> Path:
    """Adapters that decode tags, for German and for all languages."""
    for language in ("de", "mul"):
        copy_adapter(tiny_adapter(language), tmp_path / "adapters" / language, decodings=["tags"], n_entities=0, n_sentences=0)
    return tmp_path / "adapters"


@pytest.fixture
def model(folder: Path) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained(folder, match_weight=1.0)


def found(model: RetrieveAllModel) -> list[tuple[str, str, float]]:
    return [(e.text, e.label, round(e.score, 4)) for e in model.extract(TEXT, language="de").entities]


def labelled(adapter: LanguageAdapter) -> list[tuple[str, tuple[Span, ...]]]:
    return [(example.key, example.spans) for example in adapter.index.examples]


def test_an_example_counts_at_once_and_is_undone_exactly(model: RetrieveAllModel) -> None:
    before, index = found(model), model.adapters["de"].index
    routed = model.extract(TEXT, details=True).sentences[0].details
    assert model.add_examples("de", [NEW]) == 1
    labels = {(text, label) for text, label, _ in found(model)}
    assert {("Zzyzx", "PER"), ("Qqxland", "LOC")} <= labels
    details = model.extract(TEXT, language="de", details=True).sentences[0].details
    assert details is not None
    assert [(match.start, match.end) for match in details.retrieved.matches] == [(1, 2), (3, 4)]
    assert [(known.text, known.counts, known.occurrences) for known in details.known_mentions] == [
        ("Zzyzx", {"PER": 1}, 1),
        ("Qqxland", {"LOC": 1}, 1),
    ]
    assert model.remove_examples("de", [NEW]) == 1
    assert found(model) == before
    assert model.adapters["de"].index.examples == index.examples
    assert model.adapters["de"].index.sentence_vectors.equal(index.sentence_vectors.float())
    assert model.extract(TEXT, details=True).sentences[0].details == routed


def test_an_example_is_never_there_twice(model: RetrieveAllModel) -> None:
    count = len(model.adapters["de"].index.examples)
    assert model.add_examples("de", [NEW, NEW]) == 1
    assert model.add_examples("de", [NEW]) == 0
    assert len(model.adapters["de"].index.examples) == count + 1
    assert model.add_examples("de", [CORRECTED]) == 1
    assert len(model.adapters["de"].index.examples) == count + 1
    assert model.adapters["de"].index.examples[-1] == CORRECTED


def test_the_last_examples_of_a_language_cannot_be_removed(model: RetrieveAllModel) -> None:
    adapter = model.adapters["de"]
    adapter.routing_vectors = adapter.routing_vectors[:0]
    with pytest.raises(InputError, match="'de' would have no examples left"):
        model.remove_examples("de", adapter.index.examples)
    assert model.adapters["de"] is adapter


def test_other_languages_do_not_change(model: RetrieveAllModel) -> None:
    before = model.extract(TEXT, language="mul")
    model.add_examples("de", [NEW])
    assert model.extract(TEXT, language="mul") == before


def test_without_a_weight_examples_do_not_count_in_tags(model: RetrieveAllModel) -> None:
    model.config.change({"match_weight": 0.0})
    before = found(model)
    model.add_examples("de", [NEW])
    assert found(model) == before


def test_they_are_saved_with_the_model(model: RetrieveAllModel, tmp_path: Path) -> None:
    original = labelled(LanguageAdapter.load(tmp_path / "adapters" / "de"))
    model.add_examples("de", [NEW])
    model.save_pretrained(tmp_path / "saved")
    loaded = RetrieveAllModel.from_pretrained(tmp_path / "saved")
    assert labelled(loaded.adapters["de"]) == [*original, (NEW.key, NEW.spans)]
    assert loaded.add_examples("de", [NEW]) == 0
    assert {text for text, _, _ in found(loaded)} == {text for text, _, _ in found(model)}
    assert labelled(LanguageAdapter.load(tmp_path / "adapters" / "de")) == original
    loaded.remove_examples("de", [NEW])
    loaded.save_pretrained(tmp_path / "saved")  # the folder that it was loaded from
    assert labelled(RetrieveAllModel.from_pretrained(tmp_path / "saved").adapters["de"]) == original


def test_a_changed_model_has_another_fingerprint_and_cannot_be_copied(model: RetrieveAllModel) -> None:
    before = model_fingerprint(model)
    copy.deepcopy(model)
    model.add_examples("de", [NEW])
    assert model_fingerprint(model)["languages"]["de"] != before["languages"]["de"]
    with pytest.raises(InputTypeError, match="The adapters of de were changed in memory"):
        copy.deepcopy(model)


def test_the_same_sentence_in_other_words_is_the_same_example(model: RetrieveAllModel) -> None:
    raw = Example(Sentence.from_text("Zzyzx wohnt in Nordrhein-Westfalen."), (Span(0, 1, "PER"),))
    split = Example(Sentence.from_words(["Zzyzx", "wohnt", "in", "Nordrhein-Westfalen", "."]), (Span(0, 1, "PER"),))
    assert model.add_examples("de", [raw]) == 1
    assert model.add_examples("de", [split]) == 0
    assert model.remove_examples("de", iter([split])) == 1


def test_the_last_of_equal_examples_wins(model: RetrieveAllModel) -> None:
    model.add_examples("de", [NEW])
    assert model.add_examples("de", [CORRECTED, NEW]) == 0
    assert model.adapters["de"].index.examples[-1] == NEW
    assert model.add_examples("de", iter([NEW, CORRECTED])) == 1


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([Span(1, 9, "PER")], "lies outside of its 5 words"),
        ([Span(1, 1, "PER")], "lies outside of its 5 words"),
        ([Span(0, 2, "PER"), Span(1, 3, "LOC")], "overlap"),
        ([Span(0, 1, "PER"), Span(0, 1, "PER")], "overlap"),
    ],
)
def test_entities_that_do_not_fit_their_sentence_are_refused(model: RetrieveAllModel, spans: list[Span], message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.add_examples("de", [Example(WORDS, tuple(spans))])
    with pytest.raises(InputError, match="a sentence has no words"):
        model.add_examples("de", [Example(Sentence.from_words([]), ())])


def test_wrong_examples_are_refused_and_nothing_changes(model: RetrieveAllModel) -> None:
    index = model.adapters["de"].index
    with pytest.raises(InputError, match="entity types PLANET, but the adapter of 'de' has only"):
        model.add_examples("de", [Example(WORDS, (Span(0, 1, "PLANET"),))])
    with pytest.raises(InputTypeError, match="'Berlin' is not an Example"):
        model.add_examples("de", ["Berlin"])  # type: ignore[list-item]
    with pytest.raises(InputTypeError, match="'Berlin' is not an Example"):
        model.remove_examples("de", ["Berlin"])  # type: ignore[list-item]
    with pytest.raises(InputTypeError, match="Give a list of examples"):
        model.add_examples("de", NEW)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="No adapter for language 'xx'"):
        model.add_examples("xx", [NEW])
    assert model.adapters["de"].index is index


VECTOR = torch.arange(4.0)


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans())), st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()))
)
def test_adding_and_removing_keep_an_index_consistent(before: list[tuple[str, bool]], added: list[tuple[str, bool]]) -> None:
    def examples(chosen: list[tuple[str, bool]]) -> list[Example]:
        return [Example(Sentence.from_words([word]), (Span(0, 1, "PER"),) if labelled else ()) for word, labelled in chosen]

    def vectors(chosen: list[tuple[str, bool]]) -> list[SentenceVectors]:
        return [SentenceVectors(VECTOR + ord(word), VECTOR[None] + ord(word)) for word, _ in chosen]

    first = list(dict(before).items())
    index = ExampleIndex.build(examples(first), vectors(first))
    bigger = index.with_added(examples(added), vectors(added))
    assert {e.key: bool(e.spans) for e in bigger.examples} == dict(first) | dict(added)
    assert len(bigger.examples) == len({e.key for e in bigger.examples})
    for example, vector in zip(bigger.examples, bigger.sentence_vectors, strict=True):
        assert vector.equal(VECTOR + ord(example.key))
    for mention, vector in zip(bigger.mentions, bigger.mention_vectors, strict=True):
        assert vector.equal(VECTOR + ord(mention.text))
    smaller = bigger.without({(word,) for word, _ in added})
    assert [e.key for e in smaller.examples] == [word for word, _ in first if word not in dict(added)]


def test_an_adapter_from_the_hub_can_be_changed(hub: LocalHub, folder: Path, tmp_path: Path) -> None:
    push_adapter(folder / "de", "ann/retrieveall-de")
    model = RetrieveAllModel.from_pretrained("ann/retrieveall-de")
    before = model_fingerprint(model)["languages"]["de"]
    model.add_examples("de", [NEW])
    assert model_fingerprint(model)["languages"]["de"].startswith(f"{before} ")
    assert model.languages["de"].endswith("(changed)")
    model.save_pretrained(tmp_path / "saved")
    assert labelled(RetrieveAllModel.from_pretrained(tmp_path / "saved").adapters["de"])[-1] == (NEW.key, NEW.spans)


def test_a_model_that_was_saved_in_its_own_folder_is_no_longer_changed(model: RetrieveAllModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "saved")
    loaded = RetrieveAllModel.from_pretrained(tmp_path / "saved")
    loaded.add_examples("de", [NEW])
    loaded.save_pretrained(tmp_path / "saved")
    assert model_fingerprint(loaded) == model_fingerprint(RetrieveAllModel.from_pretrained(tmp_path / "saved"))
    assert copy.deepcopy(loaded).adapters["de"].index.examples[-1].key == NEW.key
