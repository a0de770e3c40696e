"""Speed and F1 of extraction compared with PEFT and plain `generate` on the same prompts, and the time of each stage.

python -m benchmarks.extraction --data ../shared/data --json benchmarks/results/extraction.json
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any
from unittest.mock import patch

import torch
import typer

from benchmarks.corpus import labelled_sentences
from benchmarks.options import Device, Dtype, Json, Languages, Model, Number, OptionalData, benchmark
from benchmarks.peer import PeftPeer, parsed
from benchmarks.report import Metric, publish
from modeling_retrieveall import Entity, RetrieveAllModel
from modeling_retrieveall.evaluation.scores import strict_span_f1
from modeling_retrieveall.model.cached_sequences import CachedSequences
from modeling_retrieveall.model.decoding import LMHead
from modeling_retrieveall.model.encoder import SentenceEncoder
from modeling_retrieveall.model.entities import Example, tags_from_entities, tags_from_spans
from modeling_retrieveall.model.grammar import AnswerGrammar
from modeling_retrieveall.model.lora_bank import LoraBank
from modeling_retrieveall.model.prompting import PromptWriter
from modeling_retrieveall.model.retrieval import ExampleIndex
from modeling_retrieveall.model.router import Router

STAGES: list[tuple[str, type, str]] = [
    ("encoding", SentenceEncoder, "encode"),
    ("encoding", SentenceEncoder, "encode_and_cache"),  # without the forward pass, which is counted as prefill
    ("routing", Router, "route"),
    ("retrieval", ExampleIndex, "search"),
    ("prompts", PromptWriter, "write"),
    ("adapter loading", LoraBank, "make_resident"),
    ("decode steps", CachedSequences, "read"),  # the first read of a batch is counted as its prefill
    ("LM head", LMHead, "__call__"),
    *(("grammar", AnswerGrammar, method) for method in ("__init__", "allowed", "advance", "draft")),
]
ON_DEVICE = {"encoding", "decode steps", "LM head"}
MIXED, GROUPED = "PEFT, mixed batches", "PEFT, a language at a time"


@benchmark(languages="de,ta", number=2, batch_size=4, answer_tokens=32)
def main(
    data: OptionalData = None,
    model: Model = "shipped",
    languages: Languages = "de,en,es,ru,bg,ta",
    number: Number = 80,
    batch_size: Annotated[int, typer.Option(help="Sentences in a batch, for both systems.")] = 16,
    answer_tokens: Annotated[int, typer.Option(help="Largest number of tokens in an answer of PEFT.")] = 128,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    json_file: Json = None,
) -> None:
    codes = languages.split(",")
    loaded = RetrieveAllModel.from_pretrained(model, dtype=getattr(torch, dtype)).to(device)
    of_language = {code: labelled_sentences(loaded, data, code, number) for code in codes}
    examples = [example for code in codes for example in of_language[code]]
    owners = [code for code in codes for _ in of_language[code]]
    words = [[word.text for word in example.sentence.words] for example in examples]
    loaded.extract(words[:batch_size], language=owners[:batch_size], is_split_into_words=True, batch_size=batch_size)  # warm-up

    def ours(routed: bool) -> tuple[list[list[Entity]], float]:
        began = time.perf_counter()
        found = loaded.extract(words, language=None if routed else owners, is_split_into_words=True, batch_size=batch_size)
        return [result.entities for result in found], time.perf_counter() - began

    with timed() as seconds:
        routed, routed_seconds = ours(True)
    oracle, oracle_seconds = ours(False)
    rows = [_row("ours, routed", examples, routed, routed_seconds), _row("ours, oracle", examples, oracle, oracle_seconds)]
    explained = loaded.extract(words, language=owners, details=True, is_split_into_words=True)
    prompts = [[part.details.prompt_ids for part in result.sentences if part.details] for result in explained]
    peer = PeftPeer(loaded, codes)
    peer.generate(prompts[0], owners[:1] * len(prompts[0]), 4)  # warm-up
    for name, by_language in ((MIXED, False), (GROUPED, True)):
        began = time.perf_counter()
        answers = peer_answers(peer, prompts, owners, batch_size, by_language, answer_tokens)
        spent = time.perf_counter() - began
        labels = loaded.adapters[codes[0]].manifest.entity_types
        found = [parsed(answer, e.sentence, labels) for answer, e in zip(answers, examples, strict=True)]
        rows.append(_row(name, examples, found, spent))
    shares = {stage: round(100 * spent / routed_seconds, 1) for stage, spent in seconds.items()}
    if data is None:  # the adapters know these sentences, so their F1 would be meaningless
        rows = [{**row, "F1": None} for row in rows]
    publish("Extraction, from words to entities", _metrics(rows, shares), rows, json_file)


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Measures the seconds spent in each stage inside the ``with`` block. Waits for the GPU, so that its work is counted."""
    seconds: dict[str, float] = defaultdict(float)
    with ExitStack() as patches:
        for stage, owner, method in STAGES:
            patches.enter_context(patch.object(owner, method, _stopwatch(getattr(owner, method), stage, seconds)))
        yield seconds


def _stopwatch(method: Callable[..., Any], stage: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def timed_method(self: Any, *args: Any, **kwargs: Any) -> Any:
        counted = sum(seconds.values())
        began = time.perf_counter()
        first = stage == "decode steps" and not self.length
        result = method(self, *args, **kwargs)
        if stage in ON_DEVICE and torch.cuda.is_available():
            torch.cuda.synchronize()
        # Without the stages that ran inside this one, such as the prefill that encodes a sentence.
        inside = sum(seconds.values()) - counted
        seconds["prefill" if first else stage] += time.perf_counter() - began - inside
        return result

    return timed_method


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


def _row(name: str, examples: Sequence[Example], found: Sequence[list[Entity]], seconds: float) -> dict[str, Any]:
    expected = [tags_from_spans(example.spans, len(example.sentence.words)) for example in examples]
    tags = [tags_from_entities(entities, e.sentence) for entities, e in zip(found, examples, strict=True)]
    return {
        "what": name,
        "sentences/s": round(len(examples) / seconds, 2),
        "F1": strict_span_f1(expected, tags).f1,
        "seconds": round(seconds, 1),
        "sentences": len(examples),
    }


def _f1_metric(f1: dict[str, Any]) -> Metric:
    return Metric("F1, ours - best of PEFT", round(f1["ours, oracle"] - max(f1[MIXED], f1[GROUPED]), 2), "points", 0.0)


def _metrics(rows: list[dict[str, Any]], shares: dict[str, float]) -> list[Metric]:
    speed = {row["what"]: row["sentences/s"] for row in rows}
    f1 = {row["what"]: row["F1"] for row in rows}
    lookup = round(sum(shares[stage] for stage in ("encoding", "routing", "retrieval")), 1)
    metrics = [] if f1[MIXED] is None else [_f1_metric(f1)]
    return [
        *metrics,
        Metric("speed, ours / PEFT, mixed batches", round(speed["ours, oracle"] / speed[MIXED], 2), "times", 3.0),
        Metric("speed, ours / PEFT, a language at a time", round(speed["ours, oracle"] / speed[GROUPED], 2), "times", 3.0),
        Metric("share of encoding, routing and retrieval", lookup, "% of our time", 15.0, at_most=True),
        *(Metric(f"share of {stage}", share, "% of our time") for stage, share in shares.items()),
    ]


if __name__ == "__main__":
    main()
