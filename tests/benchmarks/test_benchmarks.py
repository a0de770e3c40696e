"""Every benchmark runs at its smallest size with a tiny model, and writes nothing to the checkout."""

import json
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import pytest
import ray
import typer
from accelerate.state import AcceleratorState
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import benchmarks
from benchmarks.intervals import f1_gain_interval
from benchmarks.options import Data, Json, Languages, Number, OptionalData, Rows, Runs, benchmark
from benchmarks.peer import parsed
from benchmarks.report import commit
from benchmarks.study.datasets import draw
from modeling_retrieveall.evaluation.scores import SpanCounts
from modeling_retrieveall.model.answer_format import AnswerFormat
from modeling_retrieveall.model.entities import Sentence
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.trainer import train
from tests.conftest import ROOT, SENTENCES, write_tiny_base
from tests.fake_vllm_server import FakeVLLMServer
from tests.strategies import spans_within


def _modules_to_run() -> dict[str, ModuleType]:
    modules = (import_module(f"benchmarks.{module.name}") for module in iter_modules(benchmarks.__path__) if not module.ispkg)
    return {m.__name__: m for m in modules if '\nif __name__ == "__main__":' in Path(str(m.__file__)).read_text(encoding="utf-8")}


MODULES = _modules_to_run()
LANGUAGES = ("da", "de", "mul", "ta")
LINE = ["Papst", "Johannes", "Paul", "II", ".", "(", "Rom", ")", "=", "Bonn", ",", "Bonn", "北", "京", "О.", "Петров"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLM with as many layers as the benchmarks and the default configuration need."""
    return write_tiny_base(tmp_path_factory.mktemp("base"), hidden=64, layers=12)


@pytest.fixture(scope="module")
def model(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters for the tiny LLM."""
    folder = tmp_path_factory.mktemp("model")
    for language in LANGUAGES:
        train(
            AdapterTrainingArguments(
                language=[language],
                dataset=[str(SENTENCES / f"{'en' if language == 'mul' else language}.conll")],
                output_dir=str(folder / language),
                base_model=str(base),
                init_adapter="none",
                max_steps=1,
                max_train_samples=24,
                max_eval_samples=0,
                mixed_precision="no",
            )
        )
    return folder


@pytest.fixture(autouse=True)
def _reset_precision() -> Iterator[None]:
    """Accelerate keeps the first precision of a process, and benchmarks train in another precision than other tests."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def server(base: Path, model: Path) -> Iterator[str]:
    """URL of a server with the tiny model."""
    with FakeVLLMServer(base, {language: model / language for language in LANGUAGES}).running() as url:
        yield url


@pytest.fixture
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Not in the folder of pytest, because the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield
        ray.shutdown()


def run(app: typer.Typer, *arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def options_of(app: typer.Typer) -> set[str | None]:
    return {parameter.name for parameter in typer.main.get_command(app).params}


@pytest.mark.parametrize("name", MODULES)
def test_benchmark_runs_at_its_smallest_size(
    name: str, base: Path, model: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = MODULES[name].main
    tiny = {"model": model, "base": base, "mul": model / "mul"}
    if name == "benchmarks.new_language":  # trains its own `mul`
        del tiny["mul"]
    arguments = [word for option in tiny.keys() & options_of(main) for word in (f"--{option}", tiny[option])]
    if "url" in options_of(main):
        arguments += ["--url", request.getfixturevalue("server")]
    if name == "benchmarks.ray_scaling":
        request.getfixturevalue("ray_folder")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    run(main, "--quick", *arguments, "--json", tmp_path / "out" / "result.json")
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert result["rows"] and result["date"] and result["machine"]["torch"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_every_benchmark_has_the_option_quick() -> None:
    assert len(MODULES) >= 17
    assert [name for name, module in MODULES.items() if not {"quick", "json_file"} <= options_of(module.main)] == []


@pytest.fixture
def toy() -> tuple[typer.Typer, dict[str, Any]]:
    """A benchmark that records its options."""
    seen: dict[str, Any] = {}

    @benchmark(languages="de", number=2)
    def main(
        data: Data,
        own: OptionalData = None,
        runs: Runs = Path("runs/study"),
        languages: Languages = "de,en",
        number: Number = 80,
        rows: Rows = Path("rows.json"),
        json_file: Json = None,
    ) -> None:
        seen.update(locals())
        seen["train"] = draw(data, "de", 4, 0, 4).train if data.is_dir() else []

    return main, seen


def test_quick_changes_defaults_but_not_given_options(toy: tuple[typer.Typer, dict[str, Any]]) -> None:
    main, seen = toy
    run(main, "--quick", "--number", 3, "--data", "elsewhere")
    assert (seen["languages"], seen["number"], seen["data"]) == ("de", 3, Path("elsewhere"))
    run(main, "--data", "elsewhere")
    assert (seen["languages"], seen["number"], seen["runs"]) == ("de,en", 80, Path("runs/study"))


def test_quick_needs_no_data_and_keeps_no_files(toy: tuple[typer.Typer, dict[str, Any]]) -> None:
    main, seen = toy
    run(main, "--quick")
    assert len(seen["train"]) == 4 and seen["own"] is None and seen["json_file"] is None
    assert seen["runs"].name == "runs" and not seen["runs"].parent.exists()
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2 and "--data" in result.output


def test_quick_value_of_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="sentences"):
        benchmark(sentences=3)(lambda: None)


COUNTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)).map(lambda n: SpanCounts(n[0], n[0] + n[1], n[0] + n[2])),
    min_size=1,
    max_size=8,
)


@given(COUNTS)
def test_equal_systems_have_no_gain_and_a_better_one_has_a_positive_gain(counts: list[SpanCounts]) -> None:
    assert f1_gain_interval(counts, counts) == (0.0, 0.0)
    perfect = [SpanCounts(each.labelled, each.labelled, each.labelled) for each in counts]
    low, high = f1_gain_interval(counts, perfect)
    assert 0 <= low <= high <= 100


def test_commit_is_a_full_hash() -> None:
    found = commit()
    assert found is None or len(found.rstrip("+")) == 40


@given(words=st.lists(st.sampled_from(LINE), min_size=1, max_size=12), data=st.data())
def test_correct_answer_of_peft_is_parsed_into_its_entities(answers: AnswerFormat, words: list[str], data: st.DataObject) -> None:
    sentence = Sentence.from_words(words)
    spans = data.draw(spans_within(len(words)))
    answer = answers.tokenizer.decode(answers.answer_ids(sentence, spans))
    found = parsed(answer, sentence, ["LOC", "ORG", "PER"])
    # The answer does not say which of several equal places it refers to, so only the words are compared.
    named = ["".join(sentence.text[e.start : e.end].split()) for e in found]
    assert named == ["".join(words[span.start : span.end]) for span in spans]
    assert [entity.label for entity in found] == [span.label for span in spans]
