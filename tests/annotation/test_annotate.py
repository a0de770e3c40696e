"""Annotation of files: each record is annotated once and in order, also after a crash or a change of the source."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_retrieveall import Entity, Extraction, RetrieveAllModel
from modeling_retrieveall.annotation.added_columns import uncertainty
from modeling_retrieveall.annotation.annotate import annotate
from modeling_retrieveall.annotation.datasets_map import annotator
from modeling_retrieveall.annotation.html_report import split_at_entities
from modeling_retrieveall.annotation.journal import JournalError
from modeling_retrieveall.annotation.model_fingerprint import model_fingerprint
from modeling_retrieveall.annotation.readers import RecordError, read_records
from modeling_retrieveall.annotation.source_checks import check_source
from modeling_retrieveall.model.errors import InputError
from tests.adapter_folders import copy_adapter
from tests.conftest import write_tiny_base
from tests.random_adapters import copy_with_random_weights, write_random_adapters

WORD = re.compile(r"\w+")


class CapitalsModel:
    """A stand-in for a model: each capitalised word is an entity. It raises KeyboardInterrupt after some texts."""

    def __init__(self, texts_before_crash: int = 10**9) -> None:
        self.languages = {"de": "here"}
        self.left = texts_before_crash
        self.read: list[str] = []

    def extract(self, texts: Any, is_split_into_words: bool = False, **_: Any) -> list[Extraction]:
        rows = [" ".join(words) for words in texts] if is_split_into_words else texts
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


def test_records_keep_their_columns_and_order_and_get_entities(source: Path, tmp_path: Path) -> None:
    done = annotate(CapitalsModel(), str(source), str(tmp_path / "out.jsonl"), batch_size=2)
    rows = read(tmp_path / "out.jsonl")
    assert (done.records, done.resumed) == (100, 0)
    assert [(row["id"], row["text"]) for row in rows] == list(enumerate(TEXTS))
    assert [entity["text"] for entity in rows[1]["entities"]] == ["In", "Bonn", "Graz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.mark.parametrize("torn", [b"", b'{"id": 64, "te', b'{"id"'])
def test_resuming_after_a_crash_neither_loses_nor_repeats_records(source: Path, tmp_path: Path, torn: bytes) -> None:
    target = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        annotate(CapitalsModel(70), str(source), str(target), batch_size=2)
    assert not target.exists()
    with (tmp_path / "out.jsonl.journal").open("ab") as journal:
        journal.write(torn)
    model = CapitalsModel()
    done = annotate(model, str(source), str(target), batch_size=2)
    assert (done.records, done.resumed) == (100, 64)
    assert model.read == TEXTS[64:]
    annotate(CapitalsModel(), str(source), str(tmp_path / "whole.jsonl"))
    assert target.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_journal_of_another_job_is_not_resumed(source: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        annotate(CapitalsModel(70), str(source), str(tmp_path / "out.jsonl"), batch_size=2)
    with pytest.raises(JournalError, match=r"another source or other settings: threshold was None, is 0\.5\. Run the"):
        annotate(CapitalsModel(), str(source), str(tmp_path / "out.jsonl"), threshold=0.5)
    other = jsonl(tmp_path / "other.jsonl", [{"text": "Bonn"}])
    with pytest.raises(JournalError, match=r"source was 'file://.*in\.jsonl', is 'file://.*other\.jsonl'"):
        annotate(CapitalsModel(), str(other), str(tmp_path / "out.jsonl"))
    assert annotate(CapitalsModel(), str(source), str(tmp_path / "out.jsonl"), prefix="x_").resumed == 64


ROW = st.fixed_dictionaries({}, optional={"text": st.sampled_from(["Bonn", "in Graz", "Ä", "", None]), "n": st.integers(-9, 9)})


@given(st.lists(ROW, max_size=12), st.integers(0, 12), st.integers(1, 12), ROW, st.sampled_from([".jsonl", ".parquet", ".conll"]))
@settings(max_examples=60)
def test_a_resumed_job_writes_the_same_target_as_an_uninterrupted_one(
    rows: list[dict[str, Any]], texts_before_crash: int, changed: int, other: dict[str, Any], suffix: str
) -> None:
    rows = [{"text": "Bonn", "n": 0}, *rows]
    with tempfile.TemporaryDirectory() as folder, patch("modeling_retrieveall.annotation.annotate.BATCHES_PER_CHUNK", 1):
        source, target, whole = Path(folder, "in.jsonl"), Path(folder, f"out{suffix}"), Path(folder, f"whole{suffix}")
        jsonl(source, rows)
        with suppress(KeyboardInterrupt):
            annotate(CapitalsModel(texts_before_crash), str(source), str(target), batch_size=1)
        target.unlink(missing_ok=True)
        jsonl(source, [*rows[:changed], other, *rows[changed + 1 :]])  # the user fixes a record before the job is resumed
        resumed = annotate(CapitalsModel(), str(source), str(target), batch_size=1)
        done = annotate(CapitalsModel(), str(source), str(whole), batch_size=1)
        assert (resumed.records, resumed.without_text) == (done.records, done.without_text)
        assert target.read_bytes() == whole.read_bytes()
        assert not Path(f"{target}.journal").exists()


def test_only_a_changed_record_is_annotated_again(source: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        annotate(CapitalsModel(90), str(source), str(tmp_path / "out.jsonl"), batch_size=1)
    rows = [{"text": text} for text in TEXTS]
    rows[3] = {"text": "In Köln"}
    del rows[10]
    jsonl(source, rows)
    model = CapitalsModel()
    done = annotate(model, str(source), str(tmp_path / "out.jsonl"), batch_size=1)
    rest = [text for text in TEXTS[80:] if text != "nichts"]  # the journal has the result of this text
    assert (done.records, done.resumed) == (99, 99 - 1 - len(rest))
    assert model.read == ["In Köln", *rest]


def test_results_of_moved_records_survive_a_second_interruption(source: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        annotate(CapitalsModel(90), str(source), str(tmp_path / "out.jsonl"), batch_size=1)
    jsonl(source, [{"text": "In Köln"}, *({"text": text} for text in TEXTS)])
    with pytest.raises(KeyboardInterrupt):
        annotate(CapitalsModel(0), str(source), str(tmp_path / "out.jsonl"), batch_size=1)
    model = CapitalsModel()
    annotate(model, str(source), str(tmp_path / "out.jsonl"), batch_size=1)
    assert model.read == ["In Köln", *(text for text in TEXTS[80:] if text != "nichts")]
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.jsonl"]


def test_a_batch_size_below_one_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"batch_size is 0; give at least 1\."):
        annotate(CapitalsModel(), str(source), str(tmp_path / "out.jsonl"), batch_size=0)


def test_a_source_that_changes_while_the_job_runs_is_reported(source: Path, tmp_path: Path) -> None:
    class ChangesSource(CapitalsModel):
        def extract(self, texts: Any, **options: Any) -> list[Extraction]:
            if not self.read:
                source.write_text(source.read_text().replace('Bonn und Graz 1"', 'Köln und Graz 1"'))
            return super().extract(texts, **options)

    with pytest.raises(RecordError, match=r"record 2 has changed since it was annotated\. Run the same job again"):
        annotate(ChangesSource(), str(source), str(tmp_path / "out.jsonl"))
    assert annotate(CapitalsModel(), str(source), str(tmp_path / "out.jsonl")).resumed == 99


HOLD = """
import sys, time
from modeling_retrieveall.annotation.annotate import prepare_annotation
with prepare_annotation(*sys.argv[1:]):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_two_jobs_cannot_write_one_target_and_a_killed_job_releases_its_lock(source: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "out.jsonl")
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(source), target], stdout=subprocess.PIPE)
    assert first.stdout and first.stdout.readline() == b"locked\n"
    with pytest.raises(JournalError, match=r"Another process is writing .*out\.jsonl\. Wait until it has finished"):
        annotate(CapitalsModel(), str(source), target)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert annotate(CapitalsModel(), str(source), target).records == 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_second_job_is_refused_while_the_first_one_checks_its_source(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = str(tmp_path / "out.jsonl")

    def check_while_another_job_starts(*arguments: Any) -> Any:
        monkeypatch.undo()
        with pytest.raises(JournalError, match="Another process is writing"):
            annotate(CapitalsModel(), str(source), target)
        return check_source(*arguments)

    monkeypatch.setattr("modeling_retrieveall.annotation.annotate.check_source", check_while_another_job_starts)
    assert annotate(CapitalsModel(), str(source), target).records == 100


def test_a_source_that_cannot_be_read_leaves_no_new_folders(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError):
        annotate(CapitalsModel(), str(tmp_path / "missing.jsonl"), str(tmp_path / "new/deep/out.jsonl"))
    assert not (tmp_path / "new").exists()
    annotate(CapitalsModel(), str(source), str(tmp_path / "new/deep/out.jsonl"))
    assert [path.name for path in (tmp_path / "new/deep").iterdir()] == ["out.jsonl"]


def test_a_journal_is_not_resumed_with_another_base_dtype_configuration_or_adapter(
    tiny_adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    adapters = write_random_adapters(tmp_path / "adapters", tiny_adapter)
    model = RetrieveAllModel.from_pretrained(adapters)
    parts = model_fingerprint(model)
    model.extract(TEXTS[:3], batch_size=1)
    assert (
        model_fingerprint(model)
        == parts
        == model_fingerprint(RetrieveAllModel.from_pretrained(adapters, batch_size=3, adapter_slots=7))
    )
    assert json.loads(json.dumps(parts)) == parts
    others = {
        "dtype": RetrieveAllModel.from_pretrained(adapters, dtype=torch.bfloat16),
        "n_sentences": RetrieveAllModel.from_pretrained(adapters, n_sentences=1),
        "base LLM": RetrieveAllModel.from_pretrained(adapters, base_model=str(write_tiny_base(tmp_path / "base", seed=1))),
    }
    copy_with_random_weights(tiny_adapter("de"), tmp_path / "again" / "de", 9)
    for language in ("en", "mul"):
        shutil.copytree(adapters / language, tmp_path / "again" / language)
    others["languages"] = RetrieveAllModel.from_pretrained(tmp_path / "again")
    for name, other in others.items():
        assert name in {part for part, value in model_fingerprint(other).items() if value != parts[part]}
    source = jsonl(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS])
    Path(tmp_path / "out.jsonl.journal").write_text(
        json.dumps({"job": {"source": source.as_uri(), "column": None, **parts}}) + "\n"
    )
    with pytest.raises(JournalError, match=r"dtype was 'float32', is 'bfloat16'\. Run the job with the same settings"):
        annotate(others["dtype"], str(source), str(tmp_path / "out.jsonl"))


def test_columns_of_the_source_are_never_overwritten(tmp_path: Path) -> None:
    row = {"text": "Wien", "language": "de-AT", "entities": ["0:4:CITY"]}
    source, target = jsonl(tmp_path / "in.jsonl", [{"text": "Bonn"}] * 300 + [row]), str(tmp_path / "out.jsonl")
    model = CapitalsModel()
    with pytest.raises(
        RecordError, match=r"in\.jsonl already has 'entities', 'language', .* Set `prefix`, for example to 'retrieveall_'"
    ):
        annotate(model, str(source), target)
    assert model.read == []
    annotate(model, str(source), target, prefix="retrieveall_")
    assert read(Path(target))[-1].items() >= row.items()
    assert read(Path(target))[-1]["retrieveall_language"] == "und"
    with pytest.raises(RecordError, match=r"'retrieveall_entities', 'retrieveall_language', .* Choose another `prefix`"):
        annotate(model, target, str(tmp_path / "again.jsonl"), prefix="retrieveall_")
    annotate(model, str(source), str(tmp_path / "out.conll"))  # CoNLL has no columns that could be overwritten
    dataset = Dataset.from_list([row])
    with pytest.raises(RecordError, match="Set `prefix`"):
        dataset.map(annotator(model), batched=True, load_from_cache_file=False)
    result = dataset.map(annotator(model, prefix="our_"), batched=True, load_from_cache_file=False)
    assert result.column_names == [*row, "our_entities", "our_language", "our_known"]


def test_a_record_without_text_is_kept_and_counted(tmp_path: Path) -> None:
    rows = [
        {"id": 0},
        {"text": "Bonn"},
        {"text": None},
        {"text": float("nan")},
        {"text": ""},
        {"tokens": []},
        {"tokens": ["Graz"]},
    ]
    source = jsonl(tmp_path / "in.jsonl", rows)
    for suffix in (".jsonl", ".parquet", ".conll", ".html"):
        done = annotate(CapitalsModel(), str(source), str(tmp_path / f"out{suffix}"))
        assert (done.records, done.without_text) == (7, 5)
    assert [len(row["entities"]) for row in read(tmp_path / "out.jsonl")] == [0, 1, 0, 0, 0, 0, 1]
    assert [len(row["entities"]) for row in pq.read_table(tmp_path / "out.parquet").to_pylist()] == [0, 1, 0, 0, 0, 0, 1]
    assert (tmp_path / "out.conll").read_text() == "Bonn\tB-LOC\n\nGraz\tB-LOC\n\n"
    dataset = Dataset.from_dict({"text": ["Bonn", None]}).map(
        annotator(CapitalsModel()), batched=True, load_from_cache_file=False
    )
    assert [len(row["entities"]) for row in dataset] == [1, 0]


def test_a_record_of_the_wrong_type_is_rejected_before_the_model_runs(tmp_path: Path) -> None:
    for wrong in (3, {"a": 1}, ["Bonn", None], True):
        source = jsonl(tmp_path / "in.jsonl", [{"text": "Bonn"}] * 500 + [{"text": wrong}])
        model = CapitalsModel()
        with pytest.raises(RecordError, match=r"record 501: 'text' is .*, which is neither a text nor a list of words"):
            annotate(model, str(source), str(tmp_path / "out.jsonl"))
        assert model.read == []


def test_the_source_cannot_be_the_target(source: Path, tmp_path: Path) -> None:
    before = source.read_bytes()
    with pytest.raises(ValueError, match="cannot be replaced, because"):
        annotate(CapitalsModel(), str(source), str(source), overwrite=True)
    assert source.read_bytes() == before


def test_a_target_is_replaced_only_with_overwrite(source: Path, tmp_path: Path) -> None:
    annotate(CapitalsModel(), str(source), str(tmp_path / "out.jsonl"))
    with pytest.raises(FileExistsError, match="Set `overwrite` to replace it"):
        annotate(CapitalsModel(), str(source), str(tmp_path / "out.jsonl"))
    assert annotate(CapitalsModel(), str(source), str(tmp_path / "out.jsonl"), overwrite=True).records == 100


def test_parquet_in_and_out_keeps_columns_and_types(tmp_path: Path) -> None:
    table = pa.table({"body": ["nichts"] * 1500 + ["Bonn"], "when": pa.array(range(1501), pa.int16())})
    pq.write_table(table, tmp_path / "in.parquet")
    annotate(CapitalsModel(), str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"), column="body")
    result = pq.read_table(tmp_path / "out.parquet")
    assert result.column_names == ["body", "when", "entities", "language", "known"]
    assert result["body"].to_pylist() == table["body"].to_pylist()
    assert result["entities"].to_pylist()[-1] == [{"text": "Bonn", "label": "LOC", "start": 0, "end": 4, "score": 0.5}]


def test_rows_with_different_columns_become_one_table(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": "Bonn", "n": 1}] * 1100 + [{"text": "Graz", "n": 0.5, "more": ["x"]}]
    source = jsonl(tmp_path / "in.jsonl", rows)
    annotate(CapitalsModel(), str(source), str(tmp_path / "out.parquet"))
    result = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert (result[0]["n"], result[0]["more"], result[-1]["n"], result[-1]["more"]) == (1.0, None, 0.5, ["x"])


def test_a_url_cannot_be_written_to(source: Path) -> None:
    with pytest.raises(RecordError, match="Give a local path"):
        annotate(CapitalsModel(), str(source), "memory://out.jsonl")


def test_a_url_can_be_read(source: Path, tmp_path: Path) -> None:
    with fsspec.open("memory://in.jsonl", "wb") as stream:
        stream.write(source.read_bytes())
    assert annotate(CapitalsModel(), "memory://in.jsonl", str(tmp_path / "out.jsonl")).records == 100


def test_conll_in_and_out_keeps_the_words(tmp_path: Path) -> None:
    (tmp_path / "in.conll").write_text("-DOCSTART-\tO\n\nGraz\tO\nist\tO\n\n\nklein\tO\n", encoding="utf-8")
    annotate(CapitalsModel(), str(tmp_path / "in.conll"), str(tmp_path / "out.conll"))
    assert (tmp_path / "out.conll").read_text(encoding="utf-8") == "Graz\tB-LOC\nist\tO\n\nklein\tO\n\n"


def test_html_output_highlights_the_entities_of_each_line(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("In Bonn <b>\nзима\n\u05d9\u05e8\u05d5\u05e9\u05dc\u05d9\u05dd\n", encoding="utf-8")
    annotate(CapitalsModel(), str(tmp_path / "in.txt"), str(tmp_path / "out.html"))
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert page.count('<p dir="auto"') == 3
    assert ">Bonn<small>LOC</small></mark>" in page
    assert "&lt;b&gt;" in page


def test_an_empty_file_gives_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").touch()
    for suffix in (".jsonl", ".parquet", ".conll", ".html"):
        assert annotate(CapitalsModel(), str(tmp_path / "in.jsonl"), str(tmp_path / f"out{suffix}")).records == 0
        assert (tmp_path / f"out{suffix}").is_file()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.docx", "text", r"in\.docx has the unsupported suffix '\.docx'\. Supported suffixes are \.jsonl"),
        ("in.jsonl", "{", r"in\.jsonl, line 1 is not valid JSON"),
        ("in.jsonl", "[1]", r"in\.jsonl, line 1 is not a JSON object: \[1\]"),
        ("in.jsonl", '{"body": "x"}', r"record 1 has no column 'text'\. Its columns are: 'body'\. Set `column`"),
        ("in.jsonl", '{"text": 3}', r"record 1: 'text' is 3, which is neither a text nor a list of words"),
    ],
)
def test_an_unreadable_source_is_reported_before_the_model_runs(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(RecordError, match=message):
        annotate(CapitalsModel(), str(tmp_path / name), str(tmp_path / "out.jsonl"))
    assert not list(tmp_path.glob("out*"))


def test_a_dataset_is_annotated_with_map() -> None:
    dataset = Dataset.from_dict({"text": TEXTS, "id": list(range(100))})
    result = dataset.map(annotator(CapitalsModel()), batched=True, batch_size=7, load_from_cache_file=False)
    assert result.column_names == ["text", "id", "entities", "language", "known"]
    assert [[entity["text"] for entity in row["entities"]] for row in result] == [
        [word for word in WORD.findall(text) if word[0].isupper()] for text in TEXTS
    ]


@given(st.text(max_size=30), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=5))
def test_a_text_split_at_entities_has_all_characters_and_entities(text: str, borders: list[tuple[int, int]]) -> None:
    entities, position = [], 0
    for start, end in sorted(borders):
        if position <= start < end <= len(text):
            entities.append({"start": start, "end": end})
            position = end
    found = list(split_at_entities(text, entities))
    assert "".join(piece for piece, _ in found) == text
    assert [entity for _, entity in found if entity] == entities


def test_a_killed_process_is_resumed(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> None:
    adapters = write_random_adapters(tmp_path / "adapters", tiny_adapter)
    source = jsonl(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS])
    command = [sys.executable, "-m", "modeling_retrieveall.cli.app", "annotate", source, tmp_path / "out.jsonl"]
    command += ["--model", adapters, "--batch-size", "1", "--dtype", "float32"]
    journal = tmp_path / "out.jsonl.journal"
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL)
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 1):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out.jsonl").exists()
    finished = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    assert "100 records" in finished.stdout and "from an earlier run" in finished.stdout
    model = RetrieveAllModel.from_pretrained(adapters)
    expected = [[entity.text for entity in result.entities] for result in model.extract(TEXTS, batch_size=1)]
    assert [[entity["text"] for entity in row["entities"]] for row in read(tmp_path / "out.jsonl")] == expected


@pytest.fixture
def tagger(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> RetrieveAllModel:
    """A model with an adapter that decodes tags."""
    copy_adapter(tiny_adapter("de"), tmp_path / "adapters" / "de", decodings=["tags"])
    return RetrieveAllModel.from_pretrained(tmp_path / "adapters")


def test_the_most_uncertain_records_come_first(tagger: RetrieveAllModel, source: Path, tmp_path: Path) -> None:
    jsonl(source, [{"id": 1, "text": ""}, *({"id": number, "text": TEXTS[number]} for number in range(2, 12))])
    annotate(tagger, str(source), str(tmp_path / "plain.jsonl"))
    annotate(tagger, str(source), str(tmp_path / "ordered.jsonl"), order="uncertain")
    plain, ordered = read(tmp_path / "plain.jsonl"), read(tmp_path / "ordered.jsonl")
    values = [row.pop("uncertainty") for row in ordered]
    assert values == sorted(values, reverse=True)
    assert (ordered[-1]["id"], values[-1]) == (1, 0.0)
    assert all(0 <= value <= 1 for value in values)
    assert sorted(ordered, key=lambda row: row["id"]) == plain


def test_only_json_lines_can_be_ordered(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"The order 'uncertain' needs a target that ends with \.jsonl"):
        annotate(CapitalsModel(), str(source), str(tmp_path / "out.parquet"), order="uncertain")
    with pytest.raises(InputError, match="order is 'random'; give source or uncertain"):
        annotate(CapitalsModel(), str(source), str(tmp_path / "out.jsonl"), order="random")  # type: ignore[arg-type]


def test_uncertainty_is_that_of_the_score_nearest_to_one_half() -> None:
    def entity(score: float) -> Entity:
        return Entity("Bonn", "LOC", 0, 4, score)

    assert uncertainty(Extraction("", [], [], [])) == 0
    assert uncertainty(Extraction("", [entity(0.9), entity(0.98)], [], [])) == pytest.approx(0.2)
    assert uncertainty(Extraction("", [entity(0.9)], [], [entity(0.4)])) == pytest.approx(0.8)


def test_a_column_named_uncertainty_is_kept_unless_it_would_be_overwritten(tagger: RetrieveAllModel, tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"text": "Bonn", "uncertainty": 5}])
    annotate(tagger, str(source), str(tmp_path / "out.jsonl"))
    assert read(tmp_path / "out.jsonl")[0]["uncertainty"] == 5
    with pytest.raises(RecordError, match="already has 'uncertainty'"):
        annotate(tagger, str(source), str(tmp_path / "ordered.jsonl"), order="uncertain")
