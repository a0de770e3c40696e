"""The training sentences of languages with few and with many sentences."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.corpus import write_sample_data
from benchmarks.study.unequal_data import Mixture, unseen_test_sentences


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample_data(tmp_path_factory.mktemp("data") / "data")


def mixture(data: Path, tmp_path: Path, **options: object) -> Mixture:
    return Mixture(data, tmp_path, 8, 40, few_languages=("sw",), many_languages=("hr", "zh"), **options)  # type: ignore[arg-type]


def test_sentences_in_proportion_are_those_that_were_drawn(data: Path, tmp_path: Path) -> None:
    cell = mixture(data, tmp_path)
    assert {language: len(cell.mixed(language)) for language in cell.languages} == {"sw": 8, "hr": 40, "zh": 40}
    assert cell.mixed("sw") == cell.drawn("sw")


@pytest.mark.parametrize("temperature", [2.0, 5.0, 1000.0])
def test_a_temperature_repeats_few_sentences_and_keeps_the_total(data: Path, tmp_path: Path, temperature: float) -> None:
    cell = mixture(data, tmp_path, temperature=temperature)
    mixed = {language: cell.mixed(language) for language in cell.languages}
    assert sum(map(len, mixed.values())) == pytest.approx(88, abs=2)
    assert len(mixed["sw"]) / len(mixed["hr"]) == pytest.approx((8 / 40) ** (1 / temperature), rel=0.1)
    for language, sentences in mixed.items():
        times = Counter(example.key for example in sentences).values()
        assert {example.key for example in sentences} <= {example.key for example in cell.drawn(language)}
        assert max(times) - min(times) <= 1


def test_other_settings_have_other_folders(data: Path, tmp_path: Path) -> None:
    names = {mixture(data, tmp_path).name, mixture(data, tmp_path, temperature=3.0).name, mixture(data, tmp_path, seed=1).name}
    names.add(Mixture(data, tmp_path, 8, 40, few_languages=("sw",), many_languages=("hr",)).name)
    assert len(names) == 4


def test_test_sentences_are_not_in_the_training_split_of_any_language(data: Path, tmp_path: Path) -> None:
    known = {example.key for language in ("sw", "hr") for example in Mixture(data, tmp_path, 999, 999).drawn(language)}
    assert unseen_test_sentences(data, "sw", 100)
    assert known.isdisjoint(example.key for example in unseen_test_sentences(data, "sw", 100))
