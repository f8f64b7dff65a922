"""What comes from a disk or a person, read with nothing taken for granted.

Only regular files are opened, only so much of them is read, and what they hold must have the
structure that whoever writes them declares, once, as a type (a `TypedDict` or `msgspec.Struct`).
Whatever is wrong becomes one exception, whose line names the file, the place in it and a remedy.
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
MOST_BYTES = 64 * MEGABYTE
_MOST_VALUES = 2**22  # of a document: Python takes up to 72 bytes for each
_MOST_LEVELS = 32  # of lists and tables in each other
_MOST_INTEGER = 2**63
_REASON = 200  # characters
# Of TOML, whose parser takes time and memory by the square of a key's parts: a megabyte in one line
# came to 16 GB.
_MOST_TOML_BYTES, _LONGEST_LINE = 2**17, 2**11

Line = Annotated[str, msgspec.Meta(max_length=1000)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]
T = TypeVar("T")


class Remedy(NamedTuple):
    """What becomes of a file that can't be read.

    Attributes:
      advice: what to do about it, the end of the message.
      error: `UsageError` where a person wrote the file.
    """

    advice: str
    error: type[RunError] | type[UsageError] = RunError


@contextlib.contextmanager
def open_regular_file(path: Path, follow: bool = False) -> Iterator[BufferedReader]:
    """A regular file, open for reading; a pipe or device is never waited for.

    Args:
      path: of the file.
      follow: whether a link may stand in its place.

    Raises:
      OSError: it can't be opened.
      ValueError: it is no regular file.
    """
    with os.fdopen(open_descriptor(path, os.O_RDONLY, follow), "rb") as file:
        yield file


@contextlib.contextmanager
def report_errors(path: Path, remedy: Remedy) -> Iterator[None]:
    """Tell what goes wrong with a file in one line.

    Raises:
      RunError, UsageError: as `remedy` says, in place of any `OSError` or `ValueError`.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        told = printable(reason or str(error), _REASON)
        raise remedy.error(f"{path}: {told}; {remedy.advice}") from error


def read_text(path: Path, remedy: Remedy, most: int = MOST_BYTES, follow: bool = False) -> str:
    """The text of a file in UTF-8 of up to `most` bytes.

    Raises:
      RunError, UsageError: it can't be read.
    """
    with report_errors(path, remedy):
        return _text(path, most, follow)


def _text(path: Path, most: int, follow: bool) -> str:
    with open_regular_file(path, follow) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"has more than {most:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start:,} is no text in UTF-8") from None


def read_json(
    path: Path, structure: type[T], remedy: Remedy, most: int = MOST_BYTES, follow: bool = False
) -> T:
    """The value of a JSON file, of the declared structure.

    Raises:
      RunError, UsageError: it can't be read, or is something else.
    """
    with report_errors(path, remedy):
        return convert_checked(parse_json(_text(path, most, follow)), structure)


def read_json_lines(path: Path, structure: type[T], remedy: Remedy) -> list[T]:
    """The values of a file with a JSON value a line, each of the declared structure.

    Raises:
      RunError, UsageError: it can't be read, or a line is something else.
    """
    with report_errors(path, remedy):
        lines = _text(path, MOST_BYTES, follow=False).removesuffix("\n").split("\n")
        if lines == [""]:
            return []
        return [_line(line, structure, place) for place, line in enumerate(lines, start=1)]


def _line(line: str, structure: type[T], number: int) -> T:
    try:
        return convert_checked(parse_json(line), structure)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error


def read_toml(path: Path, structure: type[T], remedy: Remedy) -> T:
    """The value of a TOML file of up to 128 KiB, of the declared structure; links are followed.

    Raises:
      RunError, UsageError: it can't be read, or is something else.
    """
    with report_errors(path, remedy):
        text = _text(path, _MOST_TOML_BYTES, follow=True)
        if max(map(len, text.splitlines()), default=0) > _LONGEST_LINE:
            raise ValueError(f"has a line of more than {_LONGEST_LINE:,} characters")
        return convert_checked(_parsed(text, tomllib.loads), structure)


def parse_json(text: str) -> Any:
    """The value of JSON text, if it is neither too large nor nested too deeply.

    Raises:
      ValueError: it is not such text.
    """
    if sum(map(text.count, ",[{")) > _MOST_VALUES:
        raise ValueError(f"has more than {_MOST_VALUES:,} values")
    return _parsed(text, json.loads)


def _parsed(text: str, parse: Callable[[str], Any]) -> Any:
    if not text.strip():
        raise ValueError("is empty")
    try:
        value = parse(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"is no JSON or damaged ({error.msg}: {where})") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is no TOML or damaged ({error})") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError:  # what else both can raise is of Python's limit for digits, and of dates
        raise ValueError("has a number or date that is out of range") from None
    _require_bounded(value)
    return value


def _require_bounded(value: Any) -> None:
    """Level by level, so that depth costs nothing."""
    level = [value]
    for _ in range(_MOST_LEVELS):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, int) and not -_MOST_INTEGER <= item < _MOST_INTEGER:
                raise ValueError("has a whole number of more than 64 bits")
        if not inner:
            return
        level = inner
    raise ValueError("is nested too deeply")


def convert_checked(value: Any, structure: type[T], where: str = "") -> T:
    """`value` as the declared type; nothing is converted but whole numbers to floats.

    Args:
      value: of JSON's or TOML's types.
      structure: what it must be.
      where: what it is called, for the message.

    Raises:
      ValueError: it is something else; the message says where.
    """
    try:
        return msgspec.convert(value, structure)
    except UnicodeEncodeError:
        raise ValueError(f"{where}: has half a character in it".removeprefix(": ")) from None
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `")
        inner = re.sub(r"^(key` in `)?\$\.?", "", path.removesuffix("`"))
        place = ", ".join(filter(None, (where, inner)))
        raise ValueError(f"{place}: {what}" if place else what) from None
