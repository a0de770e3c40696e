"""Sentence splitting: names that are cut, boundaries that are found, and speed.

    python -m benchmarks.sentences --data ../shared/data --json benchmarks/results/sentences.json
    python -m benchmarks.sentences --data ../shared/data --before benchmarks/results/sentences_before.json

Every corpus is measured *routed*, where the text may be in any of the shipped languages, *of many*, where it may be in any of
these and seven more, and *named*, where its language is given. `--before` shows the values of an earlier run next to the new
ones.

- **Cuts inside a name**, per 10,000 labelled entities. Each test sentence is one text, once in normal spelling (`cut`) and once
  with a space between all tokens (`spaced`). `wrapped` texts have several sentences and are wrapped at 40 and at 72 columns.
- **Boundary F1** on pairs of neighbouring sentences, joined to one text. `F1 of stops` counts only pairs whose first sentence
  ends with a full stop, a question mark or a similar mark; other pairs give the splitter nothing to go by.
- **Lists**: the share of line ends that are cut in lists of four names from the corpus, one name per line.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import regex
import typer

from benchmarks.options import Data, Json, benchmark
from benchmarks.report import Metric, publish, read_rows
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.model.entities import Example
from modeling_retrieveall.model.model_source import shipped_adapters
from modeling_retrieveall.model.sentence_splitting import sentence_bounds

SHIPPED = tuple(sorted({manifest.parent.name for manifest in shipped_adapters().glob("*/retrieveall.json")} - {"mul"}))
MANY = (*SHIPPED, "fa", "kk", "pl", "si", "sl", "th", "uk")
SILVER = ("panx", "panx40")
"""Automatically labelled corpora of single lines, whose neighbouring lines are not neighbouring sentences."""
Row = dict[str, Any]
_STOP = regex.compile(r"""[.!?。！？．।॥؟۔።…‥][\p{Pe}\p{Pf}"'”’»]*$""")


@dataclass(frozen=True)
class Written:
    """A text and its labelled names.

    Attributes:
        text: The text.
        names: Start and end of each name, in code points.
    """

    text: str
    names: list[tuple[int, int]]

    @classmethod
    def of(cls, example: Example, spaced: bool = False) -> "Written":
        """The text of a labelled sentence, in normal spelling or with a space between all tokens."""
        text, bounds = "", []
        for word in example.sentence.words:
            text += " " if text and (spaced or not word.glued) else ""
            bounds.append((len(text), len(text) + len(word.text)))
            text += word.text
        return cls(text, [(bounds[span.start][0], bounds[span.end - 1][1]) for span in example.spans])

    def __add__(self, other: "Written") -> "Written":
        text = self.text + ("" if regex.search(r"[。！？]$", self.text) else " ")
        return Written(text + other.text, self.names + [(len(text) + a, len(text) + b) for a, b in other.names])

    def wrapped(self, width: int) -> "Written":
        """The same text with some spaces replaced by line ends, so that lines have at most ``width`` characters."""
        letters, start = list(self.text), 0
        blanks = [place for place, letter in enumerate(letters) if letter == " "]
        for blank, following in pairwise([*blanks, len(letters)]):
            if following - start > width:
                letters[blank] = "\n"
                start = blank + 1
        return Written("".join(letters), self.names)

    def cut_names(self, languages: Sequence[str]) -> int:
        """The number of names that a sentence boundary cuts."""
        cuts = [end for _, end in sentence_bounds(self.text, languages)]
        return sum(any(start < cut < end for cut in cuts) for start, end in self.names)


@benchmark(number=20, megabytes=0.1)
def main(
    data: Data,
    number: Annotated[int | None, typer.Option(help="Number of sentences of each corpus. Default: all.")] = None,
    megabytes: Annotated[float, typer.Option(help="Size of the texts for the measurement of speed.")] = 1,
    before: Annotated[Path | None, typer.Option(help="JSON file of an earlier run to compare with.")] = None,
    split: Annotated[str, typer.Option(help="Split to measure.")] = "test",
    only: Annotated[str, typer.Option(help="Measure only folders whose name contains this text.")] = "",
    json_file: Json = None,
) -> None:
    folders = sorted(file.parent for file in data.glob(f"*/*/{split}.*") if only in str(file.relative_to(data)))
    earlier = {row["corpus"]: row for row in read_rows(before)} if before else {}
    rows = [_corpus(folder, split, number, earlier) for folder in folders]
    publish(f"Sentences, {split} splits", metrics(rows) + speed(megabytes), rows, json_file)


def _corpus(folder: Path, split: str, number: int | None, earlier: dict[str, Row]) -> Row:
    name, language = f"{folder.parent.name}/{folder.name}", folder.name.split("_")[0]
    examples = load_examples(str(folder), split).examples[:number]
    texts = [Written.of(example) for example in examples]
    spaced = [Written.of(example, spaced=True) for example in examples]
    wrapped = [text.wrapped(width) for width in (40, 72) for text in _joined(texts, 4)]
    row: Row = {"corpus": name, "language": language, "entities": sum(len(text.names) for text in texts)}
    for how, languages in (("routed", SHIPPED), ("of many", MANY), ("named", [language])):
        row[f"cut {how}"] = sum(text.cut_names(languages) for text in texts)
        row[f"spaced {how}"] = sum(text.cut_names(languages) for text in spaced)
        row[f"wrapped {how}"] = sum(text.cut_names(languages) for text in wrapped)
        if how != "of many":
            every, stops = _boundary_f1(texts, languages)
            row |= {f"F1 {how}": every, f"F1 of stops {how}": stops, f"lists {how}": _lists(texts, languages)}
    for column in ("cut routed", "cut named", "F1 routed", "F1 named", "F1 of stops routed", "F1 of stops named"):
        if name in earlier:
            row[f"{column} before"] = earlier[name][column]
    return row


def _joined(texts: Sequence[Written], count: int) -> Iterator[Written]:
    for start in range(0, len(texts), count):
        first, *others = texts[start : start + count]
        yield sum(others, first)


def _boundary_f1(texts: Sequence[Written], languages: Sequence[str]) -> tuple[float, float]:
    """F1 in percent on all pairs of neighbours, and on those whose first sentence ends with a stop."""
    counts = {False: [0, 0, 0], True: [0, 0, 0]}  # true cuts, false cuts, missed
    for first, second in pairwise(texts):
        joined = (first + second).text
        cuts = {len(joined[:end].rstrip()) for _, end in sentence_bounds(joined, languages)} - {len(joined)}
        right = len(first.text) in cuts
        of_kind = counts[bool(_STOP.search(first.text))]
        of_kind[0] += right
        of_kind[1] += len(cuts) - right
        of_kind[2] += not right
    return _f1(*map(sum, zip(*counts.values(), strict=True))), _f1(*counts[True])


def _f1(true: int, false: int, missed: int) -> float:
    return round(200 * true / (2 * true + false + missed), 2) if true + false + missed else float("nan")


def _lists(texts: Sequence[Written], languages: Sequence[str]) -> float:
    """The percentage of line ends that are cut in lists of names."""
    names = list(dict.fromkeys(text.text[start:end] for text in texts for start, end in text.names))
    ends = cut = 0
    for start in range(0, len(names) - 3, 4):
        text = "\n".join(names[start : start + 4])
        cuts = {end for _, end in sentence_bounds(text, languages)}
        places = [place + 1 for place, letter in enumerate(text) if letter == "\n"]
        ends += len(places)
        cut += sum(place in cuts or place - 1 in cuts for place in places)
    return round(100 * cut / ends, 2) if ends else float("nan")


def metrics(rows: Sequence[Row]) -> list[Metric]:
    """The metrics that have goals: the worst language, and the running-text corpora with the lowest boundary F1."""
    of_language: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of_language[row["language"]].append(row)
    running = [row for row in rows if row["corpus"].split("/")[0] not in SILVER]
    result = []
    for column in (f"{kind} {how}" for kind in ("cut", "spaced") for how in ("routed", "of many", "named")):
        rates = {code: _rate(theirs, column) for code, theirs in of_language.items()}
        worst = max(rates, key=lambda code: rates[code])
        result.append(Metric(f"{column}, worst: {worst}", rates[worst], "of 10,000 names", 2, at_most=True))
        others = sorted(code for code, rate in rates.items() if rate > 2)
        result.append(
            Metric(f"{column}, languages above: {' '.join(others) or 'none'}", len(others), "languages", 0, at_most=True)
        )
    if running:
        result.append(Metric("wrapped routed, running text", _rate(running, "wrapped routed") / 2, "of 10,000 names"))
    for column in ("F1 of stops routed", "F1 of stops named"):
        for row in sorted(running, key=lambda row: float(row[column]))[:3]:
            result.append(Metric(f"{column}, {row['corpus']}", row[column], "%", 90))
    return result


def _rate(rows: Sequence[Row], column: str) -> float:
    """Names that are cut, per 10,000."""
    names = sum(int(row["entities"]) for row in rows)
    return round(1e4 * sum(int(row[column]) for row in rows) / max(1, names), 2)


def speed(megabytes: float) -> list[Metric]:
    """Speed in characters per second."""
    german = "Angela Merkel besuchte am 3. Mai Nairobi. Prof. Dr. Graz kam aus der Stadt. "
    danish = "Mette Frederiksen besøgte den 3. maj Nairobi. Prof. Dr. Graz kom fra byen. "
    texts: dict[str, tuple[str, Sequence[str]]] = {"de": (german, ["de"]), "da": (danish, ["da"]), "routed": (german, MANY)}
    result = []
    for name, (text, languages) in texts.items():
        seconds = _seconds(lambda text=text, languages=languages: _cut(text, languages, megabytes))  # type: ignore[misc]
        result.append(Metric(f"speed, {name}", round(megabytes / seconds, 3), "million characters/s"))
    return result


def _cut(text: str, languages: Sequence[str], megabytes: float) -> None:
    sentence_bounds(text * int(1e6 * megabytes / len(text)), languages)


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
