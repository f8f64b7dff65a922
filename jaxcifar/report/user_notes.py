"""`NOTES.md`, a person's own words for a report: its paragraphs, lists and headings as text."""

from collections.abc import Sequence
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from jaxcifar.errors import printable
from jaxcifar.machine.reading import MEGABYTE, Remedy, read_text
from jaxcifar.report.wording import escaped

NOTES = "NOTES.md"
_MOST_BYTES = MEGABYTE // 16
_AGAIN = Remedy("write it as plain text in UTF-8")
_MARKS = {"em_open": "*", "em_close": "*", "strong_open": "**", "strong_close": "**"}


def read_notes(folder: Path) -> str:
    """The Markdown of a folder's notes, "" if there are none.

    Headings, lists, code, and words in italics or bold stay; all else, pictures, links and HTML
    among it, is shown as it is written.

    Raises:
      RunError: they can't be read, or are of more than 64 KiB.
    """
    file = folder / NOTES
    if not (file.exists() or file.is_symlink()):
        return ""
    known = MarkdownIt("zero").enable(["heading", "list", "emphasis", "newline", "backticks"])
    return _written(known.parse(read_text(file, _AGAIN, _MOST_BYTES)))


def _written(tokens: Sequence[Token]) -> str:
    """Blocks as lines of Markdown again, each with the marks of the lists that it lies in."""
    lines: list[str] = []
    lists: list[str] = []  # "-", or the next number, outermost first
    mark = ""
    for before, token in zip([Token("", "", 0), *tokens], tokens, strict=False):
        if token.type in ("bullet_list_open", "ordered_list_open"):
            lists.append("-" if token.tag == "ul" else "1.")
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            lists.pop()
        elif token.type == "list_item_open":
            mark = lists[-1] + " "
        elif token.type == "inline":
            outside = "   " * (len(lists) - bool(mark))
            start = "#### " if before.type == "heading_open" and not lists else ""
            lines.append(outside + mark + start + _inline(token))
            mark = ""
    return "\n\n".join(lines)


def _inline(token: Token) -> str:
    parts = []
    for child in token.children or []:
        text = printable(child.content, 10_000)
        is_code = child.type == "code_inline" and "`" not in text
        text = f"`{text}`" if is_code else escaped(text)
        parts.append(_MARKS.get(child.type) or (" " if child.type == "softbreak" else text))
    return "".join(parts) or "–"
