"""Measurements behind the defaults of `RetrieveAllConfig`: routing and retrieval by layer and k, F1 by content of the prompt.

All are made on validation sentences, so that test sentences do not influence the defaults.

    python -m benchmarks.defaults --data ../shared/data --model runs --json benchmarks/results/defaults.json
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
import typer
from torch.nn.functional import normalize

from benchmarks.corpus import training_and_validation
from benchmarks.options import Data, Dtype, Json, Model, benchmark
from benchmarks.report import Metric, publish
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.data.labelled_data import sample_examples
from modeling_retrieveall.evaluation.span_f1 import evaluate_examples
from modeling_retrieveall.model.configuration_retrieveall import RetrieveAllConfig
from modeling_retrieveall.model.encoder import SentenceEncoder, SentenceVectors
from modeling_retrieveall.model.entities import Example
from modeling_retrieveall.model.router import Router

PROMPTS: list[dict[str, float]] = [
    {"n_entities": 0, "n_sentences": 0},
    {"n_entities": 6, "n_sentences": 0},
    {"n_entities": 0, "n_sentences": 2},
    {"n_entities": 3, "n_sentences": 1},
    {"n_entities": 6, "n_sentences": 2},
    {"entity_threshold": 0.0, "sentence_threshold": 0.0},
    {"entity_threshold": 2.0, "sentence_threshold": 2.0},
    {"max_example_tokens": 96},
]


@benchmark(languages="de,ta", prompt_languages="de", number=4, layers="6")
def main(
    data: Data,
    model: Model = "shipped",
    languages: Annotated[str, typer.Option(help="Languages that the router chooses from.")] = "de,en,es,ru,bg,ta",
    prompt_languages: Annotated[str, typer.Option(help="Languages whose F1 is measured.")] = "de,ru",
    known: Annotated[int, typer.Option(help="Number of training sentences of each language.")] = 300,
    number: Annotated[int, typer.Option(help="Number of validation sentences of each language.")] = 200,
    layers: Annotated[str, typer.Option(help="Layers of the base LLM.")] = "6,9,12,15,18",
    dtype: Dtype = "float32",
    json_file: Json = None,
) -> None:
    loaded = RetrieveAllModel.from_pretrained(model, dtype=getattr(torch, dtype))
    examples: dict[str, list[Example]] = {}
    asked: dict[str, list[Example]] = {}
    for code in languages.split(","):
        train, asked[code] = training_and_validation(data, code, number)
        examples[code] = sample_examples(train, known, 0)
    rows = [_layer(loaded, int(layer), examples, asked) for layer in layers.split(",")]
    rows += [_prompt(loaded, setting, asked, prompt_languages.split(",")) for setting in PROMPTS]
    table = [{"setting": row["setting"], **{name: row.get(name, "") for name in COLUMNS}} for row in rows]
    publish("Validation sentences", _metrics(rows), table, json_file)


ROUTERS: dict[str, dict[str, Any]] = {
    "routed right, discriminant": {"router": "discriminant"},
    **{f"routed right, k={k}": {"router": "vote", "k_neighbours": k} for k in (1, 5, 10, 20)},
}
COLUMNS = (*ROUTERS, "nearest mention has the label", "F1")


def _layer(
    model: RetrieveAllModel, layer: int, known: dict[str, list[Example]], asked: dict[str, list[Example]]
) -> dict[str, Any]:
    encoder = SentenceEncoder(model.base, layer)

    def encode(examples: Sequence[Example]) -> list[SentenceVectors]:
        return encoder.encode([model.answers.word_ids(example.sentence) for example in examples])

    known_vectors = {code: encode(examples) for code, examples in known.items()}
    asked_vectors = {code: encode(examples) for code, examples in asked.items()}
    row: dict[str, Any] = {"setting": f"encoder_layer {layer}"}
    for name, setting in ROUTERS.items():
        router = Router(RetrieveAllConfig(**setting))
        for code, vectors in known_vectors.items():
            router.add(code, torch.stack([v.sentence for v in vectors]))
        right = [
            route.language == code
            for code, vectors in asked_vectors.items()
            for route in router.route(torch.stack([v.sentence for v in vectors]))[1]
        ]
        row[name] = round(100 * sum(right) / len(right), 1)
    agreement = [_label_agreement(known[code], known_vectors[code], asked[code], asked_vectors[code]) for code in known]
    row["nearest mention has the label"] = round(100 * sum(agreement) / len(agreement), 1)
    print(row, flush=True)
    return row


def _label_agreement(
    known: list[Example], known_vectors: list[SentenceVectors], asked: list[Example], asked_vectors: list[SentenceVectors]
) -> float:
    """Share of mentions in ``asked`` whose nearest mention in ``known`` has the same label."""

    def mentions(examples: list[Example], vectors: list[SentenceVectors]) -> tuple[torch.Tensor, list[str]]:
        spans = [(v, span) for example, v in zip(examples, vectors, strict=True) for span in example.spans]
        return torch.stack([v.mention(span.start, span.end) for v, span in spans]), [span.label for _, span in spans]

    stored, stored_labels = mentions(known, known_vectors)
    queries, labels = mentions(asked, asked_vectors)
    nearest = (normalize(queries - stored.mean(0), dim=-1) @ normalize(stored - stored.mean(0), dim=-1).T).argmax(1)
    return sum(stored_labels[int(i)] == label for i, label in zip(nearest, labels, strict=True)) / len(labels)


def _prompt(
    model: RetrieveAllModel, setting: dict[str, float], asked: dict[str, list[Example]], languages: list[str]
) -> dict[str, Any]:
    before = {name: getattr(model.config, name) for name in setting}
    try:
        model.config.change(setting)
        f1 = [evaluate_examples(model, asked[code], code, oracle_routing=True).f1 for code in languages]
    finally:
        model.config.change(before)
    row = {"setting": ", ".join(f"{name} {value}" for name, value in setting.items()), "F1": round(sum(f1) / len(f1), 2)}
    print(row, flush=True)
    return row


def _metrics(rows: list[dict[str, Any]]) -> list[Metric]:
    f1 = {row["setting"]: row["F1"] for row in rows if "F1" in row}
    default = f1["n_entities 6, n_sentences 2"]
    return [Metric(f"F1 of the defaults - {setting}", round(default - value, 2), "points") for setting, value in f1.items()]


if __name__ == "__main__":
    main()
