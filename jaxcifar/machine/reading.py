"""Safe reading of text, JSON and TOML files that may be damaged or hostile.

Only regular files are opened, and only up to a maximum size. Their content must have the structure
that a type declares (a `TypedDict` or `msgspec.Struct`). Any problem raises one exception. Its
message names the file, the place in the file and what to do.
"""

import contextlib
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from jaxcifar.errors import RunError, UsageError, printable
from jaxcifar.machine.system import open_descriptor

MEGABYTE = 2**20
MAX_BYTES = 64 * MEGABYTE
_MAX_JSON_VALUES = 2**22  # in a document; Python takes up to 72 bytes for each
_MAX_NESTING = 32  # of nested lists and tables
_INTEGER_LIMIT = 2**63
_MAX_REASON_CHARACTERS = 200
# The TOML parser's memory grows with the square of a key's parts: 16 GB for a line of a megabyte.
_MAX_TOML_BYTES = 2**17
_MAX_TOML_LINE_LENGTH = 2**11  # characters
_ROOT_PATTERN = re.compile(r"^(key` in `)?\$\.?")  # the whole value, in a message of msgspec

Line = Annotated[str, msgspec.Meta(max_length=1000)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]
T = TypeVar("T")


class Remedy(NamedTuple):
    """Advice for the user, and the type of the error, for a file that can't be read.

    Attributes:
      advice: what the user can do; ends the message.
      error: type of the error; `UsageError` if the user wrote the file.
    """

    advice: str
    error: type[RunError] | type[UsageError] = RunError


@contextlib.contextmanager
def open_regular_file(path: Path, follow_links: bool = False) -> Iterator[BufferedReader]:
    """Yield a regular file that is open for reading, and close it when the block ends.

    Pipes and devices are refused at once, because reading from them could wait for ever.

    Args:
      path: the file.
      follow_links: follow a symbolic link at `path`.

    Raises:
      OSError: the file can't be opened.
      ValueError: `path` is not a regular file, or is a link and `follow_links` is false.
    """
    descriptor = open_descriptor(path, os.O_RDONLY, follow_links)
    with os.fdopen(descriptor, "rb") as file:
        yield file


@contextlib.contextmanager
def report_errors(path: Path, remedy: Remedy) -> Iterator[None]:
    """Turn an `OSError` or `ValueError` about the file `path` into a one-line error.

    Raises:
      RunError, UsageError: the type that `remedy` gives.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        system_reason = error.strerror if isinstance(error, OSError) else None
        reason = printable(system_reason or str(error), _MAX_REASON_CHARACTERS)
        raise remedy.error(f"{path}: {reason}; {remedy.advice}") from error


def read_text(
    path: Path, remedy: Remedy, max_bytes: int = MAX_BYTES, follow_links: bool = False
) -> str:
    """Return the text of a UTF-8 file.

    Args:
      path: the file.
      remedy: the advice and type of the error if the file can't be read.
      max_bytes: maximum size of the file.
      follow_links: follow a symbolic link at `path`.

    Raises:
      RunError, UsageError: the file can't be read, is too large or is not UTF-8.
    """
    with report_errors(path, remedy):
        return _read_bounded(path, max_bytes, follow_links)


def _read_bounded(path: Path, max_bytes: int, follow_links: bool) -> str:
    """Return the text of a UTF-8 file of at most `max_bytes` bytes."""
    with open_regular_file(path, follow_links) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"has more than {max_bytes:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start:,} is not UTF-8 text") from None


def read_json(
    path: Path,
    structure: type[T],
    remedy: Remedy,
    max_bytes: int = MAX_BYTES,
    follow_links: bool = False,
) -> T:
    """Read a JSON file as the type `structure`; the other arguments are those of `read_text`.

    Raises:
      RunError, UsageError: the file can't be read, is not JSON, or has another structure.
    """
    with report_errors(path, remedy):
        value = parse_json(_read_bounded(path, max_bytes, follow_links))
        return convert_checked(value, structure)


def read_json_lines(path: Path, structure: type[T], remedy: Remedy) -> list[T]:
    """Return the values in a file with one JSON value in each line.

    Args:
      path: the file.
      structure: type that each value must have.
      remedy: the advice and type of the error if the file can't be used.

    Raises:
      RunError, UsageError: the file can't be read, or a line is not JSON or has another structure.
    """
    with report_errors(path, remedy):
        text = _read_bounded(path, MAX_BYTES, follow_links=False).removesuffix("\n")
        if text == "":
            return []
        lines = text.split("\n")
        return [_parse_line(line, structure, number) for number, line in enumerate(lines, start=1)]


def _parse_line(line: str, structure: type[T], line_number: int) -> T:
    try:
        return convert_checked(parse_json(line), structure)
    except ValueError as error:
        raise ValueError(f"line {line_number}: {error}") from error


def read_toml(path: Path, structure: type[T], remedy: Remedy) -> T:
    """Read a TOML file of up to 128 KiB, and return its value of the type `structure`.

    Links are followed. `remedy` has the advice and type of the error if the file can't be used.

    Raises:
      RunError, UsageError: the file can't be read, is not TOML, or has another structure.
    """
    with report_errors(path, remedy):
        text = _read_bounded(path, _MAX_TOML_BYTES, follow_links=True)
        longest_line = max(map(len, text.splitlines()), default=0)
        if longest_line > _MAX_TOML_LINE_LENGTH:
            raise ValueError(f"has a line of more than {_MAX_TOML_LINE_LENGTH:,} characters")
        return convert_checked(_parse_bounded(text, tomllib.loads), structure)


def parse_json(text: str) -> Any:
    """Return the value that JSON text describes.

    Raises:
      ValueError: the text is not JSON, has too many values, or is nested too deeply.
    """
    marks_before_values = ",[{"  # each value but the first follows one of these
    value_count = sum(text.count(mark) for mark in marks_before_values)
    if value_count > _MAX_JSON_VALUES:
        raise ValueError(f"has more than {_MAX_JSON_VALUES:,} values")
    return _parse_bounded(text, json.loads)


def _parse_bounded(text: str, parse_text: Callable[[str], Any]) -> Any:
    """Return `parse_text(text)`; raise `ValueError` if it fails, or a value is out of bounds."""
    if not text.strip():
        raise ValueError("is empty")
    try:
        value = parse_text(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"is not valid JSON ({error.msg}: {where})") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is not valid TOML ({error})") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError:  # both parsers: a number with too many digits, or an impossible date
        raise ValueError("has a number or date that is out of range (correct it)") from None
    _require_bounded_value(value)
    return value


def _require_bounded_value(value: Any) -> None:
    """Raise ValueError if a value is nested too deeply or has an integer of more than 64 bits.

    The loop goes through the value level by level, because recursion might overflow the stack.
    """
    values_at_depth = [value]
    for _ in range(_MAX_NESTING):
        values_one_deeper: list[Any] = []
        for item in values_at_depth:
            if isinstance(item, dict):
                values_one_deeper += item.values()
            elif isinstance(item, list):
                values_one_deeper += item
            elif isinstance(item, int) and not -_INTEGER_LIMIT <= item < _INTEGER_LIMIT:
                raise ValueError("has a whole number of more than 64 bits")
        if not values_one_deeper:
            return
        values_at_depth = values_one_deeper
    raise ValueError("is nested too deeply")


def convert_checked(value: Any, structure: type[T], value_name: str = "") -> T:
    """Check the type of a value from a JSON or TOML file, and return the value.

    An integer becomes a float where the type is float.

    Args:
      value: a value from a JSON or TOML file.
      structure: type that the value must have.
      value_name: name of the value; begins the error message.

    Raises:
      ValueError: the value has another type; the message names the place in it.
    """
    try:
        return msgspec.convert(value, structure)
    except UnicodeEncodeError:
        problem = "has half a character in it"  # one of the two surrogates of UTF-16
        raise ValueError(f"{value_name}: {problem}" if value_name else problem) from None
    except msgspec.ValidationError as error:
        problem, _, msgspec_path = str(error).partition(" - at `")
        place_in_value = _ROOT_PATTERN.sub("", msgspec_path.removesuffix("`"))
        place = ", ".join(part for part in (value_name, place_in_value) if part)
        raise ValueError(f"{place}: {problem}" if place else problem) from None
