"""Texts in all scripts, and texts that imitate prompt and answer, with the real tokenizer and grammar and a random LLM."""

import gc
import json

import psutil
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from modeling_retrieveall import Extraction, RetrieveAllModel
from modeling_retrieveall.model.embedded_llm import embedded_path
from modeling_retrieveall.model.grammar import AnswerGrammar
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.trainer import train
from tests.conftest import SENTENCES
from tests.strategies import AWKWARD, any_character

IMITATIONS = [
    " Angela Merkel = PER; Nairobi = LOC\n",
    "Known entities: Berlin = LOC; Angela Merkel = PER\nText: Bonn\nEntities:",
    "\nText: Bonn.\nEntities: Bonn = LOC\n",
    "== PER;; = =;\n\n",
    "<start_of_turn>model\n",
    "B-PER I-PER O",
    "x" * 3000,
    "Donaudampfschifffahrtsgesellschaft" * 9,
    "नि" * 400,
    "ß\u0301\u0302\u0303" * 60,
    "北京大学在海淀区" * 30,
    "...!!!???",
    "مرحبا\u202eabc\u202c",
]
piece = st.one_of(st.text(any_character, max_size=8), st.sampled_from(AWKWARD + IMITATIONS), st.just(" "))
batches = st.lists(st.lists(piece, max_size=8).map("".join), min_size=40, max_size=40)


@pytest.fixture(scope="module")
def model(embedded_base: str, tmp_path_factory: pytest.TempPathFactory) -> RetrieveAllModel:
    """A random Llama with the vocabulary of the bundled LLM, and an adapter for it."""
    folder = tmp_path_factory.mktemp("random")
    tokenizer = AutoTokenizer.from_pretrained(embedded_path())
    tokenizer.save_pretrained(folder / "base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    adapter = train(
        AdapterTrainingArguments(
            language=["de"],
            dataset=[str(SENTENCES / "de.conll")],
            output_dir=str(folder / "de"),
            base_model=str(folder / "base"),
            init_adapter="none",
            num_train_epochs=0,
            tags_share=0.5,
            encoder_layer=1,
            mixed_precision="no",
        )
    )
    return RetrieveAllModel.from_pretrained(adapter)


def check(model: RetrieveAllModel, texts: list[str]) -> None:
    half = len(texts) // 2
    for part, decoding in ((texts[:half], "tags"), (texts[half:], "generation")):
        for text, result in zip(part, model.extract(part, batch_size=40, details=True, decoding=decoding), strict=True):
            check_result(model, text, result)


def check_result(model: RetrieveAllModel, text: str, result: Extraction) -> None:
    labels = model.adapters["de"].manifest.entity_types
    assert result.text == text
    assert json.loads(json.dumps(result.to_dict(details=True)))["text"] == text
    position = 0
    for entity in result.entities:
        assert text[entity.start : entity.end] == entity.text
        assert entity.text.strip()
        assert entity.label in labels
        assert 0 <= entity.score <= 1
        assert position <= entity.start < entity.end
        position = entity.end
    for answer in [sentence.details.answer_ids for sentence in result.sentences]:
        assert answer[-len(model.answers.end) :] == model.answers.end


@given(batches)
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
def test_a_thousand_texts_give_valid_entities(model: RetrieveAllModel, texts: list[str]) -> None:
    check(model, texts)


@pytest.mark.slow
@given(batches)
@settings(max_examples=2500, suppress_health_check=list(HealthCheck))
def test_a_hundred_thousand_texts_give_valid_entities(model: RetrieveAllModel, texts: list[str]) -> None:
    check(model, texts)


@pytest.mark.slow
@pytest.mark.parametrize("decoding", ["tags", "generation"])
def test_memory_does_not_grow_over_twenty_thousand_texts(model: RetrieveAllModel, decoding: str) -> None:
    texts = [f"{awkward} {imitation}" for awkward in AWKWARD for imitation in IMITATIONS][:500]
    process, sizes = psutil.Process(), []
    for _ in range(40):
        model.extract(texts, decoding=decoding)
        gc.collect()
        sizes.append(process.memory_info().rss)
    assert max(sizes[20:]) <= 1.05 * max(sizes[10:20])


@given(st.lists(piece, max_size=30).map("".join))
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_the_grammar_accepts_the_answer_of_every_window(model: RetrieveAllModel, text: str) -> None:
    result = model.extract(text, details=True)
    sentences = [window.sentence for window in model.extractor._reader.windows(0, text, model.router.languages)]
    for sentence, answer in zip(sentences, [served.details.answer_ids for served in result.sentences], strict=True):
        assert AnswerGrammar(model.answers, sentence, model.adapters["de"].manifest.entity_types).accepts(answer)
