"""Read a user's `NOTES.md` as Markdown that is safe to put into a report."""

from collections.abc import Sequence
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from jaxcifar.errors import printable
from jaxcifar.machine.reading import MEGABYTE, Remedy, read_text
from jaxcifar.report.wording import escape_line

NOTES_FILE = "NOTES.md"
_MAX_NOTES_BYTES = MEGABYTE // 16
_REMEDY = Remedy("write it as plain text in UTF-8")
_LIST_INDENT = "   "
_EMPHASIS_MARKS = {
    "em_open": "*",
    "em_close": "*",
    "strong_open": "**",
    "strong_close": "**",
    "softbreak": " ",
}


def read_notes(folder: Path) -> str:
    """Return the text of `NOTES.md` in a folder as Markdown, or "" if there is no such file.

    Headings, lists, code, italics and bold are kept. All other markup, such as pictures, links and
    HTML, is shown as plain text.

    Raises:
      RunError: the file can't be read or is larger than 64 KiB.
    """
    file = folder / NOTES_FILE
    if not (file.exists() or file.is_symlink()):
        return ""
    parser = MarkdownIt("zero").enable(["heading", "list", "emphasis", "newline", "backticks"])
    return _tokens_to_markdown(parser.parse(read_text(file, _REMEDY, _MAX_NOTES_BYTES)))


def _tokens_to_markdown(tokens: Sequence[Token]) -> str:
    """Convert tokens of a parsed text back to Markdown, with headings, lists, code and emphasis.

    Other markup is kept as plain text.
    """
    lines: list[str] = []
    list_markers: list[str] = []  # of the open lists, outermost first
    item_marker = ""  # of the list item that has just begun
    previous_token_opens_heading = False
    for token in tokens:
        if token.type in ("bullet_list_open", "ordered_list_open"):
            list_markers.append("-" if token.tag == "ul" else "1.")
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            list_markers.pop()
        elif token.type == "list_item_open":
            item_marker = list_markers[-1] + " "
        elif token.type == "inline":
            is_first_line_of_item = item_marker != ""
            list_depth = len(list_markers)
            # The marker of an item takes the place of the innermost indent.
            indents = list_depth - 1 if is_first_line_of_item else list_depth
            is_heading_outside_lists = previous_token_opens_heading and list_depth == 0
            heading_marker = "#### " if is_heading_outside_lists else ""
            line_start = _LIST_INDENT * indents + item_marker + heading_marker
            lines.append(line_start + _inline_to_markdown(token))
            item_marker = ""
        previous_token_opens_heading = token.type == "heading_open"
    return "\n\n".join(lines)


def _inline_to_markdown(token: Token) -> str:
    """Convert the content of a paragraph, heading or list item to one line of Markdown."""
    texts = []
    for child in token.children or []:
        text = printable(child.content, 10_000)
        if child.type in _EMPHASIS_MARKS:
            texts.append(_EMPHASIS_MARKS[child.type])
        elif child.type == "code_inline" and "`" not in text:
            texts.append(f"`{text}`")
        else:
            texts.append(escape_line(text))
    return "".join(texts) or "–"
