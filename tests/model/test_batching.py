"""Every item is processed exactly once, whatever the budget and however often memory runs out."""

import itertools
import time
from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.model.batching import TokenBudget

OUT_OF_MEMORY = "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 1 GB."

lengths = st.lists(st.integers(0, 50), max_size=30)


@given(lengths, st.integers(1, 200), st.integers(1, 8))
def test_every_item_is_processed_once_within_the_limits(lengths: list[int], tokens: int, rows: int) -> None:
    batches: list[list[int]] = []
    TokenBudget(tokens).run(lengths, batches.append, max_rows=rows)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= rows
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= tokens


@given(lengths, st.lists(st.sampled_from(["de", "en", "sw", "mul"]), min_size=30, max_size=30), st.integers(1, 3))
def test_no_batch_needs_more_adapters_than_allowed(lengths: list[int], languages: list[str], most: int) -> None:
    batches: list[list[int]] = []
    adapters = [{language} for language in languages[: len(lengths)]]
    TokenBudget(100).run(lengths, batches.append, adapters=adapters, max_adapters=most)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len({languages[i] for i in batch}) <= most for batch in batches)


@given(lengths.filter(any), st.integers(50, 100))
def test_running_out_of_memory_halves_the_budget_and_nothing_is_lost(lengths: list[int], memory: int) -> None:
    done: list[int] = []

    def work(batch: list[int]) -> None:
        if len(batch) * max(lengths[i] for i in batch) > memory:
            raise RuntimeError(OUT_OF_MEMORY)
        done.extend(batch)

    # Collecting the garbage of the other tests takes much longer than this test.
    with patch("modeling_retrieveall.model.batching.clear_device_cache"):
        TokenBudget(100_000).run(lengths, work)
    assert sorted(done) == list(range(len(lengths)))


def test_a_halved_budget_grows_back_to_its_old_value() -> None:
    failures = iter([True])

    def work(batch: list[int]) -> None:
        if next(failures, False):
            raise RuntimeError(OUT_OF_MEMORY)

    budget = TokenBudget(64)
    budget.run([8] * 8, work)
    assert 32 <= budget.tokens < 64
    budget.run([8] * 400, work)
    assert budget.tokens == 64


def test_the_time_per_item_does_not_grow_with_the_number_of_items() -> None:
    def seconds(count: int) -> float:
        lengths, begin = [7 + i % 50 for i in range(count)], time.perf_counter()
        TokenBudget(64).run(lengths, lambda batch: None)
        return (time.perf_counter() - begin) / count

    assert seconds(100_000) < 20 * min(seconds(1000) for _ in range(3))


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    languages=st.lists(st.sampled_from("abcd"), min_size=40, max_size=40),
    failures=st.sets(st.integers(0, 30)),
)
def test_no_item_is_lost_or_done_twice_when_memory_runs_out_among_adapters(
    lengths: list[int], languages: list[str], failures: set[int]
) -> None:
    done: list[int] = []
    calls = itertools.count()

    def work(batch: list[int]) -> None:
        if next(calls) in failures and len(batch) > 1:
            raise RuntimeError(OUT_OF_MEMORY)
        assert len({languages[i] for i in batch}) <= 2
        done.extend(batch)

    TokenBudget(100).run(lengths, work, adapters=[(language,) for language in languages[: len(lengths)]], max_adapters=2)
    assert sorted(done) == list(range(len(lengths)))


def test_an_item_that_does_not_fit_alone_raises_an_error_with_its_length() -> None:
    def work(batch: list[int]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")

    with pytest.raises(MemoryError, match="700 tokens"):
        TokenBudget(1000).run([700, 20], work)


def test_other_errors_are_raised() -> None:
    def work(batch: list[int]) -> None:
        raise RuntimeError("The size of tensor a must match.")

    with pytest.raises(RuntimeError, match="must match"):
        TokenBudget(1000).run([7], work)


def test_a_model_that_runs_out_of_memory_gives_the_same_entities_in_smaller_batches(
    tiny_adapter: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = RetrieveAllModel.from_pretrained(str(tiny_adapter("de")))
    model.config.decoding = "generation"
    texts = ["Angela Merkel besuchte Nairobi.", "Bonn", "Der Rhein fließt durch Köln.", "Graz"]
    before = model.extract(texts, language="de")
    decode, sizes = model.extractor.backend.decoder.decode, []

    def short_of_memory(prompts, grammars, mixtures):  # type: ignore[no-untyped-def]
        sizes.append(len(prompts))
        if len(prompts) > 1:
            with model.bank.rows(mixtures):
                raise RuntimeError(OUT_OF_MEMORY)
        return decode(prompts, grammars, mixtures)

    monkeypatch.setattr(model.extractor.backend.decoder, "decode", short_of_memory)
    places = [[(e.start, e.end, e.label) for e in row.entities] for row in model.extract(texts, language="de")]
    assert places == [[(e.start, e.end, e.label) for e in row.entities] for row in before]
    assert sizes[0] == 4 and sizes[-1] == 1
