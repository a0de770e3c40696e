"""Model cards of adapters and models, filled from their manifests.

>>> card = adapter_card(LanguageAdapter.load("adapter_cards/de"), repo_id="someone/retrieveall-de")
>>> card.data.base_model, card.data.eval_results[2].metric_name, card.data.eval_results[2].metric_value
('google/gemma-3-270m', 'F1', 83.43)

The templates are ``templates/ADAPTER.md`` and ``templates/MODEL.md``.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from ..model.atomic import replacing
from ..model.configuration_retrieveall import RetrieveAllConfig
from ..model.embedded_llm import EMBEDDED_BASE, EMBEDDED_ON_HUB, GEMMA_NOTICE
from ..model.entities import Example
from ..model.errors import InputError
from ..model.hub_files import is_commit, is_hub_id
from ..model.language_adapter import CARD, PLOT, LanguageAdapter
from ..model.lora_files import VLLM_RANKS
from ..model.manifest import MULTILINGUAL, Manifest
from ..model.untrusted_files import LIMITS, check_files, is_folder_reference
from .card_metadata import base_on_hub, card_data, datasets_of, markdown, measurements, number

_TEMPLATES = Path(__file__).parent / "templates"
_FOLDER = "path/to/this/folder"
_CHECKSUM = re.compile(r"<!-- (?:Generated|Written) by RetrieveAll[^\n]*: ([0-9a-f]{16}) -->\s*\Z")
"""The last line of a generated card. Earlier releases began it with "Written"."""
# The first adapters were published with the keys max_train_examples, epochs and knowledge_share.
_SETTINGS = {
    "sentences": "Training sentences",
    "max_train_samples": "Maximum sentences per dataset",
    "max_train_examples": "Maximum sentences per dataset",
    "duplicates_dropped": "Exact duplicates removed",
    "num_train_epochs": "Epochs",
    "epochs": "Epochs",
    "steps": "Optimizer steps",
    "learning_rate": "Peak learning rate",
    "start_share": "Share of the initial adapter in the averaged weights",
    "mul_share": "Share of `mul` in the stored weights",
    "rank": "LoRA rank",
    "lora_alpha": "LoRA alpha",
    "batch_size": "Maximum batch size, in sentences",
    "examples_share": "Share of training prompts with retrieved examples",
    "knowledge_share": "Share of training prompts with retrieved examples",
    "mixed_precision": "Mixed precision",
    "processes": "Processes",
    "seed": "Seed",
    "loss": "Mean loss of the last epoch",
    "hardware": "Hardware",
    "seconds": "Training time, in seconds",
}
_NEUTRAL_SENTENCE = "Wangari Maathai was born in Nyeri."


def write_card(adapter: LanguageAdapter) -> None:
    """Writes the card to ``README.md`` in the adapter's folder."""
    with replacing(adapter.path / CARD) as file:
        adapter_card(adapter).save(file)


def adapter_card(adapter: LanguageAdapter, repo_id: str | None = None, model_repo: str | None = None) -> ModelCard:
    """Makes the card of a language adapter.

    Args:
        adapter: The adapter. The card quotes one of its examples.
        repo_id: The adapter's repository, ``"owner/name"``; without one the code of the card loads the adapter from a folder.
        model_repo: The repository of a model, for the code that adds the adapter to a model.
    """
    manifest, examples = adapter.manifest, adapter.index.examples
    training, language = manifest.training, manifest.language
    datasets = datasets_of(manifest)
    sentence, answer = _quote(examples)
    return _with_checksum(
        ModelCard.from_template(
            card_data([manifest], repo_id or f"RetrieveAll {language}", "peft"),
            template_path=str(_TEMPLATES / "ADAPTER.md"),
            **_base(manifest.base_model, manifest.base_revision),
            language=language,
            multilingual=language == MULTILINGUAL,
            difference=manifest.multilingual_sha256 is not None,
            shown=_shows_examples(manifest),
            generates=_generates(manifest),
            labels=[(markdown(label), _mentions(examples, label)) for label in manifest.entity_types],
            n_examples=len(examples),
            calibrated="tags" in manifest.score_calibration,
            source=repo_id or _FOLDER,
            on_hub=repo_id is not None,
            model_repo=model_repo,
            sentence=sentence,
            answer=answer,
            vllm_rank=_vllm_rank([manifest]),
            results=[measured.row() for measured in measurements(manifest)],
            few_sentences=not all(measured.comparable for measured in measurements(manifest)),
            routed=any(row.get("routing_accuracy") is not None for row in manifest.metrics),
            excluded=sum(number(row.get("n_dropped")) or 0 for row in manifest.metrics),
            started_from=markdown(manifest.initialised_from or ""),
            settings=_settings(training),
            n_sentences=markdown(training.get("sentences", "an unknown number of")),
            note=markdown(training.get("note", "")),
            plot=PLOT if (adapter.path / PLOT).is_file() else None,
            datasets_on_hub=any(dataset.hub_id for dataset in datasets),
            data_links=[dataset.link() for dataset in datasets],
            wikiann=any(dataset.hub_id == "unimelb-nlp/wikiann" for dataset in datasets),
        )
    )


def model_card(
    config: RetrieveAllConfig, manifests: Mapping[str, Manifest], sources: Mapping[str, str], repo_id: str | None = None
) -> ModelCard:
    """Makes the card of a model.

    Args:
        config: The model's configuration.
        manifests: Language code to the manifest of its adapter; at least one.
        sources: Language code to the source of its adapter: ``"owner/name@commit"``, or a folder inside the model's folder.
        repo_id: The model's repository, ``"owner/name"``; without one the code of the card loads the model from a folder.

    Raises:
        InputError: A source is malformed.
    """
    languages = [language for language in sorted(manifests) if language != MULTILINGUAL] or [MULTILINGUAL]
    adapters = {language: _adapter_row(manifests[language], sources[language]) for language in sorted(manifests)}
    generating = {language: row for language, row in adapters.items() if _generates(manifests[language])}
    return _with_checksum(
        ModelCard.from_template(
            card_data([manifests[language] for language in languages], repo_id or "RetrieveAll", "transformers"),
            template_path=str(_TEMPLATES / "MODEL.md"),
            **_base(config.base_model, config.base_revision),
            adapters=adapters,
            n_languages=len(languages),
            first_language=languages[0],
            shown=any(map(_shows_examples, manifests.values())),
            generating=generating,
            first=next((generating[language] for language in [*languages, MULTILINGUAL] if language in generating), None),
            repo=repo_id or _FOLDER,
            on_hub=repo_id is not None,
            vllm_rank=_vllm_rank([manifests[language] for language in generating]),
        )
    )


def edited_card(folder: Path) -> str | None:
    """The text of the card in a folder if somebody has edited it.

    Raises:
        AdapterError: The card is too large.
    """
    if not (folder / CARD).is_file():
        return None
    check_files(folder, {CARD: LIMITS.card_bytes})
    text = (folder / CARD).read_text(encoding="utf-8")
    return None if is_generated(text) else text


def is_generated(text: str) -> bool:
    """Whether a card was generated by this or an earlier release and has not been edited since."""
    found = _CHECKSUM.search(text)
    return found is not None and found[1] == _checksum(text[: found.start()])


def _with_checksum(card: ModelCard) -> ModelCard:
    """Adds a last line by which :func:`is_generated` detects edits."""
    body = str(card).rstrip() + "\n\n"
    note = "Generated by RetrieveAll. A push replaces this file unless it has been edited. Checksum"
    return ModelCard(f"{body}<!-- {note}: {_checksum(body)} -->\n")


def _checksum(body: str) -> str:
    return hashlib.sha256("".join(body.split()).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _shows_examples(manifest: Manifest) -> bool:
    """Whether the prompts of an adapter contain retrieved examples."""
    return manifest.n_entities > 0 or manifest.n_sentences > 0


def _generates(manifest: Manifest) -> bool:
    """Whether an adapter can generate answers, without which PEFT and vLLM cannot use it alone."""
    return "generation" in manifest.decodings


def _adapter_row(manifest: Manifest, source: str) -> dict[str, Any]:
    repo, _, commit = source.partition("@")
    pinned = is_commit(commit) and is_hub_id(repo)
    if not pinned and not is_folder_reference(source):
        raise InputError(
            f"{source!r} is not the source of an adapter. Give 'owner/name@<commit hash>' or a folder such as 'adapters/de'."
        )
    overall = next((measured for measured in measurements(manifest) if measured.label is None), None)
    return {
        "repo": repo if pinned else None,
        "commit": commit,
        "folder": source,
        "link": f"[{markdown(repo)}](https://huggingface.co/{repo}/tree/{commit})" if pinned else markdown(source),
        "entity_types": ", ".join(map(markdown, manifest.entity_types)),
        "f1": f"{overall.scores['f1']} ({overall.dataset.link()}, {markdown(overall.split)})" if overall else "not measured",
        "sentences": markdown(manifest.training.get("sentences", "unknown")),
    }


def _base(name: str, revision: str | None) -> dict[str, Any]:
    """The values of the templates about the base LLM."""
    hub_id = base_on_hub(name, revision)
    return {
        "base": hub_id or "path/to/the/base/llm",
        "base_link": f"[{hub_id}](https://huggingface.co/{hub_id})"
        if hub_id
        else f"{markdown(Path(name).name)} (not on the Hub)",
        "base_commit": revision if is_commit(revision) else None,
        "embedded": name == EMBEDDED_BASE,
        "gemma_notice": GEMMA_NOTICE if hub_id == EMBEDDED_ON_HUB else None,
    }


def _settings(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(title, markdown(training[name])) for name, title in _SETTINGS.items() if training.get(name) is not None]


def _vllm_rank(manifests: Sequence[Manifest]) -> int:
    rank = max((number(manifest.training.get("rank")) or 16 for manifest in manifests), default=16)
    return next((allowed for allowed in VLLM_RANKS if rank <= allowed), VLLM_RANKS[-1])


def _quote(examples: Sequence[Example]) -> tuple[str, str]:
    """The short example with the most entity types that needs no escaping inside quotation marks, and its output."""
    quotable = []
    for example in examples:
        sentence = "".join(("" if word.glued else " ") + word.text for word in example.sentence.words).strip()
        answer = "; ".join(f"{example.sentence.entity(span).text} = {span.label}" for span in example.spans)
        if answer and len(sentence) <= 80 and (sentence + answer).isprintable() and not set(sentence + answer) & set("\"'`\\"):
            quotable.append((len({span.label for span in example.spans}), sentence, answer))
    _, sentence, answer = max(quotable, key=lambda quoted: quoted[0], default=(0, _NEUTRAL_SENTENCE, ""))
    return sentence, answer


def _mentions(examples: Sequence[Example], label: str) -> str:
    """The first three mentions of a label."""
    spans = ((example, span) for example in examples for span in example.spans if span.label == label)
    found = dict.fromkeys(markdown(example.sentence.entity(span).text) for example, span in spans)
    return ", ".join(list(found)[:3])
