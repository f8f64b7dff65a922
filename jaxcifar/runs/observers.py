"""Observers of a run: objects that are called when it begins, after each epoch and when it ends.

TensorBoard, Weights & Biases and the screen's line for each epoch are observers. A user's class can
be one too. Observers change no numbers, so they are not part of a `Config`.
"""

import copy
import dataclasses
import inspect
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from jaxcifar.config import registry, user_reference
from jaxcifar.config.experiment import Config
from jaxcifar.config.settings import applicable, spelled
from jaxcifar.errors import OneLineError, UsageError, first_line
from jaxcifar.machine.interrupt import Interrupted

if TYPE_CHECKING:  # it would import NumPy, which takes a moment
    from jaxcifar.runs.saved import Result, Row

CALLS = ("began", "epoch", "finished", "failed")
_HERE = Path(__file__).parent
_DROPPED = "this observer is not called again, the run is not affected"


@dataclasses.dataclass(frozen=True)
class ObservedRun:
    """A run as its observers are shown it when it begins.

    Attributes:
      name: what lines on the screen call the run, such as "base seed 0"; "" if there is only one.
      path: folder of the run.
      config: all settings that its numbers depend on.
      dataset: title of the data set.
      history: rows of `metrics.jsonl` of the epochs that are over; empty for a new run.
      already_over: whether the run had ended before this command, so that nothing is trained now.
    """

    name: str
    path: Path
    config: Config
    dataset: str
    history: "tuple[Row, ...]" = ()
    already_over: bool = False

    @property
    def title(self) -> str:
        """The title of pictures, such as "CNN on CIFAR-10, seed 0"."""
        return f"{self.config.network_title} on {self.dataset}, seed {self.config.seed}"

    @property
    def settings(self) -> dict[str, bool | int | float | str]:
        """The settings that have an effect, by name: without digests, lists as text."""
        return {
            name: value if isinstance(value, int | float) else spelled(value)
            for name, value in applicable(self.config.settings()).items()
            if value not in (None, "") and "sha256" not in name and not name.startswith("SHA-256")
        }


class Observer(Protocol):
    """The four methods of an observer; a method that an observer lacks is not called.

    `began` comes first, once for each command that opens the run, and then `epoch` for each epoch
    that is trained. Either `finished` or `failed` comes last, unless the process is killed.
    """

    def began(self, run: ObservedRun) -> None:
        """The run begins, is resumed, or is found to be over already."""

    def epoch(self, row: "Row") -> None:
        """An epoch is over; its figures are written down."""

    def finished(self, result: "Result") -> None:
        """The run is finished; `result` is the content of `result.json`."""

    def failed(self, error: Exception) -> None:
        """The run ended without a result: by an error, or `Interrupted` if the user stopped it."""


class NamedObserver(NamedTuple):
    """An observer, and what messages call it."""

    label: str
    observer: Any


class Maker(NamedTuple):
    """A class or a function that returns an observer, and what messages call it."""

    label: str
    make: Callable[[], Any]


def makers(given: Iterable[Any]) -> list[Maker]:
    """Find what makes the observers of each run.

    Args:
      given: names as `--observer` takes them; from Python also observers, and classes and functions
        that return one.

    Raises:
      UsageError: there is no such observer, or its file fails; in one line.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise UsageError(f"observers {given!r:.80}: must be a list")
    # Given twice, TensorBoard would write the same folder twice.
    once = {each if isinstance(each, str) else id(each): each for each in given}
    return [_named_maker(each) if isinstance(each, str) else _maker(each) for each in once.values()]


def _named_maker(name: str) -> Maker:
    label = f"--{name}" if name in registry.KINDS["observer"] else f"--observer {name}"
    found = user_reference.load("observer", name)
    if not callable(found):
        raise UsageError(f"{label}: must be a class or a function that returns an observer")
    return Maker(label, found)


def _maker(given: Any) -> Maker:
    named = given if inspect.isclass(given) or inspect.isroutine(given) else type(given)
    label = f"observer {named.__qualname__}"
    is_observer = not inspect.isclass(given) and _has_calls(given)
    if is_observer or not callable(given):
        return Maker(label, lambda: given)
    return Maker(label, given)


def _has_calls(observer: Any) -> bool:
    return any(callable(getattr(observer, name, None)) for name in CALLS)


def made(makers: Iterable[Maker]) -> tuple[NamedObserver, ...]:
    """Make the observers of one run.

    Raises:
      UsageError: one can't be made, or is no observer; in one line.
    """
    return tuple(NamedObserver(maker.label, _made(maker)) for maker in makers)


def _made(maker: Maker) -> Any:
    try:
        observer = maker.make()
        is_observer = _has_calls(observer)
    except Interrupted:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"{maker.label}: {_reason(error)}") from error
    if not is_observer:
        kind = type(observer).__name__
        raise UsageError(
            f"{maker.label}: gives {kind}, which is no observer: it needs at least one of the "
            f"methods {', '.join(CALLS)}"
        )
    return observer


def _reason(error: BaseException) -> str:
    """Return in one line what went wrong in an observer, with the user's file and line."""
    if isinstance(error, OneLineError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)[1:]  # without the call here
    where, folder = "", Path(frames[0].filename).parent if frames else _HERE
    if folder != _HERE:  # else the observer is one of ours
        innermost = [frame for frame in frames if Path(frame.filename).parent == folder][-1]
        where = f"{innermost.filename}:{innermost.lineno}: "
    try:
        return f"{where}{type(error).__name__}: {first_line(error)}"
    except Exception:  # the text of the error can't be had
        return f"{where}{type(error).__name__}"


class Observers:
    """The observers of one run, called one after the other.

    An observer that raises an exception is named in a line and not called again; the run goes on.
    Each gets copies of rows and results, so that it can't change what the run writes.

    Args:
      observers: in the order in which they are called.
      say: prints a line.
    """

    def __init__(self, observers: Sequence[NamedObserver], say: Callable[[str], None]) -> None:
        self._observers, self._say = list(observers), say
        self._at_work = False  # between `began` and the end

    def began(self, run: ObservedRun) -> None:
        """Call `began` of each."""
        self._at_work = True
        self._call("began", lambda: copy.deepcopy(run))

    def epoch(self, row: "Row") -> None:
        """Call `epoch` of each."""
        self._call("epoch", lambda: copy.deepcopy(row))

    def finished(self, result: "Result") -> None:
        """Call `finished` of each."""
        self._at_work = False
        self._call("finished", lambda: copy.deepcopy(result))

    def failed(self, error: BaseException | None) -> None:
        """Call `failed` of each, if there is an error and the run has begun and not ended yet.

        After a second Ctrl-C, which stops at once, nothing is called.
        """
        if self._at_work and isinstance(error, Exception):
            self._at_work = False
            self._call("failed", lambda: error)

    def _call(self, name: str, argument: Callable[[], Any]) -> None:
        for called in list(self._observers):
            try:
                method = getattr(called.observer, name, None)
                if callable(method):
                    method(argument())
            except (KeyboardInterrupt, Interrupted):
                raise
            except BaseException as error:
                self._observers.remove(called)
                reason = _reason(error)
                self._say(f"{called.label}: {reason}; {_DROPPED}")
