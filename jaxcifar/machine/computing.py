"""The edge between a calling program and what this package computes for it."""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxcifar.machine.failures import one_line
from jaxcifar.machine.jax_settings import our_settings, warn

_FRAMES = 4  # of Python's `contextlib` and of this file, between the caller and the warning


@contextmanager
def computing() -> Iterator[None]:
    """Compute as this package means it, whatever the calling program has set in JAX.

    To be used as a decorator of functions that a person calls. Settings that are set aside are
    told by a warning.

    Raises:
      UsageError: a setting of JAX's that the package can't compute with.
      RunError: memory is short, or JAX was told to stop at numbers that are not finite.
    """
    with our_settings() as lines:
        warn(lines, _FRAMES)
        try:
            yield
        except Exception as error:
            if (told := one_line(error)) is None:
                raise
            raise told from error
