"""The tensor interface: ``generate`` gives the answers of ``extract``, and ``forward`` the training loss."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from modeling_retrieveall import RetrieveAllConfig, RetrieveAllModel, RetrieveAllOutput
from modeling_retrieveall.model.base_llm import load_base
from tests.random_adapters import write_random_adapters

TEXTS = ["Angela Merkel besuchte Nairobi.", "Bonn", "The United Nations met in New York; Wangari Maathai spoke.", "Nobody"]


@pytest.fixture(scope="module")
def model(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained(write_random_adapters(tmp_path_factory.mktemp("adapters"), tiny_adapter))


def tensors(model: RetrieveAllModel, texts: list[str], side: str = "right") -> dict[str, Tensor]:
    batch = model.tokenizer(texts, return_tensors="pt", padding=True, padding_side=side)
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


def unpadded(model: RetrieveAllModel, sequences: Tensor) -> list[list[int]]:
    return [[token for token in row if token != model.tokenizer.pad_token_id] for row in sequences.tolist()]


# generate


@pytest.mark.parametrize("side", ["left", "right"])
def test_generate_gives_the_answers_of_extract(model: RetrieveAllModel, side: str) -> None:
    results = model.extract(TEXTS, details=True)
    sequences = model.generate(**tensors(model, TEXTS, side))
    assert isinstance(sequences, Tensor) and sequences.dtype == torch.int64
    assert unpadded(model, sequences) == [result.sentences[0].details.answer_ids for result in results]
    assert sequences.shape[1] == max(len(result.sentences[0].details.answer_ids) for result in results)
    for row, result in zip(unpadded(model, sequences), results, strict=True):
        answer = model.tokenizer.decode(row)
        assert answer.endswith("\n")
        for entity in result.entities:
            assert f"{entity.text} = {entity.label}" in answer


def test_generate_accepts_one_sentence_without_a_mask(model: RetrieveAllModel) -> None:
    ids = tensors(model, TEXTS[:1])["input_ids"]
    assert unpadded(model, model.generate(ids)) == [model.extract(TEXTS[0], details=True).sentences[0].details.answer_ids]


def test_generate_ignores_masked_tokens(model: RetrieveAllModel) -> None:
    batch = tensors(model, [TEXTS[0] + " Bonn"])
    batch["attention_mask"][:, len(model.tokenizer(TEXTS[0])["input_ids"]) :] = 0
    assert unpadded(model, model.generate(**batch)) == [model.extract(TEXTS[0], details=True).sentences[0].details.answer_ids]


def test_generate_returns_details_on_request(model: RetrieveAllModel) -> None:
    output = model.generate(**tensors(model, TEXTS), return_dict_in_generate=True)
    results = model.extract(TEXTS, details=True)
    assert isinstance(output, RetrieveAllOutput)
    assert torch.equal(output.sequences, model.generate(**tensors(model, TEXTS)))
    assert output.entities == [result.entities for result in results]
    assert output.routes == [result.route for result in results]
    assert output.prompts == [result.sentences[0].details.prompt for result in results]
    assert output.scores == [[entity.score for entity in result.entities] for result in results]
    assert any(output.entities)


@pytest.mark.parametrize("languages", ["en", ["en", "de", "mul", "de"]])
def test_generate_skips_routing_when_languages_are_named(model: RetrieveAllModel, languages: str | list[str]) -> None:
    output = model.generate(**tensors(model, TEXTS), language=languages, return_dict_in_generate=True)
    assert output.entities == [result.entities for result in model.extract(TEXTS, language=languages)]
    assert [route.language for route in output.routes] == (["en"] * 4 if languages == "en" else languages)


def test_generate_refuses_an_unknown_language(model: RetrieveAllModel) -> None:
    with pytest.raises(ValueError, match="There are: de, en, mul"):
        model.generate(**tensors(model, TEXTS), language="xx")


def test_a_row_without_words_gives_only_the_end_token(model: RetrieveAllModel) -> None:
    output = model.generate(**tensors(model, ["", TEXTS[0], "  "]), return_dict_in_generate=True)
    assert unpadded(model, output.sequences)[0] == unpadded(model, output.sequences)[2] == model.answers.end
    assert output.entities[0] == output.entities[2] == []
    assert output.prompts[0] == ""


def test_an_empty_batch_has_no_answers(model: RetrieveAllModel) -> None:
    sequences = model.generate(torch.zeros(0, 5, dtype=torch.int64))
    assert sequences.dtype == torch.int64 and sequences.ndim == 2 and len(sequences) == 0


@pytest.mark.parametrize("argument", [{"num_beams": 4}, {"do_sample": True}, {"max_new_tokens": 10}, {"temperature": 0.7}])
def test_generate_refuses_arguments_that_the_grammar_does_not_allow(model: RetrieveAllModel, argument: dict[str, float]) -> None:
    with pytest.raises(TypeError, match=rf"got {next(iter(argument))}: answers are decoded greedily .* Call generate\("):
        model.generate(**tensors(model, TEXTS), **argument)


# forward


def lesson(model: RetrieveAllModel) -> dict[str, Tensor]:
    """Two sequences of different lengths, padded on the right, with labels for their last tokens."""
    ids = torch.tensor([[1, 10, 20, 30, 40, 50, 60], [1, 11, 21, 31, 41, 0, 0]])
    labels = torch.tensor([[-100, -100, -100, -100, 40, 50, 60], [-100, -100, -100, 31, 41, -100, -100]])
    return {"input_ids": ids, "attention_mask": torch.tensor([[1] * 7, [1] * 5 + [0] * 2]), "labels": labels}


def test_the_loss_is_the_cross_entropy_of_all_labels(model: RetrieveAllModel, tiny_base: Path) -> None:
    batch = lesson(model)
    base = AutoModelForCausalLM.from_pretrained(tiny_base).eval()
    by_hand = []
    for ids, mask, labels in zip(*batch.values(), strict=True):
        row = ids[mask.bool()]
        log_probabilities = base(row[None]).logits[0].log_softmax(-1)
        by_hand += [-log_probabilities[i - 1, row[i]] for i in range(1, len(row)) if labels[i] != -100]
    output = model(**batch)
    assert len(by_hand) == 5
    torch.testing.assert_close(output.loss, torch.stack(by_hand).mean())
    torch.testing.assert_close(output.loss, base(**batch).loss)


def test_without_labels_there_are_logits_and_with_labels_the_loss_alone(model: RetrieveAllModel, tiny_base: Path) -> None:
    batch = lesson(model)
    base = AutoModelForCausalLM.from_pretrained(tiny_base).eval()
    full = base(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    torch.testing.assert_close(model(batch["input_ids"], batch["attention_mask"]).logits, full)
    assert model(**batch).logits is None
    assert model(batch["input_ids"], batch["attention_mask"]).loss is None


def test_gradient_descent_reduces_the_loss(model: RetrieveAllModel) -> None:
    weight = model.base.get_input_embeddings().weight
    (gradient,) = torch.autograd.grad(model(**lesson(model)).loss, weight)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


# embeddings


def test_embeddings_belong_to_the_base_and_are_resized_with_its_output_layer(tiny_base: Path) -> None:
    base, tokenizer = load_base(str(tiny_base))
    model = RetrieveAllModel(RetrieveAllConfig(base_model=str(tiny_base), encoder_layer=1), base, tokenizer)
    model.resize_token_embeddings(512)
    assert model.get_input_embeddings() is base.get_input_embeddings()
    assert model.get_output_embeddings() is base.get_output_embeddings()
    assert model(torch.tensor([[5, 6]])).logits.shape == (1, 2, 512)
