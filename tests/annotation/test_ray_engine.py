"""A corpus on a real cluster of Ray, two workers of one core: the rows of the local engine, whatever dies on the way."""

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

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from typer.testing import CliRunner

from modeling_retrieveall import Extraction
from modeling_retrieveall.annotation.annotate import Annotated, annotate
from modeling_retrieveall.annotation.journal import JournalError, locked
from modeling_retrieveall.annotation.ray_engine import annotate_on_ray
from modeling_retrieveall.annotation.records import RecordError
from modeling_retrieveall.cli.app import app
from tests.annotation.test_annotate import TEXTS, Capitals, jsonl
from tests.loud_adapters import write_loud_adapters


class Slow(Capitals):
    """Takes its time, and says where it runs: a file of the folder is named by its process and holds what that was given."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        given = {"threads": torch.get_num_threads(), "gpu": os.environ.get("CUDA_VISIBLE_DEVICES")}
        Path(folder, f"{os.getpid()}.json").write_text(json.dumps(given))

    def extract(self, texts: Any, **options: Any) -> list[Extraction]:
        time.sleep(0.1)
        return super().extract(texts, **options)


@pytest.fixture(scope="module", autouse=True)
def _folder_of_ray() -> Iterator[None]:
    # Not in pytest's folder: the path of a socket has to be short.
    with tempfile.TemporaryDirectory(prefix="ray") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def cluster() -> None:
    """Two cores and a GPU that is there by name only."""
    ray.init("local", num_cpus=2, num_gpus=1, include_dashboard=False, logging_level="ERROR")


@pytest.fixture
def workers(tmp_path: Path) -> Path:
    """Where workers say that they run."""
    (tmp_path / "workers").mkdir()
    return tmp_path / "workers"


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["annotate", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_lines_are_those_of_the_local_engine(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> None:
    model = write_loud_adapters(tmp_path / "loud", tiny_adapter)
    rows: list[dict[str, Any]] = [{"text": text, "more": n} if n % 2 else {"text": text} for n, text in enumerate(TEXTS)]
    source = jsonl(tmp_path / "in.jsonl", [*rows, {"text": "In Äthiopien \ud800"}, {"text": ""}])
    common = ["--model", model, "--batch-size", 1, "--dtype", "float32"]
    assert run(source, tmp_path / "local.jsonl", *common)[0] == 0
    code, output, _ = run(source, tmp_path / "ray.jsonl", *common, "--engine", "ray", "--workers", 2)
    assert (code, output.split()[:2]) == (0, ["102", "records"])
    parts = b"".join(part.read_bytes() for part in sorted((tmp_path / "ray.jsonl").glob("part-*")))
    assert parts == (tmp_path / "local.jsonl").read_bytes()
    assert not ray.is_initialized()


def test_a_killed_worker_loses_nothing(cluster: None, workers: Path, tmp_path: Path) -> None:
    whole, source, target = tmp_path / "whole.parquet", tmp_path / "in.parquet", tmp_path / "out.parquet"
    columns = {"id": pa.array(range(1500), pa.int16()), "when": pa.array(range(1500), pa.timestamp("ms"))}
    table = pa.table({**columns, "tokens": [["In", "Bonn", str(n)] for n in range(1500)], "none": [None] * 1500})
    pq.write_table(table, whole)
    source.mkdir()
    pq.write_table(table[:700], source / "a.parquet")
    pq.write_table(table[700:], source / "b.parquet")
    (tmp_path / "out.parquet.unfinished").mkdir()
    (tmp_path / "out.parquet.unfinished" / "part-000009.parquet").write_bytes(b"of a run that was killed as a whole")
    killer = Thread(target=_kill_the_first, args=(workers,), daemon=True)
    killer.start()
    load = partial(Slow, str(workers))
    done = annotate_on_ray(load, str(source), f"file://{target}", workers=(2, 2), gpus=0.5, batch_size=2)
    assert done == Annotated(records=1500, resumed=0, without_text=0)
    assert not killer.is_alive()
    assert [json.loads(path.read_text()) for path in workers.iterdir()] == [{"threads": 1, "gpu": "0"}] * 3
    annotate(Capitals(), str(whole), str(tmp_path / "local.parquet"), batch_size=2)
    assert pq.read_table(target).equals(pq.read_table(tmp_path / "local.parquet"))
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.parquet"]
    assert (target / "_SUCCESS").is_file()


def _kill_the_first(workers: Path) -> None:
    while not (running := list(workers.iterdir())):
        time.sleep(0.01)
    time.sleep(0.5)  # it is in the midst of a part, and another waits for it
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
        ("out.jsonl", ["--workers", 2], "--address are for --engine ray"),
        ("out.jsonl", ["--engine", "spark"], "--engine is 'spark'; give local or ray"),
        ("out.jsonl", ["--engine", "ray", "--workers", "8-2"], "--workers is '8-2'; give how many"),
        ("out.jsonl", ["--engine", "ray", "--workers", "2", "--worker-cpus", 2], "need 4 CPUs, but there are 2"),
        ("out.jsonl", ["--engine", "ray", "--worker-gpus", 2], "need 2 GPUs, but there are 1"),
        ("out.html", ["--engine", "ray"], "ends with '.html'; give a file that ends with one of .jsonl (JSON lines), .parquet"),
        ("in.jsonl", ["--engine", "ray"], "is there already. Give --overwrite"),
    ],
)
def test_what_makes_no_sense_is_refused(cluster: None, tmp_path: Path, name: str, options: list[str], message: str) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"text": "Bonn"}])
    code, _, errors = run(source, tmp_path / name, *options)
    assert code == 2
    assert message in errors
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_records_that_make_no_sense_are_refused_before_the_workers_start(cluster: None, tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"text": "Bonn"}] * 300 + [{"text": 3, "known": "x"}])
    for target in ("out.parquet", "out.jsonl"):
        with pytest.raises(RecordError, match=r"in\.jsonl, record 301: 'text' is 3, neither a text nor a list of words"):
            annotate_on_ray(Capitals, str(source), str(tmp_path / target))
    source = jsonl(tmp_path / "in.jsonl", [{"text": "Bonn", "known": "x"}])
    with pytest.raises(RecordError, match=r"has 'known' already, which new columns would replace"):
        annotate_on_ray(Capitals, str(source), str(tmp_path / "out.jsonl"))
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_columns_and_records_without_text_are_those_of_the_local_engine(cluster: None, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": "Bonn", "known": 1}, {"text": None}, {"known": 2.5}, {"text": "In Graz", "n": [1]}]
    source, options = jsonl(tmp_path / "in.jsonl", rows * 80), {"prefix": "our_", "batch_size": 2}
    done = annotate(Capitals(), str(source), str(tmp_path / "local.parquet"), **options)  # type: ignore[arg-type]
    assert annotate_on_ray(Capitals, str(source), str(tmp_path / "ray.parquet"), **options) == done  # type: ignore[arg-type]
    assert (done.records, done.without_text) == (320, 160)
    assert pq.read_table(tmp_path / "ray.parquet").equals(pq.read_table(tmp_path / "local.parquet"))


def test_files_of_one_source_may_lack_columns_that_others_have(cluster: None, tmp_path: Path) -> None:
    (tmp_path / "in.parquet").mkdir()
    first = pa.table({"text": ["Bonn"], "n": pa.array([1], pa.int16())})
    second = pa.table({"n": pa.array([2], pa.int32()), "raw": [b"\xff"], "text": ["Graz"]})
    for name, table in (("a", first), ("b", second)):
        pq.write_table(table, tmp_path / "in.parquet" / f"{name}.parquet")
    annotate_on_ray(Capitals, str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"))
    result = pq.read_table(tmp_path / "out.parquet")
    assert result.schema.field("n").type == pa.int32()
    assert result.select(["text", "n", "raw"]).to_pylist() == [
        {"text": "Bonn", "n": 1, "raw": None},
        {"text": "Graz", "n": 2, "raw": b"\xff"},
    ]


def test_a_target_is_neither_read_nor_written_by_another_job(cluster: None, tmp_path: Path) -> None:
    (tmp_path / "all.jsonl").mkdir()
    source = jsonl(tmp_path / "all.jsonl" / "part-0.jsonl", [{"text": "Bonn"}])
    with pytest.raises(ValueError, match="cannot be replaced, because"):
        annotate_on_ray(Capitals, str(source), str(tmp_path / "all.jsonl"), overwrite=True)
    assert source.exists()
    with locked(tmp_path / "out.jsonl"), pytest.raises(JournalError, match=r"Another process is writing .*out\.jsonl"):
        annotate_on_ray(Capitals, str(source), str(tmp_path / "out.jsonl"))
    (tmp_path / "out.jsonl").mkdir()
    assert annotate_on_ray(Capitals, str(source), str(tmp_path / "out.jsonl"), overwrite=True).records == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.jsonl", "out.jsonl"]


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "There is no" in run(tmp_path / "no.jsonl", tmp_path / "out.jsonl", "--engine", "ray")[2]
    monkeypatch.delitem(sys.modules, "modeling_retrieveall.annotation.ray_engine")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert 'pip install "retrieveall[ray]"' in run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--engine", "ray")[2]
