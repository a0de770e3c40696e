"""The study: RetrieveAll compared with its variants, a joint LoRA, the bare LLM, an encoder, a CRF and spaCy, on 17 languages.

pip install -e ".[train,embedded,bench]"
python -m benchmarks.reproduction --data ../shared/data --sizes 600 --seeds 0

An interrupted run resumes: trained adapters are kept in --runs, and finished rows in --json.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure

from benchmarks.options import Base, Data, Limit, MulLanguages, Rows, Runs, benchmark
from benchmarks.report import Metric, publish, read_rows, write_json
from benchmarks.study.adapters import (
    WITHOUT_AVERAGING,
    Settings,
    mixture_of,
    predicted_tags,
    trained_adapter,
    with_index_of,
    with_retrieval,
    without_lora,
)
from benchmarks.study.baselines import crf, spacy_ner, tags_of
from benchmarks.study.datasets import ALL, LOW_RESOURCE, Draw, draw
from benchmarks.study.encoder import EncoderSettings, encoder_tags, fine_tuned
from benchmarks.study.scores import span_scores
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.model.base_llm import native_dtype
from modeling_retrieveall.model.embedded_llm import EMBEDDED_BASE

OURS = "RetrieveAll"
BASELINES = ("joint LoRA", "base LLM", "CRF", "spaCy")
ENCODERS = ("joint encoder", "encoder")
"""Baselines that older result files do not have."""
Tagged = tuple[list[list[str]], float | None]
Row = dict[str, Any]


class Systems:
    """All systems of the study.

    Args:
        settings: Data, size and seed.
        routed: The languages that the router chooses from.
    """

    def __init__(self, settings: Settings, routed: tuple[str, ...]) -> None:
        self.settings = settings
        self.routed = routed
        self._loaded: tuple[tuple[Path, ...], RetrieveAllModel] | None = None

    def all(self) -> Iterator[tuple[str, Callable[[str], Tagged]]]:
        """Yields each system: its name in the result file, and a function that tags the test sentences of a language.

        The functions train missing adapters.
        """
        own, whole, plain = "from mul+retrieved", f"from mul+retrieved{WITHOUT_AVERAGING}", "from mul"
        yield f"{OURS}, routed", lambda language: self._adapters(own, language, routed=True)
        yield OURS, lambda language: self._adapters(own, language)
        yield "entities only", lambda language: self._adapters(own, language, n_sentences=0)
        yield "sentences only", lambda language: self._adapters(own, language, n_entities=0)
        yield "no examples", lambda language: self._adapters(own, language, n_entities=0, n_sentences=0)
        yield "trained without examples", lambda language: self._adapters(plain, language, n_entities=0, n_sentences=0)
        yield "trained without examples, used with them", lambda language: self._with_retrieval(plain, language)
        yield "from scratch (the paper)", lambda language: self._adapters("from nothing+retrieved", language)
        yield "separate LoRA", lambda language: self._adapters("from nothing", language, n_entities=0, n_sentences=0)
        yield "not averaged with mul", lambda language: self._adapters(whole, language)
        yield "not averaged with mul, no examples", lambda language: self._adapters(whole, language, n_entities=0, n_sentences=0)
        yield "not averaged, decoded together with mul", lambda language: self._mixed_with_mul(whole, language)
        # This is also the joint LoRA with retrieval: trained from scratch on all languages, with examples in some prompts.
        yield "mul alone", lambda language: self._multilingual("mul+retrieved", language)
        yield (
            "mul alone, no examples",
            lambda language: self._multilingual("mul+retrieved", language, n_entities=0, n_sentences=0),
        )
        yield "joint LoRA", lambda language: self._multilingual("joint", language, n_entities=0, n_sentences=0)
        yield "base LLM", self._base
        yield "joint encoder", lambda language: (self._encoder(self.settings.languages, language), None)
        yield "encoder", lambda language: (self._encoder((language,), language), None)
        yield "CRF", lambda language: (crf(self._draw(language).train, self._draw(language).test), None)
        yield "spaCy", lambda language: (spacy_ner(self._draw(language).train, self._draw(language).test), None)

    def _draw(self, language: str) -> Draw:
        s = self.settings
        return draw(s.data, language, s.size, s.seed, s.limit)

    def _adapters(self, name: str, language: str, routed: bool = False, **numbers: int) -> Tagged:
        languages = self.routed if routed else (language,)
        folders = [trained_adapter(name, other, self.settings) for other in languages]
        if routed:
            folders.append(trained_adapter("mul+retrieved", "mul", self.settings))
        return self._tag(tuple(folders), language, routed, **numbers)

    def _with_retrieval(self, name: str, language: str) -> Tagged:
        own = trained_adapter(name, language, self.settings)
        return self._tag((with_retrieval(own, own.with_name(f"{language}-shown"), self._model((own,))),), language)

    def _mixed_with_mul(self, name: str, language: str) -> Tagged:
        own = trained_adapter(name, language, self.settings)
        both = mixture_of(trained_adapter("mul+retrieved", "mul", self.settings), own, own.with_name(f"{language}-and-mul"))
        return self._tag((both,), language)

    def _multilingual(self, name: str, language: str, **numbers: int) -> Tagged:
        return self._tag((self._with_index(name, language),), language, False, **numbers)

    def _base(self, language: str) -> Tagged:
        adapter = self._with_index("mul+retrieved", language)
        return self._tag((without_lora(adapter, adapter.with_name(f"{language}-base")),), language)

    def _with_index(self, name: str, language: str) -> Path:
        lora = trained_adapter(name, "mul", self.settings)
        return with_index_of(lora, language, lora.with_name(language), self.settings, self._model((lora,)))

    def _encoder(self, languages: tuple[str, ...], language: str) -> list[list[str]]:
        """The tags of an encoder that was fine-tuned on these languages."""
        s, draws = self.settings, [self._draw(other) for other in languages]
        folder = s.runs / f"{s.size}-{s.seed}" / "encoder" / ("joint" if len(languages) > 1 else language)
        labels = sorted({label for each in draws for label in each.labels})
        train = [example for each in draws for example in each.train]
        return encoder_tags(fine_tuned(train, labels, folder, EncoderSettings(seed=s.seed)), self._draw(language).test)

    def _tag(self, folders: tuple[Path, ...], language: str, routed: bool = False, **numbers: int) -> Tagged:
        model = self._model(folders)
        for number in ("n_entities", "n_sentences"):
            setattr(model.config, number, numbers.get(number, getattr(type(model.config)(), number)))
        return predicted_tags(model, self._draw(language).test, language, routed)

    def _model(self, folders: tuple[Path, ...]) -> RetrieveAllModel:
        """A model with these adapters. The last one is kept and reused."""
        if self._loaded is None or self._loaded[0] != folders:
            model = RetrieveAllModel.from_pretrained(folders[0], dtype=native_dtype())
            for folder in folders[1:]:
                model.add_language(folder)
            self._loaded = folders, model
        return self._loaded[1]


@benchmark(languages="sw", mul_languages="de,sw", sizes="8", seeds="0", limit=2)
def main(
    data: Data,
    runs: Runs = Path("runs/study"),
    base: Base = EMBEDDED_BASE,
    json_file: Rows = Path("benchmarks/results/reproduction.json"),
    languages: Annotated[str, typer.Option(help="Languages to measure, separated by commas.")] = ALL,
    mul_languages: MulLanguages = ALL,
    systems: Annotated[str, typer.Option(help="Systems to measure, separated by semicolons. Default: all.")] = "",
    sizes: Annotated[str, typer.Option(help="Numbers of training sentences for each language, separated by commas.")] = "100,600",
    seeds: Annotated[str, typer.Option(help="Random seeds, separated by commas.")] = "0,1",
    limit: Limit = 250,
) -> None:
    rows = read_rows(json_file)
    chosen = tuple(languages.split(","))
    done = {(row["system"], row["language"], row["size"], row["seed"]) for row in rows}
    if len({row["limit"] for row in rows} | {limit}) > 1:
        raise typer.BadParameter(f"{json_file} was measured with another --limit. Use that limit, or another file for --json.")
    for size in map(int, sizes.split(",")):
        for seed in map(int, seeds.split(",")):
            settings = Settings(data, runs, size, seed, limit, tuple(mul_languages.split(",")), base=base)
            study = Systems(settings, chosen)
            for system, tag in study.all():
                if systems and system not in systems.split(";"):
                    continue
                for language in chosen:
                    if (system, language, size, seed) in done:
                        continue
                    rows.append(_row(system, language, settings, *tag(language)))
                    print(rows[-1], flush=True)
                    write_json([], rows, json_file)
    for size in sorted({row["size"] for row in rows}):
        publish(f"Strict typed span F1, {size} training sentences, every language", [], means(rows, size, True), None)
        publish(f"Strict typed span F1, {size} training sentences, every system", [], means(rows, size, False), None)
    publish("", metrics(rows), [], None)
    write_json(metrics(rows), rows, json_file)
    plot(rows, json_file.with_suffix(".png"))


def _row(system: str, language: str, settings: Settings, tags: list[list[str]], routed: float | None) -> Row:
    drawn = draw(settings.data, language, settings.size, settings.seed, settings.limit)
    return {
        "system": system,
        "language": language,
        "size": settings.size,
        "seed": settings.seed,
        **span_scores([tags_of(example) for example in drawn.test], tags),
        "routed": None if routed is None else round(100 * routed, 1),
        "limit": settings.limit,
        "n_test": len(drawn.test),
        "n_dropped": drawn.dropped,
    }


def means(rows: list[Row], size: int, everywhere: bool) -> list[Row]:
    """Mean over languages and spread over seeds of each system, best first.

    Args:
        rows: What was measured.
        size: Training sentences.
        everywhere: Whether to take only the systems that were measured on every language. Otherwise all systems are taken, on the
            languages that all of them have.
    """
    f1 = _by_system(rows, size)
    every = set.union(*map(set, f1.values()))
    if everywhere:
        f1 = {system: of_language for system, of_language in f1.items() if of_language.keys() == every}
    common = sorted(set.intersection(*map(set, f1.values()))) if f1 else []
    table = [
        {
            "system": system,
            "mean": round(mean(of_language[x] for x in common), 1),
            **{language: round(of_language[language], 1) for language in common},
            "spread": _spread(rows, system, size),
        }
        for system, of_language in f1.items()
        if common
    ]
    return sorted(table, key=lambda row: -row["mean"])


def metrics(rows: list[Row]) -> list[Metric]:
    """The claim of the paper and the goals, at the largest size, on the languages that all compared systems have."""
    size = max(row["size"] for row in rows)
    f1 = _by_system(rows, size)
    if not {OURS, *BASELINES} <= f1.keys():
        return []
    baselines = [system for system in (*BASELINES, *ENCODERS) if system in f1]
    common = sorted(set.intersection(*(set(f1[system]) for system in (OURS, *baselines))))
    average = {system: mean(f1[system][language] for language in common) for system in (OURS, *baselines)}
    best = max(baselines, key=lambda system: average[system])
    ahead = {language: f1[OURS][language] - f1["joint LoRA"][language] for language in common}
    low, high = [x for x in common if x in LOW_RESOURCE], [x for x in common if x not in LOW_RESOURCE]
    found = [Metric(f"mean F1, {system}", round(value, 2), "F1") for system, value in average.items()]
    if average[best]:
        ahead_of_best = _percent(average[OURS] / average[best] - 1)
        found.insert(0, Metric(f"mean F1 over {best}, relative, {len(common)} languages", ahead_of_best, "%", 12.1))
    if low:
        found.append(Metric("least lead over the joint LoRA, low-resource", round(min(ahead[x] for x in low), 2), "F1", 0))
    if high:
        found.append(Metric("least lead over the joint LoRA, others", round(min(ahead[x] for x in high), 2), "F1", -1))
    if "no examples" in f1:
        gains = [f1[OURS][x] - f1["no examples"][x] for x in common if x in f1["no examples"]]
        found.append(Metric("retrieved examples add, on average", round(mean(gains), 2), "F1", 0))
    return found


def _percent(share: float) -> float:
    return round(100 * share, 1)


def _by_system(rows: Iterable[Row], size: int) -> dict[str, dict[str, float]]:
    """F1 of each system and language, averaged over seeds."""
    scores: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row["size"] == size:
            scores.setdefault(row["system"], {}).setdefault(row["language"], []).append(row["f1"])
    return {system: {x: mean(values) for x, values in languages.items()} for system, languages in scores.items()}


def _spread(rows: list[Row], system: str, size: int) -> float | None:
    """Standard deviation over seeds, averaged over languages; ``None`` for one seed."""
    of_language: dict[str, list[float]] = {}
    for row in rows:
        if (row["system"], row["size"]) == (system, size):
            of_language.setdefault(row["language"], []).append(row["f1"])
    spreads = [stdev(values) for values in of_language.values() if len(values) > 1]
    return round(mean(spreads), 2) if spreads else None


def plot(rows: list[Row], file: Path) -> None:
    """Draws one bar for each system: its mean over the common languages, at the largest size."""
    size = max(row["size"] for row in rows)
    bars = means(rows, size, everywhere=True)[::-1]
    figure = Figure(figsize=(7, 0.35 * len(bars) + 1))
    axes = figure.subplots()
    drawn = axes.barh([bar["system"] for bar in bars], [bar["mean"] for bar in bars], color="#4477aa")
    axes.bar_label(drawn, padding=3)
    axes.set_xlabel(f"mean strict typed span F1, {size} training sentences per language")
    axes.set_xlim(0, 100)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, bbox_inches="tight", dpi=150)


if __name__ == "__main__":
    main()
