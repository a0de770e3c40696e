"""Annotation in several processes gives the same results as in one, and loses nothing if a process ends."""

import functools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall import AdapterError, Extraction, RetrieveAllModel
from modeling_retrieveall.annotation.annotate import annotate
from modeling_retrieveall.annotation.model_fingerprint import model_fingerprint
from modeling_retrieveall.annotation.worker_pool import WorkerError, WorkerPool, default_workers
from tests.random_adapters import write_random_adapters

TEXTS = ["Angela Merkel besuchte Nairobi.", "", "Bonn", "Wangari Maathai spoke in New York. Nobody was there.", "Graz"]


@pytest.fixture(scope="module")
def folder(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_adapters(tmp_path_factory.mktemp("adapters"), tiny_adapter)


@pytest.fixture(scope="module")
def load(folder: Path) -> Callable[[], RetrieveAllModel]:
    return functools.partial(RetrieveAllModel.from_pretrained, folder, device="cpu", dtype="float32")


class SuicidalModel:
    """A stand-in for a model whose process is killed, as by the system when memory runs out."""

    languages: ClassVar = {"de": "here"}

    def extract(self, texts: list[str], **_: object) -> list[Extraction]:
        if "stop" in texts:
            os.kill(os.getpid(), signal.SIGKILL)
        return [Extraction(text, [], []) for text in texts]


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """A record whose scores are rounded, because they depend on the batch in the seventh digit."""
    return {**row, "entities": [{**entity, "score": round(entity["score"], 4)} for entity in row["entities"]]}


def rows(file: Path) -> list[dict[str, Any]]:
    return [rounded(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def fails() -> RetrieveAllModel:
    raise AdapterError("The adapter is damaged.")


def test_the_results_are_those_of_one_process_and_a_job_resumes_with_either(
    load: Callable[[], RetrieveAllModel], tmp_path: Path
) -> None:
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 4), encoding="utf-8")
    model = load()
    annotate(model, str(source), str(tmp_path / "one.jsonl"))
    with WorkerPool(load, workers=2) as pool:
        assert pool.fingerprint == model_fingerprint(model)
        assert pool.languages == model.languages
        found = pool.extract(TEXTS)
        assert [rounded(each.to_dict()) for each in found] == [rounded(each.to_dict()) for each in model.extract(TEXTS)]
        assert pool.extract([]) == []
        annotate(pool, str(source), str(tmp_path / "two.jsonl"), batch_size=1)
    assert rows(tmp_path / "two.jsonl") == rows(tmp_path / "one.jsonl")


def test_an_error_of_loading_reaches_the_caller() -> None:
    with pytest.raises(AdapterError, match="The adapter is damaged"):
        WorkerPool(fails, workers=2)
    assert not multiprocessing.active_children()


def test_a_killed_worker_is_reported_and_finished_records_are_kept(tmp_path: Path) -> None:
    source, target = tmp_path / "texts.txt", tmp_path / "out.jsonl"
    source.write_text("first\n" * 16 + "stop\n", encoding="utf-8")
    with pytest.raises(WorkerError, match=r"possibly because memory ran out\. Give fewer `workers`"):  # noqa: SIM117
        with WorkerPool(SuicidalModel, workers=2) as pool:
            annotate(pool, str(source), str(target), batch_size=1)
    source.write_text("first\n" * 16 + "last\n", encoding="utf-8")
    with WorkerPool(SuicidalModel, workers=2) as pool:
        assert annotate(pool, str(source), str(target), batch_size=1).resumed == 16
    assert len(target.read_text(encoding="utf-8").splitlines()) == 17


@given(st.integers(0, 10**9))
def test_there_is_a_worker_for_each_core_at_most(records: int) -> None:
    assert 1 <= default_workers(records) <= (os.cpu_count() or 1)
    assert default_workers(records) <= max(1, records // 1000)
