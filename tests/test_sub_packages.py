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
BELOW = {
    "model": set(),
    "data": {"model"},
    "evaluation": {"data", "model"},
    "hub": {"data", "model"},
    "training": {"data", "evaluation", "hub", "model"},
    "serving": {"model"},
    "annotation": {"data", "model"},
    "integrations": {"annotation", "data", "model"},
    "cli": {"annotation", "data", "evaluation", "hub", "integrations", "model", "serving", "training"},
}
"""For each sub-package the ones that it may import."""
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


@pytest.mark.parametrize("name", BELOW)
def test_a_sub_package_imports_only_those_below_it(name: str) -> None:
    for file in sorted((PACKAGE / name).glob("*.py")):
        for module, line in imports(file):
            if module != VERSION and module.startswith(("..", "modeling_retrieveall")):
                other = module.removeprefix("..").removeprefix("modeling_retrieveall.").split(".")[0]
                assert other in BELOW[name], f"{name}/{file.name}:{line} imports {module}, which {name} may not import"


def test_every_sub_package_is_listed_and_flat() -> None:
    assert sorted(BELOW) == sorted(folder.parent.name for folder in PACKAGE.glob("*/__init__.py"))
    nested = {file.parent.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*/*/*.py")}
    assert nested == set()


def test_remote_code_imports_only_its_siblings_the_standard_library_and_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["embedded"]]
    names = {requirement.split(">")[0].split("=")[0].replace("-", "_") for requirement in required}
    siblings = {file.stem for file in (PACKAGE / "model").glob("*.py")}
    for file in sorted((PACKAGE / "model").glob("*.py")):
        for name, line in imports(file):
            known = name[1:] in siblings if name.startswith(".") else name.split(".")[0] in names | sys.stdlib_module_names
            assert known, f"model/{file.name}:{line} imports {name}: neither a sibling nor a dependency"
