"""Sentence and word vectors are means of the hidden states of the base LLM, whatever the batch."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from modeling_retrieveall.model.encoder import SentenceEncoder, SentenceVectors
from tests.conftest import write_tiny_base

Words = list[list[int]]

SENTENCES: list[Words] = [
    [[10, 11], [12], [13, 14, 15]],
    [[20]],
    [[30], [31, 32], [33], [34], [35, 36, 37], [38]],
    [[40, 41, 42], [43]],
]
BOS = 1
DEPTH = 2


@pytest.fixture(scope="module", params=["llama", "qwen"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    folder = write_tiny_base(tmp_path_factory.mktemp(request.param), request.param)
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@torch.no_grad()
def states_by_hand(base: PreTrainedModel, sentence: Words, layer: int) -> Tensor:
    """Hidden states [tokens, hidden] of a single sentence; for the last layer without the final norm of transformers."""
    ids = torch.tensor([[BOS] + [token for word in sentence for token in word]])
    last: list[Tensor] = []
    handle = base.model.layers[-1].register_forward_hook(lambda module, args, output: last.append(output))
    states = base(ids, output_hidden_states=True).hidden_states[layer]
    handle.remove()
    return (last[0] if layer == DEPTH else states)[0, 1:]


def assert_by_hand(base: PreTrainedModel, sentence: Words, layer: int, vectors: SentenceVectors) -> None:
    states = states_by_hand(base, sentence, layer)
    ends = torch.tensor([len(word) for word in sentence]).cumsum(0).tolist()
    words = [states[end - len(word) : end].mean(0) for end, word in zip(ends, sentence, strict=True)]
    torch.testing.assert_close(vectors.words, torch.stack(words), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(vectors.sentence, states.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", range(DEPTH + 1))
def test_vectors_are_means_of_the_hidden_states_of_every_layer(base: PreTrainedModel, layer: int) -> None:
    for sentence, vectors in zip(SENTENCES, SentenceEncoder(base, layer).encode(SENTENCES), strict=True):
        assert_by_hand(base, sentence, layer, vectors)


@pytest.mark.parametrize("max_batch_tokens", [1, 12, 2048])
def test_vectors_do_not_depend_on_the_batch(base: PreTrainedModel, max_batch_tokens: int) -> None:
    encoder = SentenceEncoder(base, 1, max_batch_tokens)
    together = encoder.encode(SENTENCES)
    for sentence, vectors in zip(SENTENCES, together, strict=True):
        alone = encoder.encode([sentence])[0]
        torch.testing.assert_close(vectors.sentence, alone.sentence, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(vectors.words, alone.words, rtol=1e-4, atol=1e-5)


def test_no_forward_pass_exceeds_the_token_budget(base: PreTrainedModel) -> None:
    shapes: list[torch.Size] = []
    handle = base.get_input_embeddings().register_forward_hook(lambda module, args, output: shapes.append(args[0].shape))
    SentenceEncoder(base, 1, max_batch_tokens=24).encode(SENTENCES * 3)
    handle.remove()
    assert sum(rows for rows, _ in shapes) == 3 * len(SENTENCES)
    assert all(rows * tokens <= 24 for rows, tokens in shapes)
    assert any(rows > 1 for rows, _ in shapes)


word = st.lists(st.integers(3, 300), min_size=1, max_size=4)
sentence = st.lists(word, min_size=1, max_size=6)


@given(sentences=st.lists(sentence, max_size=6), max_batch_tokens=st.integers(1, 60))
@settings(deadline=None, max_examples=40)
def test_vectors_are_in_the_order_of_the_sentences(base: PreTrainedModel, sentences: list[Words], max_batch_tokens: int) -> None:
    vectors = SentenceEncoder(base, 1, max_batch_tokens).encode(sentences)
    assert len(vectors) == len(sentences)
    for own, row in zip(sentences, vectors, strict=True):
        assert row.words.dtype == row.sentence.dtype == torch.float32
        assert_by_hand(base, own, 1, row)


@pytest.mark.parametrize("beside", [[], [SENTENCES[0]]], ids=["alone", "beside another"])
def test_a_sentence_without_words_has_a_zero_vector(base: PreTrainedModel, beside: list[Words]) -> None:
    empty, *others = SentenceEncoder(base, 1).encode([[], *beside])
    assert empty.words.shape == (0, 32)
    assert torch.equal(empty.sentence, torch.zeros(32))
    for sentence, vectors in zip(beside, others, strict=True):
        assert_by_hand(base, sentence, 1, vectors)


def test_a_mention_is_the_mean_of_its_words(base: PreTrainedModel) -> None:
    vectors = SentenceEncoder(base, 1).encode(SENTENCES)[2]
    torch.testing.assert_close(vectors.mention(1, 4), (vectors.words[1] + vectors.words[2] + vectors.words[3]) / 3)


def test_a_base_without_a_bos_token_is_supported(tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(write_tiny_base(tmp_path, "qwen"), bos_token_id=None).eval()
    with torch.no_grad():
        states = base(torch.tensor([[10, 11]]), output_hidden_states=True).hidden_states[1][0]
    vectors = SentenceEncoder(base, 1).encode([[[10], [11]]])[0]
    torch.testing.assert_close(vectors.words, states, rtol=1e-4, atol=1e-5)


def test_the_base_computes_all_layers_after_encoding(base: PreTrainedModel) -> None:
    ids = torch.tensor([[1, 10, 20]])
    before = base(ids).logits
    SentenceEncoder(base, 1).encode(SENTENCES)
    assert torch.equal(base(ids).logits, before)


@pytest.mark.parametrize("layer", [-1, DEPTH + 1, 99])
def test_a_missing_layer_is_refused(base: PreTrainedModel, layer: int) -> None:
    with pytest.raises(ValueError, match=f"encoder_layer={layer}, but the base LLM has layers 0 to {DEPTH}"):
        SentenceEncoder(base, layer)
