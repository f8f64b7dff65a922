"""The user code of a `Config` and the files that it imports, checked by their digests."""

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxcifar.config import user_reference
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.user.execution import watch_executed_files
from jaxcifar.user.loader import has_hashed_loader, late_import_message
from jaxcifar.user.user_files import file_of, is_user_module


def load(config: Config, kind: str) -> Any:
    """Return the class or function whose name is the value of a field of a config.

    Args:
      config: the config.
      kind: the field, such as "arch". Its value is a built-in name, or "FILE.py:NAME".

    Raises:
      UsageError: the code is not found, fails, or has been edited since the config was made. The
        message is one line.
    """
    sources = dict(config.sources or ())
    return user_reference.load(kind, getattr(config, kind), sources.get(kind))


def digests(config: Config, kind: str) -> tuple[str, ...]:
    """Load the user code that a field of a config names; return the SHA-256 (hex) of its files.

    `kind` is the field's name, such as "arch". The first SHA-256 identifies the code itself, and
    the others its imports. The tuple is empty if the field does not name user code.
    """
    sources = dict(config.sources or ())
    if kind not in sources:
        return ()
    import_digests = user_reference.load_import_digests(kind, getattr(config, kind), sources[kind])
    return sources[kind], *import_digests.values()


def is_loaded(config: Config) -> bool:
    """Return whether this process has loaded user code with the SHA-256s that a config lists."""
    for kind, sha256 in config.sources or ():
        if not user_reference.has_read(kind, getattr(config, kind), sha256):
            return False
    return with_imports(config).imports == config.imports


def with_imports(config: Config) -> Config:
    """Load a config's user code; return the config with the SHA-256 of files that the code imports.

    Raises:
      UsageError: the code can't be loaded, or has been edited since the config was made. The
        message is one line.
    """
    digest_of_import: dict[str, str] = {}
    for kind, sha256 in config.sources or ():
        import_digests = user_reference.load_import_digests(kind, getattr(config, kind), sha256)
        digest_of_import |= {f"{kind}: {file}": digest for file, digest in import_digests.items()}
    return dataclasses.replace(config, imports=tuple(sorted(digest_of_import.items())))


def with_imports_on_disk(config: Config, recorded: Config) -> Config:
    """Return a config with the present SHA-256 of the files that its user code imports.

    The user code is not loaded: the paths of the files come from `recorded`. So the two configs can
    be compared before any user code runs.

    Args:
      config: the config.
      recorded: a config of an earlier run with the same user code, which lists the imports.
    """
    files_of_kind: dict[str, list[str]] = {}
    for key, _ in recorded.imports or ():
        kind, _, file = key.partition(": ")
        files_of_kind.setdefault(kind, []).append(file)
    digest_of_import: dict[str, str] = {}
    for kind, _ in config.sources or ():
        files_of_this_kind = files_of_kind.get(kind, ())
        import_digests = user_reference.import_digests_on_disk(
            kind, getattr(config, kind), files_of_this_kind
        )
        digest_of_import |= {
            f"{kind}: {file}": digest or "no file" for file, digest in import_digests.items()
        }
    return dataclasses.replace(config, imports=tuple(sorted(digest_of_import.items())))


@contextmanager
def refusing_late_imports(config: Config) -> Iterator[None]:
    """Raise an error if user code is imported for the first time inside the `with` block.

    The SHA-256s in the config do not cover such code, because they were computed before. Examples
    are a module that `importlib.import_module` imports in a function, and a file that
    `spec_from_file_location` runs. Import statements in functions are allowed, because the files
    that they name were hashed with the others.

    Raises:
      UsageError: user code was imported.
    """
    modules_before = set(sys.modules)
    executed_files: list[str] = []
    with watch_executed_files(executed_files.append):
        yield
    if not config.sources:
        return
    late_files = set(executed_files)
    for name in set(sys.modules) - modules_before:
        spec = getattr(sys.modules[name], "__spec__", None)
        if is_user_module(spec) and not has_hashed_loader(spec):
            del sys.modules[name]
            file = file_of(spec)
            if file:
                late_files.add(file)
    if late_files:
        code_options = ", ".join(f"--{kind} {getattr(config, kind)}" for kind, _ in config.sources)
        raise UsageError(f"{code_options}: {late_import_message(min(late_files))}")


def contents_to_copy(config: Config) -> dict[str, bytes]:
    """Return the contents of all files of a config's user code.

    Returns:
      path that the copy gets in the folder `sources` of a run -> content.
    """
    contents: dict[str, bytes] = {}
    for kind, sha256 in config.sources or ():
        files = user_reference.contents_to_copy(kind, getattr(config, kind), sha256)
        contents |= {f"{kind}/{file}": content for file, content in files.items()}
    return contents
