"""The command line of the benchmarks: the options that several of them share, and ``--quick``, which all of them have.

>>> @benchmark(languages="de", number=8)  # what --quick measures
... def main(data: Data, languages: Languages = "de,en,es", number: Number = 80, json_file: Json = None) -> None: ...
>>> if __name__ == "__main__":
...     main()
"""

import tempfile
from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.corpus import write_sample_data

Data = Annotated[
    Path, typer.Option(help="Folder that holds panx/, masakhaner2/, masakhaner1/ and uner/, with the files of the Hub datasets.")
]
OptionalData = Annotated[Path | None, typer.Option(help="Folder of all datasets. Default: the sentences in examples/sentences.")]
Model = Annotated[str, typer.Option(help="'shipped', or a folder of adapters.")]
Base = Annotated[str, typer.Option(help="Base LLM of the adapters that are trained.")]
MulLanguages = Annotated[str, typer.Option(help="Languages that the multilingual adapter `mul` learns, separated by commas.")]
Languages = Annotated[str, typer.Option(help="Languages, separated by commas.")]
Number = Annotated[int, typer.Option(help="Number of sentences of each language.")]
Size = Annotated[int, typer.Option(help="Number of training sentences of each language.")]
Limit = Annotated[int, typer.Option(help="Number of test sentences of each language.")]
KeepDuplicates = Annotated[bool, typer.Option("--keep-duplicates", help="Keep test sentences that an adapter was trained on.")]
Seed = Annotated[int, typer.Option(help="Random seed of the choice of sentences.")]
Epochs = Annotated[int | None, typer.Option(help="Epochs of every training. Default: what `retrieveall train` chooses.")]
Dtype = Annotated[str, typer.Option(help="Data type of the base LLM: float32 or bfloat16.")]
Quantization = Annotated[str | None, typer.Option(help="Load the base LLM in 4bit, 8bit or int8.")]
Device = Annotated[str, typer.Option(help="Device: cpu or cuda.")]
Runs = Annotated[
    Path, typer.Option(help="Folder of the trained adapters. Adapters that are there already are not trained again.")
]
Json = Annotated[Path | None, typer.Option("--json", help="File to write the result to.")]
Rows = Annotated[Path, typer.Option("--json", help="File of the result. Rows that it holds already are not measured again.")]

_KEPT = ("runs", "json_file")
"""Parameters that name a place where a run keeps files."""


def benchmark(**smallest: Any) -> Callable[[Callable[..., None]], typer.Typer]:
    """Turns a function into the command of a benchmark and adds the option ``--quick``.

    ``--quick`` replaces the defaults of the options by the smallest useful values. Options on the command line still override
    these values. With ``--quick``, a required option ``data`` defaults to a folder made from ``examples/sentences``, and files
    that a run would keep go to a temporary folder.

    Args:
        **smallest: The values for ``--quick``, by parameter name.

    Raises:
        TypeError: The function has no such parameter.
    """
    values = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in smallest.items())
    flag = typer.Option("--quick", help=f"Run at the smallest size: {values}".rstrip(), is_eager=True, callback=_use_smallest)

    def command(main: Callable[..., None]) -> typer.Typer:
        parameters = signature(main).parameters
        if unknown := smallest.keys() - parameters.keys():
            raise TypeError(f"benchmark() got {', '.join(sorted(unknown))}: {main.__module__} has no such option.")

        @wraps(main)
        def measure(quick: bool, **options: Any) -> None:
            main(**options)

        quick = Parameter("quick", Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, flag])
        measure.__signature__ = signature(main).replace(parameters=[*parameters.values(), quick])  # type: ignore[attr-defined]
        measure.__annotations__ = {**main.__annotations__, "quick": quick.annotation}
        app = typer.Typer(add_completion=False)
        app.command(context_settings={"obj": (parameters, smallest)})(measure)
        return app

    return command


def _use_smallest(context: typer.Context, quick: bool) -> bool:
    if quick:
        parameters, smallest = context.obj
        folder = Path(context.with_resource(tempfile.TemporaryDirectory()))
        defaults = {name: parameter.default for name, parameter in parameters.items()}
        kept = {name: folder / name for name in _KEPT if isinstance(defaults.get(name), Path)}
        if defaults.get("data") is Parameter.empty:
            kept["data"] = write_sample_data(folder / "data")
        context.default_map = {**kept, **smallest}
    return quick
