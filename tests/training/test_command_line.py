"""The command line of training: options, console output, and errors that name options."""

import logging

import pytest

from modeling_retrieveall import InputError
from modeling_retrieveall.training.command_line import console_output, parse_arguments

REQUIRED = ["--dataset", "sw.conll", "--output-dir", "runs/sw"]


@pytest.mark.parametrize(
    "given", [["--language", "sw", "yo"], ["--language", "sw,yo"], ["--language=sw,yo"], ["--language", "sw,", "yo"]]
)
def test_languages_are_separated_by_spaces_or_commas(given: list[str]) -> None:
    arguments = parse_arguments([*given, "--dataset", "sw.conll", "yo.conll", "--output-dir", "runs"], "train")
    assert arguments.language == ["sw", "yo"]
    assert [(run.language_code, run.dataset, run.output_dir) for run in arguments.per_language()] == [
        ("sw", ["sw.conll"], "runs/sw"),
        ("yo", ["yo.conll"], "runs/yo"),
    ]


@pytest.mark.parametrize("option", [["--max-steps", "3"], ["--max_steps", "3"], ["--max-steps=3"], ["--max_steps=3"]])
def test_options_have_hyphens_or_underscores(option: list[str]) -> None:
    assert parse_arguments(["--language", "sw", *REQUIRED, *option], "train").max_steps == 3


@pytest.mark.parametrize(
    ("option", "expected"), [([], False), (["--resume"], True), (["--resume", "true"], True), (["--resume=False"], False)]
)
def test_a_switch_may_have_a_value(option: list[str], expected: bool) -> None:
    assert parse_arguments(["--language", "sw", *REQUIRED, *option], "train").resume is expected


def test_options_have_the_types_of_their_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--learning-rate", "1e-3", "--max-steps", "5", "--tag-names", "O,B-PER", "--tags-share", "0", "--report-to", "wandb"]
    parsed = parse_arguments(["--language", "sw", *REQUIRED, *given], "train")
    assert (parsed.learning_rate, parsed.max_steps, parsed.tag_names, parsed.tags_share) == (1e-3, 5, "O,B-PER", 0.0)
    for option, value, message in (
        ("--max-steps", "x", "argument --max-steps: invalid int value: 'x'"),
        ("--resume", "x", "argument --resume: invalid value: 'x'; give true or false"),
    ):
        with pytest.raises(SystemExit, match="2"):
            parse_arguments(["--language", "sw", *REQUIRED, option, value], "train")
        assert message in capsys.readouterr().err


def test_help_shows_hyphens_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--help"], "retrieveall train")
    text = " ".join(capsys.readouterr().out.split())
    assert "Only with --tags-share 0." in text and "multiplied by --lora-alpha / --rank." in text
    assert "--max-eval-samples" in text and "max_eval_samples" not in text.replace("--max-eval-samples MAX_EVAL_SAMPLES", "")
    assert (
        "(default: 200)" in text and "(default: 0)" in text and "(default: None)" not in text and "(default: False)" not in text
    )


@pytest.mark.parametrize(
    ("option", "suggestion"),
    [
        ("--learning_rat", "Did you mean --learning-rate?"),
        ("--epochs", "Did you mean --num-train-epochs?"),
        ("--zzz", "--help lists all options."),
        ("--quiet", "Put it before the command: retrieveall --quiet train."),
    ],
)
def test_an_unknown_option_is_reported_with_a_suggestion(option: str, suggestion: str) -> None:
    with pytest.raises(InputError, match="There is no option --") as caught:
        parse_arguments(["--language", "sw", option, "1"], "retrieveall train")
    assert str(caught.value).endswith(suggestion)


def test_the_log_is_printed_on_the_command_line_and_silent_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("modeling_retrieveall.training.trainer")
    with console_output():
        logger.info("40 training sentences")
        logger.warning("no validation sentences")
    logger.info("silent")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("40 training sentences\n", "no validation sentences\n")


def test_errors_name_options_on_the_command_line() -> None:
    with pytest.raises(FileExistsError, match="Set --resume to continue it, or --overwrite to restart"), console_output():
        raise FileExistsError("Set resume=True to continue it, or overwrite=True to restart.")
    with pytest.raises(FileExistsError, match="Choose another --output-dir"), console_output():
        raise FileExistsError("Choose another `output_dir`.")
    with pytest.raises(MemoryError, match="Try --quantization 4bit"), console_output():
        raise MemoryError("Try quantization='4bit'.")
    with pytest.raises(PermissionError, match=r"\[Errno 13\] denied: 'x'"), console_output():
        raise PermissionError(13, "denied", "x")
