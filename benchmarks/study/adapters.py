"""The LoRA adapters of the study: each one is trained once and kept in a folder.

>>> model = RetrieveAllModel.from_pretrained(trained_adapter("from mul+retrieved", "ta", settings))
>>> tags, _ = predicted_tags(model, test, "ta", routed=False)
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
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.resuming import is_interrupted
from modeling_retrieveall.training.trainer import train
from modeling_retrieveall.training.vector_cache import encode_examples

from .baselines import words_of
from .datasets import FOLDERS, draw

MUL, JOINT = "mul", "joint"
WITHOUT_AVERAGING = " whole"
"""Suffix of the adapters whose weights are not averaged with those of ``mul`` after training."""


@dataclass(frozen=True)
class Settings:
    """Settings that all systems of one comparison share.

    Attributes:
        data: Folder of all datasets.
        runs: Folder of the trained adapters, so that an interrupted study can resume.
        size: Number of training sentences of each language.
        seed: Random seed of their choice.
        limit: Number of test sentences of each language.
        languages: The languages that the joint LoRA and ``mul`` are trained on.
        epochs: Epochs of every training, so that only the size differs; ``None`` for what ``retrieveall train`` chooses.
            An adapter that starts from ``mul`` reads its sentences again if ``mul`` was trained on them.
        base: Base LLM of all adapters.
    """

    data: Path
    runs: Path
    size: int
    seed: int
    limit: int
    languages: tuple[str, ...] = tuple(FOLDERS)
    epochs: int | None = 2
    base: str = EMBEDDED_BASE


def trained_adapter(name: str, language: str, settings: Settings, start: Path | None = None) -> Path:
    """Trains an adapter unless its folder exists already.

    Args:
        name: ``"mul"`` and ``"joint"`` learn many languages, ``"from mul"`` and ``"from nothing"`` learn one. With the suffix
            ``+retrieved``, some training prompts contain retrieved examples. ``"from mul+retrieved whole"`` is not averaged with
            ``mul``.
        language: The language of an adapter that learns one.
        settings: Data and size.
        start: The adapter that ``"from mul"`` starts from. Default: the ``mul`` of the same size.

    Returns:
        The folder of the adapter.

    Raises:
        typer.BadParameter: The folder holds an adapter of another base LLM.
    """
    multilingual = name.partition("+")[0] in (MUL, JOINT)
    languages = str(len(FOLDERS)) if set(settings.languages) == set(FOLDERS) else "-".join(sorted(settings.languages))
    full_name = name if name.startswith("from nothing") else f"{name} of {start.parent.name if start else languages}"
    folder = (
        settings.runs / f"{settings.size}-{settings.seed}" / full_name.replace(" ", "-") / ("mul" if multilingual else language)
    )
    if not folder.is_dir():
        train(
            _multilingual_arguments(name, folder, settings)
            if multilingual
            else _single_language_arguments(name, language, folder, settings, start)
        )
    elif (base := read_manifest(folder).base_model) != settings.base:
        raise typer.BadParameter(
            f"{folder} was trained on {base}, not on {settings.base}. Use --base {base}, or another folder for --runs."
        )
    return folder


def _multilingual_arguments(name: str, folder: Path, settings: Settings) -> AdapterTrainingArguments:
    return AdapterTrainingArguments(
        language=[MUL],
        dataset=[str(settings.data / FOLDERS[language]) for language in settings.languages],
        output_dir=str(folder),
        base_model=settings.base,
        init_adapter="none",
        learning_rate=1e-3,
        batch_size=16,
        num_train_epochs=settings.epochs,
        examples_share=0.3 if "+retrieved" in name else 0.0,
        max_train_samples=settings.size,
        max_eval_samples=0,
        seed=settings.seed,
        resume=is_interrupted(str(folder)),
    )


def _single_language_arguments(
    name: str, language: str, folder: Path, settings: Settings, start: Path | None
) -> AdapterTrainingArguments:
    if not name.startswith(f"from {MUL}"):
        start = None
    elif start is None:
        start = trained_adapter(f"{MUL}+retrieved", "mul", settings)
    return AdapterTrainingArguments(
        language=[language],
        dataset=[str(settings.data / FOLDERS[language])],
        output_dir=str(folder),
        base_model=settings.base,
        init_adapter=str(start) if start else "none",
        start_share=0.0 if name.endswith(WITHOUT_AVERAGING) else None,
        num_train_epochs=settings.epochs,
        examples_share=AdapterTrainingArguments.examples_share if "+retrieved" in name else 0.0,
        max_train_samples=settings.size,
        max_eval_samples=0,
        seed=settings.seed,
        resume=is_interrupted(str(folder)),
    )


def check_not_trained_on(mul: Path, language: str, settings: Settings) -> Path:
    """Makes sure that ``mul`` was not trained on a language.

    Returns:
        ``mul``.

    Raises:
        typer.BadParameter: It was trained on the language.
    """
    seen = LanguageAdapter.load(mul).known_hashes()
    train = draw(settings.data, language, settings.size, settings.seed, 1).train
    # A few sentences in common are no sign of training: a line that is only a name occurs in many languages.
    if sum(sentence_hash(example.key) in seen for example in train) > len(train) / 2:
        raise typer.BadParameter(f"{mul} was trained on {language}. Use another adapter for --mul, or leave the option out.")
    return mul


def with_index_of(lora: Path, language: str, target: Path, settings: Settings, model: RetrieveAllModel) -> Path:
    """Copies a multilingual adapter and replaces its index by the training sentences of one language.

    Args:
        lora: The adapter whose LoRA weights are copied.
        language: The language.
        target: Folder of the copy; an existing one is kept.
        settings: Data and size.
        model: A model of the same base LLM, which encodes the sentences.

    Returns:
        The folder of the copy.
    """
    if target.is_dir():
        return target
    drawn = draw(settings.data, language, settings.size, settings.seed, settings.limit)
    adapter = LanguageAdapter.load(lora)
    vectors = encode_examples(model, drawn.train)
    manifest = replace(adapter.manifest, language=language, entity_types=drawn.labels)
    no_vectors = adapter.routing_vectors[:0]
    index = ExampleIndex.build(drawn.train, vectors)
    with creating(target) as folder:
        LanguageAdapter(manifest, index, no_vectors, adapter.training_hashes, folder).save_index(folder)
        for file in (LORA_CONFIG, LORA_WEIGHTS):
            shutil.copyfile(lora / file, folder / file)
    return target


def without_lora(adapter: Path, target: Path) -> Path:
    """Copies an adapter and sets its LoRA to zero: the base LLM, with the same examples in the prompt."""
    if not target.is_dir():
        with creating(target) as folder:
            shutil.copytree(adapter, folder)
            zeros = {name: torch.zeros_like(tensor) for name, tensor in load_file(adapter / LORA_WEIGHTS).items()}
            save_file(zeros, folder / LORA_WEIGHTS, metadata={"format": "pt"})
    return target


def with_retrieval(adapter: Path, target: Path, model: RetrieveAllModel) -> Path:
    """Copies an adapter that was trained without retrieved examples, and includes examples in the prompts of the copy.

    Args:
        adapter: The adapter. It has no vectors of mentions, as its prompts contain no entities.
        target: Folder of the copy; an existing one is kept.
        model: A model of the same base LLM, which encodes the examples.

    Returns:
        The folder of the copy.
    """
    if target.is_dir():
        return target
    trained = LanguageAdapter.load(adapter)
    manifest = replace(trained.manifest, n_entities=Manifest.n_entities, n_sentences=Manifest.n_sentences)
    index = ExampleIndex.build(trained.index.examples, encode_examples(model, trained.index.examples))
    with creating(target) as folder:
        shutil.copytree(adapter, folder)
        LanguageAdapter(manifest, index, trained.routing_vectors, trained.training_hashes, folder).save_index(folder)
    return target


def mixture_of(first: Path, second: Path, target: Path) -> Path:
    """Merges two adapters with weight 1/2 each into one, as a row of the mapping matrix M with both of them would do.

    Args:
        first: An adapter.
        second: Another adapter of the same rank and scaling. The result keeps its examples.
        target: Folder of the result; an existing one is kept.

    Returns:
        The folder of the result.
    """
    if target.is_dir():
        return target
    one, other = load_file(first / LORA_WEIGHTS), load_file(second / LORA_WEIGHTS)
    # (B_1 A_1 + B_2 A_2) / 2 is one LoRA of twice the rank. Twice the alpha keeps the scaling alpha / rank.
    rows = {name: torch.cat([one[name], other[name]]) for name in one if "lora_A" in name}
    columns = {name: torch.cat([one[name], other[name]], 1) / 2 for name in one if "lora_B" in name}
    config = json.loads((second / LORA_CONFIG).read_text(encoding="utf-8"))
    doubled = {**config, "r": 2 * config["r"], "lora_alpha": 2 * config["lora_alpha"]}
    with creating(target) as folder:
        shutil.copytree(second, folder)
        save_file({**rows, **columns}, folder / LORA_WEIGHTS, metadata={"format": "pt"})
        (folder / LORA_CONFIG).write_text(json.dumps(doubled), encoding="utf-8")
    return target


def predicted_tags(
    model: RetrieveAllModel, test: Sequence[Example], language: str, routed: bool
) -> tuple[list[list[str]], float | None]:
    """Tags the test sentences of one language.

    Args:
        model: The model.
        test: The sentences.
        language: Their language.
        routed: Whether the router chooses the language.

    Returns:
        The BIO tags of each sentence, and the share of sentences routed to ``language``; ``None`` without routing.
    """
    results = model.extract(
        [words_of(example) for example in test], language=None if routed else language, is_split_into_words=True
    )
    tags = [list(tags_from_entities(r.entities, e.sentence)) for e, r in zip(test, results, strict=True)]
    return tags, sum(r.language == language for r in results) / len(results) if routed else None
