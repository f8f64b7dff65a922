"""Draw the report's pictures: choose their file names and formats, and limit their sizes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxcifar.errors import RunError
from jaxcifar.machine.files import atomic_write
from jaxcifar.runs.picture_cache import draw_once

FOLDER = "report"
DrawPicture = Callable[..., str]
_MAX_NAME = 60  # characters; a file's name has up to three names
# The page stays below 3 MB: base64 makes four bytes of three. The text comes on top, and up to
# 800 kB for curves and images in `page_data`.
_MOST_BYTES_OF_SVG = 1_200_000
_SVG = {"savefig.format": "svg", "svg.fonttype": "path", "svg.hashsalt": "jaxcifar"}
_PNG = {"savefig.format": "png", "savefig.dpi": 80}
_PHOTO = {"savefig.format": "png", "savefig.dpi": 120}
# Invisible parts of matplotlib's SVG: its version and the date, comments, indentation.
_INVISIBLE = re.compile(rb"<metadata>.*?</metadata>|<!--.*?-->|(?<=\n)\s+", re.DOTALL)
_SVG_PATH = re.compile(rb' d="[^"]*"')
_DIGITS = re.compile(rb"(\.\d\d)\d+")


class PlotCall(NamedTuple):
    """The function that drew a picture, and its arguments except the last one, the file."""

    plot: Callable[..., None]
    arguments: tuple[Any, ...]


class Pictures:
    """The pictures of one report, in a subfolder of the report's folder.

    Attributes:
      drawn: content of each SVG or PNG file by its path, relative to the report.
      plot_calls: how each picture was drawn, by the same path.
    """

    def __init__(self, folder: Path) -> None:
        """Make the subfolder for pictures in the report's `folder`.

        Raises:
          RunError: the subfolder is a link, so pictures would replace files elsewhere.
        """
        self.drawn: dict[str, bytes] = {}
        self.plot_calls: dict[str, PlotCall] = {}
        self._folder = folder
        self._used_names: set[str] = set()
        self._svg_bytes_left = _MOST_BYTES_OF_SVG
        if (folder / FOLDER).is_symlink():
            raise RunError(f"{folder / FOLDER}: the folder for pictures is a link; delete the link")
        (folder / FOLDER).mkdir(exist_ok=True)

    def section(self, *names: str) -> DrawPicture:
        """Return a function that draws the pictures of one section of the report.

        The function is `draw(name, plot, *arguments, photos=False)`. It calls
        `plot(*arguments, file)` and returns the picture's path relative to the report. A picture is
        an SVG while the page has room for it. Later pictures, and photos, are PNG.

        Args:
          names: names of the section, with which the file names begin.
        """
        prefix = self._unused_name("-".join(map(_slug, names)))

        def draw(
            name: str, plot: Callable[..., None], *arguments: object, photos: bool = False
        ) -> str:
            picture = None if photos else self._draw_svg(plot, arguments)
            extension = "png" if picture is None else "svg"
            if picture is None:
                picture = draw_once(plot, arguments, _PHOTO if photos else _PNG)
            file_name = self._unused_name(f"{prefix}-{_slug(name)}")
            path = f"{FOLDER}/{file_name}.{extension}"
            with atomic_write(self._folder / path) as file:
                file.write(picture)
            self.drawn[path] = picture
            self.plot_calls[path] = PlotCall(plot, arguments)
            return path

        return draw

    def _draw_svg(self, plot: Callable[..., None], arguments: tuple) -> bytes | None:
        """Return a picture as SVG, or None if the page has no room for it.

        `plot` draws the picture. It is called with `arguments` and then a file.
        """
        if self._svg_bytes_left <= 0:
            return None
        picture = _shortened(draw_once(plot, arguments, _SVG))
        self._svg_bytes_left -= len(picture)
        return picture if self._svg_bytes_left >= 0 else None

    def delete_others(self) -> None:
        """Delete the picture files in the subfolder that this report did not draw."""
        for extension in ("png", "svg"):
            for picture in (self._folder / FOLDER).glob(f"*.{extension}"):
                if f"{FOLDER}/{picture.name}" not in self.drawn:
                    picture.unlink()

    def _unused_name(self, name: str) -> str:
        """Return `name`, with a number appended if another picture already has this name."""
        number, unused_name = 1, name
        while unused_name.lower() in self._used_names:  # some file systems ignore case
            number += 1
            unused_name = f"{name}-{number}"
        self._used_names.add(unused_name.lower())
        return unused_name


def _shortened(svg: bytes) -> bytes:
    """Return an SVG without its invisible parts, and with coordinates rounded to two decimals."""
    visible = _INVISIBLE.sub(b"", svg)
    return _SVG_PATH.sub(lambda match: _DIGITS.sub(rb"\1", match[0]), visible)


def _slug(name: str) -> str:
    """Return a name that is safe in a file name: special characters become dashes."""
    return re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII)[-_MAX_NAME:].strip("-.") or "unnamed"
