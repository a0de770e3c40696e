"""The time that extraction spends in each of its stages.

>>> with timed() as seconds:
...     model.extract(texts)
>>> seconds["routing"]
0.41
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch

from modeling_retrieveall.model import tagging
from modeling_retrieveall.model.cached_sequences import CachedSequences
from modeling_retrieveall.model.decoding import LMHead
from modeling_retrieveall.model.encoder import SentenceEncoder
from modeling_retrieveall.model.grammar import AnswerGrammar
from modeling_retrieveall.model.known_mentions import KnownMentions
from modeling_retrieveall.model.lora_bank import LoraBank
from modeling_retrieveall.model.prompting import PromptWriter
from modeling_retrieveall.model.retrieval import ExampleIndex
from modeling_retrieveall.model.router import Router

_FIRST_PASS, _FURTHER_PASSES = "first pass of the LLM", "further passes of the LLM"
_STAGES: list[tuple[str, Any, str]] = [
    ("sentence vectors", SentenceEncoder, "encode"),
    ("sentence vectors", SentenceEncoder, "encode_and_cache"),  # without the pass of the LLM inside it
    ("routing", Router, "route"),
    ("retrieval", ExampleIndex, "search"),
    ("retrieval", KnownMentions, "find"),
    ("prompts", PromptWriter, "write"),
    ("adapter loading", LoraBank, "make_resident"),
    (_FURTHER_PASSES, CachedSequences, "read"),
    ("LM head", LMHead, "__call__"),
    ("tags", tagging, "tag_answers"),
    *(("grammar", AnswerGrammar, method) for method in ("__init__", "allowed", "advance", "draft")),
]
_ON_DEVICE = {"sentence vectors", _FURTHER_PASSES, "LM head"}
LOOKUP = ("sentence vectors", "routing", "retrieval")
"""The stages that find the adapter and the examples of a sentence."""


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Measures the seconds spent in each stage inside the ``with`` block. Waits for the GPU, so that its work is counted."""
    seconds: dict[str, float] = defaultdict(float)
    with ExitStack() as patches:
        for stage, owner, method in _STAGES:
            patches.enter_context(patch.object(owner, method, _stopwatch(getattr(owner, method), stage, seconds)))
        yield seconds


def _stopwatch(method: Callable[..., Any], stage: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def timed_method(first_argument: Any, *args: Any, **kwargs: Any) -> Any:
        counted = sum(seconds.values())
        began = time.perf_counter()
        first = stage == _FURTHER_PASSES and not first_argument.length
        result = method(first_argument, *args, **kwargs)
        if stage in _ON_DEVICE and torch.cuda.is_available():
            torch.cuda.synchronize()
        # Without the stages that ran inside this one, such as the pass of the LLM that encodes a sentence.
        inside = sum(seconds.values()) - counted
        seconds[_FIRST_PASS if first else stage] += time.perf_counter() - began - inside
        return result

    return timed_method
