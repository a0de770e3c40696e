"""The same extraction with PEFT and plain `generate`, as a user would write it, for comparison in the speed benchmarks."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from modeling_retrieveall.model.embedded_llm import resolve_base
from modeling_retrieveall.model.entities import Entity, Sentence, Span
from modeling_retrieveall.model.modeling_retrieveall import RetrieveAllModel


class PeftPeer:
    """A second base LLM with the adapters of a model, loaded by PEFT.

    Args:
        model: The model whose base, tokenizer and adapters are used.
        languages: The languages to load.
    """

    def __init__(self, model: RetrieveAllModel, languages: Sequence[str]) -> None:
        base = AutoModelForCausalLM.from_pretrained(resolve_base(model.config.base_model), dtype=model.base.dtype)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            first, *others = [
                model.adapters[language].copy_to(folder, f"lang_{language}") for language in dict.fromkeys(languages)
            ]
            # The prefix is needed because PEFT matches some names by substring. Without `autocast_adapter_dtype=False`, PEFT
            # would compute the adapters in float32.
            self.model = PeftModel.from_pretrained(base, str(folder / first), adapter_name=first, autocast_adapter_dtype=False)
            for other in others:
                self.model.load_adapter(str(folder / other), adapter_name=other, autocast_adapter_dtype=False)
        self.model.to(model.base.device).eval()
        self.tokenizer = model.tokenizer
        self._end = model.answers.end[-1]

    @torch.no_grad()
    def generate(self, prompts: Sequence[list[int]], languages: Sequence[str], max_new_tokens: int = 128) -> list[str]:
        """Generates the answers to one batch of prompts, each with the adapter of its language."""
        longest = max(map(len, prompts))
        device = self.model.device
        one_language = len(set(languages)) == 1
        if one_language:
            self.model.set_adapter(f"lang_{languages[0]}")
        output = self.model.generate(
            input_ids=torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=device),
            attention_mask=torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=self._end,
            pad_token_id=0,
            # `adapter_names` is how PEFT handles mixed batches; a batch of one language does not need it.
            **({} if one_language else {"adapter_names": [f"lang_{language}" for language in languages]}),
        )
        answers: list[str] = self.tokenizer.batch_decode(output[:, longest:], skip_special_tokens=True)
        return answers


def peer_answers(
    peer: PeftPeer,
    prompts: Sequence[list[list[int]]],
    languages: Sequence[str],
    batch_size: int,
    by_language: bool,
    answer_tokens: int,
) -> list[str]:
    """Answers of PEFT, decoded in batches of prompts with similar length.

    Args:
        peer: The model in PEFT.
        prompts: The prompts of each sentence. A long sentence has several prompts, and so several lines of answer.
        languages: The language of each sentence.
        batch_size: Number of prompts in a batch.
        by_language: Whether a batch holds prompts of one language only.
        answer_tokens: Largest number of tokens in an answer.
    """
    answers: list[list[str]] = [[] for _ in prompts]
    for group in sorted(set(languages)) if by_language else [None]:
        of_group = [(i, prompt) for i, parts in enumerate(prompts) for prompt in parts if group in (None, languages[i])]
        order = sorted(of_group, key=lambda pair: len(pair[1]))  # stable: the parts of a sentence stay in order
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            given = peer.generate([prompt for _, prompt in batch], [languages[i] for i, _ in batch], answer_tokens)
            for (i, _), answer in zip(batch, given, strict=True):
                answers[i].append(answer)
    return ["\n".join(lines) for lines in answers]


def parsed(answer: str, sentence: Sentence, labels: Sequence[str]) -> list[Entity]:
    """Parses an answer: its entities that occur in the sentence, in order. Spaces between words are ignored."""
    words = [word.text.replace("=", ":") for word in sentence.words]
    entities = []
    position = 0
    for mention, number, label in re.findall(rf"(.*?) =(\d*) ({'|'.join(map(re.escape, labels))})(?:;|\n|$)", answer):
        bare = "".join(mention.split())
        runs = ((i, j) for i in range(position, len(words)) for j in range(i + 1, len(words) + 1))
        found = [(i, j) for i, j in runs if "".join("".join(words[i:j]).split()) == bare][: int(number or 1)]
        if bare and found:
            position = found[-1][1]
            entities.append(sentence.entity(Span(*found[-1], label), 1.0))
    return entities
