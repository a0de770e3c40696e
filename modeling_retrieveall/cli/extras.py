"""The packages that RetrieveAll requires, and the extras that require them, read from its installed metadata.

>>> extra_of("ray")
'ray'
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "retrieveall"
EVERYTHING = "all"
"""The extra that contains all others."""


def requirements() -> "Iterator[tuple[Requirement, str]]":
    """Each requirement with the extra that it belongs to, or ``""`` if the package does not work without it.

    There are none where the package is not installed, as in a checkout that is only on the module search path.
    """
    from importlib.metadata import PackageNotFoundError, requires

    from packaging.requirements import Requirement

    try:
        lines = requires(PACKAGE) or []
    except PackageNotFoundError:
        lines = []
    for line in lines:
        requirement = Requirement(line)
        extra = str(requirement.marker).partition('extra == "')[2].partition('"')[0] if requirement.marker else ""
        if requirement.name != PACKAGE and extra != EVERYTHING:
            yield requirement, extra


def extra_of(module: str) -> str | None:
    """The first extra that installs an importable module, or ``None`` if no extra does."""
    for requirement, extra in requirements():
        if extra and requirement.name.replace("-", "_") == module:
            return extra
    return None
