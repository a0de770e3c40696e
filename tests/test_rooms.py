"""Which sub-package may import which, and what the remote code of a model may import."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import modeling_retrieveall
from tests.conftest import ROOT

PACKAGE = Path(modeling_retrieveall.__file__).parent
ORDER = ["model", "data", "evaluation", "hub", "training", "serving", "annotation", "integrations", "cli"]
"""Each sub-package imports only those before it."""
VERSION = "..__version__"
"""What every sub-package may import from the package itself."""


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """The modules that a file imports, relative ones with their dots, and the line of each."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (("." * node.level + name, node.lineno) for name in names)


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_rooms_below_it(room: str) -> None:
    below = ORDER[: ORDER.index(room)]
    for file in sorted((PACKAGE / room).glob("*.py")):
        for name, line in imports(file):
            if name != VERSION and name.startswith(("..", "modeling_retrieveall")):
                other = name.removeprefix("..").removeprefix("modeling_retrieveall.").split(".")[0]
                assert other in below, f"{room}/{file.name}:{line} imports {name}, which is not below {room}"


def test_every_room_has_its_place_in_the_order() -> None:
    assert sorted(ORDER) == sorted(folder.parent.name for folder in PACKAGE.glob("*/__init__.py"))


def test_remote_code_imports_only_its_siblings_the_standard_library_and_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["embedded"]]
    names = {requirement.split(">")[0].split("=")[0].replace("-", "_") for requirement in required}
    siblings = {file.stem for file in (PACKAGE / "model").glob("*.py")}
    for file in sorted((PACKAGE / "model").glob("*.py")):
        for name, line in imports(file):
            known = name[1:] in siblings if name.startswith(".") else name.split(".")[0] in names | sys.stdlib_module_names
            assert known, f"model/{file.name}:{line} imports {name}: neither a sibling nor a dependency"
