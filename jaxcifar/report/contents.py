"""The Markdown of reports: its parser, its table of contents, and its parts that fold away."""

import html
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token

CONTENTS_TITLE = "Contents"
CONTENTS_PLACEHOLDER = "\n<<contents>>\n"  # in no other line, because "<" in names is escaped
# The only lines of HTML in a report. Text that users choose is never such a line, because its "<"
# is escaped, and never in a summary.
_SUMMARY_TAG = re.compile(r"<summary>([\w ,.()-]+)</summary>", re.ASCII)


class Heading(NamedTuple):
    """A heading of a Markdown report: the parser's token that opens it, its text and link id."""

    token: Token
    text: str
    html_id: str


def make_markdown_parser() -> MarkdownIt:
    """Return the parser for reports: CommonMark with tables, and HTML as plain text.

    Only the lines `<details>`, `<summary>TEXT</summary>` and `</details>` stay HTML, if written in
    exactly this form. A browser hides the text after the summary until the reader opens it.
    """
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.block.ruler.before("fence", "details", _parse_details_tag)
    return markdown


def _parse_details_tag(state: StateBlock, first_line: int, last_line: int, only_test: bool) -> bool:
    """Parse one line with a `<details>`, `<summary>` or `</details>` tag (a rule of markdown-it).

    Args:
      state: state of the parser; the token of the line is added to it.
      first_line: index of the line.
      last_line: index of the last line of the text.
      only_test: True to only test the line, without adding a token.

    Returns:
      True if the line has such a tag. False for any other line, which the next rule then tries.
    """
    is_in_list_or_quotation = state.level > 0
    if is_in_list_or_quotation:
        return False
    line_start, line_end = state.bMarks[first_line], state.eMarks[first_line]
    line = state.src[line_start:line_end]
    summary = _SUMMARY_TAG.fullmatch(line)
    if summary is not None:
        html_line = f"<summary>{html.escape(summary[1])}</summary>\n"
    elif line in ("<details>", "</details>"):
        html_line = f"{line}\n"
    else:
        return False
    if only_test:
        return True
    next_line = first_line + 1
    token = state.push("html_block", tag="", nesting=0)
    token.content = html_line
    token.map = [first_line, next_line]
    state.line = next_line
    return True


def find_headings(tokens: Sequence[Token]) -> Iterator[Heading]:
    """Yield each heading of a parsed report, with the id that links on GitHub use.

    The id is the heading in lower case, without punctuation and with dashes for spaces. A number is
    appended if an earlier heading has the same id.
    """
    slug_counts: dict[str, int] = {}
    for token, inline in pairwise(tokens):
        if token.type != "heading_open":
            continue
        text = "".join(child.content for child in inline.children or [])
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") or "section"
        earlier_uses = slug_counts.get(slug, 0)
        slug_counts[slug] = earlier_uses + 1
        html_id = f"{slug}-{earlier_uses}" if earlier_uses else slug
        yield Heading(token, inline.content, html_id)


def add_contents(markdown: str) -> str:
    """Return a Markdown report in which a table of contents replaces `CONTENTS_PLACEHOLDER`.

    The table has a link to each heading of levels 2 and 3, except the heading of the table itself.
    """
    indent_of_level = {"h2": "", "h3": "  "}
    lines = []
    for heading in find_headings(make_markdown_parser().parse(markdown)):
        level = heading.token.tag
        if level in indent_of_level and heading.text != CONTENTS_TITLE:
            lines.append(f"{indent_of_level[level]}- [{heading.text}](#{heading.html_id})")
    return markdown.replace(CONTENTS_PLACEHOLDER, "\n" + "\n".join(lines) + "\n", 1)
