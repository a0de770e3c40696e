"""What annotation tools export is read, and what they import is written: doccano, Label Studio, Prodigy, spaCy, Hugging Face."""

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from modeling_retrieveall.data.alignment import aligned
from modeling_retrieveall.data.labelled import DatasetError, LabelledData, load_examples
from modeling_retrieveall.data.rows import CharSpan, Columns, Notes, SpanRow
from modeling_retrieveall.data.subwords import kind_of_tokens
from modeling_retrieveall.data.writing import to_doccano, to_label_studio, write_examples, written
from modeling_retrieveall.model.entities import Entity, Example, Sentence, Span
from tests.strategies import spans_within, texts, word_lists

NAMES = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]


def read(tmp_path: Path, content: Any, name: str = "data.jsonl", columns: Columns | None = None) -> LabelledData:
    """Reads records as JSON lines, or what is given as text as it is."""
    file = tmp_path / name
    text = content if isinstance(content, str) else "".join(json.dumps(record) + "\n" for record in content)
    file.write_text(text, encoding="utf-8")
    return load_examples(str(file), "train", columns)


def mentions(data: LabelledData) -> list[list[tuple[str, str]]]:
    return [[(e.sentence.entity(span).text, span.label) for span in e.spans] for e in data.examples]


def region(start: int, end: int, text: str, *labels: str) -> dict[str, Any]:
    value = {"start": start, "end": end, "text": text, "labels": list(labels)}
    return {"from_name": "label", "to_name": "text", "type": "labels", "value": value}


BONN = "Bonn ruft."
RECORDS: dict[str, Any] = {
    "doccano": [{"id": 1, "text": BONN, "label": [[0, 4, "LOC"]], "Comments": []}],
    "doccano, labels": [{"text": BONN, "labels": [[0, 4, "LOC"]]}],
    "doccano, relations": [
        {"text": BONN, "entities": [{"id": 3, "label": "LOC", "start_offset": 0, "end_offset": 4}], "relations": []}
    ],
    "label studio": [{"id": 1, "data": {"text": BONN}, "annotations": [{"id": 2, "result": [region(0, 4, "Bonn", "LOC")]}]}],
    "label studio, other key": [{"data": {"body": BONN}, "annotations": [{"result": [region(0, 4, "Bonn", "LOC")]}]}],
    "label studio, short": [{"id": 1, "text": BONN, "ner": [region(0, 4, "Bonn", "LOC")["value"]], "annotator": 1}],
    "label studio, own name": [{"id": 1, "text": BONN, "mine": [region(0, 4, "Bonn", "LOC")["value"]], "annotator": 1}],
    "prodigy": [
        {
            "text": BONN,
            "tokens": [{"text": "Bonn", "start": 0, "end": 4, "id": 0}],
            "spans": [{"start": 0, "end": 4, "token_start": 0, "token_end": 0, "label": "LOC"}],
            "answer": "accept",
        }
    ],
    "spacy": [{"text": BONN, "entities": [[0, 4, "LOC"]]}],
    "spacy 2": [[BONN, {"entities": [[0, 4, "LOC"]]}]],
    "spacy, to_json": [{"text": BONN, "ents": [{"start": 0, "end": 4, "label": "LOC"}], "tokens": [{"id": 0, "start": 0}]}],
    "hugging face": [{"tokens": ["Bonn", "ruft", "."], "ner_tags": ["B-LOC", "O", "O"]}],
    "hugging face, other names": [{"words": ["Bonn", "ruft", "."], "labels": ["B-LOC", "O", "O"], "lang": "de"}],
    "hugging face, no prefixes": [{"tokens": ["Bonn", "ruft", "."], "tags": ["LOC", "O", "O"]}],
    "annotate": [
        {"text": BONN, "language": "de", "entities": [{"text": "Bonn", "label": "LOC", "start": 0, "end": 4, "score": 0.9}]}
    ],
    "annotate, words": [{"tokens": ["Bonn", "ruft", "."], "entities": [{"text": "Bonn", "label": "LOC", "start": 0, "end": 4}]}],
    "gliner": [{"tokenized_text": ["Bonn", "ruft", "."], "ner": [[0, 0, "LOC"]]}],
}


@pytest.mark.parametrize("tool", RECORDS)
@pytest.mark.parametrize("form", ["lines", "array", "pretty array", "packed", "marked"])
def test_the_export_of_every_tool_is_read(tmp_path: Path, tool: str, form: str) -> None:
    records = RECORDS[tool] * 3
    lines = "".join(json.dumps(record) + "\n" for record in records)
    text = {"array": json.dumps(records), "pretty array": json.dumps(records, indent=2)}.get(form, lines)
    file = tmp_path / {"packed": "x.jsonl.gz", "lines": "x.jsonl", "marked": "x.jsonl"}.get(form, "x.json")
    file.write_bytes(gzip.compress(text.encode()) if form == "packed" else text.encode("utf-16" if form == "marked" else "utf-8"))
    data = load_examples(str(file), "train")
    assert mentions(data) == [[("Bonn", "LOC")]] * 3
    assert [[word.text for word in e.sentence.words] for e in data.examples] == [["Bonn", "ruft", "."]] * 3
    assert data.labels == ["LOC"] and data.predicted == (tool == "annotate")


def test_white_space_at_the_ends_of_mentions_is_cut_off_and_counted(tmp_path: Path) -> None:
    data = read(tmp_path, [{"text": "Bonn ruft. ", "label": [[0, 5, "LOC"]]}] * 30)
    assert mentions(data) == [[("Bonn", "LOC")]] * 30
    (note,) = data.notes
    assert note.startswith("mentions with white space at their ends, which was cut off: 30, such as 'Bonn ' (")


@pytest.mark.parametrize(
    ("text", "spans", "expected", "note"),
    [
        ("TSV Bonn ruft", [(4, 8, "LOC"), (0, 8, "ORG")], [("TSV Bonn", "ORG")], "lie in others"),
        ("Angela Merkel", [(0, 6, "PER"), (0, 6, "PER")], [("Angela", "PER")], None),
        ("서울에서 만나", [(0, 2, "LOC")], [("서울", "LOC")], None),
        ("Seouler Bahn", [(0, 5, "LOC")], [("Seouler", "LOC")], "'Seoul' to 'Seouler'"),
        ("Bonn ruft", [(4, 5, "LOC")], [], "without a word"),
        ("Bonn ruft", [(0, 0, "LOC")], [], "without a word"),
        ("Bonn\n\nGraz", [(0, 6, "LOC"), (5, 10, "LOC")], [("Bonn", "LOC"), ("Graz", "LOC")], "white space"),
        ("北京大学", [(0, 2, "LOC")], [("北京", "LOC")], None),
        ("U.S. und EU-Recht", [(0, 4, "LOC"), (9, 11, "ORG")], [("U.S.", "LOC"), ("EU", "ORG")], None),
    ],
)
def test_mentions_are_aligned_to_words(
    tmp_path: Path, text: str, spans: list[Any], expected: list[Any], note: str | None
) -> None:
    data = read(tmp_path, [{"text": text, "label": spans}])
    assert mentions(data) == [expected]
    assert (note in data.notes[0]) if note else data.notes == []


@given(st.data())
def test_aligned_spans_never_overlap_and_hold_what_was_marked(data: st.DataObject) -> None:
    text = data.draw(texts)
    place = st.integers(0, len(text))
    marked = data.draw(st.lists(st.builds(lambda a, b: CharSpan(min(a, b), max(a, b), "X"), place, place), max_size=5))
    notes = Notes()
    example = aligned(SpanRow(text, marked, "line 1"), notes)
    spans = list(example.spans)
    assert all(before.end <= after.start for before, after in pairwise(spans))
    words = example.sentence.words
    for span in spans:
        start, end = words[span.start].start, words[span.end - 1].end
        assert any(mention.start < end and start < mention.end for mention in marked)
    assert list(notes) or len(spans) == len(set(marked))


def test_offsets_that_count_as_browsers_do_are_understood(tmp_path: Path) -> None:
    text = "😀 Bonn 👍🏽 ruft Graz"
    wide = len(text[: text.index("Graz")].encode("utf-16-le")) // 2
    data = read(tmp_path, [{"data": {"text": text}, "annotations": [{"result": [region(wide, wide + 4, "Graz", "LOC")]}]}])
    assert mentions(data) == [[("Graz", "LOC")]]


def test_what_nobody_has_annotated_is_left_out_and_counted(tmp_path: Path) -> None:
    accepted = {"data": {"text": BONN}, "annotations": [{"result": []}]}
    cancelled = {"data": {"text": BONN}, "annotations": [{"was_cancelled": True, "result": []}]}
    predicted = {"data": {"text": BONN}, "annotations": [], "predictions": [{"result": [region(0, 4, "Bonn", "LOC")]}]}
    data = read(tmp_path, [accepted, cancelled, predicted])
    assert mentions(data) == [[]] and ": 2, such as" in data.notes[0]
    with pytest.raises(DatasetError, match="has no labelled record: tasks of Label Studio that nobody has annotated"):
        read(tmp_path, [predicted])
    prodigy = [{"text": BONN, "spans": [], "answer": answer} for answer in ("accept", "reject", "ignore")]
    data = read(tmp_path, [*prodigy, {"text": BONN, "answer": "accept"}])
    assert mentions(data) == [[], []] and "rejected or ignored in Prodigy" in data.notes[0]
    data = read(tmp_path, [{"text": BONN, "label": [[0, 4, "LOC"]]}, {"text": "Graz"}, {"text": None, "label": []}])
    assert mentions(data) == [[("Bonn", "LOC")]] and len(data.notes) == 2
    short = [region(0, 4, "Bonn", "LOC")["value"]]
    records = [{"text": BONN, "label": short, "annotation_id": 1}, {"text": "Hallo.", "annotation_id": 2}]
    assert mentions(read(tmp_path, records)) == [[("Bonn", "LOC")], []]


def test_annotators_that_differ_are_counted(tmp_path: Path) -> None:
    one, two = [region(0, 4, "Bonn", "LOC")], [region(0, 4, "Bonn", "ORG")]
    data = read(tmp_path, [{"data": {"text": BONN}, "annotations": [{"result": one}, {"result": two}]}])
    assert mentions(data) == [[("Bonn", "LOC")]] and "annotators differ" in data.notes[0]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ('{"text": "Bonn", "label": []}\n{oops}\n', r"data\.jsonl, line 2 is no JSON .*'\{oops\}'"),
        ('[{"text": "Bonn"},\n{"text": }]', r"data\.jsonl, line 2 is no JSON"),
        ('["Bonn", "Graz"]', r"record 1 is 'Bonn', not a JSON object"),
        ([{"text": BONN, "label": [[0, 99, "LOC"]]}], r"the mention \[0, 99, 'LOC'\] leaves the text, which has 10 characters"),
        ([{"text": BONN, "label": [[-1, 3, "LOC"]]}], r"leaves the text"),
        ([{"text": BONN, "label": "positive"}], r"'label' is 'positive', neither a tag a word nor mentions"),
        ([{"text": BONN, "title": "x"}], r"has no column label, only \['text', 'title'\]"),
        ([{"title": "x"}], r"has no column tokens, only \['title'\]"),
        (
            [{"text": BONN, "label": [[0, 4, "LOC"]], "entities": [[5, 9, "X"]]}],
            r"columns 'label' and 'entities' all hold labels",
        ),
        ([{"tokens": ["Bonn"], "ner_tags": ["B-LOC"], "entities": [{"start": 0, "end": 4, "label": "X"}]}], r"all hold labels"),
        ([{"tokens": ["Bonn", "an"], "entities": [{"type": "LOC", "start": 0, "end": 1}]}], r"count characters or words\?"),
        ([{"tokens": ["Bonn"], "ner_tags": [5]}], r"numbers in 'ner_tags' without their names\. Make the column a ClassLabel"),
        ([{"tokens": ["Bonn", "an"], "ner_tags": ["O"]}], r"line 1 has 2 words and 1 tags; give one tag a word"),
        ([{"tokens": ["Bonn"], "ner_tags": ["B"]}], r"line 1, word 'Bonn': tag 'B' names no entity type"),
        (
            [{"text": BONN, "entities": [{"text": "ruft", "label": "LOC", "start": 0, "end": 4}]}],
            r"mention is 'ruft', but the text",
        ),
        ([{"data": {"a": "x", "b": "y"}, "annotations": [{"result": []}]}], r"which of a, b is the text\? Give --tokens-column"),
        (
            [{"data": {"text": BONN}, "annotations": [{"result": [region(0, 4, "Bonn", "LOC", "ORG")]}]}],
            r"has 2 labels\. Give each mention one",
        ),
        (
            [{"text": BONN, "label": [[0, 4, "LOC"]]}, {"text": BONN, "label": [["LOC", 0, 4]]}],
            r"line 2: \['LOC', 0, 4\] is no mention",
        ),
    ],
)
def test_what_is_unclear_or_wrong_is_refused_with_its_place(tmp_path: Path, records: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, records)


@pytest.mark.parametrize(
    ("record", "columns"),
    [
        ({"tokens": ["Bonn", "ruft"], "ner_tags": [5, 0]}, Columns(tag_names=NAMES)),
        ({"tokens": ["Bonn", "ruft"], "x": ["B-LOC", "O"], "ner_tags": ["O", "O"]}, Columns(tags="x")),
        ({"w": ["Bonn", "ruft"], "tags": ["B-LOC", "O"]}, Columns(tokens="w")),
        ({"body": "Bonn ruft", "label": [[0, 4, "LOC"]]}, Columns(tokens="body")),
        ({"text": "Bonn ruft", "label": [], "entities": [[0, 4, "LOC"]]}, Columns(tags="entities")),
    ],
)
def test_columns_can_be_named(tmp_path: Path, record: dict[str, Any], columns: Columns) -> None:
    assert mentions(read(tmp_path, [record], columns=columns)) == [[("Bonn", "LOC")]]


def test_names_of_tags_are_types_of_the_dataset(tmp_path: Path) -> None:
    record = {"tokens": ["Bonn", "ruft"], "ner_tags": [5, 0]}
    assert read(tmp_path, [record], columns=Columns(tag_names=NAMES)).labels == ["LOC", "ORG", "PER"]
    with pytest.raises(DatasetError, match="has a tag 7, but its ClassLabel names 0 to 6"):
        read(tmp_path, [{"tokens": ["Bonn"], "ner_tags": [7]}], columns=Columns(tag_names=NAMES))


# Written


def test_records_of_the_tools() -> None:
    bonn = [Entity("Bonn", "LOC", 0, 4, 0.5)]
    row = {"id": 7, "text": "old", "entities": [], "label": "old"}
    assert to_doccano(BONN, bonn, row) == {"id": 7, "text": BONN, "label": [[0, 4, "LOC"]]}
    task = to_label_studio(BONN, bonn, row)
    assert task["data"] == {"id": 7, "text": BONN}
    assert task["predictions"][0]["result"] == [{**region(0, 4, "Bonn", "LOC"), "score": 0.5}]
    assert to_label_studio(BONN, bonn, row, accepted=True)["annotations"] == [{"result": [region(0, 4, "Bonn", "LOC")]}]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("Bonn ruft .", "Bonn ruft."),
        ("北 京 大 学", "北京大学"),
        ("a ( b )", "a (b)"),
        ("ቦን ።", "ቦን።"),
        ("Bonn - Beuel", "Bonn - Beuel"),
    ],
)
def test_words_are_written_as_people_write(words: str, text: str) -> None:
    sentence = Sentence.from_words(words.split())
    found, starts = written(sentence)
    assert found == text
    assert all(found.startswith(word.text, start) for word, start in zip(sentence.words, starts, strict=True))


@given(texts)
def test_a_raw_text_is_written_as_it_was(text: str) -> None:
    sentence = Sentence.from_text(text)
    assert written(sentence) == (text, [word.start for word in sentence.words])


FORMATS = [
    ("conll", "x.conll"),
    ("jsonl", "x.jsonl"),
    ("doccano", "x.jsonl"),
    ("spacy", "x.jsonl"),
    ("spacy", "x.spacy"),
    ("prodigy", "x.jsonl"),
    ("label-studio", "x.json"),
]


@st.composite
def raw_examples(draw: st.DrawFn) -> Example:
    sentence = Sentence.from_text(draw(texts))
    return Example(sentence, tuple(draw(spans_within(len(sentence.words)))))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@pytest.mark.parametrize(("to", "name"), FORMATS)
@given(st.lists(raw_examples(), min_size=1, max_size=4))
def test_what_is_written_is_read_again(tmp_path: Path, to: str, name: str, examples: list[Example]) -> None:
    if "spacy" in name:
        pytest.importorskip("spacy")
    examples = [e for e in examples if e.sentence.words]
    if not examples:
        return
    if name.endswith((".conll", ".spacy")):  # UTF-8 has no half of a surrogate pair
        examples = [Example(Sentence.from_text(e.sentence.text.encode("utf-8", "replace").decode()), e.spans) for e in examples]
        examples = [e for e in examples if all(span.end <= len(e.sentence.words) for span in e.spans) and e.sentence.words]
        if not examples:
            return
    write_examples(examples, tmp_path / name, to)
    data = load_examples(str(tmp_path / name), "train")
    assert [e.key for e in data.examples] == [e.key for e in examples]
    assert [e.spans for e in data.examples] == [e.spans for e in examples]
    assert data.notes == [] or to == "conll"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("to", ["conll", "jsonl"])
@given(st.data())
def test_words_of_corpora_are_read_again_or_refused(tmp_path: Path, to: str, data: st.DataObject) -> None:
    words = data.draw(word_lists)
    assume(kind_of_tokens([words]) is None)  # others are read as they are written: see test_subwords.py
    example = Example(Sentence.from_words(words), tuple(data.draw(spans_within(len(words)))))
    try:
        write_examples([example], tmp_path / "x.conll" if to == "conll" else tmp_path / "x.jsonl", to)
    except DatasetError as error:
        assert to == "conll" and "cannot be written" in str(error)
        return
    (read,) = load_examples(str(tmp_path / ("x.conll" if to == "conll" else "x.jsonl")), "train").examples
    assert [w.text for w in read.sentence.words] == [word.strip(" \t\r\n") or word for word in words]
    assert read.spans == example.spans


def test_documents_of_spacy_without_entities_of_their_own_are_left_out(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    nlp = spacy.blank("de")
    labelled, bare = nlp("Bonn ruft."), nlp("Graz.")
    labelled.ents = [labelled.char_span(0, 4, "LOC")]
    DocBin(docs=[labelled, bare]).to_disk(tmp_path / "x.spacy")
    data = load_examples(str(tmp_path / "x.spacy"), "train")
    assert mentions(data) == [[("Bonn", "LOC")]] and ": 1, such as" in data.notes[0]
    (tmp_path / "x.spacy").write_bytes(b"oops")
    with pytest.raises(DatasetError, match="is no file of spaCy documents"):
        load_examples(str(tmp_path / "x.spacy"), "train")


CORPORA = ["germeval2014/de", "uner/zh_gsd", "klue/ko", "panx40/ar"]


@pytest.mark.parametrize("corpus", CORPORA)
def test_real_sentences_keep_their_entities_in_every_format(shared_data: Path, tmp_path: Path, corpus: str) -> None:
    examples = load_examples(str(shared_data / corpus), "validation").examples[:50]
    for to, name in FORMATS:
        if "spacy" in name:
            pytest.importorskip("spacy")
        write_examples(examples, tmp_path / name, to)
        read = load_examples(str(tmp_path / name), "train").examples
        assert [plain(e) for e in read] == [plain(e) for e in examples], to


def plain(example: Example) -> tuple[str, list[tuple[str, str]]]:
    words = [word.text for word in example.sentence.words]
    return "".join(words), [("".join(words[span.start : span.end]), span.label) for span in example.spans]


def test_spans_of_examples_are_plain() -> None:
    assert plain(Example(Sentence.from_words(["Bonn", "ruft"]), (Span(0, 1, "LOC"),))) == ("Bonnruft", [("Bonn", "LOC")])


@pytest.mark.parametrize("kind", ["hypertextlabels", "paragraphlabels", "rectanglelabels"])
def test_regions_of_pages_and_pictures_are_refused(tmp_path: Path, kind: str) -> None:
    value = {"start": "/p[1]/text()[1]", "end": "/p[1]/text()[1]", "text": "Bonn", kind: ["LOC"]}
    record = {"data": {"text": "<p>Bonn ruft.</p>"}, "annotations": [{"result": [{"value": value}]}]}
    with pytest.raises(DatasetError, match="region of a page or picture"):
        read(tmp_path, [record])


def test_a_key_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"text": "Bonn ruft.", "label": [[0, 4, "LOC"]], "label": []}\n')
    with pytest.raises(DatasetError, match=r"line 1: the key 'label' occurs twice"):
        load_examples(str(file), "train")


def test_labels_of_single_tokens_are_not_read_as_types(tmp_path: Path) -> None:
    tokens = [{"entity": "B-PER", "start": 0, "end": 6}, {"entity": "I-PER", "start": 7, "end": 13}]
    with pytest.raises(DatasetError, match="neither a tag a word nor mentions"):
        read(tmp_path, [{"text": "Angela Merkel ruft.", "entities": tokens}])


def test_a_prediction_has_no_score_that_nobody_gave() -> None:
    task = to_label_studio("Bonn", [Entity("Bonn", "LOC", 0, 4), Entity("Bonn", "LOC", 0, 4, 0.5)], {})
    assert [region.get("score") for region in task["predictions"][0]["result"]] == [None, 0.5]
