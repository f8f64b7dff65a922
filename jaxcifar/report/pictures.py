"""Where a report's pictures lie."""

import re
from collections.abc import Callable
from pathlib import Path

FOLDER = "report"
Draw = Callable[..., str]


class Pictures:
    """Draws into the report's folder and gives the paths that the report names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: set[str] = set()

    def of(self, *names: str) -> Draw:
        """What draws the pictures of one section: `draw(name, plot, *arguments)`.

        It calls `plot(*arguments, path)` and gives the path, relative to the report.
        """
        prefix = self._free("-".join(map(_slug, names)))

        def draw(name: str, plot: Callable[..., None], *arguments: object) -> str:
            path = f"{FOLDER}/{self._free(f'{prefix}-{_slug(name)}')}.png"
            plot(*arguments, self._folder / path)
            return path

        return draw

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
    return re.sub(r"[^\w.+-]+", "-", name)[-80:].strip("-.") or "unnamed"
