"""The files under tests/ that a test file depends on: what it imports, and each conftest.py."""

import ast
import functools


def files_with_helpers(root, test_file):
    """Return the paths of a test file and of its helpers, sorted.

    The helpers are each conftest.py that pytest loads for the test file, and all modules in
    tests/ that these files import, directly or through other helpers.

    Args:
      root: the root of the checkout.
      test_file: path of the test file below the root.
    """
    tests = root / "tests"
    path = root / test_file
    folders = [folder for folder in path.parents if folder.is_relative_to(root)]
    waiting = [path, *(folder / "conftest.py" for folder in folders)]
    found = set()
    while waiting:
        file = waiting.pop()
        if file in found or not file.is_file():
            continue
        found.add(file)
        for name in _imported_names(file.read_bytes()):
            waiting += _files_of_module(tests, name)
        if file.is_relative_to(tests):
            package = file.parent.relative_to(tests).parts
            for level, name in _relative_names(file.read_bytes()):
                base = package[: len(package) - level + 1]
                waiting += _files_of_module(tests, ".".join((*base, name)))
    return sorted(found)


def _files_of_module(tests, name):
    """Return where the module `a.b` and the packages around it would be; they may not exist."""
    parts = [part for part in name.split(".") if part]
    files = []
    for depth in range(1, len(parts) + 1):
        path = tests.joinpath(*parts[:depth])
        files += [path.with_name(f"{path.name}.py"), path / "__init__.py"]
    return files


@functools.cache
def _imported_names(source):
    """Return the full names of what a source imports; `from a import b` may mean a module a.b."""
    names = set()
    for node in _nodes(source):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@functools.cache
def _relative_names(source):
    """Return pairs (number of dots, name after them) for the relative imports of a source."""
    return {
        (node.level, f"{node.module or ''}.{alias.name}")
        for node in _nodes(source)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }


def _nodes(source):
    try:
        return tuple(ast.walk(ast.parse(source)))
    except SyntaxError:  # pytest will report it
        return ()
