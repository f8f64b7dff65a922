"""The user code of a `Config` and the files that it imports, checked by their digests."""

import dataclasses
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from jaxcifar.config import user_reference
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.user.execution import watch_executed_files
from jaxcifar.user.loader import has_hashed_loader, late_import_message
from jaxcifar.user.user_files import file_of, is_user_module

_NO_FILE = "no file"  # in place of the digest of a file that can't be read


def load(config: Config, field: str) -> Any:
    """Return the class or function whose name is the value of a field of a config.

    Args:
      config: the config.
      field: the field, such as "arch". Its value is a built-in name, or "FILE.py:NAME".

    Raises:
      UsageError: the code is not found, fails, or has been edited since the config was made. The
        message is one line.
    """
    sources = dict(config.sources or ())
    return user_reference.load(field, getattr(config, field), sources.get(field))


def digests(config: Config, field: str) -> tuple[str, ...]:
    """Load the user code in a field of a config, such as "arch"; return the SHA-256 of its files.

    Each SHA-256 is hexadecimal text. The first one identifies the code itself, and the others its
    imports. The tuple is empty if the field has a built-in name such as "cnn".
    """
    sources = dict(config.sources or ())
    if field not in sources:
        return ()
    name, own_digest = getattr(config, field), sources[field]
    import_digests = user_reference.load_import_digests(field, name, own_digest)
    return own_digest, *import_digests.values()


def is_loaded(config: Config) -> bool:
    """Return whether this process has loaded user code with the SHA-256s that a config lists."""
    for field, sha256 in config.sources or ():
        if not user_reference.has_read(field, getattr(config, field), sha256):
            return False
    return with_imports(config).imports == config.imports


def with_imports(config: Config) -> Config:
    """Load a config's user code; return the config with the SHA-256 of files that the code imports.

    Raises:
      UsageError: the code can't be loaded, or has been edited since the config was made. The
        message is one line.
    """
    digest_of_import: dict[str, str] = {}
    for field, sha256 in config.sources or ():
        import_digests = user_reference.load_import_digests(field, getattr(config, field), sha256)
        digest_of_import |= {f"{field}: {file}": digest for file, digest in import_digests.items()}
    return dataclasses.replace(config, imports=tuple(sorted(digest_of_import.items())))


def with_imports_on_disk(config: Config, recorded: Config) -> Config:
    """Return a config with the SHA-256 that the imports of its user code have on the disk now.

    The user code is not loaded: the paths of the files come from `recorded`. So the two configs can
    be compared before any user code runs.

    Args:
      config: the config.
      recorded: a config of an earlier run with the same user code, which lists the imports.
    """
    files_of_field = _imported_files_by_field(recorded)
    digest_of_import: dict[str, str] = {}
    for field, _ in config.sources or ():
        code_name = getattr(config, field)
        files = files_of_field.get(field, ())
        digests_of_files = user_reference.import_digests_on_disk(field, code_name, files)
        for file, digest in digests_of_files.items():
            digest_of_import[f"{field}: {file}"] = _NO_FILE if digest is None else digest
    return dataclasses.replace(config, imports=tuple(sorted(digest_of_import.items())))


def _imported_files_by_field(config: Config) -> dict[str, list[str]]:
    """Return field such as "arch" -> the files that the user code in this field imports."""
    files_of_field: dict[str, list[str]] = {}
    for field_and_file, _ in config.imports or ():
        field, _, file = field_and_file.partition(": ")
        files_of_field.setdefault(field, []).append(file)
    return files_of_field


@contextmanager
def refusing_late_imports(config: Config) -> Iterator[None]:
    """Raise an error after the `with` block if user code was imported in it for the first time.

    The SHA-256s in the config do not cover such code, because they were computed before the block.
    Examples are a module that `importlib.import_module` imports in a function, and a file that
    `spec_from_file_location` runs. Import statements in functions are allowed, because the files
    that they name are found, and covered, when the user's file is read.

    Raises:
      UsageError: user code was imported.
    """
    modules_before = set(sys.modules)
    executed_files: list[str] = []
    with watch_executed_files(executed_files.append):
        yield
    if not config.sources:
        return
    new_modules = set(sys.modules) - modules_before
    imported_files = _remove_modules_without_sha256(new_modules)
    files_without_sha256 = {*executed_files, *imported_files}
    if files_without_sha256:
        options = [f"--{field} {getattr(config, field)}" for field, _ in config.sources]
        message = late_import_message(min(files_without_sha256))
        raise UsageError(f"{', '.join(options)}: {message}")


def _remove_modules_without_sha256(names: Iterable[str]) -> list[str]:
    """Remove user code that no SHA-256 covers from Python's imported modules; return its files.

    Python then imports the code anew the next time, so that the next import is noticed too.

    Args:
      names: names of imported modules; modules that are not such user code stay imported.
    """
    files = []
    for name in names:
        spec = getattr(sys.modules[name], "__spec__", None)
        if not is_user_module(spec):
            continue
        is_covered_by_sha256 = has_hashed_loader(spec)
        if is_covered_by_sha256:
            continue
        del sys.modules[name]
        file = file_of(spec)
        if file:
            files.append(file)
    return files


def contents_to_copy(config: Config) -> dict[str, bytes]:
    """Return the contents of all files of a config's user code.

    Returns:
      path that the copy gets in the folder `sources` of a run -> content.
    """
    contents: dict[str, bytes] = {}
    for field, sha256 in config.sources or ():
        files = user_reference.contents_to_copy(field, getattr(config, field), sha256)
        contents |= {f"{field}/{file}": content for file, content in files.items()}
    return contents
