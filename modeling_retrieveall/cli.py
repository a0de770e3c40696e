"""The command line: `extract`, `annotate`, `train`, `evaluate`, `base`, `push`, `pull` and `collection`."""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from .cli_hub import collection_app, pull, push
from .cli_terminal import console, plain_errors, quiet_libraries, table
from .cli_views import view

app = typer.Typer(
    help="Named entity recognition in many languages: one frozen LLM, a LoRA adapter and an index of examples per language.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
Model = Annotated[
    str, typer.Option(help="'shipped', a folder of `retrieveall train` or `save_pretrained`, or a Hub repository or collection.")
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit hash of the model's repository.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16; auto is bfloat16 where hardware multiplies it.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...; auto is a GPU where there is one.")]
Quantize = Annotated[str | None, typer.Option(help="Load the base in `4bit` (NF4) or `8bit`, with bitsandbytes.")]
_TEXTS_AT_A_TIME = 256


@app.command()
@plain_errors
def extract(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; without any, lines of --file or of standard input.")] = None,
    file: Annotated[Path | None, typer.Option(help="Take a text from each line of this file; `-` is standard input.")] = None,
    model: Model = "shipped",
    revision: Revision = None,
    add: Annotated[list[str] | None, typer.Option(help="Folder or repository of a further adapter; may be repeated.")] = None,
    base: Annotated[str | None, typer.Option(help="Take the base LLM from here instead of where the model says.")] = None,
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
    weights = _weights(prior) if prior else None
    source = _input_texts(texts, file, document)
    first = next(source, None)
    if first is None:
        return
    loaded = _load(model, revision, base, add or [], dtype, device, quantize)
    lines = chain([first], source)
    while part := list(islice(lines, _TEXTS_AT_A_TIME)):
        for result in loaded.explain(part, language, batch_size, threshold=threshold, prior=weights):
            show(result)
    show.close()


@app.command()
@plain_errors
def annotate(
    source: Annotated[str, typer.Argument(metavar="IN", help="A .jsonl, .parquet, .conll or .txt file, or a URL of one.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="A .jsonl, .parquet, .conll or .html file.")],
    model: Model = "shipped",
    revision: Revision = None,
    add: Annotated[list[str] | None, typer.Option(help="Folder or repository of a further adapter; may be repeated.")] = None,
    base: Annotated[str | None, typer.Option(help="Take the base LLM from here instead of where the model says.")] = None,
    column: Annotated[str | None, typer.Option(help="Where the texts stand; `text` or `tokens` when not given.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of all texts, instead of routing.")] = None,
    prior: Annotated[str | None, typer.Option(help="Route among these languages alone: `da,no`; by weights: `da=2,no`.")] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Leave out entities of a lower score.")] = 0.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Sentences decoded together.")] = 16,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is there.")] = False,
    dtype: Dtype = "auto",
    device: Device = "auto",
    quantize: Quantize = None,
    engine: Annotated[
        str, typer.Option(help="`local`, or `ray`: by workers here or on a cluster; OUT is a folder then.")
    ] = "local",
    workers: Annotated[str | None, typer.Option(help="Of Ray: how many, `2`; or between how many, by the load, `2-8`.")] = None,
    worker_cpus: Annotated[int | None, typer.Option(min=1, help="Of Ray: cores of each worker.")] = None,
    worker_gpus: Annotated[float | None, typer.Option(min=0, help="Of Ray: GPUs of each; 0.5 puts two on one.")] = None,
    address: Annotated[str | None, typer.Option(help="Of Ray: the cluster; without, one is started on this machine.")] = None,
) -> None:
    """Annotate a file of texts; started again after a crash or Ctrl-C, it goes on where it stopped.

    Example: `retrieveall annotate texts.jsonl entities.parquet`
    """
    from .integrations.annotation import annotate as run
    from .integrations.annotation import check

    settings: dict[str, Any] = {"languages": language, "prior": _weights(prior) if prior else None, "threshold": threshold}
    settings |= {"column": column, "batch_size": batch_size, "overwrite": overwrite}
    load = partial(_load, model, revision, base, add or [], dtype, device, quantize)
    given = {"workers": workers and _between(workers), "cpus": worker_cpus, "gpus": worker_gpus, "address": address}
    of_ray: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if engine == "ray":
        from .integrations.ray import annotate_on_ray

        records = annotate_on_ray(load, source, target, **settings, **of_ray)
        Console().print(f"{records} records in {target}", highlight=False)
        return
    if engine != "local":
        raise ValueError(f"--engine is {engine!r}; give local or ray.")
    if of_ray:
        raise ValueError("--workers, --worker-cpus, --worker-gpus and --address are for --engine ray.")
    check(source, target, column, overwrite)
    done = run(load(), source, target, **settings)
    resumed = f", {done.resumed} of them by an earlier run" if done.resumed else ""
    Console().print(f"{done.records} records in {target}{resumed}", highlight=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
@plain_errors
def train(context: typer.Context) -> None:
    """Learn a language from a labelled dataset; `retrieveall train --help` lists all settings.

    Example: `retrieveall train --language sw --dataset examples/sentences/sw.conll --output runs/sw`
    """
    from transformers import HfArgumentParser

    from .training.arguments import TrainingArguments
    from .training.trainer import train as run

    parser = HfArgumentParser(TrainingArguments, prog="retrieveall train")  # type: ignore[arg-type]
    (arguments,) = parser.parse_args_into_dataclasses(args=context.args)
    output = run(arguments)
    Console().print(f'Saved to {output}. Use it:  retrieveall extract --add {output} "..."', highlight=False)


@app.command()
@plain_errors
def evaluate(
    dataset: Annotated[str, typer.Option(help="Hub id (name or name:configuration), directory, or file.")],
    language: Annotated[str, typer.Option(help="Language of the sentences.")],
    model: Model = "shipped",
    revision: Revision = None,
    add: Annotated[list[str] | None, typer.Option(help="Folder or repository of a further adapter; may be repeated.")] = None,
    base: Annotated[str | None, typer.Option(help="Take the base LLM from here instead of where the model says.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    oracle_routing: Annotated[bool, typer.Option("--oracle-routing", help="Serve all by the adapter of --language.")] = False,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Keep sentences the adapter was trained on.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Measure on this many sentences, drawn by --seed.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which sentences --limit leaves.")] = 0,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Sentences decoded together.")] = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    quantize: Quantize = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report here as well.")] = None,
) -> None:
    """Measure strict typed span F1 on a labelled dataset.

    Example: `retrieveall evaluate --dataset unimelb-nlp/wikiann:de --language de --limit 500 --json de.json`
    """
    from .training.evaluation import evaluate as measure

    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
    report = measure(
        _load(model, revision, base, add or [], dtype, device, quantize),
        dataset,
        split,
        language,
        oracle_routing=oracle_routing,
        keep_duplicates=keep_duplicates,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
    )
    if json_file:
        json_file.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    table = Table("type", "F1", "precision", "recall", "entities", title=f"{dataset}, {split}, {language}")
    for label, row in report.per_type.items():
        table.add_row(label, *(f"{row[name]:.1f}" for name in ("f1", "precision", "recall")), str(row["support"]))
    table.add_row("all", f"{report.f1:.1f}", f"{report.precision:.1f}", f"{report.recall:.1f}", "", style="bold")
    Console().print(table)
    routing = "" if report.routing_accuracy is None else f", {report.routing_accuracy:.1f} % routed to {language}"
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
    from .base_llm import load_base
    from .embedded import EMBEDDED_BASE, GEMMA_NOTICE, resolve_base

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


def _load(
    model: str, revision: str | None, base_model: str | None, add: Iterable[str], dtype: str, device: str, quantize: str | None
) -> Any:
    import torch
    from transformers.utils import logging

    from .base_llm import native_dtype, quantization
    from .modeling_retrieveall import RetrieveAllModel

    quiet_libraries()  # again: a worker of Ray has not come by `plain_errors`
    if dtype not in ("auto", "float32", "bfloat16", "float16"):
        raise ValueError(f"--dtype is {dtype!r}; give auto, float32, bfloat16 or float16.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:\d+)?", device) or (device.startswith("cuda") and not torch.cuda.is_available()):
        raise ValueError(f"--device is {device!r}, which is not here; give auto, cpu, cuda or cuda:1.")
    loaded = RetrieveAllModel.from_pretrained(
        model,
        revision=revision,
        base_model=base_model,
        dtype=native_dtype(device) if dtype == "auto" else getattr(torch, dtype),
        device_map={"": device},
        **quantization(quantize),
    )
    for source in add:
        loaded.add_language(source)
    logging.enable_progress_bar()  # of what is extracted; those of loading are over
    return loaded


def _weights(prior: str) -> dict[str, float]:
    """``"da=2,no"`` as ``{"da": 2.0, "no": 1.0}``."""
    weights = {}
    for part in prior.split(","):
        language, _, weight = part.partition("=")
        try:
            weights[language.strip()] = float(weight or 1)
        except ValueError:
            raise ValueError(f"--prior is {prior!r}; give languages with weights, as in --prior da=2,no=1.") from None
    return weights


def _between(workers: str) -> tuple[int, int]:
    """``"2-8"`` as ``(2, 8)``, ``"2"`` as ``(2, 2)``."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", workers)
    least, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= least <= most:
        raise ValueError(f"--workers is {workers!r}; give how many, as in --workers 2, or between how many, as in --workers 2-8.")
    return least, most


def _input_texts(texts: list[str] | None, file: Path | None, document: bool) -> Iterator[str]:
    if texts and file:
        raise ValueError("Give texts as arguments or a --file, not both.")
    if texts and document:
        raise ValueError("--document is for a --file or standard input; a text given as an argument is one text.")
    if texts:
        return iter(texts)
    if file is not None and str(file) != "-":
        if not file.is_file():
            raise FileNotFoundError(f"There is no file {file}. Give a text file, or `-` for standard input.")
        return _texts_of(file.open("rb"), document)
    if file is None and sys.stdin.isatty():
        raise ValueError('Nothing to extract from. Try: retrieveall extract "Angela Merkel besuchte Nairobi."')
    return _texts_of(sys.stdin.buffer, document)


def _texts_of(stream: Any, document: bool) -> Iterator[str]:
    """The lines of a stream, or all of it at once."""
    from .integrations.records import lines

    with stream:
        if document and (text := stream.read()):
            yield text.decode("utf-8", "replace")
        yield from lines(stream)


app.command()(push)
app.command()(pull)
app.add_typer(collection_app, name="collection")

if __name__ == "__main__":
    app()
