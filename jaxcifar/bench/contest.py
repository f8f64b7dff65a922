"""A contest: contestants get ready one after another, then are measured in turn, in rounds.

A contestant that is much slower than the best, that hangs or that dies is left out of the rounds,
with the reason. The rounds go on without it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import fmean

from jaxcifar.bench.bench_progress import BenchProgress
from jaxcifar.bench.contestant import Contestant, ContestantError, Deadline
from jaxcifar.bench.entrant import (
    VERBS,
    Entrant,
    EntrantSpec,
    reason_if_slow,
    remaining_entrants,
    seconds_allowed,
    seconds_allowed_to_get_ready,
)
from jaxcifar.errors import RunError
from jaxcifar.machine.terminal import duration

_BRIEFLY = 2.0  # seconds that the first measurement takes at least, or a whole round


@contextmanager
def compete(
    entries: Sequence[EntrantSpec],
    phases: Sequence[str],
    rounds: int,
    progress: BenchProgress,
    estimate_rest: Callable[[Entrant], float] = lambda first: 0.0,
) -> Iterator[list[Entrant]]:
    """Measure all entries in turn; leave out an entry that holds up the others.

    Args:
      entries: the contestants. The first one is never left out, and the time that the others may
        take depends on it. It should be fast.
      phases: what is measured, of `work.PHASES`.
      rounds: how often each entry is measured.
      progress: shows what is done.
      estimate_rest: called with the first entrant; returns the seconds that the command needs
        after the contest.

    Yields:
      the entrants, all measured. An entrant that was not left out still has its process.

    Raises:
      RunError: the first failed.
    """
    with ExitStack() as stack:
        field: list[Entrant] = []
        for number, entry in enumerate(entries, 1):
            progress.doing(f"{entry.label}: first steps ({number} of {len(entries)})")
            if field:
                waiting = len(entries) - number
                progress.expect(*_expected(field, waiting, phases, rounds, estimate_rest))
            contestant = Contestant(entry.label, entry.implementation, entry.work)
            entrant = Entrant(entry, stack.enter_context(contestant))
            _get_ready(entrant, field, phases)
            field.append(entrant)
            progress.say(_status_message(entrant, phases))
        _leave_out_the_slow(field, phases, progress)
        for number in range(1, rounds + 1):
            _do_round(field, phases, number, rounds, estimate_rest, progress)
        for entrant in remaining_entrants(field):
            entrant.ask_for_memory()
        progress.expect(estimate_rest(field[0]))
        yield field


def _expected(
    field: Sequence[Entrant],
    waiting: int,
    phases: Sequence[str],
    rounds: int,
    estimate_rest: Callable[[Entrant], float],
) -> tuple[float, float]:
    """Return the seconds expected for the next entrant's first steps, and for all after them.

    Args:
      field: the entrants that are ready; others are expected to take as long as these did.
      waiting: how many entrants come after the next one.
      phases: what is measured.
      rounds: how many there will be.
      estimate_rest: see `compete`.
    """
    getting_ready = fmean(entrant.seconds_to_get_ready for entrant in field)
    a_round = sum(entrant.seconds_of_a_round(phases) for entrant in remaining_entrants(field))
    everybody = (len(field) + 1 + waiting) / len(field)
    later = waiting * getting_ready + rounds * a_round * everybody + estimate_rest(field[0])
    return getting_ready, later


def _get_ready(entrant: Entrant, others: Sequence[Entrant], phases: Sequence[str]) -> None:
    """Let an entrant compile and take first steps; leave it out if that takes too long."""
    deadline = None
    if others:
        deadline = Deadline(seconds_allowed_to_get_ready(entrant.entry.work, others[0]))
    began = time.monotonic()
    try:
        for phase in phases:
            entrant.measure(phase, 1, deadline)  # compiles
            entrant.first_rates[phase] = _first_rate(entrant, phase, deadline)
            if reason := reason_if_slow(entrant, others, phase):
                entrant.leave_out(reason)
                break
    except ContestantError as error:
        _fail(entrant, "first steps", error, is_first=not others)
    entrant.seconds_to_get_ready = time.monotonic() - began


def _first_rate(entrant: Entrant, phase: str, deadline: Deadline | None) -> float:
    """Return the images a second of so many steps or batches that they take two seconds.

    A whole round is enough, however short it is.
    """
    work, pieces = entrant.entry.work, 1
    while True:
        timing = entrant.measure(phase, pieces, deadline)
        if timing.seconds >= _BRIEFLY or timing.images >= work.images(phase):
            return timing.rate
        pieces = min(4 * pieces, work.pieces(phase))


def _leave_out_the_slow(
    field: Sequence[Entrant], phases: Sequence[str], progress: BenchProgress
) -> None:
    """Compare all entrants with the best of all, which may have come last."""
    for entrant in remaining_entrants(field[1:]):
        reasons = [reason_if_slow(entrant, field, phase) for phase in phases]
        if reason := next(filter(None, reasons), ""):
            entrant.leave_out(reason)
            progress.say(_status_message(entrant, phases))


def _status_message(entrant: Entrant, phases: Sequence[str]) -> str:
    label = entrant.entry.label
    if entrant.left_out:
        return f"{label} is left out of the rounds: {entrant.left_out}"
    rates = [f"{VERBS[phase]} {entrant.first_rates[phase]:,.0f} images/s" for phase in phases]
    ready = duration(entrant.seconds_to_get_ready)
    return f"{label} is ready after {ready}, {' and '.join(rates)}"


def _do_round(
    field: Sequence[Entrant],
    phases: Sequence[str],
    number: int,
    rounds: int,
    estimate_rest: Callable[[Entrant], float],
    progress: BenchProgress,
) -> None:
    """Measure each entrant, one after another, so that none is disturbed."""
    still_there = remaining_entrants(field)
    for position, entrant in enumerate(still_there, 1):
        seconds = [other.seconds_of_a_round(phases) for other in still_there]
        expected = seconds[position - 1]
        later = sum(seconds[position:]) + (rounds - number) * sum(seconds) + estimate_rest(field[0])
        progress.doing(f"{entrant.entry.label}: round {number} of {rounds}")
        progress.expect(expected, later)
        deadline = Deadline(seconds_allowed(expected))
        try:
            for phase in phases:
                timing = entrant.measure(phase, entrant.entry.work.pieces(phase), deadline)
                entrant.rates.setdefault(phase, []).append(timing.rate)
        except ContestantError as error:
            _fail(entrant, f"round {number}", error, is_first=entrant is field[0])
            progress.say(_status_message(entrant, phases))
    progress.say(f"round {number} of {rounds} is done")


def _fail(entrant: Entrant, when: str, error: ContestantError, is_first: bool) -> None:
    """Leave out an entrant that failed.

    Raises:
      RunError: it is the first entrant, without which nothing is measured.
    """
    if is_first:
        raise RunError(f"{entrant.entry.label}, {when}: {error.reason}") from error
    entrant.leave_out(f"{when}: {error.reason}")
