"""``retrieveall examples``: add, list and remove the labelled examples of a language, without training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .changed_adapter import Output, check_can_be_written, stored_adapter, write_changed
from .console import escaped, plain_errors, standard_output, table
from .options import Base, Device, Dtype, Model, Quantization, Revision, TagNames, TagsColumn, TokensColumn, load

if TYPE_CHECKING:
    from ..model.entities import Example
    from ..model.language_adapter import LanguageAdapter

examples_app = typer.Typer(
    help="Add, list and remove the labelled examples of a language. They take effect at once, without training.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Dataset = Annotated[str, typer.Argument(help="Labelled sentences: a file, or the `train` split of a folder or dataset.")]
Language = Annotated[str, typer.Option(help="The language of the examples.")]


@examples_app.command()
@plain_errors
def add(
    dataset: Dataset,
    language: Language,
    model: Model = "shipped",
    output: Output = None,
    revision: Revision = None,
    base: Base = None,
    tokens_column: TokensColumn = None,
    tags_column: TagsColumn = None,
    tag_names: TagNames = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    quantization: Quantization = None,
) -> None:
    """Add labelled sentences. A sentence that is there already is replaced if its entities differ.

    Example: `retrieveall examples add corrected.jsonl --language de --output my-german`
    """
    examples = _read(dataset, tokens_column, tags_column, tag_names)
    check_can_be_written(stored_adapter(model, revision, language), model, output)
    loaded = load(model, revision, base, [], dtype, device, quantization)
    count = loaded.add_examples(language, examples)
    _write(loaded.registry.adapter(language), output, f"Added {count} of {len(examples)} examples")


@examples_app.command()
@plain_errors
def remove(
    dataset: Dataset,
    language: Language,
    model: Model = "shipped",
    output: Output = None,
    revision: Revision = None,
    tokens_column: TokensColumn = None,
    tags_column: TagsColumn = None,
    tag_names: TagNames = None,
) -> None:
    """Remove the examples that have the words of the given sentences.

    Example: `retrieveall examples remove corrected.jsonl --language de --model my-german`
    """
    examples = _read(dataset, tokens_column, tags_column, tag_names)
    adapter = stored_adapter(model, revision, language)
    check_can_be_written(adapter, model, output)
    changed = adapter.without_examples(examples)
    _write(changed, output, f"Removed {len(adapter.index.examples) - len(changed.index.examples)} examples")


@examples_app.command("list")
@plain_errors
def list_(
    language: Language,
    model: Model = "shipped",
    revision: Revision = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of examples to show.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per example, which `remove` can read.")] = False,
) -> None:
    """Show the examples of a language, the newest first.

    Example: `retrieveall examples list --language de --limit 5`
    """
    from ..data.writing import to_spacy

    examples = stored_adapter(model, revision, language).index.examples
    rows = table("sentence", "entities", title=f"{min(limit, len(examples))} of {len(examples)} examples of {language}")
    for example in examples[: -limit - 1 : -1]:
        entities = [example.sentence.entity(span) for span in example.spans]
        if as_json:
            typer.echo(json.dumps(to_spacy(example.sentence.text, entities, {}), ensure_ascii=False))
        else:
            named = ", ".join(f"{each.text} = {each.label}" for each in entities)
            rows.add_row(escaped(example.sentence.text), escaped(named))
    if not as_json:
        standard_output().print(rows)


def _read(dataset: str, tokens: str | None, tags: str | None, tag_names: str | None) -> "Sequence[Example]":
    from ..data.loading import load_examples
    from ..data.reader_types import ColumnNames

    return load_examples(dataset, "train", ColumnNames.from_options(tokens, tags, tag_names)).examples


def _write(adapter: "LanguageAdapter", output: Path | None, what: str) -> None:
    """Writes the changed adapter, and prints what was done."""
    target = write_changed(adapter, output)
    typer.echo(f"{what}; {target} has {len(adapter.index.examples)} examples.")
