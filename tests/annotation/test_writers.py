"""Outputs of annotation: the columns of the source are unchanged, and everything that is written can be read back."""

import datetime
import decimal
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_retrieveall.annotation.annotate import annotate
from modeling_retrieveall.annotation.readers import Record, RecordError, read_records
from modeling_retrieveall.annotation.writers import check_words, conll_block, json_line
from modeling_retrieveall.data.conll import read_words
from tests.annotation.test_annotate import CapitalsModel, jsonl

DAY = datetime.datetime(2024, 5, 1, 12, 30)
COLUMNS: dict[str, tuple[pa.DataType, list[Any], list[Any]]] = {
    "int16": (pa.int16(), [1, None], [1, None]),
    "uint64": (pa.uint64(), [2**64 - 1, 0], [2**64 - 1, 0]),
    "float32": (pa.float32(), [0.5, None], [0.5, None]),
    "milliseconds": (pa.timestamp("ms"), [DAY, None], ["2024-05-01 12:30:00.000", None]),
    "nanoseconds": (pa.timestamp("ns"), [1714521600123456789, None], ["2024-05-01 00:00:00.123456789", None]),
    "zone": (pa.timestamp("us", "Asia/Tokyo"), [1714521600000000, None], ["2024-05-01 09:00:00.000000+0900", None]),
    "date": (pa.date32(), [DAY.date(), None], ["2024-05-01", None]),
    "time": (pa.time64("ns"), [1, None], ["00:00:00.000000001", None]),
    "duration": (pa.duration("ns"), [5, None], [5, None]),
    "decimal": (pa.decimal128(9, 2), [decimal.Decimal("1.10"), None], ["1.10", None]),
    "bytes": (pa.binary(), [b"\x00\xff", None], ["AP8=", None]),
    "null": (pa.null(), [None, None], [None, None]),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), ["a", "b"], ["a", "b"]),
    "large": (pa.large_string(), ["a", None], ["a", None]),
    "times": (pa.list_(pa.timestamp("ns")), [[1], None], [["1970-01-01 00:00:00.000000001"], None]),
    "pair": (pa.list_(pa.int8(), 2), [[1, 2], None], [[1, 2], None]),
    "struct": (
        pa.struct({"a": pa.int8(), "when": pa.date32()}),
        [{"a": 1, "when": DAY.date()}, None],
        [{"a": 1, "when": "2024-05-01"}, None],
    ),
    "map": (pa.map_(pa.string(), pa.timestamp("ms")), [[("k", DAY)], None], [[["k", "2024-05-01 12:30:00.000"]], None]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_parquet_column_keeps_its_type_and_can_be_written_as_json(tmp_path: Path, name: str) -> None:
    kind, values, in_json = COLUMNS[name]
    schema = pa.schema([pa.field("text", pa.string(), nullable=False), pa.field(name, kind)], metadata={"made by": "us"})
    pq.write_table(pa.table([pa.array(["Bonn", "nichts"]), pa.array(values, kind)], schema=schema), tmp_path / "in.parquet")
    source = pq.read_table(tmp_path / "in.parquet")
    annotate(CapitalsModel(), str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"))
    result = pq.read_table(tmp_path / "out.parquet")
    assert result.column_names == ["text", name, "entities", "language", "known"]
    assert result.select(["text", name]).equals(source)
    assert result.schema.metadata[b"made by"] == b"us"
    assert not result.schema.field("text").nullable
    annotate(CapitalsModel(), str(tmp_path / "in.parquet"), str(tmp_path / "out.jsonl"))
    assert [json.loads(line)[name] for line in (tmp_path / "out.jsonl").open()] == in_json


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Tables with some of the columns above and up to five rows."""
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), unique=True, max_size=5))
    count = draw(st.integers(0, 5))
    columns = {"text": pa.array(draw(st.lists(st.sampled_from(["Bonn", "", None]), min_size=count, max_size=count)), pa.string())}
    for name in names:
        kind, values, _ = COLUMNS[name]
        columns[name] = pa.array(draw(st.lists(st.sampled_from(values), min_size=count, max_size=count)), kind)
    return pa.table(dict(draw(st.permutations(sorted(columns.items())))))


@given(tables())
@settings(max_examples=40)
def test_columns_and_types_of_the_source_are_unchanged(table: pa.Table) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/in.parquet", f"{folder}/out.parquet"
        pq.write_table(table, source)
        written = pq.read_table(source)
        done = annotate(CapitalsModel(), source, target)
        result = pq.read_table(target)
        assert result.drop_columns(["entities", "language", "known"]).equals(written)
        assert (done.records, done.without_text) == (len(table), sum(not text for text in table["text"].to_pylist()))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda part: st.lists(part) | st.dictionaries(st.text(), part),
)


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=4), min_size=1, max_size=4), st.booleans(), st.sampled_from([None, 1]))
def test_json_text_is_kept_character_for_character(rows: list[dict[str, Any]], ascii_only: bool, indent: int | None) -> None:
    written = [json.dumps({"text": "Bonn", **row}, ensure_ascii=ascii_only, indent=indent) for row in rows]
    for row, text in zip(rows, written, strict=True):
        line = json_line(Record({}, "Bonn", text), {"language": "de"}, "our ").decode("utf-8")
        assert line.startswith(text.removesuffix("}").rstrip().encode("utf-8", "backslashreplace").decode())
        assert repr(json.loads(line)) == repr({"text": "Bonn", **row, "our language": "de"})
    assert json_line(Record({}, None, "{}"), {"n": 1}) == b'{"n": 1}\n'


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"n": 2**64}], "Record 2: 'n' cannot be written as parquet: .*too large"),
        ([{"n": 2**53 + 1}, {"n": 0.5}], "Record 3: 'n' cannot be written as parquet: Integer value"),
        ([{"n": 2**53 + 1}] * 1023 + [{"n": 0.5}], "Record 2 cannot be written as parquet: Integer value"),
        ([{"n": 1}] * 500 + [{"n": "x"}, {"n": "y"}], "Record 502: 'n' cannot be written as parquet: Could not convert 'x'"),
        ([{"n": 1}] * 1100 + [{"n": "x"}], "Record 1102: 'n' cannot be written as parquet"),
        ([{"n": {}}], "cannot be written as parquet: Cannot write struct type 'n'"),
        ([{"text": "\ud800"}], "Record 2: 'text' cannot be written as parquet: .*surrogates not allowed"),
    ],
)
def test_values_without_a_parquet_type_are_rejected_before_the_model_runs(tmp_path: Path, rows: list[Any], message: str) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"text": "Bonn"}, *({"text": "Graz", **row} for row in rows)])
    model = CapitalsModel()
    with pytest.raises(RecordError, match=rf"{message}.*Choose a target that ends with \.jsonl"):
        annotate(model, str(source), str(tmp_path / "out.parquet"))
    assert model.read == []
    assert annotate(model, str(source), str(tmp_path / "out.jsonl")).records == len(rows) + 1


def test_a_number_that_is_too_large_for_a_float_does_not_become_infinite(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "Bonn", "n": 1e400}\n')
    with pytest.raises(RecordError, match="Record 1: 'n' cannot be written as parquet"):
        annotate(CapitalsModel(), str(tmp_path / "in.jsonl"), str(tmp_path / "out.parquet"))
    annotate(CapitalsModel(), str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"))
    assert (tmp_path / "out.jsonl").read_text().startswith('{"text": "Bonn", "n": 1e400, "entities"')


@pytest.mark.parametrize("word", ["a\tb", "New\nYork", "", " ", "a\r", "\u3000", "-DOCSTART-", "\ufeffBonn", " Bonn"])
def test_words_that_cannot_be_read_back_are_rejected_with_their_record(tmp_path: Path, word: str) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"tokens": ["Bonn"]}, {"tokens": ["Bonn", word, "ruft"]}])
    model = CapitalsModel()
    with pytest.raises(RecordError, match=r"in\.jsonl, record 2: the word .* cannot be read back from CoNLL"):
        annotate(model, str(source), str(tmp_path / "out.conll"))
    assert model.read == []


WORDS = st.text() | st.sampled_from(
    ["#", "# O", "#id", "10\u00a0000", "New York", "a\u2028b", "O", "B-LOC", "1", "2", "-DOCSTART-x"]
)


@given(st.lists(WORDS, min_size=1, max_size=6))
def test_words_are_either_read_back_or_rejected(words: list[str]) -> None:
    try:
        check_words(Record({}, words), "record 1")
    except RecordError:
        assert any(word != word.strip() or not word or word[0] in "#-\ufeff" or set(word) & set("\t\r\n") for word in words)
        return
    block = conll_block(words, ["B-LOC"] * len(words))
    known = [word.encode("utf-8", "replace").decode() for word in words]
    assert read_words(io.BytesIO(block), "out.conll") == [known]


def test_unusual_words_that_can_be_read_back_are_written(tmp_path: Path) -> None:
    words = ["#", "# x", "10\u00a0000", "New York", "a\u2028b", "O", "1"]
    source = jsonl(tmp_path / "in.jsonl", [{"tokens": words}, {"tokens": ["1", "2"]}])
    annotate(_NoEntities(), str(source), str(tmp_path / "out.conll"))
    assert [record.text for record in read_records(str(tmp_path / "out.conll"))] == [words, ["1", "2"]]


class _NoEntities(CapitalsModel):
    def extract(self, texts: Any, **options: Any) -> Any:
        found = super().extract(texts, **options)
        for extraction in found:
            extraction.entities.clear()
        return found


def test_lone_surrogates_are_replaced_in_formats_that_cannot_hold_them(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"text": "Bonn \ud800"}, {"tokens": ["Graz", "x\ud800"]}])
    annotate(_NoEntities(), str(source), str(tmp_path / "out.conll"))
    assert (tmp_path / "out.conll").read_bytes() == b"Bonn\tO\n\nGraz\tO\nx?\tO\n\n"
    annotate(_NoEntities(), str(source), str(tmp_path / "out.html"))
    assert "Bonn ?" in (tmp_path / "out.html").read_text(encoding="utf-8")
    annotate(_NoEntities(), str(source), str(tmp_path / "out.jsonl"))
    assert [json.loads(line).get("text") for line in (tmp_path / "out.jsonl").open()] == ["Bonn \ud800", None]
