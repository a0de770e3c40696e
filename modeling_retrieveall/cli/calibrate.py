"""``retrieveall calibrate``: fit the scores of a language to labelled sentences."""

from typing import Annotated

import typer

from .changed_adapter import Output, check_can_be_written, stored_adapter, write_changed
from .console import plain_errors
from .options import Base, Device, Dtype, Model, Quantization, Revision, TagNames, TagsColumn, TokensColumn, load


@plain_errors
def calibrate(
    dataset: Annotated[
        str, typer.Argument(help="Labelled sentences that the adapter was not trained on: a file, folder or dataset of the Hub.")
    ],
    language: Annotated[str, typer.Option(help="Language of the sentences.")],
    model: Model = "shipped",
    output: Output = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "validation",
    revision: Revision = None,
    base: Base = None,
    tokens_column: TokensColumn = None,
    tags_column: TagsColumn = None,
    tag_names: TagNames = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    quantization: Quantization = None,
) -> None:
    """Calibrate the scores of a language, so that about 80 % of the entities with the score 0.8 are correct.

    Example: `retrieveall calibrate my-texts.conll --language de --output my-german`
    """
    from ..data.loading import load_examples
    from ..data.reader_types import ColumnNames
    from ..evaluation.calibration import calibrate_scores

    columns = ColumnNames.from_options(tokens_column, tags_column, tag_names)
    examples = load_examples(dataset, split, columns).examples
    check_can_be_written(stored_adapter(model, revision, language), model, output)
    loaded = load(model, revision, base, [], dtype, device, quantization)
    report = calibrate_scores(loaded, examples, language)
    target = write_changed(loaded.registry.adapter(language), output)
    typer.echo(
        f"Calibrated {target} with {report.n_entities} entities, {report.n_correct} of them correct. Their expected calibration "
        f"error was {report.error_before} % and is {report.error_after} %; on other sentences it is higher. {report.n_dropped} "
        "sentences were left out, because an adapter was trained on them."
    )
