"""A Markdown report as one HTML page with the pictures inside."""

import base64
import html
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token


def markdown_to_page(markdown: str, title: str, pictures: Mapping[str, bytes]) -> str:
    """Render a page that needs no other file.

    Args:
      markdown: CommonMark with tables.
      title: of the page.
      pictures: PNG by the path that `markdown` names; what it names else is left out, so no file
        gets into the page.
    """
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")

    def image(self: Any, tokens: Sequence[Token], i: int, options: Any, env: Any) -> str:
        token = tokens[i]
        alt = html.escape(token.content, quote=True)
        picture = pictures.get(str(token.attrs["src"]))
        if picture is None:
            return alt
        return f'<img src="data:image/png;base64,{base64.b64encode(picture).decode()}" alt="{alt}">'

    renderer.add_render_rule("image", image)
    # Wide tables scroll on their own, so that a phone shows the text at its width.
    renderer.add_render_rule("table_open", lambda *_: '<div class="wide"><table>\n')
    renderer.add_render_rule("table_close", lambda *_: "</table></div>\n")
    style = resources.files(__package__).joinpath("report.css").read_text()
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{renderer.render(markdown)}</main>\n</body>\n</html>\n"
    )
