"""Where a report's pictures lie, and what is in them."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

from jaxcifar.errors import RunError
from jaxcifar.machine.files import atomic_write

FOLDER = "report"
_LONGEST = 60  # of a name, of which three make a file's
Draw = Callable[..., str]
# A page stays under 3 MB with its text; base64 makes four bytes of three.
_MOST_BYTES_OF_SVG = 1_800_000
_SVG = {"savefig.format": "svg", "svg.fonttype": "path", "svg.hashsalt": "jaxcifar"}
_PNG = {"savefig.format": "png", "savefig.dpi": 80}  # in place of an SVG
_PHOTOS = {"savefig.format": "png", "savefig.dpi": 120}
# What the drawing library tells of itself and the time, comments with the text drawn, indentation.
_NOT_DRAWN = re.compile(rb"<metadata>.*?</metadata>|<!--.*?-->|(?<=\n)\s+", re.DOTALL)

_LINE, _DIGITS = re.compile(rb' d="[^"]*"'), re.compile(rb"(\.\d\d)\d+")


class Pictures:
    """Draws into the report's folder and gives the paths that the report names.

    Attributes:
      drawn: SVG or PNG by path, relative to the report; nothing else belongs into it.
    """

    def __init__(self, folder: Path) -> None:
        """Make `folder`'s place for pictures.

        Raises:
          RunError: a link is in its place, where pictures would replace what is not the report's.
        """
        self.drawn: dict[str, bytes] = {}
        self._folder = folder
        self._taken: set[str] = set()
        self._left = _MOST_BYTES_OF_SVG
        if (folder / FOLDER).is_symlink():
            raise RunError(f"{folder / FOLDER}: is a link; delete it, pictures go there")
        (folder / FOLDER).mkdir(exist_ok=True)

    def of(self, *names: str) -> Draw:
        """What draws the pictures of one section: `draw(name, plot, *arguments, photos=False)`.

        It calls `plot(*arguments, file)` and gives the path, relative to the report. Pictures are
        sharp SVG as long as a page has room for them; then, and for photos, they are PNG.
        """
        prefix = self._free("-".join(map(_slug, names)))

        def draw(
            name: str, plot: Callable[..., None], *arguments: object, photos: bool = False
        ) -> str:
            form, picture = "png", b""
            if not photos and self._left > 0:
                form, picture = "svg", _trimmed(_drawn(_SVG, plot, arguments))
                self._left -= len(picture)
            if form == "png" or self._left < 0:
                form, picture = "png", _drawn(_PHOTOS if photos else _PNG, plot, arguments)
            path = f"{FOLDER}/{self._free(f'{prefix}-{_slug(name)}')}.{form}"
            with atomic_write(self._folder / path) as file:
                file.write(picture)
            self.drawn[path] = picture
            return path

        return draw

    def delete_others(self) -> None:
        """Delete the pictures of the report before, once it is replaced."""
        for form in ("png", "svg"):
            for picture in (self._folder / FOLDER).glob(f"*.{form}"):
                if f"{FOLDER}/{picture.name}" not in self.drawn:
                    picture.unlink()

    def _free(self, name: str) -> str:
        """The name, or one like it that no picture has."""
        number, free = 1, name
        while free.lower() in self._taken:
            number += 1
            free = f"{name}-{number}"
        self._taken.add(free.lower())
        return free


def _drawn(settings: Any, plot: Callable[..., None], arguments: tuple) -> bytes:
    picture = io.BytesIO()
    with matplotlib.rc_context(settings):
        plot(*arguments, picture)
    return picture.getvalue()


def _trimmed(svg: bytes) -> bytes:
    """A drawing without what is not drawn, its lines to a hundredth of a point."""
    drawn = _NOT_DRAWN.sub(b"", svg)
    return _LINE.sub(lambda line: _DIGITS.sub(rb"\1", line[0]), drawn)


def _slug(name: str) -> str:
    """A name as part of a file's: what Markdown or a file system might take amiss is a dash."""
    return re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII)[-_LONGEST:].strip("-.") or "unnamed"
