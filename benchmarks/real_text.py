"""F1 and false entities on human-labelled running text and on PAN-X lines: with the language given, routed, and with `mul` alone.

With the way `raw`, the model reads the natural text of each sentence and splits it into words itself, as it does for users. The
other ways give it the words of the corpus.

    python -m benchmarks.real_text --data ../shared/data --json benchmarks/results/real_text.json

Rows that the file holds already are not measured again.
"""

from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import torch
import typer

from benchmarks.corpus import adapter_of, test_sets
from benchmarks.intervals import f1_columns
from benchmarks.options import Data, Dtype, Limit, Model, Quantization, Rows, benchmark
from benchmarks.report import Metric, publish, read_rows, write_json
from modeling_retrieveall import LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.data.hebrew_treebank import as_written
from modeling_retrieveall.data.labelled_data import sample_examples
from modeling_retrieveall.data.raw_text import as_raw_text
from modeling_retrieveall.evaluation.span_f1 import Predictions, Report, predict, unseen
from modeling_retrieveall.hub.cards import write_card
from modeling_retrieveall.model.entities import Example
from modeling_retrieveall.model.manifest import MULTILINGUAL

Row = dict[str, Any]
# fmt: off
OWN_CORPORA = (
    "uner/da_ddt", "germeval2014/de", "uner/en_ewt", "uner/hr_set", "norne/nb", "uner/pt_bosque", "factrueval/ru", "uner/sk_snk",
    "uner/sr_set", "uner/sv_talbanken", "multiner/ta", "uner/zh_gsd", "turku/fi",
)
"""Test sets of corpora that shipped adapters are trained on, and for which there are goals."""
FURTHER_OWN_CORPORA = (
    "bengali_ner/bn", "estner/et", "uner/he_htb", "hiner/hi", "nerkor/hu", "idner/id", "stockmark/ja", "kaznerd/kk", "klue/ko",
    "lumii/lv", "norne/nn", "ronec/ro", "multiner/si", "thai_ner/th", "wikiner_tr/tr",
)
"""Test sets of the other corpora that the shipped adapters are trained on. For kk, si and th this is `mul`."""
OTHER_CORPORA = (
    "conll2003/de", "uner/de_pud", "conll2003/en", "uner/en_pud", "conll2002/es", "slavicner/ru", "slavicner/bg",
)
"""Test sets of other corpora, in languages that have a shipped adapter."""
# fmt: on
PANX = ("panx/bg", "panx/bn", "panx/da", "panx/de", "panx/en", "panx/es", "panx/no", "panx/ru", "panx/ta")
WIKIANN = "unimelb-nlp/wikiann"


@benchmark(limit=3)
def main(
    data: Data,
    model: Model = "shipped",
    corpora: Annotated[str, typer.Option(help="Test sets, such as `uner/hr_set,panx/de`. Default: all.")] = "",
    ways: Annotated[
        str,
        typer.Option(
            help="`given`: the language is given; `raw`: the same with raw text; `routed`; `mul`: all with that one. Separated "
            "by commas."
        ),
    ] = "given,raw,routed,mul",
    write_cards: Annotated[bool, typer.Option("--write-cards", help="Write the results into the cards of the adapters.")] = False,
    limit: Limit = 1000,
    dtype: Dtype = "float32",
    quantization: Quantization = None,
    json_file: Rows = Path("benchmarks/results/real_text.json"),
) -> None:
    rows = read_rows(json_file)
    done = {(row["corpus"], row["language"]) for row in rows}
    wanted = set(filter(None, corpora.split(",")))
    loaded = RetrieveAllModel.from_pretrained(model, dtype=getattr(torch, dtype), quantization=quantization)
    for corpus, examples in test_sets(data, wanted):
        fresh = sample_examples(unseen(loaded, list(map(as_written, examples))), limit, 0)
        given = None
        for way in ways.split(","):
            if fresh and (corpus, way) not in done:
                predictions = _predict(loaded, corpus, fresh, way, given)
                given = predictions if way == "given" else given
                rows.append(_row(adapter_of(loaded, corpus), corpus, way, predictions))
                print(rows[-1], flush=True)
                write_json([], rows, json_file)
                if write_cards and way == "given":
                    _add_to_card(loaded.adapters[adapter_of(loaded, corpus)], corpus, predictions.report())
    write_json(metrics(rows), rows, json_file)
    publish("Human-labelled text, and PAN-X lines", metrics(rows), rows, None)


def _predict(model: RetrieveAllModel, corpus: str, examples: list[Example], way: str, given: Predictions | None) -> Predictions:
    """The predictions on one test set. Labels that its adapter cannot predict are left out.

    Args:
        model: The model.
        corpus: The test set.
        examples: Its sentences.
        way: One of the ways of the option.
        given: The predictions with the language given, if they were made already.
    """
    adapter = MULTILINGUAL if way == "mul" else adapter_of(model, corpus)
    known = set(model.adapters[adapter].manifest.entity_types)
    asked = [Example(e.sentence, tuple(span for span in e.spans if span.label in known)) for e in examples]
    if way == "raw":
        asked = [as_raw_text(example) for example in asked]
    if way == "routed" and given:
        return _routed(model, asked, adapter, given)
    return predict(model, asked, adapter, oracle_routing=way != "routed")


def _routed(model: RetrieveAllModel, examples: list[Example], adapter: str, given: Predictions) -> Predictions:
    """The predictions of routed sentences. Those that are routed to the adapter alone are the same as with the language given."""
    prepared = model.prepare([example.sentence for example in examples])
    alone = [bool(windows) and all(window.route.mixture == {adapter: 1.0} for window in windows) for windows in prepared]
    rest = predict(model, [example for example, same in zip(examples, alone, strict=True) if not same], adapter)
    others = zip(rest.predicted, rest.routed_correctly or (), strict=True)
    both = [(known, True) if same else next(others) for known, same in zip(given.predicted, alone, strict=True)]
    return Predictions(given.labelled, [tags for tags, _ in both], [right for _, right in both], given.seconds + rest.seconds)


def _row(adapter: str, corpus: str, way: str, predictions: Predictions) -> Row:
    """The scores on one test set."""
    report = predictions.report()
    return {
        "corpus": corpus,
        "adapter": adapter,
        "language": way,
        **f1_columns(predictions),
        "without a name": report.n_without_entities,
        "of these with a false one, %": report.false_entity_rate,
        "routed right, %": report.routing_accuracy,
        "sentences": report.n_test,
    }


def _add_to_card(adapter: LanguageAdapter, corpus: str, report: Report) -> None:
    """Writes the results on a test set into the manifest and the card of the adapter, if it was trained on that corpus."""
    names = adapter.manifest.training["datasets"]
    silver = [name for name in names if name.startswith(WIKIANN)]
    if adapter.language == MULTILINGUAL or not (corpus in OWN_CORPORA + FURTHER_OWN_CORPORA or (corpus in PANX and silver)):
        return
    name = silver[0] if corpus in PANX else names[0]
    others = [result for result in adapter.manifest.metrics if result["dataset"] != name]
    adapter.manifest.metrics = [*others, {"dataset": name, "split": "test", **report.to_dict()}]
    adapter.manifest.save(adapter.path)
    write_card(adapter)


def metrics(rows: list[Row]) -> list[Metric]:
    """The means over the corpora that have been measured, with their goals."""
    given = {row["corpus"]: row for row in rows if row["language"] == "given"}
    routed = {row["corpus"]: row for row in rows if row["language"] == "routed"}
    raw = {row["corpus"]: row for row in rows if row["language"] == "raw"}
    own = [name for name in OWN_CORPORA if name in given]
    other = [name for name in OTHER_CORPORA if name in given]
    panx = [name for name in PANX if name in given]
    alone = {row["corpus"]: row for row in rows if row["language"] == "mul"}
    both = [name for name in own if name in routed]
    result: list[Metric] = []
    if own:
        result += [
            Metric(f"mean F1 of {len(own)} corpora of the training data", _mean(given, own, "F1"), "%", 76.0),
            Metric("lowest F1 of them", min(given[name]["F1"] for name in own), "%", 60.0),
            *_false_entities(given, own, 6.0, 10.0),
        ]
    if other:
        result += [Metric("lowest F1 of other corpora", min(given[name]["F1"] for name in other), "%", 60.0)]
        result += _false_entities(given, other, None, 12.0)
    if panx:
        result.append(Metric(f"mean F1 of {len(panx)} languages of PAN-X", _mean(given, panx, "F1"), "%", 80.0))
    if both and (right := _mean(given, both, "F1")):
        result.append(Metric("F1 routed, as a share of F1 with the language given", _mean(routed, both, "F1") / right, "", 0.98))
    split = [name for name in OWN_CORPORA + FURTHER_OWN_CORPORA if name in given and name in raw]
    if split:
        shares = [raw[name]["F1"] / max(given[name]["F1"], 1e-9) for name in split]
        result.append(
            Metric("F1 on raw text, as a share of F1 with the words of the corpus: lowest", round(min(shares), 4), "", 0.95)
        )
    compared = [name for name in OWN_CORPORA + FURTHER_OWN_CORPORA if name in given and name in alone]
    compared = [name for name in compared if given[name]["adapter"] != MULTILINGUAL]
    if compared:
        better = sum(given[name]["F1"] > alone[name]["F1"] for name in compared)
        result.append(
            Metric(f"of {len(compared)} languages, adapters that are better than `mul` alone", better, "", len(compared))
        )
    return result


def _false_entities(rows: dict[str, Row], names: list[str], goal: float | None, most: float) -> list[Metric]:
    name = "of these with a false one, %"
    rates = [rows[corpus][name] for corpus in names if rows[corpus][name] is not None]
    if not rates:
        return []
    return [
        Metric("sentences without a name that get one, mean", round(mean(rates), 2), "%", goal, at_most=True),
        Metric("sentences without a name that get one, highest", max(rates), "%", most, at_most=True),
    ]


def _mean(rows: dict[str, Row], names: list[str], column: str) -> float:
    return float(round(mean(rows[name][column] for name in names), 2))


if __name__ == "__main__":
    main()
