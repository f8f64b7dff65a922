"""Packages that only some commands take, imported when they are needed."""

import importlib
from types import ModuleType

from jaxcifar.errors import RunError, first_line


def import_extra(module: str) -> ModuleType:
    """Import a module of a package that only an extra of ours installs.

    Args:
      module: its dotted name; the first part is the package's name for pip too.

    Raises:
      RunError: it can't be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise RunError(
            f"this takes the package {package}, which can't be imported ({first_line(error)}); "
            f"install it with: pip install {package}"
        ) from error
