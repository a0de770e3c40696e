"""The command line of the package, a command after the other; those that need more room have files of their own."""

import json
from itertools import chain, islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..data.rows import Columns
from ..model.atomic import check_writable, replacing
from .annotate import annotate
from .console import App, asked, console, plain_errors, show_progress, table
from .convert import TagNames, TagsColumn, TokensColumn, convert
from .demo import demo
from .doctor import doctor
from .export import export_app
from .hub import collection_app, pull, push
from .input_texts import input_texts
from .model_options import Add, Base, Device, Dtype, Model, Quantize, Revision, load, prior_weights
from .views import view

app = App(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)
_TEXTS_AT_A_TIME = 256


@app.callback()
def options(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars, no warnings.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Named entity recognition in many languages: one frozen LLM, a LoRA adapter and an index of examples per language."""
    asked.quiet, asked.debug = quiet, debug


@app.command()
@plain_errors
def extract(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; without any, lines of --file or of standard input.")] = None,
    file: Annotated[Path | None, typer.Option(help="Take a text from each line of this file; `-` is standard input.")] = None,
    model: Model = "shipped",
    revision: Revision = None,
    add: Add = None,
    base: Base = None,
    language: Annotated[str | None, typer.Option(help="Language of all texts, instead of routing.")] = None,
    prior: Annotated[str | None, typer.Option(help="Route among these languages alone: `da,no`; by weights: `da=2,no`.")] = None,
    document: Annotated[bool, typer.Option("--document", help="The file is one text, instead of one a line.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a text.")] = False,
    conll: Annotated[bool, typer.Option("--conll", help="A word and its BIO tag a line.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show languages, retrieved examples and prompt as well.")] = False,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Leave out entities of a lower score.")] = 0.0,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Sentences decoded together.")] = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    quantize: Quantize = None,
) -> None:
    """Extract the entities of texts.

    Example: `retrieveall extract "Angela Merkel besuchte Nairobi." "Шопен родился в Польше."`
    """
    show = view(as_json, conll, explain)
    weights = prior_weights(prior) if prior else None
    source = input_texts(texts, file, document)
    first = next(source, None)
    if first is None:
        return
    loaded = load(model, revision, base, add or [], dtype, device, quantize)
    lines = chain([first], source)
    while part := list(islice(lines, _TEXTS_AT_A_TIME)):
        for result in loaded.extract(
            part, language=language, batch_size=batch_size, threshold=threshold, prior=weights, details=explain
        ):
            show(result)
    show.close()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
@plain_errors
def train(context: typer.Context) -> None:
    """Learn a language from a labelled dataset; `retrieveall train --help` lists all settings.

    Example: `retrieveall train --language sw --dataset examples/sentences/sw.conll --output runs/sw`
    """
    from ..training.arguments import parse_arguments
    from ..training.trainer import train as run

    arguments = parse_arguments(context.args, "retrieveall train")
    show_progress()
    run(arguments)
    for one in arguments.runs():
        use = f'retrieveall extract --add {one.output} --language {one.language} "..."'
        Console().print(f"Saved to {one.output}. Use it:  {use}", highlight=False, soft_wrap=True)


@app.command()
@plain_errors
def evaluate(
    dataset: Annotated[str, typer.Option(help="As of `train`: Hub id (name:configuration@revision), directory, or file.")],
    language: Annotated[str, typer.Option(help="Language of the sentences.")],
    model: Model = "shipped",
    revision: Revision = None,
    add: Add = None,
    base: Base = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    oracle_routing: Annotated[bool, typer.Option("--oracle-routing", help="Serve all by the adapter of --language.")] = False,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Keep sentences the adapter was trained on.")
    ] = False,
    tokens_column: TokensColumn = None,
    tags_column: TagsColumn = None,
    tag_names: TagNames = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Measure on this many sentences, drawn by --seed.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which sentences --limit leaves.")] = 0,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Sentences decoded together.")] = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    quantize: Quantize = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report here as well.")] = None,
) -> None:
    """Measure strict typed span F1 on a labelled dataset, and the share of sentences without an entity that get one.

    Example: `retrieveall evaluate --dataset unimelb-nlp/wikiann:de --language de --limit 500 --json de.json`
    """
    from ..evaluation.span_f1 import evaluate as measure

    if json_file:
        check_writable(json_file)
        if json_file.is_dir():
            raise IsADirectoryError(f"--json {json_file} is a folder. Give the name of a file.")
    loaded = load(model, revision, base, add or [], dtype, device, quantize)
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
        columns=Columns.named(tokens_column, tags_column, tag_names),
    )
    if json_file:
        with replacing(json_file) as written:
            written.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    table = Table("type", "F1", "precision", "recall", "entities", title=f"{dataset}, {split}, {language}")
    for label, row in report.per_type.items():
        table.add_row(label, *(f"{row[name]:.1f}" for name in ("f1", "precision", "recall")), str(row["support"]))
    table.add_row("all", f"{report.f1:.1f}", f"{report.precision:.1f}", f"{report.recall:.1f}", "", style="bold")
    Console().print(table)
    routing = "" if report.routing_accuracy is None else f", {report.routing_accuracy:.1f} % routed to {language}"
    if language not in loaded.languages:
        Console().print(f"There is no adapter for {language}: others served its sentences.", highlight=False)
    elif report.routing_accuracy is not None and report.routing_accuracy < 50:
        hint = f"Most were served by other languages. With --oracle-routing the adapter of {language} serves all."
        Console().print(hint, highlight=False)
    if report.false_entity_rate is not None:
        Console().print(
            f"{report.false_entity_rate:.1f} % of the {report.n_without_entities} sentences without an entity get one.",
            highlight=False,
        )
    Console().print(
        f"{report.n_test} sentences, {report.n_dropped} known ones dropped, {report.sentences_per_second} a second{routing}",
        highlight=False,
    )


@app.command()
@plain_errors
def base(
    name: Annotated[str | None, typer.Argument(help="A Hub id or directory to try instead of the embedded LLM.")] = None,
) -> None:
    """Prepare the embedded base LLM, or try whether another loads.

    Example: `retrieveall base`
    """
    from ..model.base_llm import load_base
    from ..model.embedded_llm import EMBEDDED_BASE, GEMMA_NOTICE, resolve_base

    chosen = name or EMBEDDED_BASE
    path = resolve_base(chosen)
    loaded, tokenizer = load_base(chosen)
    config = loaded.config.get_text_config()
    rows = table("", "", show_header=False)
    rows.add_row("base LLM", chosen)
    rows.add_row("path", path)
    rows.add_row("architecture", type(loaded).__name__)
    rows.add_row("parameters", f"{loaded.num_parameters():,}")
    rows.add_row("layers, hidden size, vocabulary", f"{config.num_hidden_layers}, {config.hidden_size}, {len(tokenizer):,}")
    if chosen == EMBEDDED_BASE:
        rows.add_row("licence", GEMMA_NOTICE)
    console().print(rows)


app.command()(annotate)
app.command()(convert)
app.command()(demo)
app.command()(doctor)
app.command()(push)
app.command()(pull)
app.add_typer(collection_app, name="collection")
app.add_typer(export_app, name="export")

if __name__ == "__main__":
    app()
