"""The formats of doccano, Label Studio, Prodigy, spaCy and Hugging Face are read and written."""

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from modeling_retrieveall.data.detokenization import detect_token_kind, detokenize
from modeling_retrieveall.data.labelled_data import LabelledData
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.data.reader_types import CharSpan, ColumnNames, DatasetError, Notes, SpanText
from modeling_retrieveall.data.span_alignment import align_spans
from modeling_retrieveall.data.writing import to_doccano, to_label_studio, to_prodigy, write_examples
from modeling_retrieveall.model.entities import Entity, Example, Sentence, Span
from tests.strategies import spans_within, texts, word_lists

NAMES = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]


def read(tmp_path: Path, content: Any, name: str = "data.jsonl", columns: ColumnNames | None = None) -> LabelledData:
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
def test_the_export_of_every_tool_can_be_read(tmp_path: Path, tool: str, form: str) -> None:
    records = RECORDS[tool] * 3
    lines = "".join(json.dumps(record) + "\n" for record in records)
    text = {"array": json.dumps(records), "pretty array": json.dumps(records, indent=2)}.get(form, lines)
    file = tmp_path / {"packed": "x.jsonl.gz", "lines": "x.jsonl", "marked": "x.jsonl"}.get(form, "x.json")
    file.write_bytes(gzip.compress(text.encode()) if form == "packed" else text.encode("utf-16" if form == "marked" else "utf-8"))
    data = load_examples(str(file), "train")
    assert mentions(data) == [[("Bonn", "LOC")]] * 3
    assert [[word.text for word in e.sentence.words] for e in data.examples] == [["Bonn", "ruft", "."]] * 3
    assert data.labels == ["LOC"] and data.predicted == (tool == "annotate")


def test_white_space_at_the_ends_of_mentions_is_cut_off_with_a_note(tmp_path: Path) -> None:
    data = read(tmp_path, [{"text": "Bonn ruft. ", "label": [[0, 5, "LOC"]]}] * 30)
    assert mentions(data) == [[("Bonn", "LOC")]] * 30
    (note,) = data.notes
    assert note.startswith("mentions with white space at their ends, which was cut off: 30, such as 'Bonn ' (")


@pytest.mark.parametrize(
    ("text", "spans", "expected", "note"),
    [
        ("TSV Bonn ruft", [(4, 8, "LOC"), (0, 8, "ORG")], [("TSV Bonn", "ORG")], "overlap a longer mention"),
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
def test_aligned_spans_do_not_overlap_and_contain_their_mention(data: st.DataObject) -> None:
    text = data.draw(texts)
    place = st.integers(0, len(text))
    marked = data.draw(st.lists(st.builds(lambda a, b: CharSpan(min(a, b), max(a, b), "X"), place, place), max_size=5))
    notes = Notes()
    example = align_spans(SpanText(text, marked, "line 1"), notes)
    spans = list(example.spans)
    assert all(before.end <= after.start for before, after in pairwise(spans))
    words = example.sentence.words
    for span in spans:
        start, end = words[span.start].start, words[span.end - 1].end
        assert any(mention.start < end and start < mention.end for mention in marked)
    assert list(notes) or len(spans) == len(set(marked))


def test_offsets_in_utf_16_units_are_converted(tmp_path: Path) -> None:
    text = "😀 Bonn 👍🏽 ruft Graz"
    wide = len(text[: text.index("Graz")].encode("utf-16-le")) // 2
    data = read(tmp_path, [{"data": {"text": text}, "annotations": [{"result": [region(wide, wide + 4, "Graz", "LOC")]}]}])
    assert mentions(data) == [[("Graz", "LOC")]]


def test_records_without_annotations_are_left_out_with_a_note(tmp_path: Path) -> None:
    accepted = {"data": {"text": BONN}, "annotations": [{"result": []}]}
    cancelled = {"data": {"text": BONN}, "annotations": [{"was_cancelled": True, "result": []}]}
    predicted = {"data": {"text": BONN}, "annotations": [], "predictions": [{"result": [region(0, 4, "Bonn", "LOC")]}]}
    data = read(tmp_path, [accepted, cancelled, predicted])
    assert mentions(data) == [[]] and ": 2, such as" in data.notes[0]
    with pytest.raises(DatasetError, match="has no labelled record: Label Studio tasks without an annotation"):
        read(tmp_path, [predicted])
    prodigy = [{"text": BONN, "spans": [], "answer": answer} for answer in ("accept", "reject", "ignore")]
    data = read(tmp_path, [*prodigy, {"text": BONN, "answer": "accept"}])
    assert mentions(data) == [[], []] and "rejected or ignored in Prodigy" in data.notes[0]
    data = read(tmp_path, [{"text": BONN, "label": [[0, 4, "LOC"]]}, {"text": "Graz"}, {"text": None, "label": []}])
    assert mentions(data) == [[("Bonn", "LOC")]] and len(data.notes) == 2
    short = [region(0, 4, "Bonn", "LOC")["value"]]
    records = [{"text": BONN, "label": short, "annotation_id": 1}, {"text": "Hallo.", "annotation_id": 2}]
    assert mentions(read(tmp_path, records)) == [[("Bonn", "LOC")], []]


def test_different_annotations_of_a_text_are_noted(tmp_path: Path) -> None:
    one, two = [region(0, 4, "Bonn", "LOC")], [region(0, 4, "Bonn", "ORG")]
    data = read(tmp_path, [{"data": {"text": BONN}, "annotations": [{"result": one}, {"result": two}]}])
    assert mentions(data) == [[("Bonn", "LOC")]] and "different annotations" in data.notes[0]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ('{"text": "Bonn", "label": []}\n{oops}\n', r"data\.jsonl, line 2 is not JSON .*'\{oops\}'"),
        ('[{"text": "Bonn"},\n{"text": }]', r"data\.jsonl, line 2 is not JSON"),
        ('["Bonn", "Graz"]', r"record 1 is 'Bonn', not a JSON object"),
        (
            [{"text": BONN, "label": [[0, 99, "LOC"]]}],
            r"the mention \[0, 99, 'LOC'\] extends beyond the text, which has 10",
        ),
        ([{"text": BONN, "label": [[-1, 3, "LOC"]]}], r"extends beyond the text"),
        ([{"text": BONN, "label": "positive"}], r"'label' is 'positive'\. It holds neither one tag per word nor mentions"),
        ([{"text": BONN, "title": "x"}], r"has no column label, only \['text', 'title'\]"),
        ([{"title": "x"}], r"has no column tokens, only \['title'\]"),
        (
            [{"text": BONN, "label": [[0, 4, "LOC"]], "entities": [[5, 9, "X"]]}],
            r"columns 'label' and 'entities' all hold labels",
        ),
        ([{"tokens": ["Bonn"], "ner_tags": ["B-LOC"], "entities": [{"start": 0, "end": 4, "label": "X"}]}], r"all hold labels"),
        ([{"tokens": ["Bonn", "an"], "entities": [{"type": "LOC", "start": 0, "end": 1}]}], r"count characters or words\?"),
        (
            [{"tokens": ["Bonn"], "ner_tags": [5]}],
            r"line 1 has numbers in 'ner_tags', and nothing names them",
        ),
        ([{"tokens": ["Bonn", "an"], "ner_tags": ["O"]}], r"line 1 has 2 words and 1 tags; give one tag per word"),
        ([{"tokens": ["Bonn"], "ner_tags": ["B"]}], r"line 1, word 'Bonn': tag 'B' names no entity type"),
        (
            [{"text": BONN, "entities": [{"text": "ruft", "label": "LOC", "start": 0, "end": 4}]}],
            r"mention is 'ruft', but the text",
        ),
        ([{"data": {"a": "x", "b": "y"}, "annotations": [{"result": []}]}], r"which of a, b is the text\? Set `tokens_column`"),
        (
            [{"data": {"text": BONN}, "annotations": [{"result": [region(0, 4, "Bonn", "LOC", "ORG")]}]}],
            r"has 2 labels\. Give each mention one label",
        ),
        (
            [{"text": BONN, "label": [[0, 4, "LOC"]]}, {"text": BONN, "label": [["LOC", 0, 4]]}],
            r"line 2: \['LOC', 0, 4\] is not a mention",
        ),
    ],
)
def test_an_unclear_or_invalid_record_is_refused_with_its_place(tmp_path: Path, records: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, records)


@pytest.mark.parametrize(
    ("record", "columns"),
    [
        ({"tokens": ["Bonn", "ruft"], "ner_tags": [5, 0]}, ColumnNames(tag_names=NAMES)),
        ({"tokens": ["Bonn", "ruft"], "x": ["B-LOC", "O"], "ner_tags": ["O", "O"]}, ColumnNames(tags_column="x")),
        ({"w": ["Bonn", "ruft"], "tags": ["B-LOC", "O"]}, ColumnNames(tokens_column="w")),
        ({"body": "Bonn ruft", "label": [[0, 4, "LOC"]]}, ColumnNames(tokens_column="body")),
        ({"text": "Bonn ruft", "label": [], "entities": [[0, 4, "LOC"]]}, ColumnNames(tags_column="entities")),
    ],
)
def test_columns_can_be_named(tmp_path: Path, record: dict[str, Any], columns: ColumnNames) -> None:
    assert mentions(read(tmp_path, [record], columns=columns)) == [[("Bonn", "LOC")]]


def test_types_in_the_tag_names_belong_to_the_dataset(tmp_path: Path) -> None:
    record = {"tokens": ["Bonn", "ruft"], "ner_tags": [5, 0]}
    assert read(tmp_path, [record], columns=ColumnNames(tag_names=NAMES)).labels == ["LOC", "ORG", "PER"]
    with pytest.raises(DatasetError, match="line 1 has a tag 7, but only 0 to 6 have names"):
        read(tmp_path, [{"tokens": ["Bonn"], "ner_tags": [7]}], columns=ColumnNames(tag_names=NAMES))


# Written


def test_every_tool_gets_records_of_its_own_format() -> None:
    bonn = [Entity("Bonn", "LOC", 0, 4, 0.5)]
    row = {"id": 7, "text": "old", "entities": [], "label": "old"}
    assert to_doccano(BONN, bonn, row) == {"id": 7, "source_label": "old", "text": BONN, "label": [[0, 4, "LOC"]]}
    task = to_label_studio(BONN, bonn, row)
    assert task["data"] == {"id": 7, "label": "old", "text": BONN}
    assert task["predictions"][0]["result"] == [{**region(0, 4, "Bonn", "LOC"), "score": 0.5}]
    assert to_label_studio(BONN, bonn, row, accepted=True)["annotations"] == [{"result": [region(0, 4, "Bonn", "LOC")]}]


@pytest.mark.parametrize(
    ("to", "name", "column"),
    [
        ("doccano", "x.jsonl", "source_label"),
        ("spacy", "x.jsonl", "label"),
        ("label-studio", "x.json", "label"),
        ("jsonl", "x.jsonl", "label"),
    ],
)
def test_columns_with_the_name_of_a_label_column_are_kept(tmp_path: Path, to: str, name: str, column: str) -> None:
    record = {"text": BONN, "entities": [[0, 4, "LOC"]], "label": "positive", "tags": ["news", "sport"], "ner": 3}
    data = read(tmp_path, [record])
    assert data.extra_columns == [{"label": "positive", "tags": ["news", "sport"], "ner": 3}] and data.notes == []
    write_examples(data.examples, tmp_path / name, to, data.extra_columns)
    again = load_examples(str(tmp_path / name), "train")
    assert again.extra_columns == [{column: "positive", "tags": ["news", "sport"], "ner": 3}]
    assert mentions(again) == [[("Bonn", "LOC")]]


def test_prodigy_gets_columns_with_the_name_of_a_label_column_as_metadata() -> None:
    assert to_prodigy(BONN, [], {"label": "positive"}) == {"text": BONN, "spans": [], "meta": {"label": "positive"}}


def test_columns_of_other_labels_are_left_out_with_a_note(tmp_path: Path) -> None:
    record = {"tokens": ["Bonn", "ruft"], "ner_tags": ["B-LOC", "O"], "tags": ["N", "V"], "labels": ["positive"]}
    data = read(tmp_path, [record])
    assert data.extra_columns == [{"labels": ["positive"]}]
    (note,) = data.notes
    assert note.startswith("columns that hold other labels, which were left out: 1, such as 'tags' (")


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
def test_pre_split_words_are_joined_to_natural_text(words: str, text: str) -> None:
    sentence = Sentence.from_words(words.split())
    found, starts = detokenize(sentence)
    assert found == text
    assert all(found.startswith(word.text, start) for word, start in zip(sentence.words, starts, strict=True))


@given(texts)
def test_raw_text_is_written_unchanged(text: str) -> None:
    sentence = Sentence.from_text(text)
    assert detokenize(sentence) == (text, [word.start for word in sentence.words])


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
    text = draw(texts)
    # Two lone surrogates that form a pair would be read from JSON as one character.
    sentence = Sentence.from_text(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass"))
    return Example(sentence, tuple(draw(spans_within(len(sentence.words)))))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@pytest.mark.parametrize(("to", "name"), FORMATS)
@given(st.lists(raw_examples(), min_size=1, max_size=4))
def test_written_examples_are_read_back_in_every_format(tmp_path: Path, to: str, name: str, examples: list[Example]) -> None:
    if "spacy" in name:
        pytest.importorskip("spacy")
    examples = [e for e in examples if e.sentence.words]
    if not examples:
        return
    if to in ("conll", "jsonl"):  # tokens that are single characters are joined: see test_detokenization.py
        assume(detect_token_kind([[w.text for w in e.sentence.words] for e in examples]) is None)
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
def test_pre_split_words_are_read_back_or_refused(tmp_path: Path, to: str, data: st.DataObject) -> None:
    words = data.draw(word_lists)
    assume(detect_token_kind([words]) is None)  # others are read as they are written: see test_detokenization.py
    example = Example(Sentence.from_words(words), tuple(data.draw(spans_within(len(words)))))
    try:
        write_examples([example], tmp_path / "x.conll" if to == "conll" else tmp_path / "x.jsonl", to)
    except DatasetError as error:
        assert to == "conll" and "cannot be written" in str(error)
        return
    (read,) = load_examples(str(tmp_path / ("x.conll" if to == "conll" else "x.jsonl")), "train").examples
    assert [w.text for w in read.sentence.words] == [word.strip(" \t\r\n") or word for word in words]
    assert read.spans == example.spans


def test_spacy_documents_without_annotation_are_left_out(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    nlp = spacy.blank("de")
    labelled, bare = nlp("Bonn ruft."), nlp("Graz.")
    labelled.ents = [labelled.char_span(0, 4, "LOC")]
    DocBin(docs=[labelled, bare]).to_disk(tmp_path / "x.spacy")
    data = load_examples(str(tmp_path / "x.spacy"), "train")
    assert mentions(data) == [[("Bonn", "LOC")]] and ": 1, such as" in data.notes[0]
    (tmp_path / "x.spacy").write_bytes(b"oops")
    with pytest.raises(DatasetError, match="is not a file of spaCy documents"):
        load_examples(str(tmp_path / "x.spacy"), "train")


CORPORA = ["germeval2014/de", "uner/zh_gsd", "klue/ko", "panx40/ar"]


@pytest.mark.parametrize("corpus", CORPORA)
def test_sentences_of_public_corpora_keep_their_entities_in_every_format(shared_data: Path, tmp_path: Path, corpus: str) -> None:
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


def test_plain_gives_words_and_labelled_mentions() -> None:
    assert plain(Example(Sentence.from_words(["Bonn", "ruft"]), (Span(0, 1, "LOC"),))) == ("Bonnruft", [("Bonn", "LOC")])


@pytest.mark.parametrize("kind", ["hypertextlabels", "paragraphlabels", "rectanglelabels"])
def test_regions_of_web_pages_and_images_are_refused(tmp_path: Path, kind: str) -> None:
    value = {"start": "/p[1]/text()[1]", "end": "/p[1]/text()[1]", "text": "Bonn", kind: ["LOC"]}
    record = {"data": {"text": "<p>Bonn ruft.</p>"}, "annotations": [{"result": [{"value": value}]}]}
    with pytest.raises(DatasetError, match="region of a web page or image"):
        read(tmp_path, [record])


def test_a_key_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"text": "Bonn ruft.", "label": [[0, 4, "LOC"]], "label": []}\n')
    with pytest.raises(DatasetError, match=r"line 1: the key 'label' occurs twice"):
        load_examples(str(file), "train")


def test_token_level_predictions_are_not_read_as_mentions(tmp_path: Path) -> None:
    tokens = [{"entity": "B-PER", "start": 0, "end": 6}, {"entity": "I-PER", "start": 7, "end": 13}]
    with pytest.raises(DatasetError, match="neither one tag per word nor mentions"):
        read(tmp_path, [{"text": "Angela Merkel ruft.", "entities": tokens}])


def test_a_score_is_written_only_for_predictions_below_one() -> None:
    task = to_label_studio("Bonn", [Entity("Bonn", "LOC", 0, 4), Entity("Bonn", "LOC", 0, 4, 0.5)], {})
    assert [region.get("score") for region in task["predictions"][0]["result"]] == [None, 0.5]
