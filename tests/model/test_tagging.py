"""Tagging: the tokens of tags, Viterbi, and equal results in training, in a batch and alone."""

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from modeling_retrieveall import RetrieveAllConfig, RetrieveAllModel
from modeling_retrieveall.model.answer_format import AnswerFormat
from modeling_retrieveall.model.decoding import LMHead
from modeling_retrieveall.model.encoder import SentenceVectors
from modeling_retrieveall.model.entities import Example, Sentence, Span
from modeling_retrieveall.model.lora_bank import LoraBank, LoraWeights
from modeling_retrieveall.model.loss import hidden_states, labelled_logits
from modeling_retrieveall.model.prompting import PromptWriter
from modeling_retrieveall.model.retrieval import ExampleIndex
from modeling_retrieveall.model.tagging import TagFormat, Tagger, tag_ids, viterbi
from modeling_retrieveall.training.loop import collate
from modeling_retrieveall.training.prompt_sampling import PromptSampler, Sample
from tests.conftest import write_tiny_base
from tests.strategies import spans_within

LABELS = ["LOC", "PER"]
TEXTS = [
    "Angela Merkel besuchte Nairobi.",
    "Bonn",
    "Wangari Maathai spoke in New York; the United Nations met in Nairobi and in Bonn.",
    "北京 = 上海",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def answers(folder: Path) -> AnswerFormat:
    return AnswerFormat(AutoTokenizer.from_pretrained(folder))


def is_valid(tags: tuple[int, ...], labels: int) -> bool:
    pairs = itertools.pairwise((0, *tags))
    return all(tag <= labels or before in (tag, tag - labels) for before, tag in pairs)


@given(labels=st.integers(1, 2), words=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_the_best_tags_are_the_most_probable_valid_sequence(labels: int, words: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_probabilities = torch.randn(words, 1 + 2 * labels, generator=generator).log_softmax(-1)

    def probability(tags: tuple[int, ...]) -> float:
        return float(log_probabilities[range(words), list(tags)].sum())

    valid = [tags for tags in itertools.product(range(1 + 2 * labels), repeat=words) if is_valid(tags, labels)]
    (found,) = viterbi([log_probabilities])
    assert is_valid(tuple(found), labels)
    assert probability(tuple(found)) == pytest.approx(max(map(probability, valid)), abs=1e-5)


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), seed=st.integers(0, 10_000))
def test_sentences_of_a_batch_do_not_affect_one_another(lengths: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(length, 5, generator=generator).log_softmax(-1) for length in lengths]
    assert viterbi(rows) == [viterbi([row])[0] for row in rows]


@given(data=st.data())
def test_spans_are_recovered_from_their_tags(data: st.DataObject) -> None:
    words = data.draw(st.integers(1, 9))
    spans = data.draw(spans_within(words))
    labels = sorted({span.label for span in spans} | {"PER"})
    numbers = tag_ids(spans, words, labels)
    certain = torch.full((words, 1 + 2 * len(labels)), -50.0)
    certain[range(words), numbers] = 0
    assert viterbi([certain]) == [numbers]
    assert is_valid(tuple(numbers), len(labels))


@given(labels=st.lists(st.text(min_size=1, max_size=8), max_size=12, unique=True))
def test_every_tag_has_a_token_of_its_own(answers: AnswerFormat, labels: list[str]) -> None:
    tokens = TagFormat(answers).tokens(labels)
    assert len(set(tokens)) == len(tokens) == 1 + 2 * len(labels)
    assert max(tokens) < len(answers.tokenizer)


def test_a_tagging_prompt_has_the_sentence_before_and_after_its_examples(answers: AnswerFormat) -> None:
    sentence = Sentence.from_text(TEXTS[0])
    shown = [Example(Sentence.from_text("Bonn"), (Span(0, 1, "LOC"),))]
    prompt = PromptWriter(answers, 1000).write(sentence, examples=shown, decoding="tags")
    decode = answers.tokenizer.decode
    assert decode(list(prompt.prefix)) == "<bos> Angela Merkel besuchte Nairobi."
    assert decode(prompt.ids) == "\nText: Bonn\nEntities: Bonn = LOC\nTags: Angela Merkel besuchte Nairobi."
    assert all(len(ends) == 1 for ends in prompt.unit_ends)  # in raw text, every word is one unit
    ends = [decode(prompt.ids[: end + 1]).rsplit("Tags:")[-1] for (end,) in prompt.unit_ends]
    assert ends == [" Angela", " Angela Merkel", " Angela Merkel besuchte", " Angela Merkel besuchte Nairobi", f" {TEXTS[0]}"]


def random_lora(model: RetrieveAllModel) -> tuple[dict[str, Tensor], LoraWeights]:
    """Adds a random LoRA to the base LLM; returns its tensors, and the same weights for the bank."""
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    lora = get_peft_model(model.base, config)
    for name, parameter in lora.named_parameters():
        if "lora_" in name:
            parameter.data = 0.2 * torch.randn_like(parameter)
    state = {name.removeprefix("base_model.model."): tensor.clone() for name, tensor in get_peft_model_state_dict(lora).items()}
    a = {name.removesuffix(".lora_A.weight"): tensor for name, tensor in state.items() if "lora_A" in name}
    b = {name.removesuffix(".lora_B.weight"): tensor for name, tensor in state.items() if "lora_B" in name}
    return state, LoraWeights(a, b, dict.fromkeys(a, 2.0))


@pytest.mark.parametrize("seed", range(4))
def test_training_and_inference_compute_the_same_logits(folder: Path, answers: AnswerFormat, seed: int) -> None:
    torch.manual_seed(seed)
    in_training = RetrieveAllModel(
        RetrieveAllConfig(encoder_layer=1), AutoModelForCausalLM.from_pretrained(folder), answers.tokenizer
    )
    _, weights = random_lora(in_training)
    base = AutoModelForCausalLM.from_pretrained(folder).eval()
    bank = LoraBank(base, 2)
    bank.load("de", weights)
    sentences = [Sentence.from_text(text) for text in TEXTS]
    prompts = [PromptWriter(answers, 0).write(sentence, decoding="tags") for sentence in sentences]
    candidates = tuple(sorted(TagFormat(answers).tokens(LABELS)))
    samples = []
    for prompt in prompts:
        labels = [-100] * (len(prompt.ids) + 1)
        for ends in prompt.unit_ends:
            labels[ends[0] + 1] = candidates[0]
        samples.append(Sample([*prompt.ids, *answers.end], labels, candidates, prompt.prefix))
    batch = collate(samples)
    with_labels = {name: batch.pop(name) for name in ("labels", "candidates")}
    states = hidden_states(in_training.base, **batch)
    logits = labelled_logits(LMHead(in_training.base), states, **with_labels)[0].log_softmax(-1)  # [words of all, candidates]
    tagger = Tagger(base, bank, answers, RetrieveAllConfig())
    order = torch.tensor([candidates.index(token) for token in TagFormat(answers).tokens(LABELS)])
    expected = viterbi(list(torch.split(logits[:, order], [len(prompt.unit_ends) for prompt in prompts])))
    found = tagger.tag(prompts, sentences, [LABELS] * len(TEXTS), [{"de": 1.0}] * len(TEXTS))
    for sentence, tags, answer in zip(sentences, expected, found, strict=True):
        assert tag_ids([scored.span for scored in answer.spans], len(sentence.words), LABELS) == tags
        assert all(0 <= scored.score <= 1 for scored in answer.spans)
        assert answer.ids == answers.answer_ids(sentence, [scored.span for scored in answer.spans])


def test_a_row_is_tagged_alike_alone_and_in_a_batch_with_other_labels(folder: Path, answers: AnswerFormat) -> None:
    base = AutoModelForCausalLM.from_pretrained(folder).eval()
    for parameter in base.parameters():
        parameter.data = 0.3 * torch.randn_like(parameter)
    tagger = Tagger(base, LoraBank(base, 1), answers, RetrieveAllConfig())
    sentences = [Sentence.from_text(text) for text in TEXTS]
    prompts = [PromptWriter(answers, 0).write(sentence, decoding="tags") for sentence in sentences]
    labels = [["LOC"], ["LOC", "PER"], [], ["LOC"]]
    together = tagger.tag(prompts, sentences, labels, [{}] * 4)
    for row, (prompt, sentence) in enumerate(zip(prompts, sentences, strict=True)):
        (alone,) = tagger.tag([prompt], [sentence], [labels[row]], [{}])
        assert [scored.span for scored in alone.spans] == [scored.span for scored in together[row].spans]
        assert {scored.span.label for scored in alone.spans} <= set(labels[row])


def test_a_tagging_sample_has_a_target_for_every_word(answers: AnswerFormat) -> None:
    example = Example(Sentence.from_text(TEXTS[0]), (Span(0, 2, "PER"), Span(3, 4, "LOC")))
    sampler = PromptSampler(answers, RetrieveAllConfig(), 0.0, 1.0, LABELS, 0)
    vectors, index = _no_vectors([example])
    sampler.add([example], vectors, index)
    ((sample,),) = sampler.epoch(0, 8)
    tokens = TagFormat(answers).tokens(LABELS)
    assert [label for label in sample.labels if label != -100] == [tokens[tag] for tag in (2, 4, 0, 1, 0)]
    assert sample.candidates == tuple(sorted(tokens))


WORDS = ["Der", "US-Kongress", "in", "Nordrhein-Westfalen", "北京", "."]


def test_units_of_a_word_are_trained_like_words_of_raw_text(answers: AnswerFormat) -> None:
    words = Sentence.from_words(WORDS)
    units = Sentence.from_text("Der US-Kongress in Nordrhein-Westfalen 北京.")
    of_words = Example(words, (Span(1, 2, "ORG"), Span(3, 4, "LOC"), Span(4, 5, "LOC")))
    of_units = Example(units, (Span(1, 4, "ORG"), Span(5, 8, "LOC"), Span(8, 10, "LOC")))
    samples = []
    for example in (of_words, of_units):
        sampler = PromptSampler(answers, RetrieveAllConfig(), 0.0, 1.0, ["LOC", "ORG"], 0)
        sampler.add([example], *_no_vectors([example]))
        samples += sampler.epoch(0, 8)[0]
    assert samples[0] == samples[1]
    prompts = [PromptWriter(answers, 0).write(example.sentence, decoding="tags") for example in (of_words, of_units)]
    assert prompts[0].ids == prompts[1].ids
    first_units = [0, 1, 4, 5, 8, 10]  # a word has the tag of its first unit
    assert [ends[0] for ends in prompts[0].unit_ends] == [prompts[1].unit_ends[unit][0] for unit in first_units]


@given(share=st.floats(0, 1), count=st.integers(1, 40), size=st.integers(1, 9), together=st.integers(1, 4))
def test_a_share_of_the_samples_is_tagged_and_no_step_mixes(
    answers: AnswerFormat, share: float, count: int, size: int, together: int
) -> None:
    examples = [Example(Sentence.from_text(f"Bonn {n}"), (Span(0, 1, "LOC"),)) for n in range(count)]
    sampler = PromptSampler(answers, RetrieveAllConfig(), 0.0, share, ["LOC"], 0)
    sampler.add(examples, *_no_vectors(examples))
    batches = sampler.epoch(0, size, together)
    assert len(batches) == together * sampler.count_steps(size, together)
    assert all(1 <= len(batch) <= size for batch in batches)
    steps = [batches[at : at + together] for at in range(0, len(batches), together)]
    assert all(len({bool(sample.prefix) for batch in step for sample in batch}) == 1 for step in steps)
    distinct = {(bool(sample.prefix), tuple(sample.ids)) for batch in batches for sample in batch}
    assert len(distinct) == count
    assert sum(tagged for tagged, _ in distinct) == round(share * count)


def _no_vectors(examples: list[Example]) -> tuple[list[SentenceVectors], ExampleIndex]:
    vectors = [SentenceVectors(torch.zeros(4), torch.zeros(len(example.sentence.words), 4)) for example in examples]
    return vectors, ExampleIndex.build(examples, vectors)
