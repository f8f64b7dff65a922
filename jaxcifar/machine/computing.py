"""Decorator for public functions.

It overrides the caller's JAX settings and turns known errors into one-line errors.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxcifar.machine.failures import report_machine_failures
from jaxcifar.machine.jax_settings import package_settings, warn_about_settings
from jaxcifar.machine.xla_flags import check_xla_flags

_FRAMES_TO_CALLER = 4  # frames of `contextlib` and this file between the caller and the warning


@contextmanager
def with_package_settings() -> Iterator[None]:
    """Compute with this package's JAX settings, whatever settings the calling program has.

    Use it as a decorator of public functions. A warning names each setting that is overridden.

    Raises:
      UsageError: the package can't compute with a JAX setting, or XLA does not know a flag in
        `XLA_FLAGS`.
      RunError: memory is short, or a result is not finite and JAX is set to raise an error then.
    """
    with package_settings() as messages:
        warn_about_settings(messages, _FRAMES_TO_CALLER)
        check_xla_flags()
        with report_machine_failures():
            yield
