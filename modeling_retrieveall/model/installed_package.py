"""Features that need the installed package: remote code of a model has only the files of this folder."""

from importlib import import_module
from typing import Any

from .errors import MissingPackageError


def from_package(module: str, name: str, extra: str | None = None) -> Any:
    """Imports a name from another sub-package when it is needed.

    Args:
        module: The module inside of the package, such as ``"hub.push"``.
        name: The name in it.
        extra: The extra of the package that has the dependencies of the module.

    Raises:
        MissingPackageError: The package or the extra is not installed.

    Examples:
        >>> from_package("hub.push", "push_model").__name__
        'push_model'
    """
    try:
        return getattr(import_module(f"modeling_retrieveall.{module}"), name)
    except ImportError as error:
        package = f'"retrieveall[{extra}]"' if extra else "retrieveall"
        raise MissingPackageError(f"This needs a package that is not installed. Run: pip install {package}") from error
