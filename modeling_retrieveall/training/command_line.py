"""The command line of training: of ``retrieveall train`` and ``accelerate launch -m modeling_retrieveall.training.trainer``.

>>> arguments = parse_arguments(["--language", "sw", "--dataset", "sw.conll", "--output-dir", "runs/sw"], "retrieveall train")
>>> with console_output():
...     train(arguments)
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from typing import Any, get_args, get_origin, get_type_hints

from ..model.errors import InputError, RetrieveAllError
from .arguments import AdapterTrainingArguments
from .option_names import with_options

_PACKAGE = __name__.partition(".")[0]
_COMMAND, _GLOBAL_OPTIONS = "retrieveall", ("--quiet", "--debug")
_OPTIONS = {argument.name: f"--{argument.name.replace('_', '-')}" for argument in fields(AdapterTrainingArguments)}
"""The option for each argument."""
_BOOLEANS = {**dict.fromkeys(("true", "yes", "y", "t", "1"), True), **dict.fromkeys(("false", "no", "n", "f", "0"), False)}
_MIN_SIMILARITY = 0.7
"""A mistyped option is compared with the known ones; the most similar one is suggested."""


def parse_arguments(given: Sequence[str] | None, program: str) -> AdapterTrainingArguments:
    """Parses the options of a training command; they may have hyphens or underscores.

    Args:
        given: The words after the command; those of this process if ``None``.
        program: The command, for its help text.

    Raises:
        SystemExit: The help was requested, or an option is missing or has the wrong type; the parser has printed which.
        InputError: There is no such option, or a value is out of range.

    Examples:
        >>> parse_arguments(["--language", "sw", "--dataset", "sw.conll", "--output-dir", "runs/sw"], "train").epochs_for(600)
        2
    """
    words = _normalized(sys.argv[1:] if given is None else given)
    # Before the parser, which would first complain that the option that was mistyped is missing.
    for name in (word for word in words if word.startswith("--")):
        if name not in [*_OPTIONS.values(), "--help"]:
            raise InputError(f"There is no option {name}. {_suggestion(name, program)}")
    parsed, left = _parser(program).parse_known_args(words)
    if left:
        raise InputError(f"{left[0]!r} belongs to no option. See --help.")
    return AdapterTrainingArguments(**vars(parsed))


def _normalized(words: Sequence[str]) -> list[str]:
    """Options with hyphens and apart from their values, and comma-separated languages apart from one another."""
    normalized: list[str] = []
    option = ""
    for word in words:
        value = word
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            option = name.replace("_", "-")
            normalized.append(option)
            if not equals:
                continue
        normalized += [code for code in value.split(",") if code] if option == "--language" else [value]
    return normalized


def _suggestion(name: str, program: str) -> str:
    if name in _GLOBAL_OPTIONS and program.startswith(_COMMAND):
        return f"Put it before the command: {_COMMAND} {name} train."
    known = list(_OPTIONS.values())
    similar = get_close_matches(name, known, 1, _MIN_SIMILARITY) or [option for option in known if name[2:] in option]
    return f"Did you mean {similar[0]}?" if similar else "--help lists all options."


def _parser(program: str) -> argparse.ArgumentParser:
    """The parser, with one option for each training argument. ``HfArgumentParser`` would do the same, but is slow to import."""
    usage = f"{program} --language LANGUAGE --dataset DATASET --output-dir FOLDER [OPTIONS]"
    parser = argparse.ArgumentParser(prog=program, usage=usage)
    types = get_type_hints(AdapterTrainingArguments)
    for argument in fields(AdapterTrainingArguments):
        parser.add_argument(_OPTIONS[argument.name], **_settings(argument, types[argument.name]))
    return parser


def _settings(argument: "Field[Any]", declared: Any) -> dict[str, Any]:
    """How an option is parsed and described. The help shows defaults that are known before the data is read."""
    settings: dict[str, Any] = {"help": with_options(argument.metadata["help"], _OPTIONS)}
    if argument.default is MISSING:
        settings["required"] = True
    else:
        settings["default"] = argument.default
        if argument.default is not None and declared is not bool:
            settings["help"] += " (default: %(default)s)"
    if declared is bool:
        return settings | {"type": _boolean, "nargs": "?", "const": True}
    if get_origin(declared) is list:
        return settings | {"type": get_args(declared)[0], "nargs": "+"}
    return settings | {"type": next(iter(get_args(declared)), declared)}  # that of `int | None` is int


def _boolean(word: str) -> bool:
    """Parses the value of a switch, which may be left out: ``--resume`` is the same as ``--resume true``."""
    if word.lower() not in _BOOLEANS:
        raise argparse.ArgumentTypeError(f"invalid value: {word!r}; give true or false")
    return _BOOLEANS[word.lower()]


@contextmanager
def console_output() -> Iterator[None]:
    """Prints the log of the package, and lets errors name options instead of Python arguments, inside the ``with`` block."""
    logger, handler = logging.getLogger(_PACKAGE), _ConsoleHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    except (RetrieveAllError, OSError, MemoryError, KeyboardInterrupt) as error:
        if len(error.args) == 1:  # more are an error number with its text
            error.args = (with_options(str(error.args[0]), _OPTIONS),)
        raise
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class _ConsoleHandler(logging.Handler):
    """Prints information to standard output and warnings to standard error, without any prefix."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        print(with_options(self.format(record), _OPTIONS), file=stream, flush=True)
