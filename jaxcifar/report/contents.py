"""Contents of a Markdown report: links to its headings by the ids that sites give those."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

TITLE = "Contents"
PLACE = "\n<<contents>>\n"  # no line of a report: what is named has no bare "<" in it


def parser() -> MarkdownIt:
    """What reads a report: CommonMark with tables and without HTML."""
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def headings(tokens: Sequence[Token]) -> Iterator[tuple[Token, str, str]]:
    """Each heading's token, its text as written, and its id, by GitHub's rule.

    That is the text in lower case without punctuation, with dashes for spaces, and with a number
    where it was taken.
    """
    taken: dict[str, int] = {}
    for token, inline in pairwise(tokens):
        if token.type != "heading_open":
            continue
        text = "".join(child.content for child in inline.children or [])
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") or "section"
        number = taken.get(slug, -1) + 1
        taken[slug] = number
        yield token, inline.content, f"{slug}-{number}" if number else slug


def with_contents(markdown: str) -> str:
    """The text with a list of its sections in place of `PLACE`."""
    lines = [
        f"{'  ' * (token.tag == 'h3')}- [{text}](#{slug})"
        for token, text, slug in headings(parser().parse(markdown))
        if token.tag in ("h2", "h3") and text != TITLE
    ]
    return markdown.replace(PLACE, "\n" + "\n".join(lines) + "\n", 1)
