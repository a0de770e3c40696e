"""A language that the model does not have: which adapter decodes it best, measured by leaving a language out.

    python -m benchmarks.unknown_languages --data ../shared/data --json benchmarks/results/unknown_languages.json

`mul` (unless --mul gives one) and the adapters of related languages are trained without the language. Its own adapter is
trained as an upper bound. An interrupted run resumes.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.interference import ORDER
from benchmarks.options import Base, Data, Limit, MulLanguages, Rows, Runs, Seed, Size, benchmark
from benchmarks.report import Metric, publish, read_rows, write_json
from benchmarks.study.adapters import Settings, check_not_trained_on, predicted_tags, trained_adapter
from benchmarks.study.baselines import tags_of
from benchmarks.study.datasets import draw
from benchmarks.study.scores import span_scores
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.model.base_llm import native_dtype
from modeling_retrieveall.model.embedded_llm import EMBEDDED_BASE

LEFT_OUT = {"da": ("nb", "de", "en"), "bg": ("ru", "en"), "es": ("pt", "en")}
"""Languages to leave out, each with the languages that the model has instead."""

WITHOUT = ",".join(ORDER.split(",")[:8])
"""The languages of `mul`, none of which is left out here."""

NEAREST_OF = 2
Row = dict[str, Any]
"""A row of the result file. Its keys must not change, so that an interrupted run can resume."""


@benchmark(languages="da", mul_languages="de,en", size=8, limit=2)
def main(
    data: Data,
    runs: Runs = Path("runs/unknown_languages"),
    base: Base = EMBEDDED_BASE,
    mul: Annotated[
        Path | None, typer.Option(help="A `mul` that was trained on none of the languages. Default: train one.")
    ] = None,
    languages: Annotated[str, typer.Option(help="Languages to leave out, separated by commas.")] = "da,bg,es",
    mul_languages: MulLanguages = WITHOUT,
    size: Size = 600,
    seed: Seed = 0,
    limit: Limit = 250,
    json_file: Rows = Path("benchmarks/results/unknown_languages.json"),
) -> None:
    rows = read_rows(json_file)
    settings = Settings(data, runs, size, seed, limit, tuple(mul_languages.split(",")), base=base)
    for language in languages.split(","):
        if any((row["language"], row["size"], row["seed"]) == (language, size, seed) for row in rows):
            continue
        start = check_not_trained_on(mul, language, settings) if mul else trained_adapter("mul+retrieved", "mul", settings)
        rows += _rows(language, LEFT_OUT[language], start, settings)
        write_json([], rows, json_file)
    write_json(metrics(rows), rows, json_file)
    selected = [row for row in rows if (row["size"], row["seed"]) == (size, seed)]
    publish("Strict typed span F1 of a language that the model does not have", metrics(selected), selected, None)


def _rows(language: str, others: tuple[str, ...], mul: Path, settings: Settings) -> list[Row]:
    model = RetrieveAllModel.from_pretrained(mul, dtype=native_dtype())
    for other in others:
        model.add_language(trained_adapter("from mul+retrieved", other, settings, mul))
    ways: dict[str, tuple[str | None, Row]] = {
        **{f"adapter {other}": (other, {}) for other in others},
        "mul": ("mul", {}),
        "routed: nearest": (None, {"adapters_per_sentence": 1, "max_distance": 0.0, "when_unknown": "nearest"}),
        "routed: two nearest": (None, {"adapters_per_sentence": NEAREST_OF, "max_distance": 0.0, "when_unknown": "nearest"}),
        "routed: both": (None, {"adapters_per_sentence": 1, "max_distance": 0.0, "when_unknown": "both"}),
        "routed: both, two nearest": (None, {"adapters_per_sentence": NEAREST_OF, "max_distance": 0.0, "when_unknown": "both"}),
    }
    noticed = _noticed(model, language, settings)
    rows = [_row(language, way, model, forced, fields, settings, noticed) for way, (forced, fields) in ways.items()]
    own = RetrieveAllModel.from_pretrained(trained_adapter("from mul+retrieved", language, settings, mul), dtype=native_dtype())
    return [*rows, _row(language, "its own adapter", own, language, {}, settings, noticed)]


def _noticed(model: RetrieveAllModel, language: str, settings: Settings) -> float:
    """Percentage of the test sentences that are marked unknown with the default threshold."""
    test = draw(settings.data, language, settings.size, settings.seed, settings.limit).test
    found = model.extract([[word.text for word in example.sentence.words] for example in test], is_split_into_words=True)
    return round(100 * sum(not result.known for result in found) / len(found), 1)


def _row(
    language: str, way: str, model: RetrieveAllModel, forced: str | None, fields: Row, settings: Settings, noticed: float
) -> Row:
    before = {name: getattr(model.config, name) for name in fields}
    model.config.change(fields)
    test = draw(settings.data, language, settings.size, settings.seed, settings.limit).test
    tags, _ = predicted_tags(model, test, forced or language, routed=forced is None)
    model.config.change(before)
    row = {"language": language, "served by": way, "size": settings.size, "seed": settings.seed}
    row |= {**span_scores([tags_of(example) for example in test], tags), "noticed": noticed, "n_test": len(test)}
    print(row, flush=True)
    return row


def metrics(rows: list[Row]) -> list[Metric]:
    """Difference from the best other adapter, chosen with hindsight, and lead of the language's own adapter over it."""
    found = []
    for language in dict.fromkeys(row["language"] for row in rows):
        f1 = {row["served by"]: row["f1"] for row in rows if row["language"] == language}
        best = max(value for way, value in f1.items() if way.startswith("adapter "))
        for way in ("mul", *(way for way in f1 if way.startswith("routed"))):
            found.append(Metric(f"{language}, {way}: over the best other adapter", round(f1[way] - best, 1), "F1", -1))
        found.append(Metric(f"{language}: its own adapter over the best other", round(f1["its own adapter"] - best, 1), "F1"))
    return found


if __name__ == "__main__":
    main()
