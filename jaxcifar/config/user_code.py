"""The user code of a `Config`, and its imports: loaded and checked against their digests."""

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from typing import Any

from jaxcifar.config import user_reference
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.user.execution import noticing_files
from jaxcifar.user.loader import is_hashed, late_import
from jaxcifar.user.user_files import file_of, is_users


def load(config: Config, kind: str) -> Any:
    """Return the class or function that a field of a config names.

    Raises:
      UsageError: there is none, or its file fails or has been edited since; in one line.
    """
    digests = dict(config.sources or ())
    return user_reference.load(kind, getattr(config, kind), digests.get(kind))


def digests(config: Config, kind: str) -> tuple[str, ...]:
    """Load the user code that a field names and return its digests; empty for our own code."""
    sources = dict(config.sources or ())
    if kind not in sources:
        return ()
    imported = user_reference.imports(kind, getattr(config, kind), sources[kind])
    return sources[kind], *imported.values()


def is_loaded(config: Config) -> bool:
    """Return whether this process holds the user code that a config was trained with."""
    named = [(kind, getattr(config, kind), sha256) for kind, sha256 in config.sources or ()]
    held = all(user_reference.is_read(*code) for code in named)
    return held and with_imports(config).imports == config.imports


def with_imports(config: Config) -> Config:
    """Load the user code of a config and return the config with the digests of its imports.

    Raises:
      UsageError: it can't be loaded, or has been edited since; in one line.
    """
    imported = {
        f"{kind}: {file}": digest
        for kind, sha256 in config.sources or ()
        for file, digest in user_reference.imports(kind, getattr(config, kind), sha256).items()
    }
    return dataclasses.replace(config, imports=tuple(sorted(imported.items())))


def with_imports_of(config: Config, there: Config) -> Config:
    """Return `config` with the current digests of the files that `there` lists as imports.

    So the two can be compared before any user code is loaded.
    """
    named: dict[str, list[str]] = {}
    for key, _ in there.imports or ():
        kind, _, file = key.partition(": ")
        named.setdefault(kind, []).append(file)
    now = {
        f"{kind}: {file}": digest or "no file"
        for kind, _ in config.sources or ()
        for file, digest in user_reference.imports_on_disk(
            kind, getattr(config, kind), named.get(kind, ())
        ).items()
    }
    return dataclasses.replace(config, imports=tuple(sorted(now.items())))


@contextmanager
def refusing_late_imports(config: Config) -> Iterator[None]:
    """Refuse user modules that are first imported after the user code was hashed.

    An `importlib.import_module` in a function imports such modules, and `spec_from_file_location`
    runs such files. Import statements in functions do not: they are followed when the code is
    loaded.

    Raises:
      UsageError: there are such modules.
    """
    before = set(sys.modules)
    executed: list[str] = []
    with noticing_files(executed.append):
        yield
    if not config.sources:
        return
    late: dict[str, ModuleSpec] = {}
    for name in {*sys.modules} - before:
        spec = getattr(sys.modules[name], "__spec__", None)
        if is_users(spec) and not is_hashed(spec):
            late[name] = spec
    for name in late:
        del sys.modules[name]
    imported = [file for file in map(file_of, late.values()) if file]
    if files := sorted({*imported, *executed}):
        whose = ", ".join(f"--{kind} {getattr(config, kind)}" for kind, _ in config.sources)
        raise UsageError(f"{whose}: {late_import(files[0])}")


def copies(config: Config) -> dict[str, bytes]:
    """Return the files of a config's user code, by their paths in the folder `sources`."""
    return {
        f"{kind}/{file}": content
        for kind, sha256 in config.sources or ()
        for file, content in user_reference.copies(kind, getattr(config, kind), sha256).items()
    }
