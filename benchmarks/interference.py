"""F1 of one joint LoRA as languages are added to it, compared with separate adapters, which stay as they are.

The joint and the separate LoRAs are trained from scratch and without retrieved examples, so that only the number of languages
differs. "RetrieveAll" starts from `mul` and uses retrieved examples.

    python -m benchmarks.interference --data ../shared/data --json benchmarks/results/interference.json

The first languages of the list are measured; each of them is part of every joint LoRA from its position on. Adapters that this
benchmark or `benchmarks.reproduction` has trained in the same --runs are not trained again.
"""

from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure

from benchmarks.options import Base, Data, Limit, Rows, Runs, Seed, Size, benchmark
from benchmarks.report import Metric, publish, read_rows, write_json
from benchmarks.study.adapters import Settings, predicted_tags, trained_adapter, with_index_of
from benchmarks.study.baselines import tags_of
from benchmarks.study.datasets import draw
from benchmarks.study.scores import span_scores
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.model.base_llm import native_dtype
from modeling_retrieveall.model.embedded_llm import EMBEDDED_BASE

ORDER = "en,ru,yo,bn,nb,pt,hr,zh,de,ta,sw,da,bg,es,am,ha,wo"
"""Unrelated languages first, so that a joint LoRA of four is not one language family. The first eight do not include the
languages that `benchmarks.new_language` holds out, so that their joint LoRA can be its `mul`."""

SEPARATE = {"separate": "from nothing", "RetrieveAll": "from mul+retrieved"}
"""Systems that train each language on its own."""

Row = dict[str, Any]


@benchmark(languages="en,ru", counts="1,2", measured=1, size=8, limit=2)
def main(
    data: Data,
    runs: Runs = Path("runs/study"),
    base: Base = EMBEDDED_BASE,
    languages: Annotated[str, typer.Option(help="Languages, separated by commas, in the order in which they are added.")] = ORDER,
    counts: Annotated[str, typer.Option(help="Numbers of languages in the joint LoRA, separated by commas.")] = "1,2,4,8,17",
    measured: Annotated[int, typer.Option(help="Number of languages to measure, from the start of the list.")] = 4,
    size: Size = 600,
    seed: Seed = 0,
    limit: Limit = 250,
    json_file: Rows = Path("benchmarks/results/interference.json"),
) -> None:
    rows = read_rows(json_file)
    done = {(row["system"], row["language"], row["size"], row["seed"]) for row in rows}
    order = tuple(languages.split(","))
    for system in [f"joint of {count}" for count in counts.split(",")] + [*SEPARATE]:
        added = order if system in SEPARATE else order[: int(system.rpartition(" ")[2])]
        for language in added[:measured]:
            if (system, language, size, seed) in done:
                continue
            settings = Settings(data, runs, size, seed, limit, added, base=base)
            rows.append(_row(system, language, settings))
            print(rows[-1], flush=True)
            write_json([], rows, json_file)
    write_json(metrics(rows), rows, json_file)
    selected = [row for row in rows if (row["size"], row["seed"]) == (size, seed)]
    publish("Strict typed span F1", metrics(selected), selected, None)
    plot(selected, json_file.with_suffix(".png"))


def _row(system: str, language: str, settings: Settings) -> Row:
    test = draw(settings.data, language, settings.size, settings.seed, settings.limit).test
    alone = SEPARATE.get(system)
    folder = trained_adapter(alone, language, settings) if alone else _joint(language, settings)
    model = RetrieveAllModel.from_pretrained(folder, dtype=native_dtype())
    if system != "RetrieveAll":
        model.config.change({"n_entities": 0, "n_sentences": 0})
    found, _ = predicted_tags(model, test, language, routed=False)
    scores = span_scores([tags_of(example) for example in test], found)
    return {"system": system, "language": language, "size": settings.size, "seed": settings.seed, **scores, "n_test": len(test)}


def _joint(language: str, settings: Settings) -> Path:
    """The joint LoRA of the languages in ``settings``, with the index of one language."""
    joint = trained_adapter("joint", "mul", settings)
    indexed = joint.with_name(language)
    if not indexed.is_dir():
        with_index_of(joint, language, indexed, settings, RetrieveAllModel.from_pretrained(joint, dtype=native_dtype()))
    return indexed


def _curves(rows: list[Row]) -> dict[str, list[tuple[int, float]]]:
    """For each language, the F1 of the joint LoRAs by number of languages."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row["system"] not in SEPARATE:
            curves.setdefault(row["language"], []).append((int(row["system"].rpartition(" ")[2]), row["f1"]))
    return {language: sorted(points) for language, points in curves.items()}


def metrics(rows: list[Row]) -> list[Metric]:
    """Gain of the joint LoRA over the range that all measured languages cover, and lead of the separate adapters."""
    curves = {language: dict(points) for language, points in _curves(rows).items()}
    counts = sorted(set.intersection(*(set(points) for points in curves.values()))) if curves else []
    found = []
    if len(counts) > 1:
        gained = mean(points[counts[-1]] - points[counts[0]] for points in curves.values())
        found.append(Metric(f"a joint LoRA gains from {counts[0]} to {counts[-1]} languages, mean", round(gained, 1), "F1"))
    for system in SEPARATE:
        alone = {row["language"]: row["f1"] for row in rows if row["system"] == system}
        if counts and curves.keys() <= alone.keys():
            ahead = mean(alone[language] - points[counts[-1]] for language, points in curves.items())
            found.append(Metric(f"{system} over the joint LoRA of {counts[-1]}, mean", round(ahead, 1), "F1"))
    return found


def plot(rows: list[Row], file: Path) -> None:
    """Draws a curve for each language, and a dashed line at the F1 of its separate adapter."""
    separate = {row["language"]: row["f1"] for row in rows if row["system"] == "separate"}
    figure = Figure(figsize=(6, 3.5))
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
    main()
