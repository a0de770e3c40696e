"""F1 of a new language by its number of training sentences, with adapters that start from `mul` and from scratch.

    python -m benchmarks.new_language --data ../shared/data --languages de,ta,sw --json benchmarks/results/new_language.json

For each language a `mul` without that language is trained, unless --mul gives one that was trained on none of them. An
interrupted run resumes.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure

from benchmarks.options import Base, Data, Epochs, Languages, Limit, MulLanguages, Rows, Runs, Seed, benchmark
from benchmarks.report import Metric, publish, read_rows, write_json
from benchmarks.study.adapters import Settings, check_not_trained_on, predicted_tags, trained_adapter, without_lora
from benchmarks.study.baselines import tags_of
from benchmarks.study.datasets import MUL_LANGUAGES, draw
from benchmarks.study.scores import span_scores
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.model.base_llm import native_dtype
from modeling_retrieveall.model.embedded_llm import EMBEDDED_BASE

_MUL_LANGUAGES = ",".join(MUL_LANGUAGES)
STARTS = ("mul", "nothing")
Row = dict[str, Any]


@benchmark(languages="sw", sizes="0,8", mul_languages="de,en", mul_size=8, epochs=1, limit=2)
def main(
    data: Data,
    runs: Runs = Path("runs/new_language"),
    base: Base = EMBEDDED_BASE,
    mul: Annotated[
        Path | None, typer.Option(help="A `mul` that was trained on none of the languages. Default: train one for each.")
    ] = None,
    languages: Languages = "sw,de,ta",
    sizes: Annotated[str, typer.Option(help="Numbers of training sentences, separated by commas.")] = "0,25,50,100,300,600",
    mul_languages: MulLanguages = _MUL_LANGUAGES,
    mul_size: Annotated[int, typer.Option(help="Number of training sentences of each language of `mul`.")] = 600,
    epochs: Epochs = None,
    seed: Seed = 0,
    limit: Limit = 250,
    json_file: Rows = Path("benchmarks/results/new_language.json"),
) -> None:
    rows = read_rows(json_file)
    done = {(row["language"], row["start"], row["sentences"], row["seed"]) for row in rows}
    for language in languages.split(","):
        others = tuple(code for code in mul_languages.split(",") if code != language)
        settings = Settings(data, runs, mul_size, seed, limit, others, base=base)
        start = check_not_trained_on(mul, language, settings) if mul else _without(language, settings)
        for size in map(int, sizes.split(",")):
            for name in STARTS:
                if (language, name, size, seed) in done:
                    continue
                rows.append(_row(name, language, start, replace(settings, size=size, epochs=epochs)))
                print(rows[-1], flush=True)
                write_json([], rows, json_file)
    write_json(metrics(rows), rows, json_file)
    of_seed = [row for row in rows if row["seed"] == seed]
    publish("Strict typed span F1 of a new language", metrics(of_seed), of_seed, None)
    plot(of_seed, json_file.with_suffix(".png"))


def _without(language: str, settings: Settings) -> Path:
    """A ``mul`` that was not trained on the language."""
    return trained_adapter("mul+retrieved", "mul", replace(settings, runs=settings.runs / f"without-{language}"))


def _row(name: str, language: str, mul: Path, settings: Settings) -> Row:
    if settings.size:
        folder = trained_adapter(f"from {name}+retrieved", language, settings, mul)
        tags = _tags(folder, language, language, settings)
    elif name == "mul":
        tags = _tags(mul, "mul", language, settings)
    else:
        bare = without_lora(mul, settings.runs / f"base-for-{language}" / "mul")
        tags = _tags(bare, "mul", language, settings, n_entities=0, n_sentences=0)
    test = draw(settings.data, language, max(settings.size, 1), settings.seed, settings.limit).test
    scores = span_scores([tags_of(example) for example in test], tags)
    return {"language": language, "start": name, "sentences": settings.size, "seed": settings.seed, **scores, "n_test": len(test)}


def _tags(folder: Path, adapter: str, language: str, settings: Settings, **numbers: int) -> list[list[str]]:
    test = draw(settings.data, language, max(settings.size, 1), settings.seed, settings.limit).test
    model = RetrieveAllModel.from_pretrained(folder, dtype=native_dtype())
    model.config.change(numbers)
    return predicted_tags(model, test, adapter, routed=False)[0]


def metrics(rows: list[Row]) -> list[Metric]:
    """Gain from starting at ``mul``, for each number of sentences."""
    f1 = {(row["language"], row["start"], row["sentences"]): row["f1"] for row in rows}
    pairs = [(x, n) for x, start, n in f1 if start == "mul" and (x, "nothing", n) in f1]
    return [
        Metric(f"{x}: mul over nothing at {n} sentences", round(f1[x, "mul", n] - f1[x, "nothing", n], 1), "F1") for x, n in pairs
    ]


def plot(rows: list[Row], file: Path) -> None:
    """Draws F1 by number of sentences: one colour for each language, dashed for training from scratch."""
    figure = Figure(figsize=(6, 3.5))
    axes = figure.subplots()
    for colour, language in enumerate(dict.fromkeys(row["language"] for row in rows)):
        for start, style in zip(STARTS, ("o-", "o--"), strict=True):
            points = sorted((r["sentences"], r["f1"]) for r in rows if (r["language"], r["start"]) == (language, start))
            if points:
                axes.plot(*zip(*points, strict=True), style, color=f"C{colour}", markersize=3, label=f"{language} from {start}")
    axes.set_xlabel("labelled sentences of the language")
    axes.set_ylabel("strict typed span F1")
    axes.set_ylim(0, 100)
    axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, bbox_inches="tight", dpi=150)


if __name__ == "__main__":
    main()
