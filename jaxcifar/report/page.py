"""Convert a Markdown report to one HTML page that contains its pictures."""

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from markdown_it.token import Token

from jaxcifar.report.contents import headings, parser
from jaxcifar.report.page_data import PageData

_MEDIA_TYPES = {"svg": "svg+xml", "png": "png"}
_TABLE_REGION = (
    '<div class="wide" tabindex="0" role="region" aria-label="Table, may scroll sideways">'
)
_SCRIPT_FILES = ("elements", "tables", "curves", "confusion", "start")
_ALIGNMENTS = {f"text-align:{side}": side for side in ("left", "center", "right")}


def markdown_to_page(
    markdown: str, title: str, pictures: Mapping[str, bytes], data: PageData | None = None
) -> str:
    """Convert a Markdown report to an HTML page that needs no other file.

    A script makes tables sortable, and replaces pictures by interactive parts. The page's content
    security policy allows no other script and no request. Without scripts, the page shows the
    pictures and tables.

    Args:
      markdown: CommonMark with tables. A paragraph that has only pictures becomes a figure. If a
        paragraph in italics follows, that paragraph becomes the figure's caption.
      title: title of the page.
      pictures: content of SVG and PNG files by path. Any other path in `markdown` is replaced by
        the alternative text, so that the page never contains other files.
      data: data of the interactive parts that replace pictures.
    """
    part_ids = data.ids if data else {}
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
        part = f' data-part="{part_ids[path]}"' if path in part_ids else ""
        return f'<img class="{extension}" src="{source}" alt="{text}"{part}>'

    renderer.add_render_rule("image", image)
    # Wide tables scroll by themselves, so that the text fits the width of a phone.
    renderer.add_render_rule("table_open", lambda *_: f"{_TABLE_REGION}<table>\n")
    renderer.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = renderer.parse(markdown)
    for heading in headings(tokens):
        heading.token.attrSet("id", heading.id)
    _mark_header_cells(tokens)
    _replace_styles(tokens)
    body = renderer.renderer.render(_with_figures(tokens), renderer.options, {})
    style = f"\n{_file('report.css')}"
    scripts = [_script()]
    page_end = ""
    if part_ids and data:
        style += _file("uplot/uPlot.min.css")
        scripts.insert(0, _file("uplot/uPlot.iife.min.js"))
        page_end = f'<script type="application/json" id="report-data">{data.json}</script>\n'
    page_end += "".join(f"<script>{script}</script>\n" for script in scripts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, scripts)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}</main>\n{page_end}</body>\n</html>\n"
    )


def _file(name: str) -> str:
    """Return the content of a text file in this folder."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _script() -> str:
    """Return the page's own script: its files, joined into one function."""
    content = "\n".join(_file(f"script/{name}.js") for name in _SCRIPT_FILES)
    return f'(() => {{\n"use strict";\n{content}}})();\n'


def _policy(style: str, scripts: Sequence[str]) -> str:
    """Return a content security policy that allows this style, these scripts and no request."""
    script_hashes = " ".join(map(_source_hash, scripts))
    return (
        f"default-src 'none'; img-src data:; style-src {_source_hash(style)}; "
        f"script-src {script_hashes}; base-uri 'none'; form-action 'none'"
    )


def _source_hash(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _replace_styles(tokens: Sequence[Token]) -> None:
    """Give aligned table cells a class in place of a style, which the page's policy forbids."""
    for token in tokens:
        style = str(token.attrs.get("style", ""))
        if style in _ALIGNMENTS:
            del token.attrs["style"]
            token.attrSet("class", _ALIGNMENTS[style])


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
