"""Convert a Markdown report to one HTML page that contains its pictures."""

import base64
import html
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from markdown_it.token import Token

from jaxcifar.report.contents import headings, parser

_MEDIA_TYPES = {"svg": "svg+xml", "png": "png"}
_TABLE_REGION = (
    '<div class="wide" tabindex="0" role="region" aria-label="Table, may scroll sideways">'
)


def markdown_to_page(markdown: str, title: str, pictures: Mapping[str, bytes]) -> str:
    """Convert a Markdown report to an HTML page that needs no other file.

    Args:
      markdown: CommonMark with tables. A paragraph that has only pictures becomes a figure. If a
        paragraph in italics follows, that paragraph becomes the figure's caption.
      title: title of the page.
      pictures: content of SVG and PNG files by path. Any other path in `markdown` is replaced by
        the alternative text, so that the page never contains other files.
    """
    renderer = parser()

    def image(self: Any, tokens: Sequence[Token], i: int, options: Any, env: Any) -> str:
        token = tokens[i]
        text, path = html.escape(token.content, quote=True), str(token.attrs["src"])
        picture = pictures.get(path)
        if picture is None:
            return text
        extension = path.rpartition(".")[2]
        data = base64.b64encode(picture).decode()
        source = f"data:image/{_MEDIA_TYPES[extension]};base64,{data}"
        return f'<img class="{extension}" src="{source}" alt="{text}">'

    renderer.add_render_rule("image", image)
    # Wide tables scroll by themselves, so that the text fits the width of a phone.
    renderer.add_render_rule("table_open", lambda *_: f"{_TABLE_REGION}<table>\n")
    renderer.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = renderer.parse(markdown)
    for heading in headings(tokens):
        heading.token.attrSet("id", heading.id)
    _mark_header_cells(tokens)
    body = renderer.renderer.render(_with_figures(tokens), renderer.options, {})
    style = resources.files(__package__).joinpath("report.css").read_text()
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def _mark_header_cells(tokens: Sequence[Token]) -> None:
    """Turn the first cell of each table row into a header, and set the `scope` of all headers."""
    for place, token in enumerate(tokens):
        if token.type == "th_open":
            token.attrSet("scope", "col")
        elif token.type == "td_open" and tokens[place - 1].type == "tr_open":
            token.tag = "th"
            token.attrSet("scope", "row")
            end = tokens[place + 2]  # after the cell's text
            end.tag = "th"


def _with_figures(tokens: Sequence[Token]) -> list[Token]:
    """Return Markdown tokens in which paragraphs of pictures are HTML figures with captions."""
    result: list[Token] = []
    for place, token in enumerate(tokens):
        if token.type == "inline" and tokens[place - 1].type == "paragraph_open":
            kinds = {child.type for child in token.children or []} - {"softbreak"}
            if kinds == {"image"}:
                result[-1].tag = tokens[place + 1].tag = "figure"
            elif len(result) > 1 and result[-2].tag == "figure" and _is_caption(token):
                figure_end, caption_start = result[-2:]
                caption_end = tokens[place + 1]
                caption_start.tag = caption_end.tag = "figcaption"
                # The figure ends after its caption.
                result[-2:] = [caption_start]
                caption_end.meta["next"] = figure_end
        result.append(token)
        if "next" in token.meta:
            result.append(token.meta["next"])
    return result


def _is_caption(inline: Token) -> bool:
    children = inline.children or []
    return bool(children) and (children[0].type, children[-1].type) == ("em_open", "em_close")
