"""The table of contents of a Markdown report, with links to the ids that GitHub gives headings."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

TITLE = "Contents"
PLACEHOLDER = "\n<<contents>>\n"  # in no other line, because "<" in names is escaped


class Heading(NamedTuple):
    """A heading of a Markdown report: its opening token, its Markdown text and its link id."""

    token: Token
    text: str
    id: str


def parser() -> MarkdownIt:
    """Return the parser for reports. It reads CommonMark with tables, and HTML as plain text."""
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def headings(tokens: Sequence[Token]) -> Iterator[Heading]:
    """Yield each heading of a parsed report with the id that GitHub gives it.

    The id is the heading in lower case, without punctuation and with dashes for spaces. A number is
    appended if an earlier heading has the same id.
    """
    counts: dict[str, int] = {}
    for token, inline in pairwise(tokens):
        if token.type != "heading_open":
            continue
        text = "".join(child.content for child in inline.children or [])
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") or "section"
        count = counts.get(slug, 0)
        counts[slug] = count + 1
        yield Heading(token, inline.content, f"{slug}-{count}" if count else slug)


def add_contents(markdown: str) -> str:
    """Return a Markdown report with its table of contents in place of the text `PLACEHOLDER`."""
    indents = {"h2": "", "h3": "  "}
    lines = [
        f"{indents[heading.token.tag]}- [{heading.text}](#{heading.id})"
        for heading in headings(parser().parse(markdown))
        if heading.token.tag in indents and heading.text != TITLE
    ]
    return markdown.replace(PLACEHOLDER, "\n" + "\n".join(lines) + "\n", 1)
