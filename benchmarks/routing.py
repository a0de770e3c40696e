"""Routing among seventeen languages, compared with py3langid and pycld2, and the F1 lost by wrong routes.

    python -m benchmarks.routing --data ../shared/data --json benchmarks/results/routing.json
    python -m benchmarks.routing --data ../shared/data --model runs --json benchmarks/results/routing.json

With --model, a folder of adapters of the languages, F1 is measured as well. The routers are built from training sentences and
calibrated on validation sentences; the test sentences occur in neither. So our routers have seen this kind of text. The libraries
are used as they are, restricted to the same languages; languages that they do not support are excluded from their score.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import torch
import typer
from torch import Tensor

from benchmarks.options import Data, Json, Languages, Limit, Size, benchmark
from benchmarks.report import Metric, publish, write_json
from benchmarks.study.baselines import tags_of, words_of
from benchmarks.study.datasets import ALL, FOLDERS, draw
from benchmarks.study.scores import span_scores
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.data.labelled_data import exclude_by_key, sample_examples
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.evaluation.calibration import expected_calibration_error
from modeling_retrieveall.model.base_llm import native_dtype
from modeling_retrieveall.model.configuration_retrieveall import RetrieveAllConfig, RouterKind
from modeling_retrieveall.model.entities import Example, tags_from_entities
from modeling_retrieveall.model.router import Route, Router
from modeling_retrieveall.model.writing_systems import usual_scripts

_OURS_ALONE = ("calibration error", "taken for unknown", "temperature", "distance")
KINDS: tuple[RouterKind, ...] = ("vote", "discriminant", "combined")
MIXTURES = {"one-hot": 1, "k-hot of 2": 2, "k-hot of 3": 3}
LONG = 8
"""Number of words from which a sentence counts as long."""
LONG_PARTS = (f"{LONG}+ words", f"{LONG}+ words, not PAN-X")
Row = dict[str, Any]


@dataclass(frozen=True)
class EvaluationSet:
    """Sentences to route.

    Attributes:
        examples: The sentences.
        languages: The language of each.
        vectors: ``[sentences, hidden]``.
    """

    examples: list[Example]
    languages: list[str]
    vectors: Tensor

    @property
    def texts(self) -> list[str]:
        """The sentences as raw text."""
        return [example.sentence.text for example in self.examples]

    def where(self, holds: Callable[[Example, str], bool]) -> list[int]:
        """Positions of the sentences for which a condition holds."""
        return [i for i, (e, x) in enumerate(zip(self.examples, self.languages, strict=True)) if holds(e, x)]

    def of(self, language: str) -> list[int]:
        """Positions of the sentences of a language."""
        return self.where(lambda _, other: other == language)

    def parts(self) -> dict[str, list[int]]:
        """Positions of the sentences in each subset that is reported."""
        return {
            "all": list(range(len(self.examples))),
            "PAN-X": self.where(lambda _, language: _of_panx(language)),
            LONG_PARTS[0]: self.where(lambda example, _: len(example.sentence.words) >= LONG),
            LONG_PARTS[1]: self.where(lambda e, x: len(e.sentence.words) >= LONG and not _of_panx(x)),
        }


@benchmark(languages="da,de,ta", known=8, number=6, texts=8)
def main(
    data: Data,
    model: Annotated[str | None, typer.Option(help="Folder of adapters of the languages. Default: F1 is not measured.")] = None,
    languages: Languages = ALL,
    known: Size = 600,
    number: Limit = 100,
    texts: Annotated[int, typer.Option(help="Number of texts of several lines, for each kind of text.")] = 300,
    json_file: Json = None,
) -> None:
    codes = sorted(languages.split(","))
    loaded = RetrieveAllModel.from_pretrained(model or "shipped", dtype=native_dtype())
    draws = {code: draw(data, code, known, 0, number) for code in codes}
    vectors = {code: _vectors(loaded, drawn.train) for code, drawn in draws.items()}
    scripts = {code: usual_scripts(example.sentence.text for example in drawn.train) for code, drawn in draws.items()}
    held_out = {code: _vectors(loaded, _validation(data, code, number)) for code in codes}
    tests = [(code, example) for code in codes for example in draws[code].test]
    asked = EvaluationSet([e for _, e in tests], [x for x, _ in tests], _vectors(loaded, [e for _, e in tests]))
    routers: dict[str, Router] = {kind: _router(kind, vectors, scripts, held_out) for kind in KINDS}
    rows = [_accuracy(kind, asked, router) for kind, router in routers.items()]
    rows += [_library(name, asked, library(codes)) for name, library in LIBRARIES.items()]
    publish("Routed right, %", [], rows, None)
    helps = [{**_documents(kind, asked, router, texts), **_prior(asked, router)} for kind, router in routers.items()]
    publish(
        "PAN-X lines with context (texts of five lines, or of three lines in one language and three in another)", [], helps, None
    )
    left_out = [_left_out(code, asked, vectors, scripts, held_out) for code in codes]
    publish("Languages that the router does not have", [], left_out, None)
    costs = _f1(loaded, asked, routers, vectors, scripts) if model else []
    if costs:
        publish("Strict typed span F1 by router and number of adapters", [], costs, None)
    publish("", metrics(rows, costs), [], None)
    if json_file:
        write_json(metrics(rows, costs), rows + helps + left_out + costs, json_file)


def _of_panx(language: str) -> bool:
    return FOLDERS[language].startswith("panx/")


def _validation(data: Path, language: str, number: int) -> list[Example]:
    folder = str(data / FOLDERS[language])
    known = {example.key for split in ("train", "test") for example in load_examples(folder, split).examples}
    return sample_examples(exclude_by_key(load_examples(folder, "validation").examples, known), number, 0)


def _vectors(model: RetrieveAllModel, examples: Sequence[Example]) -> Tensor:
    encoded = model.encoder.encode([model.answers.word_ids(example.sentence) for example in examples])
    return torch.stack([each.sentence for each in encoded])


def _router(
    kind: RouterKind,
    vectors: Mapping[str, Tensor],
    scripts: Mapping[str, frozenset[str]],
    held_out: Mapping[str, Tensor],
    **fields: Any,
) -> Router:
    router = Router(RetrieveAllConfig(router=kind, **fields))
    for code, of_language in vectors.items():
        router.add(code, of_language, scripts[code])
    router.calibrate(held_out)
    return router


# Accuracy


def _accuracy(name: str, asked: EvaluationSet, router: Router) -> Row:
    posterior, routes = router.route(asked.vectors, asked.texts)
    confidence, best = posterior.max(-1)
    right = [router.languages[int(i)] == language for i, language in zip(best, asked.languages, strict=True)]
    fitted = router.config if name != "vote" else None
    return {
        "router": name,
        **_shares(asked, right),
        "calibration error": round(expected_calibration_error(confidence.tolist(), right) / 100, 3),
        "taken for unknown": _unknown(routes),
        "temperature": fitted.routing_temperature if fitted else "",
        "distance": fitted.max_distance if fitted else "",
    }


def _shares(asked: EvaluationSet, right: Sequence[bool], counted: set[int] | None = None) -> Row:
    parts = {name: [i for i in part if counted is None or i in counted] for name, part in asked.parts().items()}
    return {name: round(100 * sum(right[i] for i in part) / len(part), 1) for name, part in parts.items() if part}


def _documents(name: str, asked: EvaluationSet, router: Router, count: int) -> Row:
    rng = random.Random(0)
    lines = {code: asked.of(code) for code in set(asked.languages)}
    panx = sorted(code for code in lines if _of_panx(code))
    same = [rng.sample(lines[rng.choice(panx)], 5) for _ in range(count)]
    changing = [[i for code in rng.sample(panx, 2) for i in rng.sample(lines[code], 3)] for _ in range(count)]
    row: Row = {"router": name}
    for kind, texts in (("of one language", same), ("of two", changing)):
        for how, documents in (("line by line", None), ("as one text", [n for n, text in enumerate(texts) for _ in text])):
            posterior, _ = router.route(asked.vectors[[i for text in texts for i in text]], documents=documents)
            truth = [asked.languages[i] for text in texts for i in text]
            right = [router.languages[int(i)] == x for i, x in zip(posterior.argmax(-1), truth, strict=True)]
            row[f"{kind}, {how}"] = round(100 * sum(right) / len(right), 1)
    return row


def _prior(asked: EvaluationSet, router: Router) -> Row:
    """Accuracy on PAN-X lines when the caller names three languages, one of which is right."""
    rng = random.Random(0)
    right: list[bool] = []
    for language in sorted(code for code in router.languages if _of_panx(code)):
        lines = asked.of(language)
        others = rng.sample([code for code in router.languages if code != language], 2)
        posterior, _ = router.route(asked.vectors[lines], prior=dict.fromkeys([language, *others], 1.0))
        right += [router.languages[int(i)] == language for i in posterior.argmax(-1)]
    return {"one of three named": round(100 * sum(right) / len(right), 1)}


def _left_out(
    language: str,
    asked: EvaluationSet,
    vectors: Mapping[str, Tensor],
    scripts: Mapping[str, frozenset[str]],
    held_out: Mapping[str, Tensor],
) -> Row:
    """How often a language that the router does not have is marked unknown, and which languages it is taken for."""
    others = {code: of_language for code, of_language in vectors.items() if code != language}
    router = _router("discriminant", others, scripts, {code: held_out[code] for code in others})
    lines = asked.of(language)
    texts = [asked.texts[i] for i in lines]
    by_distance = router.route(asked.vectors[lines])[1]
    by_script = router.route(asked.vectors[lines], texts)[1]
    fives = [i // 5 for i in range(len(lines))]
    of_five = router.route(asked.vectors[lines], texts, fives)[1]
    taken_for = Counter(route.language for route in by_distance)
    return {
        "left out": language,
        "noticed by distance": _unknown(by_distance),
        "by distance or script": _unknown(by_script),
        "in texts of five": _unknown(of_five),
        "taken for": ", ".join(f"{code} {count}" for code, count in taken_for.most_common(3)),
    }


def _unknown(routes: Sequence[Route]) -> float:
    return round(100 * sum(not route.known for route in routes) / len(routes), 1)


# Language identification libraries


def _langid(codes: Sequence[str]) -> Callable[[str], str]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages([code for code in codes if code in identifier.labels])
    return lambda text: str(identifier.classify(text)[0])


def _cld2(codes: Sequence[str]) -> Callable[[str], str]:
    import pycld2

    def classify(text: str) -> str:
        printable = "".join(letter for letter in text if letter.isprintable())
        guesses = [code.partition("-")[0] for _, code, _, _ in pycld2.detect(printable, bestEffort=True)[2]]
        return next((code for code in guesses if code in codes), "")

    return classify


LIBRARIES = {"py3langid": _langid, "pycld2": _cld2}
LACKING = {"py3langid": {"wo"}, "pycld2": set[str]()}
"""Languages that a library does not support; they are excluded from its score."""


def _library(name: str, asked: EvaluationSet, classify: Callable[[str], str]) -> Row:
    right = [classify(text) == language for text, language in zip(asked.texts, asked.languages, strict=True)]
    had = {i for i, language in enumerate(asked.languages) if language not in LACKING[name]}
    return {"router": name, **_shares(asked, right, had), **dict.fromkeys(_OURS_ALONE, "")}


# F1 lost by wrong routes


def _f1(
    model: RetrieveAllModel,
    asked: EvaluationSet,
    routers: Mapping[str, Router],
    vectors: Mapping[str, Tensor],
    scripts: Mapping[str, frozenset[str]],
) -> list[Row]:
    """F1 of each router and number of adapters."""
    cache = _PredictionCache(model, asked)
    oracle = cache.tags([Route.certain(language) for language in asked.languages])
    rows = []
    for kind, router in routers.items():
        unsure = _unsure(router, asked)
        for name, most in MIXTURES.items():
            if most > 1 and kind == "vote":
                continue
            router.config.change({"adapters_per_sentence": most})
            found = cache.tags(router.route(asked.vectors, asked.texts)[1])
            router.config.change({"adapters_per_sentence": 1})
            rows.append(
                {
                    "router": kind,
                    "row": name,
                    "F1": _mean_f1(asked, found),
                    "F1, oracle": _mean_f1(asked, oracle),
                    "F1, unsure tenth": _pooled_f1(asked, found, unsure),
                    "the same, oracle": _pooled_f1(asked, oracle, unsure),
                }
            )
            print(rows[-1], flush=True)
    return rows


class _PredictionCache:
    """The tags of sentences by route. Equal routes of a sentence are computed once."""

    def __init__(self, model: RetrieveAllModel, asked: EvaluationSet) -> None:
        self._model = model
        self._asked = asked
        self._tags: dict[tuple[int, frozenset[tuple[str, float]]], list[str]] = {}

    def tags(self, routes: Sequence[Route]) -> list[list[str]]:
        keys = [(i, frozenset((name, round(weight, 2)) for name, weight in r.mixture.items())) for i, r in enumerate(routes)]
        missing = [i for i, key in enumerate(keys) if key not in self._tags]
        sentences = [words_of(self._asked.examples[i]) for i in missing]
        routes = [routes[i] for i in missing]

        def along(vectors: Tensor, texts: Any, owners: Sequence[int], prior: Any) -> tuple[Tensor, list[Route]]:
            return torch.zeros(len(vectors), len(self._model.router.languages)), [routes[owner] for owner in owners]

        with patch.object(self._model.router, "route", along):
            results = self._model.extract(sentences, is_split_into_words=True)
        for i, result in zip(missing, results, strict=True):
            self._tags[keys[i]] = list(tags_from_entities(result.entities, self._asked.examples[i].sentence))
        return [self._tags[key] for key in keys]


def _unsure(router: Router, asked: EvaluationSet) -> list[int]:
    """The tenth of the sentences with the lowest confidence."""
    confidence = router.route(asked.vectors)[0].amax(-1)
    return [int(i) for i in confidence.argsort()[: len(confidence) // 10]]


def _pooled_f1(asked: EvaluationSet, tags: Sequence[list[str]], part: Sequence[int]) -> float:
    scores = span_scores([tags_of(asked.examples[i]) for i in part], [tags[i] for i in part])
    return round(float(scores["f1"]), 2)


def _mean_f1(asked: EvaluationSet, tags: Sequence[list[str]]) -> float:
    languages = sorted(set(asked.languages))
    of_language = [_pooled_f1(asked, tags, asked.of(code)) for code in languages]
    return round(sum(of_language) / len(of_language), 2)


def metrics(rows: list[Row], costs: list[Row]) -> list[Metric]:
    """The metrics that have goals, for the default router."""
    ours = next(row for row in rows if row["router"] == RetrieveAllConfig().router)
    library = max(row["PAN-X"] for row in rows if row["router"] in LIBRARIES)
    found = [
        Metric("PAN-X lines routed right, over the best library", round(ours["PAN-X"] - library, 1), "points", 5),
        *(Metric(f"{part}: routed right", ours[part], "%", 99) for part in LONG_PARTS if part in ours),
        Metric("calibration error", ours["calibration error"], "", 0.03, at_most=True),
    ]
    for row in (row for row in costs if row["F1, oracle"]):
        share = round(row["F1"] / row["F1, oracle"], 4)
        found.append(Metric(f"F1 routed / F1 oracle, {row['router']}, {row['row']}", share, "", 0.98))
    return found


if __name__ == "__main__":
    main()
