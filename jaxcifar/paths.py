"""Paths as people write them."""

import os
from pathlib import Path


def expand_home(path: str) -> Path:
    """Return a path with the home folder in place of a leading `~` or `~name`.

    If the system knows no such home folder, the path stays as it is. `Path.expanduser` would raise
    an error.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111
