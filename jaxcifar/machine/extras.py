"""Packages that only some commands take, imported when they are needed."""

import importlib
from types import ModuleType

from jaxcifar.errors import RunError, first_line


def extra(package: str, name: str) -> ModuleType:
    """A package that belongs to an extra of ours.

    Args:
      package: to import.
      name: of the extra.

    Raises:
      RunError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise RunError(
            f"this takes the package {package}, which can't be imported ({first_line(error)}); "
            f'pip install -c constraints.txt -e ".[{name}]"'
        ) from error
