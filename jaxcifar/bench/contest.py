"""Measure the contestants of a benchmark in turn, in rounds, each alone on the machine.

The process of a contestant runs only during its turn. Beside contestants that waited in their
processes, ResNet-18 trained at 116 images/s on two cores where it trains at 152 to 177 alone.
Compiled programs are kept in a folder, from which a contestant's next process takes them.

A contestant that is much slower than the best, that hangs or that dies is left out of the rounds,
with the reason. The rounds go on without it.
"""

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from statistics import fmean

from jaxcifar.bench.bench_progress import BenchProgress
from jaxcifar.bench.contestant import ContestantError, Deadline
from jaxcifar.bench.entrant import (
    Entrant,
    EntrantSpec,
    cache_environment,
    reason_if_slow,
    remaining_entrants,
    seconds_allowed,
    seconds_allowed_to_get_ready,
)
from jaxcifar.errors import RunError

_MIN_FIRST_SECONDS = 2.0  # minimum time of the first measurement, unless a whole round is shorter
# Most seconds that a start is expected to take whose programs were compiled before.
_MAX_EXPECTED_START_SECONDS = 15.0
# Steps or batches before a measurement: the first ones load programs and memory.
_WARM_UP_ITERATIONS = 2


@dataclasses.dataclass(frozen=True)
class Plan:
    """The measurements of a contest, in which several implementations are measured in turn.

    Attributes:
      phases: phases to measure: "train", "eval" or both.
      rounds: number of times that each contestant is measured; fewer if the time is up.
      estimate_later_seconds: called with the measured rates of the first contestant; returns the
        seconds that the command needs after the contest.
      time_limit: seconds for the contest and for what comes after it.
    """

    phases: Sequence[str]
    rounds: int
    estimate_later_seconds: Callable[[Entrant], float] = lambda first_entrant: 0.0
    time_limit: float = math.inf


def compete(specs: Sequence[EntrantSpec], plan: Plan, progress: BenchProgress) -> list[Entrant]:
    """Measure contestants in turn, and leave out those that hold up the others.

    Args:
      specs: the contestants. The first one should be fast: it is never left out, and its speed
        sets the time limit of the others.
      plan: what is measured, how often, and the time for it.
      progress: shows the current activity and the time left.

    Returns:
      the measured contestants.

    Raises:
      RunError: the first contestant failed.
    """
    end_time = time.monotonic() + plan.time_limit
    entrants: list[Entrant] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for spec_number, spec in enumerate(specs, 1):
            progress.set_activity(f"{spec.label}: first steps ({spec_number} of {len(specs)})")
            if entrants:
                _expect_first_steps(entrants, len(specs), plan, progress)
            entrant = Entrant(spec, cache_environment(folder))
            _get_entrant_ready(entrant, entrants, plan, end_time)
            entrants.append(entrant)
            progress.say(entrant.status_message(plan.phases))
        _exclude_slow_entrants(entrants, plan.phases, progress)
        for round_number in range(1, plan.rounds + 1):
            needed_seconds = _seconds_for_another_round_and_rest(entrants, plan)
            seconds_left = end_time - time.monotonic()
            if round_number > 1 and needed_seconds > seconds_left:
                progress.say(f"no time is left for round {round_number} of {plan.rounds}")
                break
            _measure_round(entrants, round_number, plan, progress)
    progress.set_estimate(plan.estimate_later_seconds(entrants[0]))
    return entrants


def _seconds_for_another_round_and_rest(entrants: Sequence[Entrant], plan: Plan) -> float:
    """Return the expected seconds of one more round and of everything after the contest."""
    remaining = remaining_entrants(entrants)
    round_seconds = sum(entrant.seconds_of_a_round(plan.phases) for entrant in remaining)
    return round_seconds + plan.estimate_later_seconds(entrants[0])


def _expect_first_steps(
    ready_entrants: Sequence[Entrant], entrant_count: int, plan: Plan, progress: BenchProgress
) -> None:
    """Estimate the time left, before the next contestant starts.

    Each further contestant is expected to take as long as those that are ready.

    Args:
      ready_entrants: the contestants that have compiled and taken first steps.
      entrant_count: number of all contestants.
      plan: the measurements of the contest.
      progress: shows the estimate.
    """
    seconds_to_get_ready = fmean(entrant.seconds_to_get_ready for entrant in ready_entrants)
    remaining = remaining_entrants(ready_entrants)
    round_seconds_of_ready = sum(entrant.seconds_of_a_round(plan.phases) for entrant in remaining)
    round_seconds_of_all = round_seconds_of_ready * entrant_count / len(ready_entrants)
    entrants_after_next = entrant_count - len(ready_entrants) - 1
    later_seconds = (
        entrants_after_next * seconds_to_get_ready
        + plan.rounds * round_seconds_of_all
        + plan.estimate_later_seconds(ready_entrants[0])
    )
    progress.set_estimate(seconds_to_get_ready, later_seconds)


def _get_entrant_ready(
    entrant: Entrant, ready_entrants: Sequence[Entrant], plan: Plan, end_time: float
) -> None:
    """Make a contestant compile and take first steps; leave it out if it fails or is too slow.

    Args:
      entrant: the contestant.
      ready_entrants: the contestants that are ready; empty if this is the first one.
      plan: the measurements of the contest.
      end_time: time of `time.monotonic` at which the command should end.
    """
    start_time = time.monotonic()
    deadline = None
    if ready_entrants:
        reserved_seconds = _seconds_for_another_round_and_rest(ready_entrants, plan)
        seconds_left = end_time - start_time - reserved_seconds
        allowed_seconds = seconds_allowed_to_get_ready(entrant.spec.work, ready_entrants[0])
        deadline = Deadline(max(0.0, min(allowed_seconds, seconds_left)))
    try:
        with entrant.turn():
            for phase in plan.phases:
                entrant.measure(phase, 1, deadline)  # compiles the program
                entrant.first_rates[phase] = _measure_first_rate(entrant, phase, deadline)
                entrant.exclusion_reason = reason_if_slow(entrant, ready_entrants, phase)
                if entrant.exclusion_reason:
                    break
            entrant.ask_for_memory()
    except ContestantError as error:
        _exclude_failed_entrant(entrant, "first steps", error, is_first=not ready_entrants)
    entrant.seconds_to_get_ready = time.monotonic() - start_time
    entrant.seconds_to_start = min(entrant.seconds_to_get_ready, _MAX_EXPECTED_START_SECONDS)


def _measure_first_rate(entrant: Entrant, phase: str, deadline: Deadline | None) -> float:
    """Return the images per second of a contestant, measured for at least two seconds.

    If a whole round takes less than two seconds, one round is measured. Once `deadline` passes, the
    contestant is stopped with an error; None means no deadline.
    """
    work, iterations = entrant.spec.work, 1
    while True:
        timing = entrant.measure(phase, iterations, deadline)
        if timing.seconds >= _MIN_FIRST_SECONDS or timing.images >= work.images(phase):
            return timing.rate
        iterations = min(4 * iterations, work.iterations(phase))


def _exclude_slow_entrants(
    entrants: Sequence[Entrant], phases: Sequence[str], progress: BenchProgress
) -> None:
    """Leave out the contestants whose first rates are below a tenth of the fastest one's."""
    for entrant in remaining_entrants(entrants[1:]):
        reason_of_each_phase = [reason_if_slow(entrant, entrants, phase) for phase in phases]
        first_reason = next(filter(None, reason_of_each_phase), "")
        if first_reason:
            entrant.exclusion_reason = first_reason
            progress.say(entrant.status_message(phases))


def _measure_round(
    entrants: Sequence[Entrant], round_number: int, plan: Plan, progress: BenchProgress
) -> None:
    """Start, measure and end each remaining contestant, one after another."""
    remaining = remaining_entrants(entrants)
    later_rounds = plan.rounds - round_number
    for position, entrant in enumerate(remaining):
        seconds_of_turns = [other.seconds_of_a_round(plan.phases) for other in remaining]
        seconds_of_other_turns = sum(seconds_of_turns[position + 1 :])
        seconds_of_later_rounds = later_rounds * sum(seconds_of_turns)
        seconds_after_contest = plan.estimate_later_seconds(entrants[0])
        progress.set_activity(f"{entrant.spec.label}: round {round_number} of {plan.rounds}")
        progress.set_estimate(
            seconds_of_turns[position],
            seconds_of_other_turns + seconds_of_later_rounds + seconds_after_contest,
        )
        try:
            deadline = Deadline(seconds_allowed(seconds_of_turns[position]))
            _measure_entrant(entrant, plan.phases, deadline)
        except ContestantError as error:
            is_first = entrant is entrants[0]
            _exclude_failed_entrant(entrant, f"round {round_number}", error, is_first)
            progress.say(entrant.status_message(plan.phases))
    progress.say(f"round {round_number} of {plan.rounds} is done")


def _measure_entrant(entrant: Entrant, phases: Sequence[str], deadline: Deadline) -> None:
    """Start a contestant, warm it up, measure each phase, and end its process."""
    start_time = time.monotonic()
    measured_seconds = 0.0
    with entrant.turn():
        for phase in phases:
            iterations = entrant.spec.work.iterations(phase)
            entrant.measure(phase, min(_WARM_UP_ITERATIONS, iterations), deadline)
            timing = entrant.measure(phase, iterations, deadline)
            entrant.rates.setdefault(phase, []).append(timing.rate)
            measured_seconds += timing.seconds
        entrant.ask_for_memory()
    entrant.seconds_to_start = time.monotonic() - start_time - measured_seconds


def _exclude_failed_entrant(
    entrant: Entrant, activity: str, error: ContestantError, is_first: bool
) -> None:
    """Leave out a contestant that failed; `activity` names its activity then, such as "round 2".

    Raises:
      RunError: the first contestant failed; without it nothing is measured.
    """
    if is_first:
        raise RunError(f"{entrant.spec.label}, {activity}: {error.reason}") from error
    entrant.exclusion_reason = f"{activity}: {error.reason}"
