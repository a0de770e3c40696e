"""``retrieveall extract``: the entities of texts, as a table, JSON lines or CoNLL."""

from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer

from ..model.errors import InputError
from .console import plain_errors
from .input_texts import input_texts
from .options import (
    Add,
    Base,
    ConsistentLabels,
    Device,
    Dtype,
    Labels,
    Language,
    Model,
    Prior,
    Quantization,
    Revision,
    Threshold,
    load,
    parse_labels,
    parse_prior,
    parse_threshold,
)
from .views import view

_TEXTS_PER_CALL = 256


@plain_errors
def extract(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts. If there are none, the lines of --file or of standard input are read.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Read one text per line from this file; `-` is standard input.")] = None,
    model: Model = "shipped",
    revision: Revision = None,
    add: Add = None,
    base: Base = None,
    language: Language = None,
    prior: Prior = None,
    document: Annotated[bool, typer.Option("--document", help="Read the file as one text instead of one per line.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per text.")] = False,
    conll: Annotated[bool, typer.Option("--conll", help="Print one word and its BIO tag per line.")] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Also show the languages, the retrieved examples, the known mentions and the prompt."),
    ] = False,
    labels: Labels = None,
    threshold: Threshold = "0",
    consistent_labels: ConsistentLabels = False,
    near_misses: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="With --json: also print spans that are not entities, but have at least this score. Only adapters that decode "
            "tags find all of them.",
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Number of sentences decoded together.")] = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    quantization: Quantization = None,
) -> None:
    """Extract the entities of texts.

    Example: `retrieveall extract "Angela Merkel besuchte Nairobi." "Шопен родился в Польше."`
    """
    show = view(as_json, conll, explain)
    if near_misses is not None and not as_json:
        raise InputError("--near-misses needs --json.")
    settings: dict[str, Any] = {
        "language": language,
        "prior": parse_prior(prior),
        "labels": parse_labels(labels),
        "threshold": parse_threshold(threshold),
        "consistent_labels": consistent_labels,
        "near_misses": near_misses,
    }
    source = input_texts(texts, file, document)
    first = next(source, None)
    if first is None:
        return
    loaded = load(model, revision, base, add or [], dtype, device, quantization)
    lines = chain([first], source)
    while part := list(islice(lines, _TEXTS_PER_CALL)):
        for result in loaded.extract(part, batch_size=batch_size, details=explain, **settings):
            show(result)
    show.close()
