"""The public names of the package."""

import subprocess
import sys

import modeling_retrieveall
from modeling_retrieveall.cli.extras import requirements

STAR_IMPORT = """
import sys

sys.modules |= dict.fromkeys({missing})  # an import of any of these fails
from modeling_retrieveall import *

assert Entity("Bonn", "LOC", 0, 4, 1.0).text == "Bonn"
for function in (evaluate, train):
    try:
        function()
    except MissingPackageError as error:
        print(error)
"""


def test_every_public_name_can_be_imported_and_is_listed() -> None:
    assert set(modeling_retrieveall.__all__) == set(modeling_retrieveall._HOMES) == set(dir(modeling_retrieveall))
    for name in modeling_retrieveall.__all__:
        assert getattr(modeling_retrieveall, name).__name__ == name


def test_without_extras_all_names_can_be_imported_and_functions_name_the_missing_extra_when_called() -> None:
    optional = [requirement.name.replace("-", "_") for requirement, extra in requirements() if extra]
    assert {"peft", "seqeval", "ray", "gradio"} <= set(optional)
    done = subprocess.run([sys.executable, "-c", STAR_IMPORT.format(missing=optional)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        'evaluate() needs the package seqeval. Run: pip install "retrieveall[train]"',
        'train() needs the package peft. Run: pip install "retrieveall[train]"',
    ]
