"""Python arguments in messages are shown as the options of a command."""

import pytest

from modeling_retrieveall.training.option_names import with_options

OPTIONS = {"base_model": "--base", "batch_size": "--batch-size", "column": "--column", "overwrite": "--overwrite"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Set overwrite=True to replace it.", "Set --overwrite to replace it."),
        ("Set batch_size=8, or base_model='a.b'.", "Set --batch-size 8, or --base a.b."),
        ("Set `column` to one of them.", "Set --column to one of them."),
        ("batch_size is 0; give at least 1.", "--batch-size is 0; give at least 1."),
        # Words, files, fields of files and arguments without an option are kept.
        ("texts.csv has no column 'label'.", "texts.csv has no column 'label'."),
        ("a/column/batch_size/overwrite exists.", "a/column/batch_size/overwrite exists."),
        ("runs/batch_size=8 exists.", "runs/batch_size=8 exists."),
        ("There is no file 'column=x.jsonl' in batch_size=8/x.", "There is no file 'column=x.jsonl' in batch_size=8/x."),
        ("m/config.json cannot be read: batch_size is -1.", "m/config.json cannot be read: batch_size is -1."),
        ("Choose another `when_unknown` or resume=True.", "Choose another `when_unknown` or resume=True."),
    ],
)
def test_arguments_are_replaced_by_options(message: str, expected: str) -> None:
    assert with_options(message, OPTIONS) == expected


def test_without_options_a_message_is_kept() -> None:
    assert with_options("Set resume=True.", {}) == "Set resume=True."
