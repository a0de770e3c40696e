"""Shows the Python arguments that an error message names as the options of a command.

>>> with_options("Set max_steps=3, or `resume`.", {"max_steps": "--max-steps", "resume": "--resume"})
'Set --max-steps 3, or --resume.'
"""

import re
from collections.abc import Mapping


def with_options(message: str, options: Mapping[str, str]) -> str:
    """Replaces the arguments in a message: ``name=value``, a name in backticks, and ``name is ...`` at the beginning.

    A bare name in another place may be a word, or a field of a file, and is kept.

    Args:
        message: The message of an error.
        options: The option for each argument.

    Examples:
        >>> with_options("batch_size is 0; give at least 1.", {"batch_size": "--batch-size"})
        '--batch-size is 0; give at least 1.'
    """
    if not options:
        return message
    name = "|".join(map(re.escape, options))
    value = r"(?P<quote>'?)(?P<value>[\w.]*\w)(?P=quote)(?![\w/])"  # not a folder, as in "runs/batch_size=8/de"
    pattern = rf"(?<![^\s(])(?P<set>{name})={value}|`(?P<quoted>{name})`|^(?P<first>{name})(?= is )"

    def option(match: re.Match[str]) -> str:
        found = options[match["set"] or match["quoted"] or match["first"]]
        return found if match["value"] in (None, "True") else f"{found} {match['value']}"

    return re.sub(pattern, option, message)
