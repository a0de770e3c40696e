"""The spaCy component: exact entities in the tokens of any pipeline, serialisation, streams and several processes."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy import displacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.integrations.spacy_tokens import split_tokens
from tests.random_adapters import write_random_adapters
from tests.scripts import run_script

TEXTS = [
    "Angela Merkel besuchte Nairobi.",
    "",
    "Ada Lovelace lived in London. Graz liegt an der Mur.",
    "Nordrhein-Westfalen",
    "屠呦呦出生于宁波，在北京大学学习。",
    "l'ONU, Bonn-Mitte und 서울에서",
]


@pytest.fixture(scope="module")
def folder(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_adapters(tmp_path_factory.mktemp("adapters"), tiny_adapter)


@pytest.fixture(scope="module", params=["xx", "de"])
def nlp(folder: Path, request: pytest.FixtureRequest) -> Language:
    nlp = spacy.blank(request.param)
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("retrieveall", config={"model": str(folder), "batch_size": 2})
    return nlp


def bounds(spans: Any) -> list[tuple[int, int, str]]:
    return [(span.start_char, span.end_char, span.label_) for span in spans]


def state(doc: Doc) -> list[Any]:
    found = doc.spans["retrieveall"]
    return [doc.text, bounds(doc.ents), bounds(found), [span._.score for span in found], doc._.route, doc._.languages]


def test_entities_are_those_of_the_model(nlp: Language, folder: Path) -> None:
    for doc, expected in zip(nlp.pipe(TEXTS), RetrieveAllModel.from_pretrained(folder).extract(TEXTS, details=True), strict=True):
        found = [(entity.start, entity.end, entity.label) for entity in expected.entities]
        assert bounds(doc.ents) == bounds(doc.spans["retrieveall"]) == found
        assert [entity._.score for entity in doc.ents] == pytest.approx([e.score for e in expected.entities], abs=1e-4)
        assert doc._.route.language == expected.route.language
        assert doc._.languages == [(s.start, s.end, s.route.language) for s in expected.sentences]
        assert doc.text == expected.text


def test_labels_select_entities(folder: Path) -> None:
    nlp = spacy.blank("xx")
    nlp.add_pipe("retrieveall", config={"model": str(folder), "labels": ["LOC"], "threshold": {"LOC": 0.01}})
    documents = [nlp(text) for text in TEXTS]  # a span group needs its document
    assert {span.label_ for document in documents for span in document.spans["retrieveall"]} <= {"LOC"}


def test_a_stream_and_single_calls_give_the_same_results(nlp: Language) -> None:
    streamed = list(nlp.pipe(TEXTS * 5, batch_size=3))
    assert [doc.text for doc in streamed] == TEXTS * 5
    for doc in streamed[: len(TEXTS)]:
        assert bounds(nlp(doc.text).ents) == bounds(doc.ents)


def test_serialised_documents_keep_their_annotations(nlp: Language) -> None:
    for doc in nlp.pipe(TEXTS):
        assert state(Doc(nlp.vocab).from_bytes(doc.to_bytes())) == state(doc)
        assert state(pickle.loads(pickle.dumps(doc))) == state(doc)
        assert state(doc.copy()) == state(doc)
        stored = DocBin(store_user_data=True, docs=[doc]).to_bytes()
        assert [state(again) for again in DocBin().from_bytes(stored).get_docs(nlp.vocab)] == [state(doc)]
    assert nlp.make_doc("Bonn")._.route is None


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_several_processes_and_one_give_the_same_results(method: str, folder: Path, tmp_path: Path) -> None:
    script = """
        import multiprocessing, sys
        import spacy

        if __name__ == "__main__":
            multiprocessing.set_start_method(sys.argv[1])
            nlp = spacy.blank("xx")
            nlp.add_pipe("retrieveall", config={"model": sys.argv[2]})
            texts = ["Angela Merkel besuchte Nairobi.", "屠呦呦出生于宁波。", "Bonn.", "Graz liegt an der Mur."] * 2
            one, two = list(nlp.pipe(texts)), list(nlp.pipe(texts, n_process=2, batch_size=2))
            for alone, shared in zip(one, two, strict=True):
                assert [(e.text, e.start_char) for e in alone.ents] == [(e.text, e.start_char) for e in shared.ents]
                assert [span.label_ for span in alone.spans["retrieveall"]] == [span.label_ for span in shared.ents]
                assert alone.text == shared.text and alone._.languages == shared._.languages
            print("same")
    """
    assert run_script(script, tmp_path, method, folder) == "same\n"


def test_a_saved_pipeline_gives_the_same_results(nlp: Language, tmp_path: Path) -> None:
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(tmp_path / "pipeline")
    assert again.config["components"]["retrieveall"] == nlp.config["components"]["retrieveall"]
    assert [state(doc) for doc in again.pipe(TEXTS)] == [state(doc) for doc in nlp.pipe(TEXTS)]
    assert isinstance(nlp.to_bytes(), bytes)
    assert state(pickle.loads(pickle.dumps(nlp))(TEXTS[0])) == state(nlp(TEXTS[0]))


def test_displacy_renders_the_entities(nlp: Language) -> None:
    doc = nlp(TEXTS[0])
    page = displacy.render(doc, style="ent", jupyter=False)
    assert all(f">{ent.label_}<" in page.replace("\n", "").replace(" ", "") for ent in doc.ents)
    assert displacy.render(doc, style="span", options={"spans_key": "retrieveall"}, jupyter=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_entities_of_earlier_components_are_kept_unless_overwrite_ents_is_set(embedded_base: str, overwrite: bool) -> None:
    nlp = spacy.blank("de")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PRODUCT", "pattern": "Golf", "id": "car"}, {"label": "STREET", "pattern": "Nairobi"}])
    nlp.add_pipe("retrieveall", name="ours", config={"languages": ["de"], "overwrite_ents": overwrite})
    doc = nlp("Angela Merkel fuhr einen Golf nach Nairobi.")
    assert bounds(doc.spans["ours"]) == [(0, 13, "PER"), (35, 42, "LOC")]
    assert bounds(doc.ents) == [(0, 13, "PER"), (25, 29, "PRODUCT"), (35, 42, "LOC" if overwrite else "STREET")]
    assert doc.ents[1].ent_id_ == "car"


def test_without_split_tokens_entities_are_widened_with_a_warning(folder: Path) -> None:
    nlp = spacy.blank("xx")
    nlp.add_pipe("retrieveall", config={"model": str(folder), "split_tokens": False})
    text = "屠呦呦出生于宁波，在北京大学学习。"
    tokens = [token.text for token in nlp.make_doc(text)]
    found = RetrieveAllModel.from_pretrained(folder).extract(text).entities
    with pytest.warns(UserWarning, match=rf"of {len(found)} entities begin or end inside a token"):
        doc = nlp(text)
    assert [token.text for token in doc] == tokens
    for span, entity in zip(doc.spans["retrieveall"], found, strict=True):
        assert span.start_char <= entity.start < entity.end <= span.end_char


def test_an_unknown_setting_is_named(folder: Path) -> None:
    with pytest.raises(Exception, match="modell"):
        spacy.blank("xx").add_pipe("retrieveall", config={"modell": str(folder)})


def test_chinese_entities_have_exact_borders_in_a_blank_pipeline(embedded_base: str) -> None:
    nlp = spacy.blank("xx")
    nlp.add_pipe("retrieveall", config={"languages": ["zh"]})
    doc = nlp("屠呦呦出生于宁波，在北京工作。")
    expected = [("屠呦呦", "PER"), ("宁波", "LOC"), ("北京", "LOC")]
    assert [(entity.text, entity.label_) for entity in doc.ents] == expected


# Splitting

words = st.lists(st.text("aβ京ก서é", min_size=1, max_size=6), min_size=1, max_size=6)


@given(words, st.data())
def test_splitting_only_adds_token_borders(words: list[str], data: st.DataObject) -> None:
    places = st.integers(0, len(words))
    starts = [data.draw(st.booleans()) for _ in words]
    spaces = [data.draw(st.booleans()) for _ in words]
    doc = Doc(spacy.blank("xx").vocab, words=words, spaces=spaces, sent_starts=starts, tags=words)
    first, last = sorted((data.draw(places), data.draw(places)))
    if first < last:
        doc.set_ents([doc.char_span(doc[first].idx, doc[last - 1].idx + len(doc[last - 1]), label="X", span_id="id")])
    doc.spans["group"] = [doc[i:j] for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
    text, entities, group = doc.text, bounds(doc.ents), bounds(doc.spans["group"])
    sentences, old = [sentence.start_char for sentence in doc.sents], {token.idx: token.tag_ for token in doc}
    borders = data.draw(st.lists(st.integers(-1, len(text) + 1), max_size=8))
    split_tokens(doc, borders)
    assert doc.text == text
    inside = {i for start, word in zip(old, words, strict=True) for i in range(start + 1, start + len(word))}
    assert {token.idx for token in doc} == old.keys() | (inside & set(borders))
    assert (bounds(doc.ents), bounds(doc.spans["group"])) == (entities, group)
    assert [sentence.start_char for sentence in doc.sents] == sentences
    assert [entity.ent_id_ for entity in doc.ents] == ["id"] * len(entities)
    assert all(token.tag_ == old[max(start for start in old if start <= token.idx)] for token in doc)


def test_splitting_keeps_the_parse() -> None:
    doc = Doc(
        spacy.blank("xx").vocab,
        words=["abcdef", "gh", "ij", "kl"],
        heads=[1, 1, 3, 3],
        deps=["nsubj", "ROOT", "amod", "ROOT"],
        morphs=["A=1", "B=2", "C=3", "D=4"],
        pos=["NOUN", "VERB", "ADJ", "ADV"],
    )
    split_tokens(doc, [2, 4, 8, 11])
    assert [token.text for token in doc] == ["ab", "cd", "ef", "g", "h", "i", "j", "kl"]
    assert [sentence.text for sentence in doc.sents] == ["abcdef gh", "ij kl"]
    assert [token.head.text for token in doc] == ["g", "ab", "ab", "g", "g", "kl", "i", "kl"]
    assert {str(token.morph) for token in doc[:3]} == {"A=1"} and {token.pos_ for token in doc[:3]} == {"NOUN"}
