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
from jaxcifar.bench.contestant import (
    Contestant,
    ContestantSpec,
    cache_environment,
    reason_if_slow,
    remaining_contestants,
    seconds_allowed,
    seconds_allowed_to_get_ready,
)
from jaxcifar.bench.contestant_process import ContestantError, Deadline
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
    estimate_later_seconds: Callable[[Contestant], float] = lambda first_contestant: 0.0
    time_limit: float = math.inf


def compete(
    specs: Sequence[ContestantSpec], plan: Plan, progress: BenchProgress
) -> list[Contestant]:
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
    contestants: list[Contestant] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for spec_number, spec in enumerate(specs, 1):
            progress.set_activity(f"{spec.label}: first steps ({spec_number} of {len(specs)})")
            if contestants:
                _expect_first_steps(contestants, len(specs), plan, progress)
            contestant = Contestant(spec, cache_environment(folder))
            _get_contestant_ready(contestant, contestants, plan, end_time)
            contestants.append(contestant)
            progress.print_line_above_status(contestant.status_message(plan.phases))
        _exclude_slow_contestants(contestants, plan.phases, progress)
        for round_number in range(1, plan.rounds + 1):
            needed_seconds = _seconds_for_another_round_and_rest(contestants, plan)
            seconds_left = end_time - time.monotonic()
            if round_number > 1 and needed_seconds > seconds_left:
                progress.print_line_above_status(
                    f"no time is left for round {round_number} of {plan.rounds}"
                )
                break
            _measure_round(contestants, round_number, plan, progress)
    progress.set_estimate(plan.estimate_later_seconds(contestants[0]))
    return contestants


def _seconds_for_another_round_and_rest(contestants: Sequence[Contestant], plan: Plan) -> float:
    """Return the expected seconds of one more round and of everything after the contest."""
    remaining = remaining_contestants(contestants)
    round_seconds = sum(contestant.seconds_of_a_round(plan.phases) for contestant in remaining)
    return round_seconds + plan.estimate_later_seconds(contestants[0])


def _expect_first_steps(
    ready_contestants: Sequence[Contestant], spec_count: int, plan: Plan, progress: BenchProgress
) -> None:
    """Estimate the time left, before the next contestant starts.

    Each further contestant is expected to take as long as those that are ready.

    Args:
      ready_contestants: the contestants that have compiled and taken first steps.
      spec_count: number of all contestants.
      plan: the measurements of the contest.
      progress: shows the estimate.
    """
    seconds_to_get_ready = fmean(other.seconds_to_get_ready for other in ready_contestants)
    remaining = remaining_contestants(ready_contestants)
    round_seconds_of_ready = sum(other.seconds_of_a_round(plan.phases) for other in remaining)
    round_seconds_of_all = round_seconds_of_ready * spec_count / len(ready_contestants)
    contestants_after_next = spec_count - len(ready_contestants) - 1
    later_seconds = (
        contestants_after_next * seconds_to_get_ready
        + plan.rounds * round_seconds_of_all
        + plan.estimate_later_seconds(ready_contestants[0])
    )
    progress.set_estimate(seconds_to_get_ready, later_seconds)


def _get_contestant_ready(
    contestant: Contestant, ready_contestants: Sequence[Contestant], plan: Plan, end_time: float
) -> None:
    """Make a contestant compile and take first steps; leave it out if it fails or is too slow.

    Args:
      contestant: the contestant.
      ready_contestants: the contestants that are ready; empty if this is the first one.
      plan: the measurements of the contest.
      end_time: time of `time.monotonic` at which the command should end.
    """
    start_time = time.monotonic()
    deadline = None
    if ready_contestants:
        reserved_seconds = _seconds_for_another_round_and_rest(ready_contestants, plan)
        seconds_left = end_time - start_time - reserved_seconds
        allowed_seconds = seconds_allowed_to_get_ready(contestant.spec.work, ready_contestants[0])
        deadline = Deadline(max(0.0, min(allowed_seconds, seconds_left)))
    try:
        with contestant.turn():
            for phase in plan.phases:
                contestant.measure(phase, 1, deadline)  # compiles the program
                contestant.first_rates[phase] = _measure_first_rate(contestant, phase, deadline)
                contestant.exclusion_reason = reason_if_slow(contestant, ready_contestants, phase)
                if contestant.exclusion_reason:
                    break
            contestant.ask_for_memory()
    except ContestantError as error:
        _exclude_failed_contestant(contestant, "first steps", error, is_first=not ready_contestants)
    contestant.seconds_to_get_ready = time.monotonic() - start_time
    contestant.seconds_to_start = min(contestant.seconds_to_get_ready, _MAX_EXPECTED_START_SECONDS)


def _measure_first_rate(contestant: Contestant, phase: str, deadline: Deadline | None) -> float:
    """Return the images per second of a contestant, measured for at least two seconds.

    If a whole round takes less than two seconds, one round is measured. Once `deadline` passes, the
    contestant is stopped with an error; None means no deadline.
    """
    work, iterations = contestant.spec.work, 1
    while True:
        timing = contestant.measure(phase, iterations, deadline)
        if timing.seconds >= _MIN_FIRST_SECONDS or timing.images >= work.images(phase):
            return timing.rate
        iterations = min(4 * iterations, work.iterations(phase))


def _exclude_slow_contestants(
    contestants: Sequence[Contestant], phases: Sequence[str], progress: BenchProgress
) -> None:
    """Leave out the contestants whose first rates are below a tenth of the fastest one's."""
    for contestant in remaining_contestants(contestants[1:]):
        reason_of_each_phase = [reason_if_slow(contestant, contestants, phase) for phase in phases]
        first_reason = next(filter(None, reason_of_each_phase), "")
        if first_reason:
            contestant.exclusion_reason = first_reason
            progress.print_line_above_status(contestant.status_message(phases))


def _measure_round(
    contestants: Sequence[Contestant], round_number: int, plan: Plan, progress: BenchProgress
) -> None:
    """Start, measure and end each remaining contestant, one after another."""
    remaining = remaining_contestants(contestants)
    later_rounds = plan.rounds - round_number
    for position, contestant in enumerate(remaining):
        seconds_of_turns = [other.seconds_of_a_round(plan.phases) for other in remaining]
        seconds_of_other_turns = sum(seconds_of_turns[position + 1 :])
        seconds_of_later_rounds = later_rounds * sum(seconds_of_turns)
        seconds_after_contest = plan.estimate_later_seconds(contestants[0])
        progress.set_activity(f"{contestant.spec.label}: round {round_number} of {plan.rounds}")
        progress.set_estimate(
            seconds_of_turns[position],
            seconds_of_other_turns + seconds_of_later_rounds + seconds_after_contest,
        )
        try:
            deadline = Deadline(seconds_allowed(seconds_of_turns[position]))
            _measure_contestant(contestant, plan.phases, deadline)
        except ContestantError as error:
            is_first = contestant is contestants[0]
            _exclude_failed_contestant(contestant, f"round {round_number}", error, is_first)
            progress.print_line_above_status(contestant.status_message(plan.phases))
    progress.print_line_above_status(f"round {round_number} of {plan.rounds} is done")


def _measure_contestant(contestant: Contestant, phases: Sequence[str], deadline: Deadline) -> None:
    """Start a contestant, warm it up, measure each phase, and end its process."""
    start_time = time.monotonic()
    measured_seconds = 0.0
    with contestant.turn():
        for phase in phases:
            iterations = contestant.spec.work.iterations(phase)
            contestant.measure(phase, min(_WARM_UP_ITERATIONS, iterations), deadline)
            timing = contestant.measure(phase, iterations, deadline)
            contestant.rates.setdefault(phase, []).append(timing.rate)
            measured_seconds += timing.seconds
        contestant.ask_for_memory()
    contestant.seconds_to_start = time.monotonic() - start_time - measured_seconds


def _exclude_failed_contestant(
    contestant: Contestant, activity: str, error: ContestantError, is_first: bool
) -> None:
    """Leave out a contestant that failed; `activity` names its activity then, such as "round 2".

    Raises:
      RunError: the first contestant failed; without it nothing is measured.
    """
    if is_first:
        raise RunError(f"{contestant.spec.label}, {activity}: {error.reason}") from error
    contestant.exclusion_reason = f"{activity}: {error.reason}"
