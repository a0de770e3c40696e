"""What a joint LoRA loses or gains as languages are added to it, beside separate adapters, which nothing is added to.

All start from nothing and are shown nothing, so that languages alone make the difference; "RetrieveAll" starts from `mul` and is
shown examples.

    python -m benchmarks.interference --data ../shared/data --json benchmarks/results/interference.json

The languages that are measured are the first of the list: they are in every joint LoRA from their place on. What another run, or
`benchmarks.reproduction` with the same --runs, has trained is not trained again.
"""

from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure as Picture

from benchmarks.options import Base, Data, Limit, Rows, Runs, Seed, Size, benchmark
from benchmarks.report import Figure, publish, read_rows, write_json
from benchmarks.study.adapters import Settings, predictions, trained, with_index_of
from benchmarks.study.baselines import tags_of
from benchmarks.study.scores import span_scores
from benchmarks.study.tongues import draw
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.model.base_llm import native_dtype
from modeling_retrieveall.model.embedded_llm import EMBEDDED_BASE

ORDER = "en,ru,yo,bn,no,pt,hr,zh,de,ta,sw,da,bg,es,am,ha,wo"
"""Diverse first, so that a joint LoRA of four is no family of languages. The first eight lack what `new_language` holds
out, so that their joint LoRA can be its `mul`."""

SEPARATE = {"separate": "from nothing", "RetrieveAll": "from mul+retrieved"}
"""What is trained for each language alone."""

Row = dict[str, Any]


@benchmark(languages="en,ru", counts="1,2", measured=1, size=8, limit=2)
def main(
    data: Data,
    runs: Runs = Path("runs/study"),
    base: Base = EMBEDDED_BASE,
    languages: Annotated[str, typer.Option(help="Languages in the order in which they are added.")] = ORDER,
    counts: Annotated[str, typer.Option(help="Languages of the joint LoRA, separated by commas.")] = "1,2,4,8,17",
    measured: Annotated[int, typer.Option(help="How many of the first languages are measured.")] = 4,
    size: Size = 600,
    seed: Seed = 0,
    limit: Limit = 250,
    json_file: Rows = Path("benchmarks/results/interference.json"),
) -> None:
    rows = read_rows(json_file)
    done = {(row["system"], row["language"], row["size"], row["seed"]) for row in rows}
    order = tuple(languages.split(","))
    for system in [f"joint of {count}" for count in counts.split(",")] + [*SEPARATE]:
        taught = order if system in SEPARATE else order[: int(system.rpartition(" ")[2])]
        for language in taught[:measured]:
            if (system, language, size, seed) in done:
                continue
            settings = Settings(data, runs, size, seed, limit, taught, base=base)
            rows.append(_row(system, language, settings))
            print(rows[-1], flush=True)
            write_json([], rows, json_file)
    write_json(figures(rows), rows, json_file)
    alike = [row for row in rows if (row["size"], row["seed"]) == (size, seed)]
    publish("Strict typed span F1", figures(alike), alike, None)
    plot(alike, json_file.with_suffix(".png"))


def _row(system: str, language: str, settings: Settings) -> Row:
    test = draw(settings.data, language, settings.size, settings.seed, settings.limit).test
    alone = SEPARATE.get(system)
    folder = trained(alone, language, settings) if alone else _joint(language, settings)
    model = RetrieveAllModel.from_pretrained(folder, dtype=native_dtype())
    if system != "RetrieveAll":
        model.config.change({"n_entities": 0, "n_sentences": 0})
    found, _ = predictions(model, test, language, routed=False)
    scores = span_scores([tags_of(example) for example in test], found)
    return {"system": system, "language": language, "size": settings.size, "seed": settings.seed, **scores, "n_test": len(test)}


def _joint(language: str, settings: Settings) -> Path:
    """The joint LoRA of these languages, as it serves one of them."""
    shared = trained("joint", "mul", settings)
    served = shared.with_name(language)
    if not served.is_dir():
        with_index_of(shared, language, served, settings, RetrieveAllModel.from_pretrained(shared, dtype=native_dtype()))
    return served


def _curves(rows: list[Row]) -> dict[str, list[tuple[int, float]]]:
    """For each language the F1 of joint LoRAs by their number of languages."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row["system"] not in SEPARATE:
            curves.setdefault(row["language"], []).append((int(row["system"].rpartition(" ")[2]), row["f1"]))
    return {language: sorted(points) for language, points in curves.items()}


def figures(rows: list[Row]) -> list[Figure]:
    """What a joint LoRA gains with languages, over the stretch that all measured ones have, and where separate ones stand."""
    curves = {language: dict(points) for language, points in _curves(rows).items()}
    counts = sorted(set.intersection(*(set(points) for points in curves.values()))) if curves else []
    found = []
    if len(counts) > 1:
        gained = mean(points[counts[-1]] - points[counts[0]] for points in curves.values())
        found.append(Figure(f"a joint LoRA gains from {counts[0]} to {counts[-1]} languages, mean", round(gained, 1), "F1"))
    for system in SEPARATE:
        alone = {row["language"]: row["f1"] for row in rows if row["system"] == system}
        if counts and curves.keys() <= alone.keys():
            ahead = mean(alone[language] - points[counts[-1]] for language, points in curves.items())
            found.append(Figure(f"{system} over the joint LoRA of {counts[-1]}, mean", round(ahead, 1), "F1"))
    return found


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
    main()
