"""``retrieveall evaluate``: strict typed span F1 on a labelled dataset."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import escaped, plain_errors, standard_output, table
from .options import Add, Base, Device, Dtype, Model, Quantization, Revision, TagNames, TagsColumn, TokensColumn, load

if TYPE_CHECKING:
    from ..evaluation.span_f1 import Report

_MOSTLY = 50  # percent of the sentences


@plain_errors
def evaluate(
    dataset: Annotated[
        str,
        typer.Option(help="Hub id (`name:configuration@revision`), folder with one file per split, or file, as for `train`."),
    ],
    language: Annotated[str, typer.Option(help="Language of the sentences.")],
    model: Model = "shipped",
    revision: Revision = None,
    add: Add = None,
    base: Base = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    oracle_routing: Annotated[
        bool, typer.Option("--oracle-routing", help="Decode all sentences with the adapter of --language.")
    ] = False,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Keep sentences that the adapter was trained on.")
    ] = False,
    tokens_column: TokensColumn = None,
    tags_column: TagsColumn = None,
    tag_names: TagNames = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate a random sample of this many sentences.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the sample that --limit draws.")] = 0,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Number of sentences decoded together.")] = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    quantization: Quantization = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the report to this file.")] = None,
) -> None:
    """Measure strict typed span F1 on a labelled dataset, and how often an entity is found in a sentence that has none.

    Example: `retrieveall evaluate --dataset unimelb-nlp/wikiann:de --language de --limit 500 --json de.json`
    """
    if json_file:
        _check_report_file(json_file)
    loaded = load(model, revision, base, add or [], dtype, device, quantization)
    from ..data.reader_types import ColumnNames
    from ..evaluation.span_f1 import evaluate as measure
    from ..model.manifest import matching_code

    report = measure(
        loaded,
        dataset,
        split,
        language,
        oracle_routing=oracle_routing,
        keep_duplicates=keep_duplicates,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
        columns=ColumnNames.from_options(tokens_column, tags_column, tag_names),
    )
    if json_file:
        _write_report(report, json_file)
    has_adapter = matching_code(language, loaded.languages) in loaded.languages
    _show_report(report, f"{dataset}, {split}, {language}", language, has_adapter)


def _check_report_file(file: Path) -> None:
    """Refuses a file that cannot be written, before any time is spent on the evaluation."""
    from ..model.atomic import check_writable

    check_writable(file)
    if file.is_dir():
        raise IsADirectoryError(f"--json {file} is a folder. Give the name of a file.")


def _write_report(report: "Report", file: Path) -> None:
    from ..model.atomic import replacing

    with replacing(file) as written:
        written.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")


def _show_report(report: "Report", title: str, language: str, has_adapter: bool) -> None:
    """Prints the scores of each entity type, and notes below them."""
    output = standard_output()
    rows = table("type", "F1", "precision", "recall", "entities", title=escaped(title))
    for label, row in report.per_type.items():
        rows.add_row(escaped(label), *(f"{row[name]:.1f}" for name in ("f1", "precision", "recall")), str(row["support"]))
    rows.add_row("all", f"{report.f1:.1f}", f"{report.precision:.1f}", f"{report.recall:.1f}", "", style="bold")
    output.print(rows)
    routing = "" if report.routing_accuracy is None else f", {report.routing_accuracy:.1f} % routed to {language}"
    if not has_adapter:
        output.print(f"The model has no adapter for {language}. The sentences were decoded with other adapters.")
    elif report.routing_accuracy is not None and report.routing_accuracy < _MOSTLY:
        output.print(
            "Most sentences were decoded with the adapters of other languages. "
            f"Give --oracle-routing to decode all of them with the adapter of {language}."
        )
    if report.false_entity_rate is not None:
        share, count = report.false_entity_rate, report.n_without_entities
        output.print(f"In {share:.1f} % of the {count} sentences without an entity, an entity was found.")
    output.print(
        f"{report.n_test} sentences, {report.n_dropped} of the training data left out, "
        f"{report.sentences_per_second} sentences per second{routing}"
    )
