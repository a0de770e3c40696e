"""The example that makes the adapters of the package, with adapters of the tiny base LLM in place of trained ones."""

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from modeling_retrieveall import LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.data.loading import load_examples
from tests.conftest import ROOT
from tests.random_adapters import copy_with_random_weights

SCRIPT = runpy.run_path(str(ROOT / "examples" / "make_shipped_adapters.py"))


@pytest.fixture
def runs(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> Path:
    for seed, language in enumerate(("mul", "de")):
        copy_with_random_weights(tiny_adapter(language), tmp_path / "runs" / language, seed)
    return tmp_path / "runs"


def test_shipped_adapters_have_own_sentences_and_the_difference_to_mul(runs: Path, tmp_path: Path) -> None:
    sentences = SCRIPT["SENTENCES"] / "de.conll"
    (tmp_path / "data" / "germeval2014" / "de").mkdir(parents=True)
    shutil.copyfile(sentences, tmp_path / "data" / "germeval2014" / "de" / "validation.conll")
    for language in ("mul", "de"):
        SCRIPT["ship"](language, runs, tmp_path / "cards")
    SCRIPT["store_best_difference"]("de", tmp_path / "data", tmp_path / "cards")
    trained, shipped = LanguageAdapter.load(runs / "de"), LanguageAdapter.load(tmp_path / "cards" / "de")
    assert shipped.manifest.training["datasets"] == ["./GermEval 2014 (CC BY 4.0)", "unimelb-nlp/wikiann:de"]
    assert shipped.manifest.training["mul_share"] in SCRIPT["MUL_SHARES"]
    (calibration,) = shipped.manifest.score_calibration.values()
    assert len(calibration) == 2 and "tags" in shipped.manifest.score_calibration
    own = load_examples(str(sentences), "train").examples
    assert shipped.index.examples == own
    others = {example.key for example in trained.index.examples} - {example.key for example in own}
    assert len(shipped.routing_vectors) == len(others)
    size = {name: a.shape[0] for name, a in LanguageAdapter.load(runs / "mul").lora_shapes().a.items()}
    assert {name: a.shape[0] for name, a in shipped.lora_shapes().a.items()} == {
        name: rank + SCRIPT["RANK"] for name, rank in size.items()
    }
    shipped.lora_weights(torch.float32)  # raises if the difference belongs to another `mul`
    model = RetrieveAllModel.from_pretrained(tmp_path / "cards")
    assert sorted(model.languages) == ["de", "mul"]
    card = (tmp_path / "cards" / "de" / "README.md").read_text(encoding="utf-8")
    assert "GermEval 2014" in card
    assert "PeftModel" not in card  # PEFT cannot read a difference alone


def test_every_language_has_sentences_of_our_own_and_corpora_with_names() -> None:
    for language in (*SCRIPT["LANGUAGES"], "mul"):
        assert language == "mul" or (SCRIPT["SENTENCES"] / f"{language}.conll").is_file()
        assert all(SCRIPT["name_on_card"](folder) for folder in SCRIPT["corpora"](language))


def test_half_of_a_serbian_corpus_is_written_in_cyrillic(tmp_path: Path) -> None:
    source = tmp_path / "uner" / "sr_set"
    source.mkdir(parents=True)
    rows = [{"tokens": ["Ljiljana", "živi", "u", "Nišu", "."], "ner_tags": ["B-PER", "O", "O", "B-LOC", "O"]}] * 4
    Dataset.from_list(rows).to_parquet(source / "train.parquet")
    examples = load_examples(SCRIPT["draw"](source, 4, tmp_path / "drawn"), "train").examples
    mentions = [[example.sentence.entity(span).text for span in example.spans] for example in examples]
    assert mentions == [["Ljiljana", "Nišu"], ["Љиљана", "Нишу"]] * 2
