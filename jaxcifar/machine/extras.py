"""Optional packages, imported only when a command needs them."""

import importlib
from types import ModuleType

from jaxcifar.errors import RunError, first_line


def import_extra(module: str) -> ModuleType:
    """Import a module of an optional package and return it.

    Args:
      module: dotted name of the module. Its first part must be the package's name for pip.

    Raises:
      RunError: the module can't be imported; the message says how to install the package.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise RunError(
            f"the package {package} is needed, but can't be imported ({first_line(error)}); "
            f"install it with: pip install {package}"
        ) from error
