"""The spaCy component: found by its entry point, aligned to any pipeline's tokens, streaming, and saved as configuration."""

from collections.abc import Callable
from pathlib import Path

import pytest
import spacy
from spacy import displacy
from spacy.language import Language

from modeling_retrieveall import RetrieveAllModel
from tests.loud_adapters import write_loud_adapters

TEXTS = ["Angela Merkel besuchte Nairobi.", "", "Ada Lovelace lived in London. Graz liegt an der Mur.", "Nordrhein-Westfalen"]


@pytest.fixture(scope="module")
def folder(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_loud_adapters(tmp_path_factory.mktemp("loud"), tiny_adapter)


@pytest.fixture(scope="module", params=["xx", "de"])
def nlp(folder: Path, request: pytest.FixtureRequest) -> Language:
    nlp = spacy.blank(request.param)
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("retrieveall", config={"model": str(folder), "batch_size": 2})
    return nlp


def test_entities_are_those_of_the_model_and_whole_tokens(nlp: Language, folder: Path) -> None:
    model = RetrieveAllModel.from_pretrained(folder)
    for doc, expected in zip(nlp.pipe(TEXTS), model.explain(TEXTS), strict=True):
        for ent in doc.ents:
            assert any(e.start >= ent.start_char and e.end <= ent.end_char and e.label == ent.label_ for e in expected.entities)
            assert 0 <= ent._.score <= 1
        exact = {(e.start, e.end, e.label) for e in expected.entities if doc.char_span(e.start, e.end)}
        assert exact <= {(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents} or len(exact) < len(expected.entities)
        assert doc._.route.language == expected.route.language
        assert [language for _, _, language in doc._.languages] == [s.route.language for s in expected.sentences]


def test_a_stream_gives_what_single_calls_give_in_order(nlp: Language) -> None:
    streamed = list(nlp.pipe(TEXTS * 5, batch_size=3))
    assert [doc.text for doc in streamed] == TEXTS * 5
    for doc in streamed[: len(TEXTS)]:
        alone = nlp(doc.text)
        assert [(e.text, e.label_) for e in alone.ents] == [(e.text, e.label_) for e in doc.ents]


def test_a_saved_pipeline_answers_as_before(nlp: Language, tmp_path: Path) -> None:
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(tmp_path / "pipeline")
    assert again.config["components"]["retrieveall"] == nlp.config["components"]["retrieveall"]
    assert [(e.text, e.label_) for e in again(TEXTS[0]).ents] == [(e.text, e.label_) for e in nlp(TEXTS[0]).ents]
    assert isinstance(nlp.to_bytes(), bytes)


def test_displacy_shows_the_entities(nlp: Language) -> None:
    doc = nlp(TEXTS[0])
    page = displacy.render(doc, style="ent", jupyter=False)
    assert all(f">{ent.label_}<" in page.replace("\n", "").replace(" ", "") for ent in doc.ents)


def test_a_wrong_setting_is_named(folder: Path) -> None:
    with pytest.raises(Exception, match="modell"):
        spacy.blank("xx").add_pipe("retrieveall", config={"modell": str(folder)})
