"""Batched decoding with forced and drafted tokens equals decoding one token at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    MambaConfig,
    PreTrainedModel,
    Qwen2Config,
)

from modeling_retrieveall.model.answer_format import AnswerFormat
from modeling_retrieveall.model.decoding import AnswerDecoder, LMHead, ScoredSpan
from modeling_retrieveall.model.entities import Sentence
from modeling_retrieveall.model.grammar import AnswerGrammar
from modeling_retrieveall.model.lora_bank import LoraBank
from tests.conftest import write_tiny_base

TEXTS = [
    "Angela Merkel besuchte Nairobi.",
    "Bonn",
    "Wangari Maathai spoke in New York; the United Nations met in Nairobi and in Bonn.",
    "Die Mur fließt durch Graz, nicht durch Bonn.",
    "北京 = 上海",
]
LABELS = ["LOC", "ORG-government", "PER"]


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base"), request.param)


@torch.no_grad()
def decoded_by_hand(base: PreTrainedModel, prompt: list[int], grammar: AnswerGrammar) -> tuple[list[int], list[float]]:
    """Tokens and log-probabilities from a full forward pass and the full LM head for every token."""
    ids: list[int] = []
    log_probabilities: list[float] = []
    while not grammar.finished:
        logits = base(input_ids=torch.tensor([prompt + ids])).logits[0, -1].float()
        allowed = grammar.allowed()
        scores = logits[allowed].log_softmax(0)
        best = int(scores.argmax())
        grammar.advance(allowed[best])
        ids.append(allowed[best])
        log_probabilities.append(float(scores[best]))
    return ids, log_probabilities


@pytest.mark.parametrize("seed", range(6))
def test_batched_decoding_equals_decoding_each_row_alone(folder: Path, seed: int) -> None:
    base = AutoModelForCausalLM.from_pretrained(folder).eval()
    torch.manual_seed(seed)
    # Larger than trained weights, because otherwise every row would choose the same tokens.
    for parameter in base.parameters():
        parameter.data = 0.3 * torch.randn_like(parameter)
    answers = AnswerFormat(AutoTokenizer.from_pretrained(folder))
    sentences = [Sentence.from_text(text) for text in TEXTS]
    prompts = [answers.ids("Text:" + text) for text in TEXTS]
    grammars = [AnswerGrammar(answers, sentence, LABELS) for sentence in sentences]
    ours = AnswerDecoder(base, LoraBank(base, 1)).decode(prompts, grammars, [{}] * len(TEXTS))
    for sentence, prompt, answer in zip(sentences, prompts, ours, strict=True):
        grammar = AnswerGrammar(answers, sentence, LABELS)
        ids, log_probabilities = decoded_by_hand(base, prompt, grammar)
        assert answer.ids == ids
        assert [scored.span for scored in answer.spans] == grammar.spans
        probability = torch.tensor(log_probabilities).sum().exp()
        last = torch.tensor(log_probabilities[-len(answers.end) :]).sum().exp()
        product = torch.tensor([scored.score for scored in answer.spans]).prod()
        # The scores of the mentions multiply to the probability of the answer, except for that of its end if it is not forced.
        assert product * last <= probability * 1.001 and product >= probability * 0.999


@pytest.mark.parametrize("seed", range(3))
def test_a_sliding_window_counts_neither_padding_nor_dropped_tokens(folder: Path, seed: int) -> None:
    answers = AnswerFormat(AutoTokenizer.from_pretrained(folder))
    sizes = {**SIZES, "vocab_size": len(answers.tokenizer), "num_hidden_layers": 2, "head_dim": 8}
    base = random_base(Gemma3TextConfig(**sizes, sliding_window=48, layer_types=["sliding_attention", "full_attention"]))
    torch.manual_seed(seed)
    for parameter in base.parameters():
        parameter.data = 0.3 * torch.randn_like(parameter)
    texts = ["Bonn", "Wangari Maathai spoke in New York, and the United Nations met in Nairobi, Bonn and Graz."]
    prompts = [answers.ids("Text:" + text)[:20] for text in texts]
    grammars = [AnswerGrammar(answers, Sentence.from_text(text), LABELS) for text in texts]
    ours = AnswerDecoder(base, LoraBank(base, 1)).decode(prompts, grammars, [{}] * 2)
    for text, prompt, answer in zip(texts, prompts, ours, strict=True):
        assert answer.ids == decoded_by_hand(base, prompt, AnswerGrammar(answers, Sentence.from_text(text), LABELS))[0]


def test_a_base_with_recurrent_layers_is_refused() -> None:
    base = random_base(MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, state_size=4))
    with pytest.raises(ValueError, match="recurrent"):
        AnswerDecoder(base, LoraBank(base, 1))


def test_finished_rows_leave_the_forward_passes(folder: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(folder).eval()
    answers = AnswerFormat(AutoTokenizer.from_pretrained(folder))
    reads: list[int] = []
    base.get_input_embeddings().register_forward_hook(lambda module, args, output: reads.append(len(args[0])))
    texts = [*TEXTS[:1] * 3, TEXTS[2] * 3]
    grammars = [AnswerGrammar(answers, Sentence.from_text(text), LABELS if i == 3 else []) for i, text in enumerate(texts)]
    AnswerDecoder(base, LoraBank(base, 1)).decode([answers.ids(text) for text in texts], grammars, [{}] * 4)
    assert reads[0] == 4
    assert set(reads[1:]) <= {1}  # a row without labels has but one answer, and is finished by the first read


def test_the_order_of_the_prompts_is_kept(folder: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(folder).eval()
    answers = AnswerFormat(AutoTokenizer.from_pretrained(folder))
    decoder = AnswerDecoder(base, LoraBank(base, 1))

    def spans(texts: list[str]) -> list[list[ScoredSpan]]:
        grammars = [AnswerGrammar(answers, Sentence.from_text(text), LABELS) for text in texts]
        return [a.spans for a in decoder.decode([answers.ids(text) for text in texts], grammars, [{}] * len(texts))]

    forwards, backwards = spans(TEXTS), spans(TEXTS[::-1])
    assert [[s.span for s in row] for row in forwards] == [[s.span for s in row] for row in backwards[::-1]]


def test_infinite_logits_raise_an_error_and_release_the_bank(folder: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(folder).eval()
    answers = AnswerFormat(AutoTokenizer.from_pretrained(folder))
    bank = LoraBank(base, 1)
    decoder = AnswerDecoder(base, bank)
    handle = base.get_decoder().norm.register_forward_hook(lambda module, args, output: output * float("inf"))
    with pytest.raises(FloatingPointError, match="float32"):
        decoder.decode([answers.ids("Bonn")], [AnswerGrammar(answers, Sentence.from_text("Bonn"), LABELS)], [{}])
    handle.remove()
    grammar = AnswerGrammar(answers, Sentence.from_text("Bonn"), LABELS)
    assert decoder.decode([answers.ids("Bonn")], [grammar], [{}])[0].ids


SIZES: dict[str, Any] = dict(
    vocab_size=50,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
HEADS: dict[str, Callable[[], Any]] = {
    "soft-capped and tied (Gemma 2)": lambda: Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=0.5),
    "scaled (Cohere)": lambda: CohereConfig(**SIZES, logit_scale=0.25),
    "divided (Granite)": lambda: GraniteConfig(**SIZES, logits_scaling=4.0),
    "untied (Qwen 2)": lambda: Qwen2Config(**SIZES, tie_word_embeddings=False),
    "tied (Qwen 2)": lambda: Qwen2Config(**SIZES, tie_word_embeddings=True),
}


def random_base(config: AutoConfig) -> PreTrainedModel:
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_config(config).eval()
    for parameter in base.parameters():
        parameter.data = torch.randn_like(parameter)
    base.tie_weights()
    return base


@pytest.mark.parametrize("name", list(HEADS))
@torch.no_grad()
def test_the_partial_head_gives_the_logits_of_the_base(name: str) -> None:
    base = random_base(HEADS[name]())
    ids = torch.tensor([[1, 7, 9, 4]])
    theirs = base(ids).logits[0]
    states = base.get_decoder()(ids).last_hidden_state[0]
    head = LMHead(base)
    tokens = torch.tensor([3, 11, 42])
    torch.testing.assert_close(head(states, tokens), theirs[:, tokens])
    torch.testing.assert_close(head.full(states), theirs)


@torch.no_grad()
def test_a_partial_head_adds_the_bias_of_its_tokens() -> None:
    base = random_base(Qwen2Config(**SIZES, tie_word_embeddings=False))
    base.lm_head = torch.nn.Linear(16, 50)
    states: Tensor = torch.randn(2, 16)
    tokens = torch.tensor([3, 11])
    torch.testing.assert_close(LMHead(base)(states, tokens), base.lm_head(states)[:, tokens])
