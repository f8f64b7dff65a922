"""Convert a Markdown report to one HTML page that contains its pictures."""

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from markdown_it.token import Token

from jaxcifar.report.contents import find_headings, make_markdown_parser
from jaxcifar.report.page_data import PageData

_MEDIA_TYPES = {"svg": "svg+xml", "png": "png"}
_SCROLLING_REGION = (
    '<div class="wide" tabindex="0" role="region" aria-label="Table, may scroll sideways">'
)
_SCRIPT_FILES = ("elements", "tables", "curves", "confusion", "start")
_CLASS_OF_ALIGNMENT = {f"text-align:{side}": side for side in ("left", "center", "right")}


def markdown_to_page(
    markdown: str, title: str, pictures: Mapping[str, bytes], data: PageData | None = None
) -> str:
    """Convert a Markdown report to an HTML page that needs no other file.

    A script makes tables sortable, and replaces pictures by widgets (interactive charts and
    tables). The page's content security policy allows no other script and no request. Without
    scripts, the page shows the pictures.

    Args:
      markdown: CommonMark with tables. A paragraph that has only pictures becomes a figure. If a
        paragraph in italics follows, that paragraph becomes the figure's caption.
      title: title of the page.
      pictures: content of SVG and PNG files by path. Any other path in `markdown` is replaced by
        the alternative text, so that the page never contains other files.
      data: data of the widgets; None if there are none.
    """
    widget_id_by_picture = data.widget_id_by_picture if data else {}
    body = _render_body(markdown, pictures, widget_id_by_picture)
    style = f"\n{_read_page_file('report.css')}"
    scripts = [_page_script()]
    page_end = ""
    if widget_id_by_picture and data:
        style += _read_page_file("uplot/uPlot.min.css")
        scripts.insert(0, _read_page_file("uplot/uPlot.iife.min.js"))
        page_end = f'<script type="application/json" id="report-data">{data.json}</script>\n'
    page_end += "".join(f"<script>{script}</script>\n" for script in scripts)
    policy = _content_security_policy(style, scripts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}</main>\n{page_end}</body>\n</html>\n"
    )


def _render_body(
    markdown: str, pictures: Mapping[str, bytes], widget_id_by_picture: Mapping[str, str]
) -> str:
    """Return the HTML of a Markdown report, without the page around it.

    Args:
      markdown: the report.
      pictures: content of SVG and PNG files by path.
      widget_id_by_picture: path of a picture -> key of the widget that replaces the picture.
    """
    parser = make_markdown_parser()

    def render_image(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        image = tokens[index]
        path = str(image.attrs["src"])
        return _image_tag(path, image.content, pictures.get(path), widget_id_by_picture.get(path))

    parser.add_render_rule("image", render_image)
    # Wide tables scroll by themselves, so that the text fits the width of a phone.
    parser.add_render_rule("table_open", lambda *_arguments: f"{_SCROLLING_REGION}<table>\n")
    parser.add_render_rule("table_close", lambda *_arguments: "</table></div>\n")
    tokens = parser.parse(markdown)
    for heading in find_headings(tokens):
        heading.token.attrSet("id", heading.html_id)
    _mark_header_cells(tokens)
    _replace_alignment_styles(tokens)
    tokens = _turn_pictures_into_figures(tokens)
    return str(parser.renderer.render(tokens, parser.options, {}))


def _image_tag(path: str, text: str, picture: bytes | None, widget_id: str | None) -> str:
    """Return the HTML tag of a picture with its alternative text.

    Args:
      path: path of the picture in the report; its extension is the format.
      text: the alternative text, not escaped.
      picture: content of the file. If it is None, only the alternative text is returned.
      widget_id: key of the widget (an interactive chart or table) that the page's script shows
        instead of the picture; None if there is none.
    """
    escaped_text = html.escape(text, quote=True)
    if picture is None:
        return escaped_text
    extension = path.rpartition(".")[2]
    source = f"data:image/{_MEDIA_TYPES[extension]};base64,{base64.b64encode(picture).decode()}"
    widget_attribute = "" if widget_id is None else f' data-part="{widget_id}"'
    return f'<img class="{extension}" src="{source}" alt="{escaped_text}"{widget_attribute}>'


def _read_page_file(name: str) -> str:
    """Return the content of a text file in this folder."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _page_script() -> str:
    """Return the page's own JavaScript code: the content of all its files, as one function."""
    content = "\n".join(_read_page_file(f"script/{name}.js") for name in _SCRIPT_FILES)
    return f'(() => {{\n"use strict";\n{content}}})();\n'


def _content_security_policy(style: str, scripts: Sequence[str]) -> str:
    """Return a content security policy that allows one style sheet, some scripts and no request.

    `style` and the strings in `scripts` are the full texts, which the policy names by SHA-256.
    """
    script_hashes = " ".join(map(_hash_for_policy, scripts))
    return (
        f"default-src 'none'; img-src data:; style-src {_hash_for_policy(style)}; "
        f"script-src {script_hashes}; base-uri 'none'; form-action 'none'"
    )


def _hash_for_policy(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _replace_alignment_styles(tokens: Sequence[Token]) -> None:
    """Replace the alignment style of table cells by a class, because the page forbids styles.

    `tokens` are from a parsed Markdown report, and are changed in place.
    """
    for token in tokens:
        style = str(token.attrs.get("style", ""))
        if style in _CLASS_OF_ALIGNMENT:
            del token.attrs["style"]
            token.attrSet("class", _CLASS_OF_ALIGNMENT[style])


def _mark_header_cells(tokens: Sequence[Token]) -> None:
    """Turn the first cell of each table row into a header, and set the `scope` of all headers.

    `tokens` are from a parsed Markdown report, and are changed in place.
    """
    for index, token in enumerate(tokens):
        is_first_cell = token.type == "td_open" and tokens[index - 1].type == "tr_open"
        if token.type == "th_open":
            token.attrSet("scope", "col")
        elif is_first_cell:
            cell_start, _text, cell_end = tokens[index : index + 3]
            cell_start.tag = cell_end.tag = "th"
            cell_start.attrSet("scope", "row")


def _turn_pictures_into_figures(tokens: Sequence[Token]) -> list[Token]:
    """Return Markdown tokens in which paragraphs of pictures became HTML figures.

    A paragraph in italics after such a paragraph becomes the caption inside the figure.
    """
    result: list[Token] = []
    for token in tokens:
        result.append(token)
        if token.type != "paragraph_close":
            continue
        start, content, end = result[-3:]
        previous_token = result[-4] if len(result) > 3 else None
        follows_figure = previous_token is not None and previous_token.tag == "figure"
        if _contains_only_pictures(content):
            start.tag = end.tag = "figure"
        elif follows_figure and _is_caption(content):
            start.tag = end.tag = "figcaption"
            figure_end, *caption = result[-4:]
            result[-4:] = [*caption, figure_end]  # the caption is inside the figure
    return result


def _contains_only_pictures(inline: Token) -> bool:
    """Return whether a paragraph consists of one or more pictures and of line breaks."""
    child_types = {child.type for child in inline.children or []}
    return child_types - {"softbreak"} == {"image"}


def _is_caption(inline: Token) -> bool:
    """Return whether a paragraph's content begins and ends with italics."""
    children = inline.children or []
    if not children:
        return False
    return children[0].type == "em_open" and children[-1].type == "em_close"
