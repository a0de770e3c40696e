"""``retrieveall annotate``: annotate a file of texts, on this machine or with workers of Ray."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Annotated, Any

import typer

from ..model.errors import InputError
from .console import escaped, global_options, plain_errors, standard_output
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
    column: Annotated[str | None, typer.Option(help="Column with the texts. Default: `text` or `tokens`.")] = None,
    prefix: Annotated[
        str,
        typer.Option(
            help="Prefix of the added columns `entities`, `language` and `known`, if the input already has such columns."
        ),
    ] = "",
    language: Language = None,
    prior: Prior = None,
    labels: Labels = None,
    threshold: Threshold = "0",
    consistent_labels: ConsistentLabels = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Number of sentences decoded together.")] = 16,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    order: Annotated[
        str, typer.Option(help="`source`, or `uncertain`: the texts with the least certain entities come first (.jsonl only).")
    ] = "source",
    dtype: Dtype = "auto",
    device: Device = "auto",
    quantization: Quantization = None,
    engine: Annotated[
        str, typer.Option(help="`local`, or `ray` for workers on this machine or on a cluster. With `ray`, OUT is a folder.")
    ] = "local",
    workers: Annotated[
        str | None,
        typer.Option(
            help="Number of processes that annotate in parallel. Default: on a CPU, one per core for long files; otherwise one. "
            "With Ray, it can be a range, `2-8`, within which the number is adapted to the load."
        ),
    ] = None,
    worker_cpus: Annotated[int | None, typer.Option(min=1, help="Ray only: CPU cores per worker.")] = None,
    worker_gpus: Annotated[
        float | None, typer.Option(min=0, help="Ray only: GPUs per worker; 0.5 puts two workers on one GPU.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray only: address of the cluster. Without it, Ray is started on this machine.")
    ] = None,
) -> None:
    """Annotate a file of texts. After a crash or Ctrl-C, the same command resumes the job (not with `--engine ray`).

    Example: `retrieveall annotate texts.jsonl entities.parquet`
    """
    files: dict[str, Any] = {"source": source, "target": target, "column": column, "prefix": prefix, "overwrite": overwrite}
    settings: dict[str, Any] = {
        "batch_size": batch_size,
        "language": language,
        "prior": parse_prior(prior),
        "labels": parse_labels(labels),
        "threshold": parse_threshold(threshold),
        "consistent_labels": consistent_labels,
    }
    ray_options: dict[str, Any] = {"cpus": worker_cpus, "gpus": worker_gpus, "address": address}
    ray_options = {name: value for name, value in ray_options.items() if value is not None}
    count = _worker_range(workers) if workers else None
    _check_engine(engine, order, count, device, ray_options)
    if engine == "ray" and device == "auto" and not worker_gpus:
        device = "cpu"  # Ray does not hide the GPUs from workers that request none
    load_model = partial(_load, global_options.quiet, model, revision, base, add or [], dtype, device, quantization)
    if engine == "ray":
        from ..annotation.ray_engine import annotate_on_ray

        ray_options |= {"workers": count} if count else {}
        done = annotate_on_ray(load_model, **files, **settings, **ray_options)
    else:
        done = _annotate_locally(load_model, {**files, "order": order}, settings, count[0] if count else None, _uses_cpu(device))
    resumed = f", {done.resumed} of them from an earlier run" if done.resumed else ""
    without_text = f", {done.without_text} of them without text" if done.without_text else ""
    standard_output().print(f"{done.records} records in {escaped(target)}{resumed}{without_text}")


def _check_engine(engine: str, order: str, count: tuple[int, int] | None, device: str, ray_options: dict[str, Any]) -> None:
    """Checks that the engine has the options that were given.

    Raises:
        InputError: The engine is unknown, or an option needs another one.
    """
    if engine not in ("local", "ray"):
        raise InputError(f"--engine is {engine!r}; give local or ray.")
    if engine == "ray":
        if order != "source":
            raise InputError("--order needs --engine local.")
        return
    if ray_options:
        raise InputError("--worker-cpus, --worker-gpus and --address need --engine ray.")
    if count and count[0] != count[1]:
        raise InputError(f"--workers is {count[0]}-{count[1]}; a range needs --engine ray.")
    if count and count[0] > 1 and not _uses_cpu(device):
        raise InputError("Several --workers need --device cpu, or --engine ray, which can divide a GPU between workers.")


def _load(quiet: bool, *options: Any) -> Any:
    """Loads the model, possibly in a worker of Ray, a process that does not know the options before the command."""
    global_options.quiet = quiet
    return load(*options)


def _uses_cpu(device: str) -> bool:
    """Whether a value of ``--device`` is the CPU on this machine."""
    import torch

    return device == "cpu" or (device == "auto" and not torch.cuda.is_available())


def _annotate_locally(
    load_model: Callable[[], Any], files: dict[str, Any], settings: dict[str, Any], workers: int | None, uses_cpu: bool
) -> Any:
    """Annotates on this machine; the model is loaded after source and target have been checked."""
    from ..annotation.annotate import prepare_annotation
    from ..annotation.worker_pool import WorkerPool, default_workers

    with prepare_annotation(**files) as job:
        workers = workers or (default_workers(job.summary.records) if uses_cpu else 1)
        with WorkerPool(load_model, workers) if workers > 1 else nullcontext(load_model()) as loaded:
            try:
                return job.run(loaded, **settings)
            except KeyboardInterrupt:
                raise KeyboardInterrupt("The finished part is kept; run the same command to resume.") from None


def _worker_range(workers: str) -> tuple[int, int]:
    """Parses the value of ``--workers``: ``"2-8"`` as ``(2, 8)``, ``"2"`` as ``(2, 2)``."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", workers)
    least, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= least <= most:
        raise InputError(f"--workers is {workers!r}; give a number, as in --workers 2, or a range, as in --workers 2-8.")
    return least, most
