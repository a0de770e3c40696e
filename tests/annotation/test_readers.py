"""Records in all supported formats, encodings and compressions are read, or refused before any work."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall.annotation.readers import RecordError, read_records
from modeling_retrieveall.data.conll import read_words
from modeling_retrieveall.data.text_files import EncodingError


def texts(path: Path) -> list[Any]:
    return [record.text for record in read_records(str(path))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("in.jsonl", '{"text": "Köln"}\r\n\r\n{"text": "Graz"}', ["Köln", "Graz"]),
        ("in.json", '[\n{"text":\n"Köln"},\n {"text": "Graz"}]\n', ["Köln", "Graz"]),
        ("in.json", '{"text": "Köln"}\n{"text": "Graz"}\n', ["Köln", "Graz"]),
        ("in.csv", 'text,n\r\n"Köln, ""am"" Rhein",1\r\n"Graz\r\nMur",2\r\n', ['Köln, "am" Rhein', "Graz\r\nMur"]),
        ("in.csv", "n;text\n1;Köln\n\n2;Graz\n", ["Köln", "Graz"]),
        ("in.txt", "Köln\r\n\u2028Graz\u0085\n", ["Köln", "\u2028Graz\u0085"]),
        ("in.conll", "-DOCSTART- O\n\nKöln O\n# O\n\n", [["Köln", "#"]]),
    ],
)
def test_the_byte_order_mark_decides_the_encoding(tmp_path: Path, name: str, content: str, expected: Any, encoding: str) -> None:
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert texts(tmp_path / name) == expected


@pytest.mark.parametrize("name", ["in.jsonl", "in.json", "in.csv", "in.txt", "in.conll", "in.iob2"])
def test_an_unsupported_encoding_is_refused_with_a_line_number(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes('"text"\n\nKöln'.encode("cp1252"))
    with pytest.raises(EncodingError, match=r"in\.\w+, line 3: byte 0xf6 is not UTF-8\. Save"):
        texts(tmp_path / name)


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_compressed_files_are_read(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"in.jsonl{suffix}"
    path.write_bytes(compress(b'{"text": "Bonn"}\n' * 99))
    assert texts(path) == ["Bonn"] * 99
    for damaged in (path.read_bytes()[:-9], b"no archive"):
        path.write_bytes(damaged)
        with pytest.raises(RecordError, match=r"in\.jsonl\.\w+ cannot be decompressed"):
            texts(path)


SENTENCES = [["Bonn", "ruft", "#"], ["Graz"]]


@pytest.mark.parametrize(
    "content",
    [
        "Bonn\nruft\n#\n\nGraz\n",
        "# id = 1\nBonn\tO\nruft\tO\n#\tO\n\n\n-DOCSTART-\tO\n\nGraz\tB-LOC\t\n",
        "#id 1\nBonn NNP O\nruft VV O\n# SYM O\n\nGraz NNP B-LOC\n",
        "#\thttp://example.org\n1\tBonn\tO\tO\n2\truft\tO\tO\n3\t#\tO\tO\n\n1\tGraz\tB-LOC\tO\n",
        "# sent_id = 1\n0\tBonn\tB-LOC\t-\n1\truft\tO\t-\n2\t#\tO\t-\n\n0\tGraz\tB-LOC\t-\n",
        "1-2\tBonn\t_\n1\tBo\tx\n2\tnn\tx\n3\truft\tx\n3.1\tx\tx\n4\t#\tx\n\n1\tGraz\tx\n",
    ],
)
def test_words_are_found_in_conll_files(content: str) -> None:
    assert read_words(io.BytesIO(content.encode()), "in.conll") == SENTENCES


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1 CD O\n\nBonn NNP O\n", [["1"], ["Bonn"]]),
        ("1\tO\n2\tO\n", [["1", "2"]]),
        ("1\n2\n", [["1", "2"]]),
        ("1\tBonn\n2\truft\n", [["Bonn", "ruft"]]),
        ("Form\nist\n", [["Form", "ist"]]),
    ],
)
def test_a_column_of_numbers_counts_words_or_is_words(content: str, words: list[list[str]]) -> None:
    assert read_words(io.BytesIO(content.encode()), "in.conll") == words


def test_the_column_of_words_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "in.conll").write_text("d1\tBonn\tO\nd1\truft\tO\nd1\tan\tO\n", encoding="utf-8")
    with pytest.raises(RecordError, match=r"which column holds the words\? .* Set `column` to the number"):
        texts(tmp_path / "in.conll")
    assert [record.text for record in read_records(str(tmp_path / "in.conll"), "2")] == [["Bonn", "ruft", "an"]]


@pytest.mark.parametrize("suffix", [".conll", ".conllu", ".bio", ".iob", ".iob2", ".tsv"])
def test_conll_files_may_have_several_suffixes(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"in{suffix}").write_text("Bonn\tB-LOC\n", encoding="utf-8")
    assert texts(tmp_path / f"in{suffix}") == [["Bonn"]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.jsonl", '{"text": "Bonn", "n": 1, "n": 2}', r"line 1 is not valid JSON \(the key 'n' occurs twice\)"),
        ("in.jsonl", '{"text": ' + "[" * 99999, r"line 1 is not valid JSON \(maximum recursion"),
        ("in.jsonl", '{"text": ' + "1" * 5000 + "}", r"line 1 is not valid JSON \(Exceeds the limit"),
        ("in.json", '[{"text": "Bonn"}, "Graz"]', r"record 2 is not a JSON object: 'Graz'"),
        ("in.json", '[{"text": "Bonn"} {"text": "Graz"}]', r"there is no comma after record 1"),
        ("in.json", '[{"text": "Bonn"}', r"its list does not end with '\]'"),
        ("in.json", "[{'text': 1}]", r"record 1 is not valid JSON"),
        ("in.csv", "text,n\nBonn\n", r"line 2 has 1 values, but the header has 2 columns"),
        ("in.csv", 'text\n"Bonn', r"line 2 is not valid CSV: unexpected end of data"),
        ("in.csv", "text,text\n", r"has a repeated column name: 'text', 'text'"),
        ("in.tsv", "id\ttext\n1\tBonn\n", r"in\.tsv has no tags\. Rename it to \.csv if it is a table"),
        ("in.txt", "Bonn\tB-LOC\nruft\tO\n", r"in\.txt has one word and one tag per line, .* Rename it to \.conll"),
        ("in.txt", "Angela PER\nruft O\n", r"in\.txt has one word and one tag per line"),
        ("in.parquet", "PAR1", r"in\.parquet cannot be read as parquet"),
        ("in.jsonl.zip", "", r"has the unsupported suffix '\.zip'\. Supported suffixes are \.jsonl, \.ndjson \(JSON lines\)"),
    ],
)
def test_a_file_that_does_not_match_its_suffix_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(RecordError, match=message):
        texts(tmp_path / name)


def test_a_missing_file_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"There is no file .*no\.jsonl"):
        texts(tmp_path / "no.jsonl")
    (tmp_path / "in.jsonl").mkdir()
    with pytest.raises(RecordError, match=r"in\.jsonl is a folder"):
        texts(tmp_path / "in.jsonl")


@given(
    st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff")), min_size=3, max_size=3), max_size=5)
)
def test_values_of_csv_are_read_unchanged(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([["id", "text", "n"], *rows])
    path = tmp_path_factory.getbasetemp() / "values.csv"
    path.write_bytes(stream.getvalue().encode())
    assert [list(record.row.values()) for record in read_records(str(path))] == rows


def test_json_records_are_kept_as_written(tmp_path: Path) -> None:
    written = [
        '{"text": "Bonn" ,"n":1e400,"big": 123456789012345678901234567890, "f": 0.10}',
        '{"a":"\\u00e4\\n{}", "text":null}',
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(written), encoding="utf-8")
    (tmp_path / "in.json").write_text(json.dumps([json.loads(line) for line in written], indent=1), encoding="utf-8")
    assert [record.json for record in read_records(str(tmp_path / "in.jsonl"))] == written
    rows = [json.loads(record.json or "") for record in read_records(str(tmp_path / "in.json"))]
    assert rows == [json.loads(line) for line in written]
