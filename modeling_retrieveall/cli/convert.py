"""The command that turns labelled data into the format of another tool: ``retrieveall convert``."""

from pathlib import Path
from typing import Annotated

import typer

from .console import console, escaped, plain_errors

TokensColumn = Annotated[
    str | None, typer.Option(help="Column of the words or texts, by name, or by number in a column file; found when not given.")
]
TagsColumn = Annotated[
    str | None, typer.Option(help="Column of the tags or mentions, by name, or by number in a column file; found when not given.")
]
TagNames = Annotated[str | None, typer.Option(help="What the numbers 0, 1, ... of the tags mean, as in `O,B-PER,I-PER`.")]


@plain_errors
def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="Labelled data, as of `train`, or JSON lines or parquet of `annotate`.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    to: Annotated[
        str | None,
        typer.Option(help="doccano, label-studio, prodigy, spacy, conll or jsonl (tokens and ner_tags); OUT may tell."),
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test, of a dataset that has them.")] = "train",
    tokens_column: TokensColumn = None,
    tags_column: TagsColumn = None,
    tag_names: TagNames = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is there.")] = False,
) -> None:
    """Convert labelled data to the format that another tool imports, as for correcting what `annotate` has found.

    Example: `retrieveall convert entities.jsonl tasks.json --to label-studio`
    """
    from ..data.labelled import load_examples, told_repairs
    from ..data.rows import Columns
    from ..data.writing import chosen_format, write_examples
    from ..model.atomic import replacing

    form = chosen_format(target, to)
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} is there already. Give --overwrite to replace it, or another name.")
    data = load_examples(source, split, Columns.named(tokens_column, tags_column, tag_names))
    with replacing(target, [Path(source)] if Path(source).exists() else []) as unfinished:
        count = write_examples(data.examples, unfinished, form, data.rows, accepted=not data.predicted)
    console().print(f"{count} records in {escaped(str(target))}")
    for note in [*([told_repairs(data.repairs)] if data.repairs else []), *data.notes]:
        console().print(escaped(note))
