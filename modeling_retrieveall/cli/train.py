"""``retrieveall train``: learn a language from a labelled dataset."""

from shlex import quote

import typer

from .console import escaped, plain_errors, quiet_libraries, show_progress, standard_output


@plain_errors
def train(context: typer.Context) -> None:
    """Train the adapter of a language on a labelled dataset; `retrieveall train --help` lists all options.

    Example: `retrieveall train --language sw --dataset examples/sentences/sw.conll --output-dir runs/sw`
    """
    from ..training.command_line import console_output, parse_arguments

    with console_output():
        arguments = parse_arguments(context.args, "retrieveall train")
        from ..training.trainer import train as run  # takes seconds, which a mistyped option should not wait for

        quiet_libraries()
        show_progress()
        run(arguments)
    for one in arguments.per_language():
        use = f'retrieveall extract --model {quote(one.output_dir)} --language {one.language_code} "..."'
        standard_output().print(f"Saved to {escaped(one.output_dir)}. Use it:  {escaped(use)}", soft_wrap=True)
