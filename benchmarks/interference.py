"""What a joint LoRA loses or gains as languages are added to it, beside separate adapters, which nothing is added to.

    python -m benchmarks.interference --data ../shared/data --json benchmarks/results/interference.json

The languages that are measured are the first of the list: they are in every joint LoRA from their place on. What another run, or
`benchmarks.reproduction` with the same --runs, has trained is not trained again.
"""

import json
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure as Picture

from benchmarks.report import Figure, publish, write_json
from benchmarks.study.adapters import Settings, predictions, trained, with_index_of
from benchmarks.study.baselines import tags_of
from benchmarks.study.scores import span_scores
from benchmarks.study.tongues import draw
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.base_llm import native_dtype

ORDER = ("de", "sw", "ru", "ta", "zh", "bg", "yo", "pt", "en", "bn", "am", "hr", "es", "ha", "no", "wo", "da")
"""Diverse first, so that a joint LoRA of four is no family of languages."""

Row = dict[str, Any]


def main(
    data: Annotated[Path, typer.Option(help="Folder with panx/, masakhaner2/, masakhaner1/ and uner/.")],
    runs: Annotated[Path, typer.Option(help="Where trained adapters are kept.")] = Path("runs/study"),
    counts: Annotated[str, typer.Option(help="Languages of the joint LoRA, separated by commas.")] = "1,2,4,8,17",
    measured: Annotated[int, typer.Option(help="How many of the first languages are measured.")] = 4,
    size: Annotated[int, typer.Option(help="Training sentences of each language.")] = 600,
    seed: Annotated[int, typer.Option(help="Decides which sentences.")] = 0,
    limit: Annotated[int, typer.Option(help="Test sentences of each language.")] = 250,
    json_file: Annotated[Path, typer.Option("--json", help="Where rows are kept.")] = Path(
        "benchmarks/results/interference.json"
    ),
) -> None:
    rows: list[Row] = json.loads(json_file.read_text(encoding="utf-8"))["rows"] if json_file.is_file() else []
    done = {(row["system"], row["language"]) for row in rows}
    for system in [f"joint of {count}" for count in counts.split(",")] + ["separate"]:
        for language in _languages(system, measured):
            if (system, language) in done:
                continue
            settings = Settings(data, runs, size, seed, limit, _languages(system, len(ORDER)))
            rows.append(_row(system, language, settings))
            print(rows[-1], flush=True)
            write_json([], rows, json_file)
    publish("Strict typed span F1", figures(rows), rows, json_file)
    plot(rows, json_file.with_suffix(".png"))


def _languages(system: str, most: int) -> tuple[str, ...]:
    count = len(ORDER) if system == "separate" else int(system.rpartition(" ")[2])
    return ORDER[: min(count, most)]


def _row(system: str, language: str, settings: Settings) -> Row:
    test = draw(settings.data, language, settings.size, settings.seed, settings.limit).test
    if system == "separate":
        model = RetrieveAllModel.from_pretrained(trained("from mul+retrieved", language, settings), dtype=native_dtype())
    else:
        model = _joint(system, language, settings)
        model.config.n_entities = model.config.n_sentences = 0
    found, _ = predictions(model, test, language, routed=False)
    scores = span_scores([tags_of(example) for example in test], found)
    return {"system": system, "language": language, **scores, "n_test": len(test)}


def _joint(system: str, language: str, settings: Settings) -> RetrieveAllModel:
    everyone = len(settings.languages) == len(ORDER)
    of = settings if everyone else replace(settings, runs=settings.runs / system.replace(" ", "-"))
    shared = trained("joint", "mul", of)
    model = RetrieveAllModel.from_pretrained(shared, dtype=native_dtype())
    return RetrieveAllModel.from_pretrained(
        with_index_of(shared, language, shared.with_name(language), settings, model), dtype=native_dtype()
    )


def _curves(rows: list[Row]) -> dict[str, list[tuple[int, float]]]:
    """For each language the F1 of joint LoRAs by their number of languages."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row["system"] != "separate":
            curves.setdefault(row["language"], []).append((int(row["system"].rpartition(" ")[2]), row["f1"]))
    return {language: sorted(points) for language, points in curves.items()}


def figures(rows: list[Row]) -> list[Figure]:
    """What the last languages cost or gave, on average, and where separate adapters stand."""
    separate = {row["language"]: row["f1"] for row in rows if row["system"] == "separate"}
    ends = {language: points for language, points in _curves(rows).items() if len(points) > 1 and language in separate}
    if not ends:
        return []
    added = mean(points[-1][1] - points[0][1] for points in ends.values())
    ahead = mean(separate[language] - points[-1][1] for language, points in ends.items())
    return [
        Figure("a joint LoRA gains from first to last language, mean", round(added, 1), "F1"),
        Figure("separate adapters over the joint LoRA of all, mean", round(ahead, 1), "F1"),
    ]


def plot(rows: list[Row], file: Path) -> None:
    """A curve for each language, and a dashed line where its separate adapter stands."""
    separate = {row["language"]: row["f1"] for row in rows if row["system"] == "separate"}
    figure = Picture(figsize=(6, 3.5))
    axes = figure.subplots()
    for colour, (language, points) in enumerate(_curves(rows).items()):
        axes.plot(*zip(*points, strict=True), "o-", color=f"C{colour}", markersize=3, label=language)
        if language in separate:
            axes.axhline(separate[language], linestyle="--", linewidth=0.8, color=f"C{colour}")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("languages of the joint LoRA (dashed: separate adapters)")
    axes.set_ylabel("strict typed span F1")
    axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, bbox_inches="tight", dpi=150)


if __name__ == "__main__":
    typer.run(main)
