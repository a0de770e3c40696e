"""How good the entities are that a prompt shows, and how often the same ones are: hubs, which lie near to every sentence.

On validation sentences; only the encoder runs, so the adapters of the model do not matter. Mentions are ranked as the package
ranks them, without its threshold, which the six nearest of hundreds nearly always pass; and by that similarity less the
mention's usual one, its mean over the other sentences that are retrieved from.

    python -m benchmarks.shown_entities --data ../shared/data --json benchmarks/results/shown_entities.json
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.corpus import training_and_validation
from benchmarks.options import Data, Json, Languages, Model, benchmark
from benchmarks.report import Figure, publish
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.data.labelled import sample
from modeling_retrieveall.model.encoder import SentenceVectors
from modeling_retrieveall.model.entities import Example
from modeling_retrieveall.model.retrieval import ExampleIndex
from modeling_retrieveall.training.training_data import encoded

AS_IT_IS, LESS_USUAL = "similarity", "less the usual similarity"


@benchmark(languages="sw", sizes="16", number=4)
def main(
    data: Data,
    model: Model = "shipped",
    languages: Languages = "sw,de,yo,ru,ta",
    sizes: Annotated[str, typer.Option(help="Sentences retrieved from, separated by commas.")] = "100,400",
    number: Annotated[int, typer.Option(help="Validation sentences of each language.")] = 100,
    json_file: Json = None,
) -> None:
    loaded = RetrieveAllModel.from_pretrained(model, dtype=torch.float32)
    rows: list[dict[str, Any]] = []
    for language in languages.split(","):
        train, asked = training_and_validation(data, language, number)
        asked_vectors = encoded(loaded, asked)
        for size in map(int, sizes.split(",")):
            known = sample(train, size, 0)
            shown = _shown(known, encoded(loaded, known), asked, asked_vectors, loaded.config.n_entities)
            rows += [{"language": language, "sentences": size, "ranked by": name, **of.row()} for name, of in shown.items()]
    publish(f"Entities shown to {number} validation sentences", _figures(rows), rows, json_file)


@dataclass
class Shown:
    """What was shown to the sentences of one language.

    Attributes:
        times: How often each mention, by its text and type.
        near: Mentions whose nearest word lies in an entity of the sentence.
        right: Those of them that have its type.
        sentences: Sentences asked about.
    """

    times: Counter[tuple[str, str]] = field(default_factory=Counter)
    near: int = 0
    right: int = 0
    sentences: int = 0

    def add(self, example: Example, names: list[tuple[str, str]], similarities: Tensor, limit: int) -> None:
        """Shows the likest distinct mentions to a sentence.

        Args:
            example: The sentence.
            names: Text and type of each mention.
            similarities: ``[words, mentions]``.
            limit: Mentions shown.
        """
        best, nearest_word = similarities.max(0)
        shown: dict[tuple[str, str], int] = {}
        for row in best.argsort(descending=True).tolist():
            if len(shown) == limit:
                break
            shown.setdefault(names[row], int(nearest_word[row]))
        self.sentences += 1
        self.times.update(shown.keys())
        for (_, label), word in shown.items():
            labels = [span.label for span in example.spans if span.start <= word < span.end]
            self.near += bool(labels)
            self.right += label in labels

    def row(self) -> dict[str, float]:
        """Of all shown, the shares in percent; and the share of the sentences that the commonest was shown to."""
        total = self.times.total()
        return {
            "stand for an entity": round(100 * self.near / total, 1),
            "and have its type": round(100 * self.right / total, 1),
            "commonest shown to": round(100 * self.times.most_common(1)[0][1] / self.sentences, 1),
        }


def _shown(
    known: list[Example],
    known_vectors: list[SentenceVectors],
    asked: list[Example],
    asked_vectors: list[SentenceVectors],
    limit: int,
) -> dict[str, Shown]:
    index = ExampleIndex.build(known, known_vectors)
    names = [(mention.text, mention.span.label) for mention in index.mentions]
    owner = torch.tensor([row for row, e in enumerate(known) for _ in e.spans])
    mean = index.mention_vectors.mean(0)
    directions = normalize(index.mention_vectors - mean, dim=-1).T

    def similar(vectors: SentenceVectors) -> Tensor:
        return normalize(vectors.words - mean, dim=-1) @ directions

    best = torch.stack([similar(vectors).amax(0) for vectors in known_vectors])
    best[owner, torch.arange(len(owner))] = torch.nan  # its own sentence says nothing of how near it lies to others
    usual = best.nanmean(0)
    shown = {AS_IT_IS: Shown(), LESS_USUAL: Shown()}
    for example, vectors in zip(asked, asked_vectors, strict=True):
        similarities = similar(vectors)
        shown[AS_IT_IS].add(example, names, similarities, limit)
        shown[LESS_USUAL].add(example, names, similarities - usual, limit)
    return shown


def _figures(rows: list[dict[str, Any]]) -> list[Figure]:
    figures = []
    for size in sorted({row["sentences"] for row in rows}):
        for name in (AS_IT_IS, LESS_USUAL):
            chosen = [row for row in rows if (row["sentences"], row["ranked by"]) == (size, name)]
            for column in ("stand for an entity", "and have its type", "commonest shown to"):
                value = round(sum(row[column] for row in chosen) / len(chosen), 1)
                figures.append(Figure(f"{column}, {size} sentences, {name}", value, "%"))
    return figures


if __name__ == "__main__":
    main()
