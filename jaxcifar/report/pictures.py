"""Where a report's pictures lie, and what is in them."""

import io
import re
from collections.abc import Callable
from pathlib import Path

from jaxcifar.errors import RunError
from jaxcifar.machine.files import replacing

FOLDER = "report"
_LONGEST = 60  # of a name, of which three make a file's
Draw = Callable[..., str]


class Pictures:
    """Draws into the report's folder and gives the paths that the report names.

    Attributes:
      drawn: PNG by path, relative to the report; nothing else belongs into it.
    """

    def __init__(self, folder: Path) -> None:
        """Make `folder`'s place for pictures.

        Raises:
          RunError: a link is in its place, where pictures would replace what is not the report's.
        """
        self.drawn: dict[str, bytes] = {}
        self._folder = folder
        self._taken: set[str] = set()
        if (folder / FOLDER).is_symlink():
            raise RunError(f"{folder / FOLDER}: is a link; delete it, pictures go there")
        (folder / FOLDER).mkdir(exist_ok=True)

    def of(self, *names: str) -> Draw:
        """What draws the pictures of one section: `draw(name, plot, *arguments)`.

        It calls `plot(*arguments, file)` and gives the path, relative to the report.
        """
        prefix = self._free("-".join(map(_slug, names)))

        def draw(name: str, plot: Callable[..., None], *arguments: object) -> str:
            path = f"{FOLDER}/{self._free(f'{prefix}-{_slug(name)}')}.png"
            picture = io.BytesIO()
            plot(*arguments, picture)
            with replacing(self._folder / path) as file:
                file.write(picture.getvalue())
            self.drawn[path] = picture.getvalue()
            return path

        return draw

    def delete_others(self) -> None:
        """Delete the pictures of the report before, once it is replaced."""
        for picture in (self._folder / FOLDER).glob("*.png"):
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


def _slug(name: str) -> str:
    """A name as part of a file's: what Markdown or a file system might take amiss is a dash."""
    return re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII)[-_LONGEST:].strip("-.") or "unnamed"
