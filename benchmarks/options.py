"""The command line of a benchmark: the options that several share, and ``--quick``, which all have.

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

from benchmarks.corpus import lay_out_own

Data = Annotated[Path, typer.Option(help="Folder with panx/, masakhaner2/, masakhaner1/ and uner/, as their Hub datasets are.")]
OptionalData = Annotated[Path | None, typer.Option(help="As elsewhere; the package's own sentences when it is not given.")]
Model = Annotated[str, typer.Option(help="'shipped', or a folder of adapters.")]
Base = Annotated[str, typer.Option(help="The base LLM of the adapters that are trained.")]
Taught = Annotated[str, typer.Option(help="Languages that a shared adapter is taught, separated by commas.")]
Languages = Annotated[str, typer.Option(help="Languages, separated by commas.")]
Number = Annotated[int, typer.Option(help="Sentences of each language.")]
Size = Annotated[int, typer.Option(help="Training sentences of each language.")]
Limit = Annotated[int, typer.Option(help="Test sentences of each language.")]
KeepDuplicates = Annotated[bool, typer.Option("--keep-duplicates", help="Sentences that an adapter has seen, too.")]
Seed = Annotated[int, typer.Option(help="Decides which sentences.")]
Epochs = Annotated[int | None, typer.Option(help="Of every training; what `retrieveall train` chooses when not given.")]
Dtype = Annotated[str, typer.Option(help="float32 or bfloat16.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Runs = Annotated[Path, typer.Option(help="Where trained adapters are kept.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the result here.")]
Rows = Annotated[Path, typer.Option("--json", help="Where rows are kept.")]

_KEPT = ("runs", "json_file")
"""Parameters whose default value is a place where a run keeps something."""


def benchmark(**smallest: Any) -> Callable[[Callable[..., None]], typer.Typer]:
    """Makes the command of a benchmark, whose ``--quick`` replaces the defaults of its options by the smallest values.

    What is written on the command line counts more. With ``--quick`` an option without a default value named ``data`` is a
    folder of the package's own sentences, and what a run would keep is written to a temporary folder.

    Args:
        **smallest: The values for ``--quick``, by the names of the function's parameters.

    Raises:
        TypeError: The function has no such parameter.
    """
    said = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in smallest.items())
    flag = typer.Option("--quick", help=f"The smallest size: {said}".rstrip(), is_eager=True, callback=_use_smallest)

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
            kept["data"] = lay_out_own(folder / "data")
        context.default_map = {**kept, **smallest}
    return quick
