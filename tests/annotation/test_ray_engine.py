"""Annotation on a real Ray cluster with two workers: the rows are those of the local engine, also if a worker is killed."""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from typer.testing import CliRunner

from modeling_retrieveall import Extraction, InputError
from modeling_retrieveall.annotation.annotate import AnnotationSummary, annotate
from modeling_retrieveall.annotation.journal import JournalError, target_lock
from modeling_retrieveall.annotation.ray_engine import annotate_on_ray
from modeling_retrieveall.annotation.readers import RecordError
from modeling_retrieveall.cli.app import app
from tests.annotation.test_annotate import TEXTS, CapitalsModel, jsonl
from tests.random_adapters import write_random_adapters


class SlowModel(CapitalsModel):
    """Takes 0.1 s per call, and records its resources in a file of the folder that is named after the process id."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        resources = {"threads": torch.get_num_threads(), "gpu": os.environ.get("CUDA_VISIBLE_DEVICES")}
        Path(folder, f"{os.getpid()}.json").write_text(json.dumps(resources))

    def extract(self, texts: Any, **options: Any) -> list[Extraction]:
        time.sleep(0.1)
        return super().extract(texts, **options)


@pytest.fixture(scope="module", autouse=True)
def _ray_folder() -> Iterator[None]:
    # pytest's temporary folder has too long a path for a socket.
    with tempfile.TemporaryDirectory(prefix="ray") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def cluster() -> None:
    """A cluster with two cores and a GPU that does not exist."""
    ray.init("local", num_cpus=2, num_gpus=1, include_dashboard=False, logging_level="ERROR")


@pytest.fixture
def workers(tmp_path: Path) -> Path:
    """The folder in which workers record their resources."""
    (tmp_path / "workers").mkdir()
    return tmp_path / "workers"


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["annotate", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_json_lines_are_those_of_the_local_engine(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> None:
    model = write_random_adapters(tmp_path / "adapters", tiny_adapter)
    rows: list[dict[str, Any]] = [{"text": text, "more": n} if n % 2 else {"text": text} for n, text in enumerate(TEXTS)]
    source = jsonl(tmp_path / "in.jsonl", [*rows, {"text": "In Äthiopien \ud800"}, {"text": ""}])
    common = ["--model", model, "--batch-size", 1, "--dtype", "float32"]
    assert run(source, tmp_path / "local.jsonl", *common)[0] == 0
    code, output, _ = run(source, tmp_path / "ray.jsonl", *common, "--engine", "ray", "--workers", 2)
    assert (code, output.split()[:2]) == (0, ["102", "records"])
    parts = b"".join(part.read_bytes() for part in sorted((tmp_path / "ray.jsonl").glob("part-*")))
    assert parts == (tmp_path / "local.jsonl").read_bytes()
    assert not ray.is_initialized()


def test_no_record_is_lost_if_a_worker_is_killed(cluster: None, workers: Path, tmp_path: Path) -> None:
    whole, source, target = tmp_path / "whole.parquet", tmp_path / "in.parquet", tmp_path / "out.parquet"
    columns = {"id": pa.array(range(600), pa.int16()), "when": pa.array(range(600), pa.timestamp("ms"))}
    table = pa.table({**columns, "tokens": [["In", "Bonn", str(n)] for n in range(600)], "none": [None] * 600})
    pq.write_table(table, whole)
    source.mkdir()
    pq.write_table(table[:280], source / "a.parquet")
    pq.write_table(table[280:], source / "b.parquet")
    (tmp_path / "out.parquet.unfinished").mkdir()
    (tmp_path / "out.parquet.unfinished" / "part-000009.parquet").write_bytes(b"left by a run that was killed")
    killer = Thread(target=_kill_the_first, args=(workers,), daemon=True)
    killer.start()
    load = partial(SlowModel, str(workers))
    done = annotate_on_ray(load, str(source), f"file://{target}", workers=(2, 2), gpus=0.5, batch_size=2)
    assert done == AnnotationSummary(records=600, resumed=0, without_text=0)
    assert not killer.is_alive()
    assert [json.loads(path.read_text()) for path in workers.iterdir()] == [{"threads": 1, "gpu": "0"}] * 3
    annotate(CapitalsModel(), str(whole), str(tmp_path / "local.parquet"), batch_size=2)
    assert pq.read_table(target).equals(pq.read_table(tmp_path / "local.parquet"))
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.parquet"]
    assert (target / "_SUCCESS").is_file()


def _kill_the_first(workers: Path) -> None:
    while not (running := list(workers.iterdir())):
        time.sleep(0.01)
    time.sleep(0.5)  # now it is annotating a part, and another part is waiting
    os.kill(int(running[0].stem), signal.SIGKILL)


def test_an_error_in_a_worker_is_one_message(cluster: None, tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"text": "Bonn"}])
    code, _, errors = run(source, tmp_path / "out.jsonl", "--engine", "ray", "--model", tmp_path / "nothing")
    assert code == 2
    assert "Error: There is no model" in errors and "Traceback" not in errors
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("out.jsonl", ["--worker-cpus", 2], "--address need --engine ray"),
        ("out.jsonl", ["--workers", "2-4"], "a range needs --engine ray"),
        ("out.jsonl", ["--engine", "spark"], "--engine is 'spark'; give local or ray"),
        ("out.jsonl", ["--engine", "ray", "--workers", "8-2"], "--workers is '8-2'; give a number"),
        ("out.jsonl", ["--engine", "ray", "--workers", "2", "--worker-cpus", 2], "need 4 CPUs, but there are 2"),
        ("out.jsonl", ["--engine", "ray", "--worker-gpus", 2], "need 2 GPUs, but there are 1"),
        (
            "out.html",
            ["--engine", "ray"],
            "has the unsupported suffix '.html'. Supported suffixes are .jsonl (JSON lines), .parquet",
        ),
        ("in.jsonl", ["--engine", "ray"], "already exists. Set --overwrite"),
    ],
)
def test_invalid_options_are_rejected(cluster: None, tmp_path: Path, name: str, options: list[str], message: str) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"text": "Bonn"}])
    code, _, errors = run(source, tmp_path / name, *options)
    assert code == 2
    assert message in errors
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_invalid_records_are_rejected_before_the_workers_start(cluster: None, tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"text": "Bonn"}] * 300 + [{"text": 3, "known": "x"}])
    for target in ("out.parquet", "out.jsonl"):
        with pytest.raises(RecordError, match=r"in\.jsonl, record 301: 'text' is 3, which is neither a text nor a list of words"):
            annotate_on_ray(CapitalsModel, str(source), str(tmp_path / target))
    source = jsonl(tmp_path / "in.jsonl", [{"text": "Bonn", "known": "x"}])
    with pytest.raises(RecordError, match=r"already has 'known', which annotation would overwrite"):
        annotate_on_ray(CapitalsModel, str(source), str(tmp_path / "out.jsonl"))
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_columns_and_records_without_text_are_those_of_the_local_engine(cluster: None, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": "Bonn", "known": 1}, {"text": None}, {"known": 2.5}, {"text": "In Graz", "n": [1]}]
    source, options = jsonl(tmp_path / "in.jsonl", rows * 80), {"prefix": "our_", "batch_size": 2}
    done = annotate(CapitalsModel(), str(source), str(tmp_path / "local.parquet"), **options)  # type: ignore[arg-type]
    assert annotate_on_ray(CapitalsModel, str(source), str(tmp_path / "ray.parquet"), **options) == done  # type: ignore[arg-type]
    assert (done.records, done.without_text) == (320, 160)
    assert pq.read_table(tmp_path / "ray.parquet").equals(pq.read_table(tmp_path / "local.parquet"))


def test_the_files_of_a_source_can_have_different_columns(cluster: None, tmp_path: Path) -> None:
    (tmp_path / "in.parquet").mkdir()
    first = pa.table({"text": ["Bonn"], "n": pa.array([1], pa.int16())})
    second = pa.table({"n": pa.array([2], pa.int32()), "raw": [b"\xff"], "text": ["Graz"]})
    for name, table in (("a", first), ("b", second)):
        pq.write_table(table, tmp_path / "in.parquet" / f"{name}.parquet")
    annotate_on_ray(CapitalsModel, str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"))
    result = pq.read_table(tmp_path / "out.parquet")
    assert result.schema.field("n").type == pa.int32()
    assert result.select(["text", "n", "raw"]).to_pylist() == [
        {"text": "Bonn", "n": 1, "raw": None},
        {"text": "Graz", "n": 2, "raw": b"\xff"},
    ]


def test_a_target_is_neither_the_source_nor_written_by_another_job(cluster: None, tmp_path: Path) -> None:
    (tmp_path / "all.jsonl").mkdir()
    source = jsonl(tmp_path / "all.jsonl" / "part-0.jsonl", [{"text": "Bonn"}])
    with pytest.raises(ValueError, match="cannot be replaced, because"):
        annotate_on_ray(CapitalsModel, str(source), str(tmp_path / "all.jsonl"), overwrite=True)
    assert source.exists()
    with target_lock(tmp_path / "out.jsonl"), pytest.raises(JournalError, match=r"Another process is writing .*out\.jsonl"):
        annotate_on_ray(CapitalsModel, str(source), str(tmp_path / "out.jsonl"))
    (tmp_path / "out.jsonl").mkdir()
    assert annotate_on_ray(CapitalsModel, str(source), str(tmp_path / "out.jsonl"), overwrite=True).records == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.jsonl", "out.jsonl"]


def test_a_target_that_is_a_file_or_holds_the_source_is_refused(cluster: None, tmp_path: Path) -> None:
    source = str(jsonl(tmp_path / "in.jsonl", [{"text": "Bonn"}]))
    target = jsonl(tmp_path / "out.jsonl", [{"text": "Graz"}])
    with pytest.raises(RecordError, match=r"out\.jsonl is a file, but Ray writes a folder"):
        annotate_on_ray(CapitalsModel, source, str(target), overwrite=True)
    with pytest.raises(InputError, match=r"batch_size is 0; give at least 1\."):
        annotate_on_ray(CapitalsModel, source, str(tmp_path / "other.jsonl"), batch_size=0)
    memory = fsspec.filesystem("memory")
    memory.pipe("/corpus.jsonl/part-1.jsonl", b'{"text": "Bonn"}\n')
    with pytest.raises(InputError, match=r"cannot be replaced, because .*part-1\.jsonl is read from it"):
        annotate_on_ray(CapitalsModel, "memory://corpus.jsonl/part-1.jsonl", "memory://corpus.jsonl", overwrite=True)
    assert memory.exists("/corpus.jsonl/part-1.jsonl")


def test_a_second_job_is_refused_while_the_first_one_checks_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = jsonl(tmp_path / "in.jsonl", [{"text": "Bonn"}]), str(tmp_path / "out.jsonl")

    def check_while_another_job_starts(*_: Any) -> Any:
        monkeypatch.undo()
        with pytest.raises(JournalError, match="Another process is writing"):
            annotate_on_ray(CapitalsModel, str(source), target)
        raise RecordError("checked")

    monkeypatch.setattr("modeling_retrieveall.annotation.ray_engine.check_source", check_while_another_job_starts)
    with pytest.raises(RecordError, match="checked"):
        annotate_on_ray(CapitalsModel, str(source), target)


def test_a_missing_source_or_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "does not exist" in run(tmp_path / "no.jsonl", tmp_path / "out.jsonl", "--engine", "ray")[2]
    monkeypatch.delitem(sys.modules, "modeling_retrieveall.annotation.ray_engine")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert 'pip install "retrieveall[ray]"' in run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--engine", "ray")[2]
