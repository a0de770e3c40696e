"""Mentions whose words occur more than once: whether an answer keeps the right occurrence, and which one the LLM chooses.

python -m benchmarks.occurrences --data ../shared/data --json benchmarks/results/occurrences.json
"""

import random
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from benchmarks.corpus import adapter_of, test_sets
from benchmarks.options import Data, Json, Model, benchmark
from benchmarks.report import Metric, publish
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.model.answer_format import occurrences
from modeling_retrieveall.model.decoding import Answer, AnswerDecoder, ScoredSpan
from modeling_retrieveall.model.entities import Example, Span
from modeling_retrieveall.model.grammar import AnswerGrammar
from modeling_retrieveall.model.occurrences import OccurrenceChooser


@benchmark(number=4)
def main(
    data: Data,
    model: Model = "shipped",
    number: Annotated[
        int, typer.Option(help="Number of sentences whose first occurrence is right, for which the LLM chooses.")
    ] = 400,
    json_file: Json = None,
) -> None:
    loaded = RetrieveAllModel.from_pretrained(model)
    rows: list[dict[str, Any]] = []
    first_right: list[tuple[str, Example]] = []
    first_wrong: list[tuple[str, Example]] = []
    for name, examples in test_sets(data):
        entities = sum(len(example.spans) for example in examples)
        lost = sum(_is_lost(loaded, example) for example in examples)
        repeated = [example for example in examples if _is_repeated(loaded, example)]
        wrong = [example for example in repeated if _first(loaded, example) != list(example.spans)]
        first_wrong += [(name, example) for example in wrong]
        first_right += [(name, example) for example in repeated if example not in wrong]
        rows.append({"corpus": name, "entities": entities, "lost": lost, "repeated": len(repeated), "first is wrong": len(wrong)})
    asked = random.Random(0).sample(first_right, min(number, len(first_right)))
    kept = sum(_chosen(loaded, name, example) == list(example.spans) for name, example in asked)
    found = sum(_chosen(loaded, name, example) == list(example.spans) for name, example in first_wrong)
    metrics = [
        Metric("labelled entities", sum(row["entities"] for row in rows), ""),
        Metric("sentences whose answer is read back as other entities", sum(row["lost"] for row in rows), "", 0, at_most=True),
        Metric("sentences with a mention that could be elsewhere", len(first_right) + len(first_wrong), ""),
        Metric("of these the first occurrence is wrong in", len(first_wrong), ""),
        Metric("of these the LLM chooses the right one in", found, ""),
        Metric("first occurrence right, and kept by the LLM", round(100 * kept / max(len(asked), 1), 1), "%"),
    ]
    publish("Test sentences", metrics, rows, json_file)


def _is_lost(model: RetrieveAllModel, example: Example) -> bool:
    grammar = AnswerGrammar(model.answers, example.sentence, sorted({span.label for span in example.spans}))
    return not grammar.accepts(model.answers.answer_ids(example.sentence, example.spans)) or grammar.spans != list(example.spans)


def _is_repeated(model: RetrieveAllModel, example: Example) -> bool:
    words = model.answers.word_ids(example.sentence)
    ends = [0, *(span.end for span in example.spans)]
    return any(len(occurrences(words, span, end)) > 1 for span, end in zip(example.spans, ends, strict=False))


def _first(model: RetrieveAllModel, example: Example) -> list[Span]:
    """The spans of an answer without occurrence numbers: for each mention, its first occurrence after the previous mention."""
    words = model.answers.word_ids(example.sentence)
    spans: list[Span] = []
    for span in example.spans:
        spans.append(occurrences(words, span, spans[-1].end if spans else 0)[0])
    return spans


def _chosen(model: RetrieveAllModel, corpus: str, example: Example) -> Sequence[Span]:
    spans = _first(model, example)
    answer = Answer(model.answers.answer_ids(example.sentence, spans), [ScoredSpan(span, 1.0) for span in spans])
    adapter = adapter_of(model, corpus)
    model.bank.make_resident([adapter], lambda name: model.adapters[name].lora_weights(model.base.dtype))
    chooser = OccurrenceChooser(AnswerDecoder(model.base, model.bank), model.answers)
    return [scored.span for scored in chooser.choose([example.sentence], [answer], [{adapter: 1.0}])[0].spans]


if __name__ == "__main__":
    main()
