"""``retrieveall base``: prepare the embedded base LLM, or check that another one can be loaded."""

from typing import Annotated

import typer

from .console import plain_errors, quiet_libraries, standard_output, table


@plain_errors
def base(
    name: Annotated[
        str | None, typer.Argument(help="Hub id or folder of a base LLM to load instead of the embedded one.")
    ] = None,
) -> None:
    """Prepare the embedded base LLM, or check that another base LLM can be loaded.

    Example: `retrieveall base`
    """
    from ..model.base_llm import load_base
    from ..model.embedded_llm import EMBEDDED_BASE, GEMMA_NOTICE, resolve_base

    quiet_libraries()
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
    standard_output().print(rows)
