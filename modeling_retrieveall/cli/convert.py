"""``retrieveall convert``: write labelled data in the format of another tool."""

from pathlib import Path
from typing import Annotated

import typer

from .console import escaped, plain_errors, quiet_libraries, standard_output
from .options import TagNames, TagsColumn, TokensColumn


@plain_errors
def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="IN", help="Labelled data in any format that `train` reads, or the output of `annotate`."),
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    to: Annotated[
        str | None,
        typer.Option(
            help="Output format: doccano, label-studio, prodigy, spacy, conll or jsonl (tokens and ner_tags). "
            "Default: the format that the suffix of OUT implies. It is needed for .jsonl, which several formats have."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test, if the dataset has splits.")] = "train",
    tokens_column: TokensColumn = None,
    tags_column: TagsColumn = None,
    tag_names: TagNames = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
) -> None:
    """Convert labelled data for another tool, for example to correct the output of `annotate` there.

    Example: `retrieveall convert entities.jsonl tasks.json --to label-studio`
    """
    from ..data.labelled_data import summarize_repairs
    from ..data.loading import load_examples
    from ..data.reader_types import ColumnNames
    from ..data.writing import choose_format, write_examples
    from ..model.atomic import replacing

    output_format = choose_format(target, to)
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists already. Give --overwrite to replace it, or another name.")
    quiet_libraries()
    data = load_examples(source, split, ColumnNames.from_options(tokens_column, tags_column, tag_names))
    with replacing(target, [Path(source)] if Path(source).exists() else []) as unfinished:
        count = write_examples(data.examples, unfinished, output_format, data.extra_columns, accepted=not data.predicted)
    output = standard_output()
    output.print(f"{count} records in {escaped(str(target))}")
    for note in [*([summarize_repairs(data.repairs)] if data.repairs else []), *data.notes]:
        output.print(escaped(note))
