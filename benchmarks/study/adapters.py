"""The study's LoRA adapters: what each system trains, once, and how it serves a language.

>>> model = RetrieveAllModel.from_pretrained(trained("from mul+retrieved", "ta", settings))
>>> predictions(model, test, "ta", routed=False)
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import typer
from safetensors.torch import load_file, save_file

from modeling_retrieveall import LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.model.atomic import creating
from modeling_retrieveall.model.embedded_llm import EMBEDDED_BASE
from modeling_retrieveall.model.entities import Example, tags_from_entities
from modeling_retrieveall.model.language_adapter import sentence_hash
from modeling_retrieveall.model.lora_files import LORA_CONFIG, LORA_WEIGHTS
from modeling_retrieveall.model.manifest import Manifest, read_manifest
from modeling_retrieveall.model.retrieval import ExampleIndex
from modeling_retrieveall.training.arguments import TrainingArguments
from modeling_retrieveall.training.resuming import is_interrupted
from modeling_retrieveall.training.trainer import train
from modeling_retrieveall.training.training_data import encoded

from .baselines import words_of
from .tongues import FOLDERS, draw

MUL, JOINT = "mul", "joint"
WHOLE = " whole"
"""Ends the name of an adapter that keeps nothing of `mul`'s weights: all the way from them, not part of it."""


@dataclass(frozen=True)
class Settings:
    """What one column of the study has in common.

    Attributes:
        data: The folder of all data.
        runs: Where trained adapters are kept, so that a study goes on where it stopped.
        size: Training sentences of each language.
        seed: Decides which.
        limit: Test sentences of each language.
        languages: The languages that the joint adapter and `mul` are taught.
        epochs: Of every training, so that size alone makes the difference; ``None`` for what `retrieveall train` would choose.
            What starts from `mul` has read its sentences in `mul` too, if `mul` was taught them.
        base: The base LLM of all adapters.
    """

    data: Path
    runs: Path
    size: int
    seed: int
    limit: int
    languages: tuple[str, ...] = tuple(FOLDERS)
    epochs: int | None = 2
    base: str = EMBEDDED_BASE


def trained(name: str, language: str, settings: Settings, start: Path | None = None) -> Path:
    """The folder of an adapter, trained if it is not there yet.

    Args:
        name: ``"mul"`` and ``"joint"`` are of many languages, ``"from mul"`` and ``"from nothing"`` of one; each with
            ``+retrieved`` or without. ``"from mul+retrieved whole"`` keeps nothing of the weights of `mul`.
        language: The language of the latter.
        settings: Data and size.
        start: What ``"from mul"`` starts from; the `mul` of the same size when not given.
    """
    shared = name.partition("+")[0] in (MUL, JOINT)
    taught = str(len(FOLDERS)) if set(settings.languages) == set(FOLDERS) else "-".join(sorted(settings.languages))
    called = name if name.startswith("from nothing") else f"{name} of {start.parent.name if start else taught}"
    folder = settings.runs / f"{settings.size}-{settings.seed}" / called.replace(" ", "-") / ("mul" if shared else language)
    if not folder.is_dir():
        train(_shared(name, folder, settings) if shared else _single(name, language, folder, settings, start))
    elif (base := read_manifest(folder).base_model) != settings.base:
        raise typer.BadParameter(f"{folder} was trained on {base}, not on {settings.base}. Give that --base, or other --runs.")
    return folder


def _shared(name: str, folder: Path, settings: Settings) -> TrainingArguments:
    return TrainingArguments(
        language=MUL,
        dataset=[str(settings.data / FOLDERS[language]) for language in settings.languages],
        output=str(folder),
        base=settings.base,
        init="none",
        learning_rate=1e-3,
        batch_size=16,
        epochs=settings.epochs,
        knowledge_share=0.3 if "+retrieved" in name else 0.0,
        max_train_examples=settings.size,
        max_validation_examples=0,
        seed=settings.seed,
        resume=is_interrupted(str(folder)),
    )


def _single(name: str, language: str, folder: Path, settings: Settings, start: Path | None) -> TrainingArguments:
    if not name.startswith(f"from {MUL}"):
        start = None
    elif start is None:
        start = trained(f"{MUL}+retrieved", "mul", settings)
    return TrainingArguments(
        language=language,
        dataset=[str(settings.data / FOLDERS[language])],
        output=str(folder),
        base=settings.base,
        init=str(start) if start else "none",
        start_share=0.0 if name.endswith(WHOLE) else None,
        epochs=settings.epochs,
        knowledge_share=TrainingArguments.knowledge_share if "+retrieved" in name else 0.0,
        max_train_examples=settings.size,
        max_validation_examples=0,
        seed=settings.seed,
        resume=is_interrupted(str(folder)),
    )


def untaught(mul: Path, language: str, settings: Settings) -> Path:
    """The given `mul`, once it is known that it was not taught the language.

    Raises:
        typer.BadParameter: It was.
    """
    seen = LanguageAdapter.load(mul).known_hashes()
    train = draw(settings.data, language, settings.size, settings.seed, 1).train
    # A bare name is a line of many languages.
    if sum(sentence_hash(example.key) in seen for example in train) > len(train) / 2:
        raise typer.BadParameter(f"{mul} was taught {language}. Give --mul another one, or leave it out.")
    return mul


def with_index_of(lora: Path, language: str, target: Path, settings: Settings, model: RetrieveAllModel) -> Path:
    """A copy of a shared adapter that serves one language: its LoRA, with that language's training sentences as examples.

    Args:
        lora: The adapter whose LoRA serves.
        language: The language.
        target: The folder of the copy; kept if it is there.
        settings: Data and size.
        model: A model of the same base, which encodes the examples.
    """
    if target.is_dir():
        return target
    drawn = draw(settings.data, language, settings.size, settings.seed, settings.limit)
    adapter = LanguageAdapter.load(lora)
    vectors = encoded(model, drawn.train)
    manifest = replace(adapter.manifest, language=language, entity_types=drawn.labels)
    none = adapter.routing_vectors[:0]
    index = ExampleIndex.build(drawn.train, vectors)
    with creating(target) as folder:
        LanguageAdapter(manifest, index, none, adapter.training_hashes, folder).save_knowledge(folder)
        for file in (LORA_CONFIG, LORA_WEIGHTS):
            shutil.copyfile(lora / file, folder / file)
    return target


def without_lora(adapter: Path, target: Path) -> Path:
    """A copy of an adapter whose LoRA does nothing: the base LLM with the same examples in its prompt."""
    if not target.is_dir():
        with creating(target) as folder:
            shutil.copytree(adapter, folder)
            nothing = {name: torch.zeros_like(tensor) for name, tensor in load_file(adapter / LORA_WEIGHTS).items()}
            save_file(nothing, folder / LORA_WEIGHTS, metadata={"format": "pt"})
    return target


def with_examples_shown(adapter: Path, target: Path) -> Path:
    """A copy of an adapter that was trained without examples, and which therefore asks for none, that is shown them."""
    if not target.is_dir():
        with creating(target) as folder:
            shutil.copytree(adapter, folder)
            manifest = read_manifest(folder)
            replace(manifest, n_entities=Manifest.n_entities, n_sentences=Manifest.n_sentences).save(folder)
    return target


def in_one_row(first: Path, second: Path, target: Path) -> Path:
    """A copy of the second adapter whose LoRA is both at weight 1/2: what a row of the mapping matrix with both gives.

    Args:
        first: An adapter.
        second: Another of the same rank and scaling, with the examples that the copy keeps.
        target: The folder of the copy; kept if it is there.
    """
    if target.is_dir():
        return target
    one, other = load_file(first / LORA_WEIGHTS), load_file(second / LORA_WEIGHTS)
    # (B_1 A_1 + B_2 A_2) / 2 is one LoRA of twice the rank; with twice the alpha its scaling stays.
    rows = {name: torch.cat([one[name], other[name]]) for name in one if "lora_A" in name}
    columns = {name: torch.cat([one[name], other[name]], 1) / 2 for name in one if "lora_B" in name}
    config = json.loads((second / LORA_CONFIG).read_text(encoding="utf-8"))
    doubled = {**config, "r": 2 * config["r"], "lora_alpha": 2 * config["lora_alpha"]}
    with creating(target) as folder:
        shutil.copytree(second, folder)
        save_file({**rows, **columns}, folder / LORA_WEIGHTS, metadata={"format": "pt"})
        (folder / LORA_CONFIG).write_text(json.dumps(doubled), encoding="utf-8")
    return target


def predictions(
    model: RetrieveAllModel, test: Sequence[Example], language: str, routed: bool
) -> tuple[list[list[str]], float | None]:
    """The BIO tags of the test sentences, and the share routed to their own language's adapter.

    Args:
        model: The model.
        test: The sentences.
        language: Their language.
        routed: Let the model find the language itself.
    """
    results = model.extract(
        [words_of(example) for example in test], language=None if routed else language, is_split_into_words=True
    )
    tags = [list(tags_from_entities(r.entities, e.sentence)) for e, r in zip(test, results, strict=True)]
    return tags, sum(r.language == language for r in results) / len(results) if routed else None
