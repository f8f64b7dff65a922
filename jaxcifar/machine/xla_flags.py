"""XLA's flags: finding the names that the installed jaxlib knows, and checking `XLA_FLAGS`.

XLA ends the process if `XLA_FLAGS` has an unknown flag, and refuses to compile with an unknown
option. Different versions of XLA have different flags, and none of them offers a list.
"""

import functools
import importlib.util
import mmap
import os
import re
import shlex
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from jaxcifar.errors import UsageError


def known_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the compiler options in `options` that the installed jaxlib knows."""
    return {name: value for name, value in options.items() if is_known_flag(name)}


@functools.cache
def is_known_flag(flag: str) -> bool:
    """Return whether the installed jaxlib has a flag of this name, such as "xla_cpu_max_isa".

    The function searches the library's file, where the names of flags are C strings. The search
    takes about 10 ms for a known name, and 0.2 s for an unknown name.
    """
    library = _xla_library()
    if library is None:
        return False
    with (
        library.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return _has_string_ending_in(content, flag)


def check_xla_flags() -> None:
    """Check that XLA knows every flag in the environment's `XLA_FLAGS`.

    Raises:
      UsageError: a flag is unknown, or the variable names a file of flags that can't be read.
    """
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if flags and not flags.startswith("-"):  # XLA treats it as the name of a file
        try:
            flags = Path(flags).read_text("utf-8", "replace")
        except OSError as error:
            raise UsageError(
                f"XLA_FLAGS={flags}: {error.strerror}; a flag begins with --, and anything else "
                "is the name of a file with flags"
            ) from error
    if _xla_library() is None:  # then no flag can be checked
        return
    unknown_flags = [flag for flag in _split_flags(flags) if not _is_accepted(flag)]
    if unknown_flags:
        listed = ", ".join(unknown_flags)
        raise UsageError(
            f"XLA_FLAGS: jaxlib {metadata.version('jaxlib')} does not know {listed}; "
            "remove it from the variable"
        )


def _split_flags(flags: str) -> list[str]:
    """Split a text into flags as a shell splits words, also inside quotes."""
    try:
        return shlex.split(flags)
    except ValueError:  # a quote that is never closed
        return flags.split()


def _is_accepted(flag: str) -> bool:
    """Return whether a text is "--name" or "--name=value", and XLA has a flag of that name."""
    match = re.fullmatch(r"--(\w+)(=.*)?", flag, re.DOTALL)
    return match is not None and is_known_flag(match[1])


def _has_string_ending_in(content: mmap.mmap, word: str) -> bool:
    """Return whether a library holds a C string that is this word or ends in this word.

    Linkers may store a string as the end of a longer string, such as "xla_dump_to" in
    "xla.DebugOptions.xla_dump_to". The character before the word must not be a letter, digit or
    underscore.
    """
    c_string = b"%s\0" % word.encode()
    start = content.find(c_string)
    while start > 0:
        if not re.match(rb"\w", content[start - 1 : start]):
            return True
        start = content.find(c_string, start + 1)
    return False


@functools.cache
def _xla_library() -> Path | None:
    """Return the path of jaxlib's library that contains XLA; None if it is not found."""
    jaxlib_spec = importlib.util.find_spec("jaxlib")
    if jaxlib_spec is None or jaxlib_spec.submodule_search_locations is None:
        return None
    for folder in jaxlib_spec.submodule_search_locations:
        for library_file in Path(folder).glob("*jax_common.*"):
            return library_file
    return None
