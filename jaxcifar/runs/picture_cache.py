"""Draw pictures, and keep them: the same plot of the same data is drawn once in each process."""

import hashlib
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import matplotlib

_MAX_PICTURES = 256  # about 20 MB
_pictures: OrderedDict[bytes, bytes] = OrderedDict()  # digest of plot and data -> picture file


def draw_once(plot: Callable[..., None], arguments: tuple[Any, ...], settings: Any = None) -> bytes:
    """Return the content of the picture file that `plot` writes.

    If the same plot was drawn with equal arguments before, its picture is returned again: drawing
    takes a quarter of a second, and reports show some curves twice.

    Args:
      plot: draws the picture; it is called with `arguments`, and with a file as the last argument.
      arguments: all arguments except the file.
      settings: a dict of matplotlib's settings (`rcParams`) during the call, or None.
    """
    digest = _digest(plot, arguments, settings)
    if digest is None:
        return _draw(plot, arguments, settings)
    if digest not in _pictures:
        _pictures[digest] = _draw(plot, arguments, settings)
    _pictures.move_to_end(digest)  # the least recently used picture is first
    if len(_pictures) > _MAX_PICTURES:
        _pictures.popitem(last=False)
    return _pictures[digest]


def _digest(plot: Callable[..., None], arguments: tuple[Any, ...], settings: Any) -> bytes | None:
    """Return a digest of everything that a picture depends on; None if it can't be computed."""
    try:
        content = pickle.dumps((plot, arguments, settings))
    except Exception:  # objects that can't be pickled may raise anything
        return None
    return hashlib.sha256(content).digest()


def _draw(plot: Callable[..., None], arguments: tuple[Any, ...], settings: Any) -> bytes:
    file = io.BytesIO()
    with matplotlib.rc_context(settings):
        plot(*arguments, file)
    return file.getvalue()
