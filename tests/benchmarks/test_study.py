"""The systems of the study are what their names say, on a tiny base LLM and the sentences of ``examples/sentences``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from benchmarks import interference, new_language
from benchmarks.reproduction import BASELINES, OURS, means, metrics, plot
from benchmarks.study.adapters import Settings, _single_language_arguments, mixture_of, without_lora
from benchmarks.study.baselines import crf, spacy_ner, tags_of
from benchmarks.study.encoder import EncoderSettings, encoder_tags, fine_tuned
from benchmarks.study.scores import span_scores
from benchmarks.unknown_languages import metrics as unknown_metrics
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.model.entities import Example, Sentence
from modeling_retrieveall.model.lora_bank import LoraBank
from modeling_retrieveall.model.lora_files import read_lora
from tests.conftest import SENTENCES

IDS = torch.tensor([[5, 6, 7, 8, 9]])
Adapter = Callable[[str], Path]


def logits(base: Path, mixture: dict[Path, float]) -> Tensor:
    """Logits of the tiny base LLM with a mixture of adapters."""
    bank = LoraBank(llm := AutoModelForCausalLM.from_pretrained(base).eval(), slots=2)
    for folder in mixture:
        bank.load(folder.name, read_lora(folder, torch.float32))
    with torch.no_grad(), bank.rows([{folder.name: weight for folder, weight in mixture.items()}]):
        return llm(IDS).logits


def row(system: str, language: str, f1: float, **other: Any) -> dict[str, Any]:
    return {"system": system, "language": language, "size": 600, "seed": 0, "f1": f1, **other}


def test_mixture_of_two_adapters_is_one_adapter_of_twice_the_rank(tiny_base: Path, tiny_adapter: Adapter, tmp_path: Path) -> None:
    first, second = tiny_adapter("mul"), tiny_adapter("de")
    both = mixture_of(first, second, tmp_path / "both")
    torch.testing.assert_close(logits(tiny_base, {both: 1.0}), logits(tiny_base, {first: 0.5, second: 0.5}))


def test_adapter_without_lora_equals_the_base(tiny_base: Path, tiny_adapter: Adapter, tmp_path: Path) -> None:
    bare = without_lora(tiny_adapter("de"), tmp_path / "bare")
    assert torch.equal(logits(tiny_base, {bare: 1.0}), logits(tiny_base, {}))


@pytest.mark.parametrize("learn", [crf, spacy_ner])
def test_baselines_without_an_llm_learn(learn: Callable[..., list[list[str]]]) -> None:
    examples = load_examples(str(SENTENCES / "sw.conll"), "train").examples[:40]
    expected = [tags_of(example) for example in examples]
    assert span_scores(expected, learn(examples, examples))["f1"] > 80  # on its training sentences


@pytest.mark.parametrize(("sentences", "epochs"), [(16, 20), (100, 9), (600, 5), (40_000, 5)])
def test_the_encoder_is_trained_for_more_epochs_on_few_sentences(sentences: int, epochs: int) -> None:
    assert EncoderSettings().epochs_for(sentences) == epochs


def test_the_fine_tuned_encoder_learns(tmp_path: Path) -> None:
    examples = load_examples(str(SENTENCES / "sw.conll"), "train").examples[:12]
    settings = EncoderSettings(epochs=12, min_steps=1, learning_rate=1e-3, batch_size=6)
    folder = fine_tuned(examples, ["LOC", "ORG", "PER"], tmp_path / "encoder", settings)
    expected = [tags_of(example) for example in examples]
    assert span_scores(expected, encoder_tags(folder, examples))["f1"] > 20  # on its training sentences, after 24 steps
    assert fine_tuned([], [], folder, EncoderSettings()) == folder  # is not trained again
    (tags,) = encoder_tags(folder, [Example(Sentence.from_words(["Nairobi"] * 1000), ())])
    assert len(tags) == 1000 and set(tags[600:]) == {"O"}  # beyond the length of the encoder


def test_only_exact_spans_of_the_right_type_count() -> None:
    expected = [["B-PER", "I-PER", "O", "B-LOC"]]
    assert span_scores(expected, expected)["f1"] == 100
    assert span_scores(expected, [["B-PER", "O", "O", "B-LOC"]])["f1"] == 50
    assert span_scores(expected, [["B-PER", "I-PER", "O", "B-ORG"]])["recall"] == 50


def test_mean_is_over_languages_that_all_systems_have() -> None:
    rows = [row("a", "de", 80), row("a", "sw", 60), row("b", "de", 90)]
    assert [(r["system"], r["mean"]) for r in means(rows, 600, everywhere=True)] == [("a", 70)]
    assert [(r["system"], r["mean"]) for r in means(rows, 600, everywhere=False)] == [("b", 90), ("a", 80)]


def test_spread_is_over_seeds() -> None:
    rows = [row("a", "de", 80), row("a", "de", 84, seed=1)]
    assert means(rows, 600, everywhere=True)[0] == {"system": "a", "mean": 82.0, "de": 82.0, "spread": 2.83}


def test_claim_is_compared_with_the_best_baseline(tmp_path: Path) -> None:
    rows = [row(system, "ta", 50) for system in BASELINES] + [row(OURS, "ta", 60), row("CRF", "ta", 50)]
    claim = next(metric for metric in metrics(rows) if "relative" in metric.name)
    assert claim.value == 20.0 and claim.to_dict()["holds"]
    plot(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").is_file()


def test_gain_from_mul_is_reported_for_each_number_of_sentences(tmp_path: Path) -> None:
    rows = [{"language": "sw", "start": start, "sentences": 25, "f1": f1} for start, f1 in (("mul", 50.0), ("nothing", 20.0))]
    assert [(f.name, f.value) for f in new_language.metrics(rows)] == [("sw: mul over nothing at 25 sentences", 30.0)]
    new_language.plot(rows, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").is_file()


def test_interference_is_measured_over_the_range_that_all_languages_cover(tmp_path: Path) -> None:
    measured = {
        ("joint of 1", "de"): 70.0,
        ("joint of 2", "de"): 71.0,
        ("joint of 4", "de"): 75.0,
        ("joint of 2", "sw"): 60.0,
        ("joint of 4", "sw"): 66.0,
        ("separate", "de"): 70.0,
        ("separate", "sw"): 61.0,
    }
    rows = [{"system": system, "language": language, "f1": f1} for (system, language), f1 in measured.items()]
    assert [metric.value for metric in interference.metrics(rows)] == [5.0, -5.0]
    interference.plot(rows, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").is_file()


def test_only_adapters_named_from_mul_start_from_mul(tmp_path: Path) -> None:
    settings = Settings(tmp_path, tmp_path, 600, 0, 100, ("de",))
    assert (
        _single_language_arguments("from nothing+retrieved", "sw", tmp_path / "a", settings, tmp_path / "mul").init_adapter
        == "none"
    )
    assert _single_language_arguments("from mul+retrieved", "sw", tmp_path / "b", settings, tmp_path / "mul").init_adapter == str(
        tmp_path / "mul"
    )


def test_fallback_is_compared_with_the_best_single_adapter() -> None:
    f1 = {"adapter no": 70.0, "adapter de": 60.0, "mul": 69.5, "routed: nearest": 71.0, "its own adapter": 80.0}
    found = {f.name: f.value for f in unknown_metrics([{"language": "da", "served by": way, "f1": x} for way, x in f1.items()])}
    assert found == {
        "da, mul: over the best other adapter": -0.5,
        "da, routed: nearest: over the best other adapter": 1.0,
        "da: its own adapter over the best other": 10.0,
    }
