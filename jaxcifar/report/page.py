"""A Markdown report as one HTML page with the pictures inside."""

import base64
import html
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from markdown_it.token import Token

from jaxcifar.report.contents import headings, parser

_KINDS = {"svg": "svg+xml", "png": "png"}
_WIDE = '<div class="wide" tabindex="0" role="region" aria-label="Table, may scroll sideways">'


def markdown_to_page(markdown: str, title: str, pictures: Mapping[str, bytes]) -> str:
    """Render a page that needs no other file.

    Args:
      markdown: CommonMark with tables. Pictures alone in a paragraph are a figure, and a paragraph
        in italics after them is its caption.
      title: of the page.
      pictures: SVG or PNG by the path that `markdown` names; what it names else is left out, so no
        file gets into the page.
    """
    renderer = parser()

    def image(self: Any, tokens: Sequence[Token], i: int, options: Any, env: Any) -> str:
        token = tokens[i]
        alt, path = html.escape(token.content, quote=True), str(token.attrs["src"])
        picture = pictures.get(path)
        if picture is None:
            return alt
        form = path.rpartition(".")[2]
        data = base64.b64encode(picture).decode()
        return f'<img class="{form}" src="data:image/{_KINDS[form]};base64,{data}" alt="{alt}">'

    renderer.add_render_rule("image", image)
    # Wide tables scroll on their own, so that a phone shows the text at its width.
    renderer.add_render_rule("table_open", lambda *_: f"{_WIDE}<table>\n")
    renderer.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = renderer.parse(markdown)
    for token, _, slug in headings(tokens):
        token.attrSet("id", slug)
    _head_cells(tokens)
    body = renderer.renderer.render(_figures(tokens), renderer.options, {})
    style = resources.files(__package__).joinpath("report.css").read_text()
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def _head_cells(tokens: Sequence[Token]) -> None:
    """Say of header cells what they head; the first cell of a row is one."""
    for place, token in enumerate(tokens):
        if token.type == "th_open":
            token.attrSet("scope", "col")
        elif token.type == "td_open" and tokens[place - 1].type == "tr_open":
            token.tag = "th"
            token.attrSet("scope", "row")
            tokens[place + 2].tag = "th"  # behind the text: its end


def _figures(tokens: Sequence[Token]) -> list[Token]:
    """Paragraphs of pictures as figures, with the captions that follow them inside."""
    found: list[Token] = []
    for place, token in enumerate(tokens):
        if token.type == "inline" and tokens[place - 1].type == "paragraph_open":
            kinds = [child.type for child in token.children or []]
            if set(kinds) - {"softbreak"} == {"image"}:
                found[-1].tag = tokens[place + 1].tag = "figure"
            elif len(found) > 1 and found[-2].tag == "figure" and _is_caption(token):
                figure_end, start = found[-2:]
                start.tag = "figcaption"
                # The figure's end goes behind the caption's.
                found[-2:] = [start]
                tokens[place + 1].tag = "figcaption"
                tokens[place + 1].meta["then"] = figure_end
        found.append(token)
        if "then" in token.meta:
            found.append(token.meta["then"])
    return found


def _is_caption(inline: Token) -> bool:
    children = inline.children or []
    return bool(children) and (children[0].type, children[-1].type) == ("em_open", "em_close")
