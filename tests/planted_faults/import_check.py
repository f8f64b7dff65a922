"""A plugin of pytest: before the tests run, import a module, and end pytest if that fails.

It is copied beside a copy of the checkout. The variable `MODULE_WITH_FAULT` names the module.
"""

import importlib
import os

import pytest

MODULE = "MODULE_WITH_FAULT"  # a variable of the environment
EXIT_CODE = 99


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    try:
        importlib.import_module(os.environ[MODULE])
    except Exception as error:
        pytest.exit(f"{type(error).__name__}: {error}", returncode=EXIT_CODE)
