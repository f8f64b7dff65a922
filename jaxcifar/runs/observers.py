"""Observers of a run: objects that are called when it begins, after each epoch and when it ends.

TensorBoard, Weights & Biases and the epoch line on the screen are observers. The progress bar is
not, because it shows steps. A user's class can be an observer too. Observers change no numbers, so
they are not part of a `Config`.
"""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from jaxcifar.config import registry, user_reference
from jaxcifar.config.experiment import Config
from jaxcifar.config.settings import effective_settings, option_text
from jaxcifar.config.user_errors import innermost_line, source_frames
from jaxcifar.errors import OneLineError, UsageError, first_line
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.machine.terminal import PrintLine

if TYPE_CHECKING:  # it would import NumPy, which takes a moment
    from jaxcifar.runs.file_formats import Result, Row

OBSERVER_METHODS = ("began", "epoch", "finished", "failed")
_BUILT_IN_FOLDER = Path(__file__).resolve().parent  # of observers that come with the package
_OBSERVER_DROPPED = "this observer is not called again, the run is not affected"


@dataclasses.dataclass(frozen=True)
class ObservedRun:
    """The description of a run that observers get when the run begins.

    Attributes:
      name: the run's name in lines on the screen, such as "base seed 0"; "" for a single run.
      path: folder of the run.
      config: all settings that the run's numbers depend on.
      dataset: title of the data set.
      history: rows of `metrics.jsonl`, one per finished epoch; empty for a new run.
      already_over: True if the run had ended before this command, so that nothing is trained now.
    """

    name: str
    path: Path
    config: Config
    dataset: str
    history: "tuple[Row, ...]" = ()
    already_over: bool = False

    @property
    def title(self) -> str:
        """The title of the run's pictures, such as "CNN on CIFAR-10, seed 0"."""
        return f"{self.config.network_title} on {self.dataset}, seed {self.config.seed}"

    @property
    def settings(self) -> dict[str, bool | int | float | str]:
        """The run's settings that have an effect, by name; lists become text.

        Empty settings and SHA-256 digests are left out.
        """
        settings: dict[str, bool | int | float | str] = {}
        for name, value in effective_settings(self.config.settings()).items():
            is_empty = value is None or value == ""
            is_digest = "sha256" in name or name.startswith("SHA-256")
            if not is_empty and not is_digest:
                is_number = isinstance(value, int | float)
                settings[name] = value if is_number else option_text(value)
        return settings


class Observer(Protocol):
    """An object whose methods are called during a run; it may lack any of the four methods.

    `began` is called first, once for each command that opens the run. Then `epoch` is called for
    each trained epoch. Either `finished` or `failed` is called last, unless the process is killed.
    """

    def began(self, run: ObservedRun) -> None:
        """Called when the run begins, is resumed, or had ended before this command."""

    def epoch(self, row: "Row") -> None:
        """Called at the end of an epoch; `row` is the epoch's row of `metrics.jsonl`."""

    def finished(self, result: "Result") -> None:
        """Called when the run is finished; `result` is the content of `result.json`."""

    def failed(self, error: Exception) -> None:
        """Called when a run ends by an error, or by `Interrupted` if the user stopped the run."""


class NamedObserver(NamedTuple):
    """An observer, and the name by which messages call it."""

    label: str
    observer: Any


class ObserverFactory(NamedTuple):
    """A function or class that creates an observer, and the observer's name in messages."""

    label: str
    create: Callable[[], Any]


def find_factories(observers: Iterable[Any]) -> list[ObserverFactory]:
    """Return a factory (a function or class that creates an observer) for each distinct observer.

    Args:
      observers: each is a name that `--observer` accepts, an observer, or a class or function that
        returns an observer.

    Raises:
      UsageError: an observer is unknown, or its file fails; the message is one line.
    """
    if isinstance(observers, str) or not isinstance(observers, Iterable):
        raise UsageError(f"observers {observers!r:.80}: must be a list of names or observers")
    # Repeated observers are dropped: two TensorBoard observers would write to the same folder.
    factories: dict[str | int, ObserverFactory] = {}
    for observer in observers:
        identity = observer if isinstance(observer, str) else id(observer)
        if identity in factories:
            continue
        if isinstance(observer, str):
            factories[identity] = _factory_by_name(observer)
        else:
            factories[identity] = _factory_of_object(observer)
    return list(factories.values())


def _factory_by_name(name: str) -> ObserverFactory:
    label = f"--{name}" if name in registry.KINDS["observer"] else f"--observer {name}"
    factory = user_reference.load("observer", name)
    if not callable(factory):
        raise UsageError(f"{label}: must be a class or a function that returns an observer")
    return ObserverFactory(label, factory)


def _factory_of_object(candidate: Any) -> ObserverFactory:
    """Return a factory (which creates observers) for a class, a function or an observer itself."""
    has_name = inspect.isclass(candidate) or inspect.isroutine(candidate)
    name = candidate.__qualname__ if has_name else type(candidate).__qualname__
    label = f"observer {name}"
    is_observer = not inspect.isclass(candidate) and _has_observer_method(candidate)
    creates_observers = callable(candidate) and not is_observer
    if creates_observers:
        return ObserverFactory(label, candidate)
    return ObserverFactory(label, lambda: candidate)


def _has_observer_method(observer: Any) -> bool:
    return any(callable(getattr(observer, method_name, None)) for method_name in OBSERVER_METHODS)


def create_observers(factories: Iterable[ObserverFactory]) -> tuple[NamedObserver, ...]:
    """Create an observer from each factory, for one run.

    Raises:
      UsageError: a factory fails, or returns no observer; the message is one line.
    """
    return tuple(NamedObserver(factory.label, _create_observer(factory)) for factory in factories)


def _create_observer(factory: ObserverFactory) -> Any:
    try:
        observer = factory.create()
        is_observer = _has_observer_method(observer)
    except Interrupted:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"{factory.label}: {_describe_error(error)}") from error
    if not is_observer:
        type_name = type(observer).__name__
        raise UsageError(
            f"{factory.label}: returned {type_name}, which is not an observer; define at least one "
            f"of the methods {', '.join(OBSERVER_METHODS)}"
        )
    return observer


def _describe_error(error: BaseException) -> str:
    """Return a one-line message for an observer's error, with the place in the user's file."""
    if isinstance(error, OneLineError):
        return str(error)
    location = _location_in_user_code(error)
    try:
        return f"{location}{type(error).__name__}: {first_line(error)}"
    except Exception:  # the error's own `__str__` fails
        return f"{location}{type(error).__name__}"


def _location_in_user_code(error: BaseException) -> str:
    """Return "FILE:LINE: " of the line that failed in a user's observer, or "" if there is none."""
    frames_in_this_module = 1
    observer_frames = source_frames(error)[frames_in_this_module:]
    if not observer_frames:
        return ""
    observer_folder = Path(observer_frames[0].filename).resolve().parent
    if observer_folder == _BUILT_IN_FOLDER:
        return ""
    return innermost_line(error, observer_folder)


class Observers:
    """Calls all observers of a run, one after the other.

    If an observer raises an exception, a line is printed, the observer is not called again, and the
    run continues. Observers get copies of rows and results, so they can't change the run's files.
    """

    def __init__(self, observers: Sequence[NamedObserver], print_line: PrintLine) -> None:
        self._observers, self._print_line = list(observers), print_line
        self._has_begun = False  # True between `began` and the end of the run

    def began(self, run: ObservedRun) -> None:
        """Call each observer's `began`."""
        self._has_begun = True
        self._call("began", lambda: copy.deepcopy(run))

    def epoch(self, row: "Row") -> None:
        """Call each observer's `epoch`."""
        self._call("epoch", lambda: copy.deepcopy(row))

    def finished(self, result: "Result") -> None:
        """Call each observer's `finished`."""
        self._has_begun = False
        self._call("finished", lambda: copy.deepcopy(result))

    def failed(self, error: BaseException | None) -> None:
        """Call each observer's `failed` if an exception ended a run that had begun.

        No observer is called without an error, or after a second Ctrl-C (KeyboardInterrupt), which
        stops the process at once.
        """
        if self._has_begun and isinstance(error, Exception):
            self._has_begun = False
            self._call("failed", lambda: error)

    def _call(self, method_name: str, make_argument: Callable[[], Any]) -> None:
        for named_observer in list(self._observers):
            try:
                method = getattr(named_observer.observer, method_name, None)
                if callable(method):
                    method(make_argument())
            except (KeyboardInterrupt, Interrupted):
                raise
            except BaseException as error:
                self._observers.remove(named_observer)
                reason = _describe_error(error)
                self._print_line(f"{named_observer.label}: {reason}; {_OBSERVER_DROPPED}")
