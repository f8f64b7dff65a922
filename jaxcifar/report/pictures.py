"""Draw the report's pictures: choose their file names and formats, and limit their sizes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxcifar.errors import RunError
from jaxcifar.machine.files import atomic_write
from jaxcifar.runs.picture_cache import draw_once

PICTURE_FOLDER = "report"
DrawPicture = Callable[..., str]
_MAX_NAME_CHARACTERS = 60  # characters; a file's name has up to three names
# The page stays below 3 MB: base64 makes four bytes of three. The text comes on top, and up to
# 800 kB for curves and images in `page_data`.
_MAX_SVG_BYTES = 1_200_000
_SVG_SETTINGS = {"savefig.format": "svg", "svg.fonttype": "path", "svg.hashsalt": "jaxcifar"}
_PNG_SETTINGS = {"savefig.format": "png", "savefig.dpi": 80}
_PHOTO_SETTINGS = {"savefig.format": "png", "savefig.dpi": 120}
# Invisible parts of matplotlib's SVG: its version and the date, comments, indentation.
_INVISIBLE_SVG_PARTS = re.compile(rb"<metadata>.*?</metadata>|<!--.*?-->|(?<=\n)\s+", re.DOTALL)
_SVG_PATH_ATTRIBUTE = re.compile(rb' d="[^"]*"')
_TWO_DECIMALS_AND_MORE = re.compile(rb"(\.\d\d)\d+")


class PlotCall(NamedTuple):
    """The function that drew a picture, and its arguments except the last one, the file."""

    plot: Callable[..., None]
    arguments: tuple[Any, ...]


class Pictures:
    """The pictures of one report, in a subfolder of the report's folder.

    Attributes:
      content_of_picture: content of each SVG or PNG file by its path, relative to the report.
      plot_calls: how each picture was drawn, by the same path.
    """

    def __init__(self, folder: Path) -> None:
        """Make the subfolder for pictures in the report's `folder`.

        Raises:
          RunError: the subfolder is a link, so pictures would replace files elsewhere.
        """
        self.content_of_picture: dict[str, bytes] = {}
        self.plot_calls: dict[str, PlotCall] = {}
        self._folder = folder
        self._used_names: set[str] = set()
        self._svg_bytes_left = _MAX_SVG_BYTES
        if (folder / PICTURE_FOLDER).is_symlink():
            raise RunError(
                f"{folder / PICTURE_FOLDER}: the folder for pictures is a link; delete the link"
            )
        (folder / PICTURE_FOLDER).mkdir(exist_ok=True)

    def make_draw_function(self, *file_name_words: str) -> DrawPicture:
        """Return a function that draws the pictures of one section of the report.

        The function is `draw(name, plot, *arguments, has_photos=False)`. It calls
        `plot(*arguments, file)` and returns the picture's path relative to the report. A picture is
        an SVG while the page has room for it. Later pictures, and photos, are PNG.

        Args:
          file_name_words: words with which the section's file names begin.
        """
        prefix = self._make_unused_name("-".join(map(_file_name_part, file_name_words)))

        def draw(
            name: str, plot: Callable[..., None], *arguments: object, has_photos: bool = False
        ) -> str:
            svg = None if has_photos else self._draw_svg_if_room(plot, arguments)
            if svg is not None:
                content, extension = svg, "svg"
            else:
                png_settings = _PHOTO_SETTINGS if has_photos else _PNG_SETTINGS
                content, extension = draw_once(plot, arguments, png_settings), "png"
            file_name = self._make_unused_name(f"{prefix}-{_file_name_part(name)}")
            path = f"{PICTURE_FOLDER}/{file_name}.{extension}"
            with atomic_write(self._folder / path) as file:
                file.write(content)
            self.content_of_picture[path] = content
            self.plot_calls[path] = PlotCall(plot, arguments)
            return path

        return draw

    def _draw_svg_if_room(self, plot: Callable[..., None], arguments: tuple) -> bytes | None:
        """Return a picture as SVG, or None if the page has no room for it.

        `plot` draws the picture. It is called with `arguments` and then a file.
        """
        if self._svg_bytes_left <= 0:
            return None
        svg = _shorten_svg(draw_once(plot, arguments, _SVG_SETTINGS))
        self._svg_bytes_left -= len(svg)
        return svg if self._svg_bytes_left >= 0 else None

    def delete_older_pictures(self) -> None:
        """Delete the picture files in the subfolder that this report did not draw."""
        for extension in ("png", "svg"):
            for picture in (self._folder / PICTURE_FOLDER).glob(f"*.{extension}"):
                if f"{PICTURE_FOLDER}/{picture.name}" not in self.content_of_picture:
                    picture.unlink()

    def _make_unused_name(self, name: str) -> str:
        """Return `name`, with a number appended if another picture already has this name."""
        number, unused_name = 1, name
        while unused_name.lower() in self._used_names:  # some file systems ignore case
            number += 1
            unused_name = f"{name}-{number}"
        self._used_names.add(unused_name.lower())
        return unused_name


def _shorten_svg(svg: bytes) -> bytes:
    """Return an SVG without its invisible parts, and with coordinates rounded to two decimals."""
    visible_parts = _INVISIBLE_SVG_PARTS.sub(b"", svg)

    def round_coordinates(path_attribute: re.Match[bytes]) -> bytes:
        return _TWO_DECIMALS_AND_MORE.sub(rb"\1", path_attribute[0])

    return _SVG_PATH_ATTRIBUTE.sub(round_coordinates, visible_parts)


def _file_name_part(name: str) -> str:
    """Return a name that is safe in a file name: special characters become dashes."""
    safe_name = re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII)
    return safe_name[-_MAX_NAME_CHARACTERS:].strip("-.") or "unnamed"
