"""A contest: contestants get ready one after another, then are measured in turn, in rounds.

A contestant that is much slower than the best, that hangs or that dies is left out of the rounds,
with the reason. The rounds go on without it.
"""

import dataclasses
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

_MIN_SECONDS = 2.0  # minimum time of the first measurement, unless a whole round is shorter


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The measurements of a contest.

    Attributes:
      phases: phases to measure: "train", "eval" or both.
      rounds: number of times that each contestant is measured.
      estimate_rest: called with the measured rates of the first contestant; returns the seconds
        that the command needs after the contest.
    """

    phases: Sequence[str]
    rounds: int
    estimate_rest: Callable[[Entrant], float]


@contextmanager
def compete(
    specs: Sequence[EntrantSpec],
    phases: Sequence[str],
    rounds: int,
    progress: BenchProgress,
    estimate_rest: Callable[[Entrant], float] = lambda first: 0.0,
) -> Iterator[list[Entrant]]:
    """Measure contestants in turn, and leave out those that hold up the others.

    Args:
      specs: the contestants. The first one should be fast: it is never left out, and its speed
        sets the time limit of the others.
      phases: phases to measure: "train", "eval" or both.
      rounds: number of times that each contestant is measured.
      progress: shows the current activity and the time left.
      estimate_rest: called with the measured rates of the first contestant; returns the seconds
        that the command needs after the contest.

    Yields:
      the measured contestants. The processes of contestants not left out are still running.

    Raises:
      RunError: the first contestant failed.
    """
    plan = _Plan(phases, rounds, estimate_rest)
    with ExitStack() as stack:
        entrants: list[Entrant] = []
        for number, spec in enumerate(specs, 1):
            progress.doing(f"{spec.label}: first steps ({number} of {len(specs)})")
            if entrants:
                _expect_first_steps(entrants, len(specs), plan, progress)
            contestant = Contestant(spec.label, spec.implementation, spec.work)
            entrant = Entrant(spec, stack.enter_context(contestant))
            _get_ready(entrant, entrants, phases)
            entrants.append(entrant)
            progress.say(_status_message(entrant, phases))
        _leave_out_slow_entrants(entrants, phases, progress)
        for number in range(1, rounds + 1):
            _do_round(entrants, number, plan, progress)
        for entrant in remaining_entrants(entrants):
            entrant.ask_for_memory()
        progress.expect(estimate_rest(entrants[0]))
        yield entrants


def _expect_first_steps(
    ready: Sequence[Entrant], total: int, plan: _Plan, progress: BenchProgress
) -> None:
    """Estimate the time left, before the next contestant starts.

    Each further contestant is expected to take as long as those that are ready.

    Args:
      ready: the contestants that have compiled and taken first steps.
      total: number of all contestants.
      plan: the measurements of the contest.
      progress: gets the estimate.
    """
    getting_ready = fmean(entrant.seconds_to_get_ready for entrant in ready)
    remaining = remaining_entrants(ready)
    round_of_ready = sum(entrant.seconds_of_a_round(plan.phases) for entrant in remaining)
    round_of_all = round_of_ready * total / len(ready)
    waiting = total - len(ready) - 1  # entrants after the next one
    rest = plan.estimate_rest(ready[0])
    progress.expect(getting_ready, waiting * getting_ready + plan.rounds * round_of_all + rest)


def _get_ready(entrant: Entrant, others: Sequence[Entrant], phases: Sequence[str]) -> None:
    """Let a contestant compile and take first steps; leave it out if it fails or is too slow."""
    deadline = None
    if others:
        deadline = Deadline(seconds_allowed_to_get_ready(entrant.spec.work, others[0]))
    began = time.monotonic()
    try:
        for phase in phases:
            entrant.measure(phase, 1, deadline)  # compiles the program
            entrant.first_rates[phase] = _first_rate(entrant, phase, deadline)
            if reason := reason_if_slow(entrant, others, phase):
                entrant.leave_out(reason)
                break
    except ContestantError as error:
        _leave_out_failed(entrant, "first steps", error, is_first=not others)
    entrant.seconds_to_get_ready = time.monotonic() - began


def _first_rate(entrant: Entrant, phase: str, deadline: Deadline | None) -> float:
    """Measure for two seconds, or for a round if that is shorter; return the images per second."""
    work, iterations = entrant.spec.work, 1
    while True:
        timing = entrant.measure(phase, iterations, deadline)
        if timing.seconds >= _MIN_SECONDS or timing.images >= work.images(phase):
            return timing.rate
        iterations = min(4 * iterations, work.iterations(phase))


def _leave_out_slow_entrants(
    entrants: Sequence[Entrant], phases: Sequence[str], progress: BenchProgress
) -> None:
    """Leave out contestants much slower than the fastest, once the first rates of all are known."""
    for entrant in remaining_entrants(entrants[1:]):
        reasons = [reason_if_slow(entrant, entrants, phase) for phase in phases]
        first_reason = next(filter(None, reasons), "")
        if first_reason:
            entrant.leave_out(first_reason)
            progress.say(_status_message(entrant, phases))


def _status_message(entrant: Entrant, phases: Sequence[str]) -> str:
    label = entrant.spec.label
    if entrant.left_out:
        return f"{label} is left out of the rounds: {entrant.left_out}"
    rates = [f"{VERBS[phase]} {entrant.first_rates[phase]:,.0f} images/s" for phase in phases]
    ready = duration(entrant.seconds_to_get_ready)
    return f"{label} is ready after {ready}, {' and '.join(rates)}"


def _do_round(
    entrants: Sequence[Entrant], number: int, plan: _Plan, progress: BenchProgress
) -> None:
    """Do round `number`: measure each remaining contestant alone, so that none slows another."""
    remaining = remaining_entrants(entrants)
    rounds_after = plan.rounds - number
    for position, entrant in enumerate(remaining):
        seconds = [other.seconds_of_a_round(plan.phases) for other in remaining]
        expected = seconds[position]
        rest_of_round = sum(seconds[position + 1 :])
        rest = plan.estimate_rest(entrants[0])
        progress.doing(f"{entrant.spec.label}: round {number} of {plan.rounds}")
        progress.expect(expected, rest_of_round + rounds_after * sum(seconds) + rest)
        deadline = Deadline(seconds_allowed(expected))
        try:
            for phase in plan.phases:
                timing = entrant.measure(phase, entrant.spec.work.iterations(phase), deadline)
                entrant.rates.setdefault(phase, []).append(timing.rate)
        except ContestantError as error:
            is_first = entrant is entrants[0]
            _leave_out_failed(entrant, f"round {number}", error, is_first)
            progress.say(_status_message(entrant, plan.phases))
    progress.say(f"round {number} of {plan.rounds} is done")


def _leave_out_failed(entrant: Entrant, when: str, error: ContestantError, is_first: bool) -> None:
    """Leave out a contestant that failed; `when` names its activity then, such as "round 2".

    Raises:
      RunError: the first contestant failed; without it nothing is measured.
    """
    if is_first:
        raise RunError(f"{entrant.spec.label}, {when}: {error.reason}") from error
    entrant.leave_out(f"{when}: {error.reason}")
