"""The lists of planted faults, and what must hold for each entry."""

import ast
import dataclasses
import hashlib
import tomllib
from pathlib import Path

from planted_faults.helpers import files_with_helpers
from planted_faults.plain_code import plain_code

FIELDS = ("name", "file", "text", "replacement", "effect", "tests")


@dataclasses.dataclass(frozen=True)
class Fault:
    """A slip that a developer could make.

    Attributes:
      name: unique over all lists, in kebab case.
      file: path of the source file below the root of the checkout.
      text: whole lines that stand exactly once in that file.
      replacement: the same lines with the slip.
      effect: what a user would get, in one sentence.
      tests: the tests that should notice, as "FILE::FUNCTION" or "FILE".
    """

    name: str
    file: str
    text: str
    replacement: str
    effect: str
    tests: tuple[str, ...]

    @property
    def package(self):
        """The package that the file belongs to, as a path such as "jaxcifar/data"."""
        folder = Path(self.file).parent.parts[:2]
        return "/".join(folder) or "."

    @property
    def test_files(self):
        """The files of its tests, each once, in the order of the list."""
        return tuple(dict.fromkeys(test.partition("::")[0] for test in self.tests))

    def key(self, root):
        """Return a checksum over the fault, its source file, its test files and their helpers.

        A change in the code of any of them changes the key. Changed comments and docstrings do not.
        """
        digest = hashlib.sha256(repr((self.name, self.file, self.tests)).encode())
        files = {root / self.file}
        for test_file in self.test_files:
            files.update(files_with_helpers(root, test_file))
        for file in sorted(files):
            path = file.relative_to(root).as_posix()
            digest.update(f"{path}\0{_code(path, _content(file))}\0".encode())
        planted = self.planted(root) if (root / self.file).is_file() else ""
        digest.update(_code(self.file, planted.encode()).encode())
        return digest.hexdigest()

    def problems(self, root):
        """Return what is wrong with this entry, without running anything."""
        path = root / self.file
        if not path.is_file():
            return [f"{self.file}: there is no such file"]
        found = []
        count = path.read_text().count(self.text) if self.text else 0
        if count != 1:
            found.append(f"its text stands {count} times in {self.file}, not once")
        if self.text == self.replacement:
            found.append("its replacement is its text")
        if not self.tests:
            found.append("it names no test")
        return found + [missing for test in self.tests if (missing := _missing_test(root, test))]

    def planted(self, root):
        """Return the file's source with the slip."""
        return (root / self.file).read_text().replace(self.text, self.replacement)


def read_catalog(folder):
    """Return the faults of all lists in a folder.

    Raises:
      ValueError: an entry lacks a field, has one too many, or one of the wrong type.
    """
    faults = []
    for path in sorted(folder.glob("*.toml")):
        lists = tomllib.loads(path.read_text())
        if set(lists) != {"fault"}:
            raise ValueError(f"{path.name}: must hold [[fault]] entries and nothing else")
        faults += [
            _fault(entry, f"{path.name}, entry {n}") for n, entry in enumerate(lists["fault"], 1)
        ]
    return faults


def _fault(entry, where):
    if set(entry) != set(FIELDS):
        differing = ", ".join(sorted(set(entry) ^ set(FIELDS)))
        raise ValueError(f"{where}: missing or unknown fields: {differing}")
    tests = entry["tests"]
    texts = [value for name, value in entry.items() if name != "tests"] + list(tests)
    if not isinstance(tests, list) or not all(isinstance(text, str) and text for text in texts):
        raise ValueError(f"{where}: a field is empty or of the wrong type")
    return Fault(**{**entry, "tests": tuple(tests)})


def _content(path):
    return path.read_bytes() if path.is_file() else b""


def _code(path, content):
    """Return a file's content as text; of Python files the code alone."""
    return plain_code(content) if path.endswith(".py") else content.decode(errors="replace")


def _missing_test(root, test):
    """Return a message if a test does not exist, else None."""
    file, _, function = test.partition("::")
    path = root / file
    if not path.is_file():
        return f"{file}: there is no such test file"
    if function and function not in _functions(path.read_text()):
        return f"{test}: there is no such test function"
    return None


def _functions(source):
    """Return the names of a test file's functions, those of its classes as "Class::function"."""
    tree = ast.parse(source)
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for group in tree.body:
        if isinstance(group, ast.ClassDef):
            inner = [node.name for node in group.body if isinstance(node, ast.FunctionDef)]
            names |= {f"{group.name}::{name}" for name in inner}
    return names
