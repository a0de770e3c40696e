"""Files of texts become files of entities: every record once, in order, whatever happens on the way."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall import Entity, Extraction, RetrieveAllModel
from modeling_retrieveall.integrations.annotation import JournalError, annotate
from modeling_retrieveall.integrations.dataset import annotator
from modeling_retrieveall.integrations.records import RecordError, read_records
from modeling_retrieveall.integrations.report import pieces
from tests.loud_adapters import write_loud_adapters

WORD = re.compile(r"\w+")


class Capitals:
    """Stands for a model: every capitalised word is an entity. Stops after some texts, as a crash would."""

    def __init__(self, texts_before_crash: int = 10**9) -> None:
        self.languages = {"de": "here"}
        self.left = texts_before_crash
        self.read: list[str] = []

    def explain(self, texts: Any = None, words: Any = None, **_: Any) -> list[Extraction]:
        rows = texts if words is None else [" ".join(row) for row in words]
        if self.left < len(rows):
            raise KeyboardInterrupt
        self.left -= len(rows)
        self.read += rows
        return [Extraction(row, [_entity(m) for m in WORD.finditer(row) if m.group()[0].isupper()], []) for row in rows]


def _entity(match: re.Match[str]) -> Entity:
    return Entity(match.group(), "LOC", match.start(), match.end(), 0.5)


TEXTS = [f"In Bonn und Graz {number}" if number % 3 else "nichts" for number in range(100)]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "in.jsonl", [{"id": number, "text": text} for number, text in enumerate(TEXTS)])


def read(path: Path) -> list[dict[str, Any]]:
    return [row for row in (record.row for record in read_records(str(path)))]


def test_each_record_keeps_what_it_had_and_gains_entities_in_order(source: Path, tmp_path: Path) -> None:
    done = annotate(Capitals(), str(source), str(tmp_path / "out.jsonl"), batch_size=2)
    rows = read(tmp_path / "out.jsonl")
    assert (done.records, done.resumed) == (100, 0)
    assert [(row["id"], row["text"]) for row in rows] == list(enumerate(TEXTS))
    assert [entity["text"] for entity in rows[1]["entities"]] == ["In", "Bonn", "Graz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.mark.parametrize("torn", [b"", b'{"id": 64, "te', b'{"id"'])
def test_a_crash_loses_and_repeats_nothing(source: Path, tmp_path: Path, torn: bytes) -> None:
    target = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        annotate(Capitals(70), str(source), str(target), batch_size=2)
    assert not target.exists()
    with (tmp_path / "out.jsonl.journal").open("ab") as journal:
        journal.write(torn)
    model = Capitals()
    done = annotate(model, str(source), str(target), batch_size=2)
    assert (done.records, done.resumed) == (100, 64)
    assert model.read == TEXTS[64:]
    annotate(Capitals(), str(source), str(tmp_path / "whole.jsonl"))
    assert target.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_journal_of_another_job_is_not_gone_on_with(source: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        annotate(Capitals(70), str(source), str(tmp_path / "out.jsonl"), batch_size=2)
    with pytest.raises(JournalError, match="another source or other settings"):
        annotate(Capitals(), str(source), str(tmp_path / "out.jsonl"), threshold=0.5)


def test_a_target_is_replaced_only_when_asked_for(source: Path, tmp_path: Path) -> None:
    annotate(Capitals(), str(source), str(tmp_path / "out.jsonl"))
    with pytest.raises(FileExistsError, match="--overwrite"):
        annotate(Capitals(), str(source), str(tmp_path / "out.jsonl"))
    assert annotate(Capitals(), str(source), str(tmp_path / "out.jsonl"), overwrite=True).records == 100


def test_parquet_in_and_out_keeps_columns_and_types(tmp_path: Path) -> None:
    table = pa.table({"body": ["nichts"] * 1500 + ["Bonn"], "when": pa.array(range(1501), pa.int16())})
    pq.write_table(table, tmp_path / "in.parquet")
    annotate(Capitals(), str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"), column="body")
    result = pq.read_table(tmp_path / "out.parquet")
    assert result.column_names == ["body", "when", "entities", "language", "known"]
    assert result["body"].to_pylist() == table["body"].to_pylist()
    assert result["entities"].to_pylist()[-1] == [{"text": "Bonn", "label": "LOC", "start": 0, "end": 4, "score": 0.5}]


def test_rows_of_different_columns_become_one_table(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": "Bonn", "n": 1}] * 1100 + [{"text": "Graz", "n": 0.5, "more": ["x"]}]
    source = jsonl(tmp_path / "in.jsonl", rows)
    annotate(Capitals(), str(source), str(tmp_path / "out.parquet"))
    result = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert (result[0]["n"], result[0]["more"], result[-1]["n"], result[-1]["more"]) == (1.0, None, 0.5, ["x"])


def test_a_url_cannot_be_written_to(source: Path) -> None:
    with pytest.raises(RecordError, match="Give a file of this machine"):
        annotate(Capitals(), str(source), "memory://out.jsonl")


def test_a_url_can_be_read(source: Path, tmp_path: Path) -> None:
    with fsspec.open("memory://in.jsonl", "wb") as stream:
        stream.write(source.read_bytes())
    assert annotate(Capitals(), "memory://in.jsonl", str(tmp_path / "out.jsonl")).records == 100


def test_conll_in_and_out_keeps_the_words(tmp_path: Path) -> None:
    (tmp_path / "in.conll").write_text("-DOCSTART-\tO\n\nGraz\tO\nist\tO\n\n\nklein\tO\n", encoding="utf-8")
    annotate(Capitals(), str(tmp_path / "in.conll"), str(tmp_path / "out.conll"))
    assert (tmp_path / "out.conll").read_text(encoding="utf-8") == "Graz\tB-LOC\nist\tO\n\nklein\tO\n\n"


def test_lines_of_text_become_a_page_with_their_entities_marked(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("In Bonn <b>\nзима\n\u05d9\u05e8\u05d5\u05e9\u05dc\u05d9\u05dd\n", encoding="utf-8")
    annotate(Capitals(), str(tmp_path / "in.txt"), str(tmp_path / "out.html"))
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert page.count('<p dir="auto"') == 3
    assert ">Bonn<small>LOC</small></mark>" in page
    assert "&lt;b&gt;" in page


def test_an_empty_file_gives_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").touch()
    for suffix in (".jsonl", ".parquet", ".conll", ".html"):
        assert annotate(Capitals(), str(tmp_path / "in.jsonl"), str(tmp_path / f"out{suffix}")).records == 0
        assert (tmp_path / f"out{suffix}").is_file()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", "text", r"in\.csv ends with '\.csv'; give a file that ends with one of \.jsonl"),
        ("in.jsonl", "{", r"in\.jsonl, line 1 is no JSON"),
        ("in.jsonl", "[1]", r"in\.jsonl, line 1 is \[1\], not a JSON object"),
        ("in.jsonl", '{"body": "x"}', r"record 1 has no 'text', only 'body'\. Give --column"),
        ("in.jsonl", '{"text": 3}', r"record 1: 'text' is 3, neither a text nor a list of words"),
    ],
)
def test_what_cannot_be_read_is_named_before_anything_is_done(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(RecordError, match=message):
        annotate(Capitals(), str(tmp_path / name), str(tmp_path / "out.jsonl"))
    assert not list(tmp_path.glob("out*"))


def test_a_dataset_is_annotated_by_its_own_map() -> None:
    dataset = Dataset.from_dict({"text": TEXTS, "id": list(range(100))})
    result = dataset.map(annotator(Capitals()), batched=True, batch_size=7, load_from_cache_file=False)
    assert result.column_names == ["text", "id", "entities", "language", "known"]
    assert [[entity["text"] for entity in row["entities"]] for row in result] == [
        [word for word in WORD.findall(text) if word[0].isupper()] for text in TEXTS
    ]


@given(st.text(max_size=30), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=5))
def test_pieces_are_the_text(text: str, borders: list[tuple[int, int]]) -> None:
    entities, position = [], 0
    for start, end in sorted(borders):
        if position <= start < end <= len(text):
            entities.append({"start": start, "end": end})
            position = end
    found = list(pieces(text, entities))
    assert "".join(piece for piece, _ in found) == text
    assert [entity for _, entity in found if entity] == entities


def test_a_killed_process_is_gone_on_with(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> None:
    adapters = write_loud_adapters(tmp_path / "loud", tiny_adapter)
    source = jsonl(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS])
    command = [sys.executable, "-m", "modeling_retrieveall.cli", "annotate", source, tmp_path / "out.jsonl"]
    command += ["--model", adapters, "--batch-size", "1", "--dtype", "float32"]
    journal = tmp_path / "out.jsonl.journal"
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL)
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 1):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out.jsonl").exists()
    finished = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    assert "100 records" in finished.stdout and "by an earlier run" in finished.stdout
    model = RetrieveAllModel.from_pretrained(adapters)
    expected = [[entity.text for entity in entities] for entities in model.extract(TEXTS, batch_size=1)]
    assert [[entity["text"] for entity in row["entities"]] for row in read(tmp_path / "out.jsonl")] == expected
