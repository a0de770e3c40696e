"""The command that annotates a corpus: ``retrieveall annotate``, on this machine or by workers of Ray."""

import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from ..model.errors import InputError
from .console import asked, console, escaped, plain_errors
from .model_options import Add, Base, Device, Dtype, Model, Quantize, Revision, load, prior_weights


@plain_errors
def annotate(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="A .jsonl, .json, .csv, .parquet, .conll or .txt file, or its URL.")
    ],
    target: Annotated[str, typer.Argument(metavar="OUT", help="A .jsonl, .parquet, .conll or .html file.")],
    model: Model = "shipped",
    revision: Revision = None,
    add: Add = None,
    base: Base = None,
    column: Annotated[str | None, typer.Option(help="Where the texts stand; `text` or `tokens` when not given.")] = None,
    prefix: Annotated[
        str, typer.Option(help="Put before the names of the added columns, where IN has columns of the same names.")
    ] = "",
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
    """Annotate a file of texts; started again after a crash or Ctrl-C, the local engine goes on where it stopped.

    Example: `retrieveall annotate texts.jsonl entities.parquet`
    """
    weights = prior_weights(prior) if prior else None
    settings: dict[str, Any] = {"language": language, "prior": weights, "threshold": threshold}
    files: dict[str, Any] = {"column": column, "prefix": prefix, "overwrite": overwrite}
    if engine == "ray" and device == "auto" and not worker_gpus:
        device = "cpu"  # Ray hides no GPU from workers that have asked for none
    make = partial(_make, asked.quiet, model, revision, base, add or [], dtype, device, quantize)
    given = {"workers": workers and _between(workers), "cpus": worker_cpus, "gpus": worker_gpus, "address": address}
    of_ray: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if engine == "ray":
        from ..annotation.ray_engine import annotate_on_ray

        done = annotate_on_ray(make, source, target, batch_size=batch_size, **files, **settings, **of_ray)
    elif engine != "local":
        raise InputError(f"--engine is {engine!r}; give local or ray.")
    elif of_ray:
        raise InputError("--workers, --worker-cpus, --worker-gpus and --address are for --engine ray.")
    else:
        done = _annotate_here(make, source, target, files, batch_size, settings)
    earlier = f", {done.resumed} of them by an earlier run" if done.resumed else ""
    without = f", {done.without_text} of them without text" if done.without_text else ""
    console().print(f"{done.records} records in {escaped(target)}{earlier}{without}")


def _make(quiet: bool, *options: Any) -> Any:
    """The model; a worker of Ray, which makes its own, has not seen what was asked for before the command."""
    asked.quiet = quiet
    return load(*options)


def _annotate_here(
    make: Callable[[], Any], source: str, target: str, files: dict[str, Any], batch_size: int, settings: dict[str, Any]
) -> Any:
    """Annotates in this process; the model is loaded when source and target have been checked."""
    from ..annotation.annotate import prepared

    with prepared(source, target, **files) as job:
        loaded = make()
        try:
            return job.run(loaded, batch_size, **settings)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("What is finished is kept; the same command resumes.") from None


def _between(workers: str) -> tuple[int, int]:
    """``"2-8"`` as ``(2, 8)``, ``"2"`` as ``(2, 2)``."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", workers)
    least, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= least <= most:
        raise InputError(f"--workers is {workers!r}; give how many, as in --workers 2, or between how many, as in --workers 2-8.")
    return least, most
