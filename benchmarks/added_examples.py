"""What labelled sentences of another genre or language are worth: added to the examples of an adapter, or trained on.

    python -m benchmarks.added_examples --data ../shared/data --json benchmarks/results/added_examples.json
    python -m benchmarks.added_examples --data ../shared/data --orders random,uncertain --corpora conll2003/de,masakhaner2/swa

With the order ``uncertain``, the sentences are those that ``retrieveall annotate --order uncertain`` would put first. An
interrupted run resumes.
"""

import random
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.corpus import adapter_of
from benchmarks.intervals import f1_columns
from benchmarks.options import Data, Dtype, Limit, Model, Quantization, Rows, Runs, benchmark
from benchmarks.report import Metric, publish, read_rows, write_json
from modeling_retrieveall import AdapterTrainingArguments, RetrieveAllModel, train
from modeling_retrieveall.annotation.added_columns import uncertainty
from modeling_retrieveall.data.labelled_data import exclude_by_key, sample_examples
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.data.writing import write_examples
from modeling_retrieveall.evaluation.span_f1 import predict, unseen
from modeling_retrieveall.model.entities import Example
from modeling_retrieveall.training.resuming import is_interrupted

CORPORA = "conll2003/de,conll2003/en,masakhaner2/yor,slavicner/ru"
WAYS = ("added", "trained")
Row = dict[str, Any]


@benchmark(corpora="panx/de", numbers="0,4", orders="random,uncertain", pool=8, limit=4)
def main(
    data: Data,
    model: Model = "shipped",
    runs: Runs = Path("runs/added_examples"),
    corpora: Annotated[str, typer.Option(help="Corpora that the adapters were not trained on, separated by commas.")] = CORPORA,
    numbers: Annotated[str, typer.Option(help="Numbers of sentences, separated by commas.")] = "0,20,100,500",
    orders: Annotated[
        str, typer.Option(help="How the sentences are chosen: `random` or `uncertain`, separated by commas.")
    ] = "random",
    pool: Annotated[int, typer.Option(help="Number of training sentences that they are chosen from.")] = 2000,
    limit: Limit = 1000,
    dtype: Dtype = "float32",
    quantization: Quantization = None,
    json_file: Rows = Path("benchmarks/results/added_examples.json"),
) -> None:
    rows = read_rows(json_file)
    loaded = RetrieveAllModel.from_pretrained(model, dtype=getattr(torch, dtype), quantization=quantization)
    for corpus in corpora.split(","):
        language = adapter_of(loaded, corpus)
        known = set(loaded.adapters[language].manifest.entity_types)
        training, test = (
            [_with_labels(example, known) for example in load_examples(str(data / corpus), split).examples]
            for split in ("train", "test")
        )
        fresh = exclude_by_key(unseen(loaded, test), {example.key for example in training})
        test = sample_examples(fresh, limit, 0)
        for order in orders.split(","):
            wanted = [(number, way) for number in map(int, numbers.split(",")) for way in (WAYS if number else WAYS[:1])]
            keys: list[Row] = [
                {"corpus": corpus, "adapter": language, "order": order if number else "", "way": way, "sentences": number}
                for number, way in wanted
            ]
            missing = [key for key in keys if not any(key.items() <= row.items() for row in rows)]
            sentences = random.Random(0).sample(training, min(pool, len(training)))
            if missing and order == "uncertain":
                sentences = _most_uncertain_first(loaded, language, sentences)
            for key in missing:
                number = key["sentences"]
                if key["way"] == "added":
                    scores = _added(loaded, language, sentences[:number], test)
                else:
                    folder = runs / corpus / f"{order}-{number}"
                    scores = _trained(loaded, language, sentences[:number], test, folder, dtype, quantization)
                rows.append(key | scores | {"n_test": len(test)})
                print(rows[-1], flush=True)
                write_json([], rows, json_file)
    write_json(metrics(rows), rows, json_file)
    publish("Strict typed span F1 on another genre or language", metrics(rows), rows, None)


def _most_uncertain_first(model: RetrieveAllModel, language: str, examples: list[Example]) -> list[Example]:
    """The sentences in the order of ``retrieveall annotate --order uncertain``."""
    words = [[word.text for word in example.sentence.words] for example in examples]
    results = model.extract(words, language=language, is_split_into_words=True, near_misses=0.0)
    order = sorted(range(len(examples)), key=lambda i: -uncertainty(results[i]))
    return [examples[i] for i in order]


def _with_labels(example: Example, labels: set[str]) -> Example:
    return Example(example.sentence, tuple(span for span in example.spans if span.label in labels))


def _added(model: RetrieveAllModel, language: str, sentences: list[Example], test: list[Example]) -> Row:
    """The scores with the sentences among the examples of the language."""
    adapter = model.adapters[language]
    model.add_examples(language, sentences)
    try:
        return f1_columns(predict(model, test, language, oracle_routing=True))
    finally:
        model.registry.replace(adapter)


def _trained(
    model: RetrieveAllModel,
    language: str,
    sentences: list[Example],
    test: list[Example],
    folder: Path,
    dtype: str,
    quantization: str | None,
) -> Row:
    """The scores of an adapter that was trained on the sentences, starting from the adapter of the language."""
    target = str(folder / language)
    if not Path(target).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        write_examples(sentences, folder / "sentences.conll", "conll")
        model.adapters[language].copy_to(folder, "start")
        train(
            AdapterTrainingArguments(
                language=[language],
                dataset=[str(folder / "sentences.conll")],
                output_dir=target,
                base_model=model.config.base_model,
                init_adapter=str(folder / "start"),
                quantization=quantization,
                max_eval_samples=0,
                resume=is_interrupted(target),
            )
        )
    trained = RetrieveAllModel.from_pretrained(target, dtype=getattr(torch, dtype), quantization=quantization)
    return f1_columns(predict(trained, test, language, oracle_routing=True))


def metrics(rows: list[Row]) -> list[Metric]:
    """The gain over the adapter as it is, for each number of sentences."""
    before = {row["corpus"]: row["F1"] for row in rows if not row["sentences"]}
    result = []
    for row in rows:
        if row["sentences"] and row["corpus"] in before:
            name = f"{row['corpus']}: {row['sentences']} {row['order']} sentences {row['way']}"
            result.append(Metric(name, round(row["F1"] - before[row["corpus"]], 2), "F1"))
    return result


if __name__ == "__main__":
    main()
