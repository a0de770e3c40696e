"""Languages with few sentences beside languages with many: which systems let the large languages suppress the small ones?

    python -m benchmarks.unequal --data ../shared/data --quantization int8

Every system learns the same sentences. RetrieveAll starts each language from the balanced joint LoRA, which is its `mul`. An
interrupted run resumes: trained systems are kept in --runs, and finished rows in --json.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import numpy as np
import torch
import typer
from matplotlib.figure import Figure

from benchmarks.intervals import f1_columns
from benchmarks.options import Base, Data, Limit, Quantization, Rows, Runs, Seed, benchmark
from benchmarks.report import Metric, publish, read_rows, write_json
from benchmarks.study.baselines import crf, tags_of
from benchmarks.study.encoder import EncoderSettings, encoder_tags, fine_tuned
from benchmarks.study.unequal_data import FEW, LABELS, MANY, Mixture, unseen_test_sentences
from modeling_retrieveall import AdapterTrainingArguments, RetrieveAllModel, train
from modeling_retrieveall.evaluation.span_f1 import Predictions, predict
from modeling_retrieveall.model.embedded_llm import EMBEDDED_BASE
from modeling_retrieveall.model.entities import Example
from modeling_retrieveall.model.manifest import MULTILINGUAL
from modeling_retrieveall.training.resuming import is_interrupted

OURS, JOINT, BALANCED = "RetrieveAll", "joint LoRA", "balanced joint LoRA"
Row = dict[str, Any]


@dataclass(frozen=True)
class Systems:
    """All systems of one cell.

    Attributes:
        mixture: The training sentences, in proportion.
        temperature: The temperature of the balanced systems.
        limit: Number of test sentences of each language.
        base: The base LLM.
        quantization: How it is loaded.
        rank: Rank of every LoRA.
    """

    mixture: Mixture
    temperature: float
    limit: int
    base: str
    quantization: str | None
    rank: int

    def all(self, routed: bool) -> Iterator[tuple[str, Callable[[str], Predictions]]]:
        """Yields the name of each system, and a function that tags the test sentences of a language.

        Args:
            routed: Whether to include RetrieveAll without a given language, which needs the adapters of all languages.
        """
        yield JOINT, lambda language: self._tagged(self._joint(self.mixture), MULTILINGUAL, language)
        yield BALANCED, lambda language: self._tagged(self._joint(self._balanced), MULTILINGUAL, language)
        yield f"{BALANCED}, trained twice", lambda language: self._tagged(self._trained_twice(), MULTILINGUAL, language)
        yield f"{BALANCED}, with examples", self._with_examples
        yield OURS, lambda language: self._tagged(self._own(language), language, language)
        if routed:
            yield f"{OURS}, routed", self._routed
        yield "separate LoRA", lambda language: self._tagged(self._own(language, start="none"), language, language)
        yield "joint encoder", lambda language: self._encoder(self.mixture, language)
        yield "balanced joint encoder", lambda language: self._encoder(self._balanced, language)
        yield "separate encoder", self._separate_encoder
        yield "CRF", lambda language: self._scored(language, partial(crf, self.mixture.drawn(language)))

    @property
    def _balanced(self) -> Mixture:
        return replace(self.mixture, temperature=self.temperature)

    def _test(self, language: str) -> list[Example]:
        return unseen_test_sentences(self.mixture.data, language, self.limit)

    def _joint(self, mixture: Mixture, stage: str = "joint", start: str = "none") -> Path:
        files = [mixture.mixed_file(language) for language in mixture.languages]
        return self._trained(files, MULTILINGUAL, mixture.runs / stage / mixture.name, start)

    def _trained_twice(self) -> Path:
        """The balanced joint LoRA after further training on the same sentences, as the adapters of RetrieveAll have had it."""
        return self._joint(self._balanced, "joint-twice", str(self._joint(self._balanced)))

    def _own(self, language: str, start: str = "") -> Path:
        mixture = self.mixture if start else self._balanced
        folder = mixture.runs / ("separate" if start else "own") / mixture.name / language
        return self._trained([mixture.training_file(language)], language, folder, start or str(self._joint(mixture)))

    def _trained(self, files: list[Path], language: str, folder: Path, start: str) -> Path:
        """Trains a LoRA unless its folder exists."""
        if folder.is_dir():
            return folder
        return train(
            AdapterTrainingArguments(
                language=[language],
                dataset=[str(file) for file in files],
                output_dir=str(folder),
                base_model=self.base,
                init_adapter=start,
                quantization=self.quantization,
                rank=self.rank,
                lora_alpha=2 * self.rank,
                examples_share=0.0,
                tags_share=1.0,
                empty_share=0.0,
                max_index_examples=50 if language == MULTILINGUAL else None,
                max_eval_samples=0,
                save_steps=200,
                seed=self.mixture.seed,
                resume=is_interrupted(str(folder)),
            )
        )

    def _tagged(self, folder: Path, adapter: str, language: str, examples: list[Example] | None = None) -> Predictions:
        model = RetrieveAllModel.from_pretrained(folder, dtype=torch.float32, quantization=self.quantization)
        if examples:
            model.add_examples(adapter, examples)
        return predict(model, self._test(language), adapter, oracle_routing=True)

    def _routed(self, language: str) -> Predictions:
        first, *others = [*map(self._own, self.mixture.languages), self._joint(self._balanced)]
        model = RetrieveAllModel.from_pretrained(first, dtype=torch.float32, quantization=self.quantization)
        for folder in others:
            model.add_language(folder)
        return predict(model, self._test(language), language)

    def _with_examples(self, language: str) -> Predictions:
        """The balanced joint LoRA, with the sentences of the language among its examples."""
        return self._tagged(self._joint(self._balanced), MULTILINGUAL, language, self.mixture.drawn(language))

    def _encoder(self, mixture: Mixture, language: str) -> Predictions:
        sentences = [example for other in mixture.languages for example in mixture.mixed(other)]
        folder = fine_tuned(sentences, LABELS, mixture.runs / "encoder" / mixture.name, EncoderSettings(seed=mixture.seed))
        return self._scored(language, partial(encoder_tags, folder))

    def _separate_encoder(self, language: str) -> Predictions:
        folder = self.mixture.runs / "separate-encoder" / self.mixture.name / language
        fine_tuned(self.mixture.drawn(language), LABELS, folder, EncoderSettings(seed=self.mixture.seed))
        return self._scored(language, partial(encoder_tags, folder))

    def _scored(self, language: str, tag: Callable[[list[Example]], list[list[str]]]) -> Predictions:
        test, began = self._test(language), time.perf_counter()
        return Predictions([tags_of(example) for example in test], tag(test), None, time.perf_counter() - began)


@benchmark(few_languages="sw", many_languages="hr", few="8", many="8", rank=4, limit=2, systems="RetrieveAll")
def main(
    data: Data,
    runs: Runs = Path("runs/unequal"),
    base: Base = EMBEDDED_BASE,
    few_languages: Annotated[str, typer.Option(help="Languages with few sentences, separated by commas.")] = ",".join(FEW),
    many_languages: Annotated[str, typer.Option(help="Languages with many sentences.")] = ",".join(MANY),
    few: Annotated[str, typer.Option(help="Numbers of training sentences of each language with few.")] = "100,300",
    many: Annotated[str, typer.Option(help="Numbers of training sentences of each language with many.")] = "0,500,2000,5000",
    temperature: Annotated[float, typer.Option(help="Temperature of the balanced systems.")] = 3.0,
    systems: Annotated[str, typer.Option(help="Systems to measure, separated by semicolons. Default: all.")] = "",
    rank: Annotated[int, typer.Option(help="Rank of every LoRA.")] = 32,
    quantization: Quantization = None,
    seed: Seed = 0,
    limit: Limit = 1000,
    json_file: Rows = Path("benchmarks/results/unequal.json"),
) -> None:
    rows = read_rows(json_file)
    largest = max(map(int, many.split(",")))
    for number in map(int, few.split(",")):
        for beside in map(int, many.split(",")):
            languages = tuple(few_languages.split(",")), tuple(many_languages.split(","))
            mixture = Mixture(data, runs, number, beside, 1.0, seed, *languages)
            measured = mixture.languages if beside == largest else mixture.few_languages
            for system, tag in Systems(mixture, temperature, limit, base, quantization, rank).all(beside == largest):
                if systems and system not in systems.split(";"):
                    continue
                for language in measured:
                    key = {"system": system, "few": number, "many": beside, "seed": seed, "language": language}
                    if any(key.items() <= row.items() for row in rows):
                        continue
                    predictions = tag(language)
                    rows.append(key | f1_columns(predictions) | {"sentences": len(predictions.labelled)})
                    print(rows[-1], flush=True)
                    write_json([], rows, json_file)
    write_json(metrics(rows), rows, json_file)
    for number in sorted({row["few"] for row in rows}):
        publish(f"Mean F1 of the languages with {number} sentences", [], means(rows, number), None)
    publish("", metrics(rows), [], None)
    plot(rows, json_file.with_suffix(".png"))


def _f1(rows: list[Row], few: int, many: int) -> dict[str, dict[str, float]]:
    """F1 of each system and language in one cell, averaged over seeds."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if (row["few"], row["many"]) == (few, many):
            found.setdefault(row["system"], {}).setdefault(row["language"], []).append(row["F1"])
    return {system: {x: mean(values) for x, values in of_language.items()} for system, of_language in found.items()}


def _small(of_language: dict[str, float]) -> list[float]:
    return [f1 for language, f1 in of_language.items() if language in FEW]


def means(rows: list[Row], few: int) -> list[Row]:
    """Mean F1 over the languages with few sentences: one row for each system, one column for each number of the others."""
    columns = sorted({row["many"] for row in rows if row["few"] == few})
    cells = {many: _f1(rows, few, many) for many in columns}
    systems = dict.fromkeys(row["system"] for row in rows if row["few"] == few)
    return [
        {
            "system": system,
            **{str(many): round(mean(_small(cells[many][system])), 1) if system in cells[many] else "" for many in columns},
        }
        for system in systems
    ]


def metrics(rows: list[Row]) -> list[Metric]:
    """The lead of RetrieveAll over the joint LoRAs, with the most sentences of the other languages."""
    result = []
    for few in sorted({row["few"] for row in rows}):
        f1 = _f1(rows, few, max(row["many"] for row in rows if row["few"] == few))
        for other, goal in ((JOINT, 12.1), (BALANCED, None)):
            if not {OURS, other} <= f1.keys():
                continue
            common = [language for language in f1[OURS] if language in FEW and language in f1[other]]
            ours, theirs = (np.array([f1[system][language] for language in common]) for system in (OURS, other))
            lead = round(float(100 * (ours.mean() / max(theirs.mean(), 1e-9) - 1)), 1)
            result.append(Metric(f"{few} sentences: over the {other}, relative", lead, "%", goal))
            low, high = _interval(ours - theirs)
            result.append(Metric(f"{few} sentences: lead over the {other}, 2.5th percentile over languages", low, "F1", 0.0))
            result.append(Metric(f"{few} sentences: lead over the {other}, 97.5th percentile", high, "F1"))
            large = [f1[OURS][x] - f1[other][x] for x in f1[OURS] if x in MANY and x in f1[other]]
            if large:
                result.append(Metric(f"{few} sentences: least lead, languages with many", round(min(large), 2), "F1", -1.0))
    return result


def _interval(leads: np.ndarray) -> tuple[float, float]:
    """The 95 % confidence interval of a mean over languages (percentile bootstrap)."""
    drawn = np.random.default_rng(0).integers(len(leads), size=(1000, len(leads)))
    low, high = np.percentile(leads[drawn].mean(1), [2.5, 97.5])
    return round(float(low), 2), round(float(high), 2)


def plot(rows: list[Row], file: Path) -> None:
    """Draws the interference curve: mean F1 of the languages with few sentences, by the number of sentences of the others."""
    numbers = sorted({row["few"] for row in rows})
    figure = Figure(figsize=(4 * len(numbers), 3.5))
    for axes, few in zip(np.atleast_1d(figure.subplots(1, len(numbers), sharey=True)), numbers, strict=True):
        for row in means(rows, few):
            points = [(int(many), f1) for many, f1 in row.items() if many != "system" and f1 != ""]
            axes.plot(*zip(*points, strict=True), "o-", markersize=3, label=row["system"])
        axes.set_title(f"{few} sentences of each small language", fontsize="small")
        axes.set_xlabel("sentences of each large language")
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="x-small")
    figure.savefig(file, bbox_inches="tight", dpi=150)


if __name__ == "__main__":
    main()
