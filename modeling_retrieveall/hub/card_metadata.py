"""Converts manifests to the metadata of model cards on the Hub, and values of manifests to Markdown.

>>> data = card_data([read_manifest(Path("adapter_cards/de"))], "someone/retrieveall-de", "peft")
>>> data.base_model, data.eval_results[2].metric_name, data.eval_results[2].metric_value
('google/gemma-3-270m', 'F1', 83.43)

A manifest can come from an untrusted source, so all its values are escaped and cannot add markup to a card.
"""

import html
import re
from collections.abc import Sequence
from typing import NamedTuple

from huggingface_hub import EvalResult, ModelCardData

from ..data.hub_and_parquet import parse_hub_name
from ..model.embedded_llm import EMBEDDED_BASE, EMBEDDED_ON_HUB
from ..model.hub_files import is_commit, is_hub_id
from ..model.manifest import Manifest

_MIN_SENTENCES = 50
"""Results on fewer sentences are too uncertain to compare models; they are in the table of the card, but not in its metadata."""
_METRICS = {"precision": "Precision", "recall": "Recall", "f1": "F1"}


def card_data(manifests: Sequence[Manifest], name: str, library: str) -> ModelCardData:
    """Makes the metadata of a model card.

    Args:
        manifests: The manifest of an adapter, or of all adapters of a model.
        name: The model name of the results.
        library: The Hub's name of the library that loads the repository.
    """
    base = base_on_hub(manifests[0].base_model, manifests[0].base_revision)
    codes = [manifest.language for manifest in manifests]
    # The Hub accepts only ISO 639 codes as languages; codes with a region or a script go into `language_bcp47`.
    languages = sorted({primary for code in codes if len(primary := code.partition("-")[0]) <= 3})
    results = [result for manifest in manifests for m in measurements(manifest) if m.comparable for result in m.results()]
    return ModelCardData(
        language=languages[0] if len(languages) == 1 else languages or None,
        language_bcp47=[code for code in codes if "-" in code] or None,
        license="gemma" if base == EMBEDDED_ON_HUB else None,
        base_model=base,
        base_model_relation=base and "adapter",
        library_name=library,
        pipeline_tag="token-classification",
        tags=["retrieveall", "named-entity-recognition", "lora", *(["multilingual"] if len(manifests) > 1 else [])],
        datasets=sorted({data.hub_id for manifest in manifests for data in datasets_of(manifest) if data.hub_id}) or None,
        metrics=list(_METRICS) if results else None,
        model_name=name if results else None,
        eval_results=results or None,
    )


class Dataset(NamedTuple):
    """A dataset. A manifest names it ``"owner/name:configuration"`` if it is on the Hub, and ``"./name"`` if it is a file."""

    name: str
    hub_id: str | None
    config: str | None

    @classmethod
    def parse(cls, name: object) -> "Dataset":
        """Parses the name in a manifest."""
        line = one_line(name)
        found = parse_hub_name(line)
        return cls(line, found.name, found.configuration) if found else cls(line.removeprefix("./"), None, None)

    def link(self) -> str:
        """A Markdown link to the dataset, or its name if it is not on the Hub."""
        if self.hub_id is None:
            return f"{markdown(self.name)} (not on the Hub)"
        return f"[{markdown(self.name)}](https://huggingface.co/datasets/{self.hub_id})"


class Measurement(NamedTuple):
    """Precision, recall and F1 on one split, for all entity types or for one.

    Attributes:
        dataset: The dataset.
        split: The split.
        label: The entity type, or ``None`` for all.
        scores: The metrics by name.
        n: Number of sentences, or with ``label`` the number of entities of that type.
        comparable: Whether the split has enough sentences to compare the results with those of other models.
    """

    dataset: Dataset
    split: str
    label: str | None
    scores: dict[str, float]
    n: float | None
    comparable: bool

    def row(self) -> list[str]:
        """The cells of a row in a Markdown table."""
        label = "**all**" if self.label is None else markdown(self.label)
        n = "" if self.n is None else f"{self.n} {'sentences' if self.label is None else 'entities'}"
        return [self.dataset.link(), markdown(self.split), label, *map(str, self.scores.values()), n]

    def results(self) -> list[EvalResult]:
        """The results in the format of the Hub, where a dataset that is not on the Hub has the type ``unknown``."""
        return [
            EvalResult(
                task_type="token-classification",
                task_name="Named entity recognition",
                dataset_type=self.dataset.hub_id or "unknown",
                dataset_name=self.dataset.name,
                dataset_config=self.dataset.config if self.dataset.hub_id else self.dataset.name,
                dataset_split=self.split or None,
                metric_type=metric,
                metric_name=_METRICS[metric] if self.label is None else f"{_METRICS[metric]} ({one_line(self.label)})",
                metric_value=score,
            )
            for metric, score in self.scores.items()
        ]


def measurements(manifest: Manifest) -> list[Measurement]:
    """All results of a manifest that have precision, recall and F1."""
    found = []
    for measured in manifest.metrics:
        types = measured.get("per_type")
        for label, part in {None: measured, **(types if isinstance(types, dict) else {})}.items():
            values = part if isinstance(part, dict) else {}
            scores = {metric: score for metric in _METRICS if (score := number(values.get(metric))) is not None}
            if len(scores) == len(_METRICS):
                n = number(values.get("n_test" if label is None else "support"))
                dataset, split = Dataset.parse(measured.get("dataset") or "./not recorded"), one_line(measured.get("split", ""))
                sentences = number(measured.get("n_test"))
                found.append(Measurement(dataset, split, label, scores, n, sentences is None or sentences >= _MIN_SENTENCES))
    return found


def base_on_hub(name: str, revision: str | None) -> str | None:
    """The Hub id of a base LLM, or ``None`` if it was loaded from a folder and so has no commit."""
    if name == EMBEDDED_BASE:
        return EMBEDDED_ON_HUB
    return name if is_commit(revision) and is_hub_id(name) else None


def datasets_of(manifest: Manifest) -> list[Dataset]:
    """The training datasets of an adapter."""
    names = manifest.training.get("datasets")
    return [Dataset.parse(name) for name in names if isinstance(name, str)] if isinstance(names, list) else []


def number(value: object) -> float | None:
    """The value if it is a number of printable size, else ``None``."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15 else None


def one_line(value: object) -> str:
    """The value as one line of text without control characters. The joiners of Indic and Arabic scripts are kept."""
    return " ".join("".join(c if c.isprintable() or c in "\u200c\u200d" else " " for c in str(value)).split())


def markdown(value: object) -> str:
    """The value as one line of Markdown with all markup escaped."""
    return re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", html.escape(one_line(value), quote=False))
