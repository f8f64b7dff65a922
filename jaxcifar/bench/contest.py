"""Measure the contestants of a benchmark in turn, in rounds, each alone on the machine.

The process of a contestant runs only during its turn. Beside contestants that waited in their
processes, ResNet-18 trained at 116 images/s on two cores where it trains at 152 to 177 alone.
Compiled programs are kept in a folder, from which a contestant's next process takes them.

A contestant that is much slower than the best, that hangs or that dies is left out of the rounds,
with the reason. The rounds go on without it.
"""

import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from jaxcifar.bench.bench_progress import BenchProgress
from jaxcifar.bench.contestant import ContestantError, Deadline
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
_SECONDS_TO_START = 15.0  # expected time of a start whose programs were compiled before, at most
_WARM_UP = 2  # steps or batches before a measurement: the first ones load programs and memory


@dataclasses.dataclass(frozen=True)
class Plan:
    """The measurements of a contest, in which several implementations are measured in turn.

    Attributes:
      phases: phases to measure: "train", "eval" or both.
      rounds: number of times that each contestant is measured; fewer if the time is up.
      estimate_rest: called with the measured rates of the first contestant; returns the seconds
        that the command needs after the contest.
      seconds: time limit of the contest and of what comes after it.
    """

    phases: Sequence[str]
    rounds: int
    estimate_rest: Callable[[Entrant], float] = lambda first: 0.0
    seconds: float = math.inf


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
    end = time.monotonic() + plan.seconds
    entrants: list[Entrant] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for number, spec in enumerate(specs, 1):
            progress.doing(f"{spec.label}: first steps ({number} of {len(specs)})")
            if entrants:
                _expect_first_steps(entrants, len(specs), plan, progress)
            entrant = Entrant(spec, _cache_environment(folder))
            _get_ready(entrant, entrants, plan, end)
            entrants.append(entrant)
            progress.say(_status_message(entrant, plan.phases))
        _leave_out_slow_entrants(entrants, plan.phases, progress)
        for number in range(1, plan.rounds + 1):
            if number > 1 and _seconds_needed(entrants, plan) > end - time.monotonic():
                progress.say(f"no time is left for round {number} of {plan.rounds}")
                break
            _do_round(entrants, number, plan, progress)
    progress.expect(plan.estimate_rest(entrants[0]))
    return entrants


def _cache_environment(folder: str) -> dict[str, str]:
    """Return environment variables by which JAX and PyTorch keep compiled programs in a folder.

    Where the user has set a variable, its value stays.
    """
    defaults = {
        "JAX_COMPILATION_CACHE_DIR": str(Path(folder, "jax")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "TORCHINDUCTOR_CACHE_DIR": str(Path(folder, "torch")),
        "TORCHINDUCTOR_FX_GRAPH_CACHE": "1",
        "TORCHINDUCTOR_AUTOGRAD_CACHE": "1",
    }
    return {name: os.environ.get(name, value) for name, value in defaults.items()}


def _seconds_needed(entrants: Sequence[Entrant], plan: Plan) -> float:
    """Return the expected seconds of one more round and of everything after the contest."""
    remaining = remaining_entrants(entrants)
    round_seconds = sum(entrant.seconds_of_a_round(plan.phases) for entrant in remaining)
    return round_seconds + plan.estimate_rest(entrants[0])


def _expect_first_steps(
    ready: Sequence[Entrant], total: int, plan: Plan, progress: BenchProgress
) -> None:
    """Estimate the time left, before the next contestant starts.

    Each further contestant is expected to take as long as those that are ready.

    Args:
      ready: the contestants that have compiled and taken first steps.
      total: number of all contestants.
      plan: the measurements of the contest.
      progress: shows the estimate.
    """
    getting_ready = fmean(entrant.seconds_to_get_ready for entrant in ready)
    remaining = remaining_entrants(ready)
    round_of_ready = sum(entrant.seconds_of_a_round(plan.phases) for entrant in remaining)
    round_of_all = round_of_ready * total / len(ready)
    waiting = total - len(ready) - 1  # entrants after the next one
    rest = plan.estimate_rest(ready[0])
    progress.expect(getting_ready, waiting * getting_ready + plan.rounds * round_of_all + rest)


def _get_ready(entrant: Entrant, others: Sequence[Entrant], plan: Plan, end: float) -> None:
    """Make a contestant compile and take first steps; leave it out if it fails or is too slow.

    Args:
      entrant: the contestant.
      others: the contestants that are ready; empty if this is the first one.
      plan: the measurements of the contest.
      end: time of `time.monotonic` at which the command should end.
    """
    began = time.monotonic()
    deadline = None
    if others:
        time_left = end - began - _seconds_needed(others, plan)
        allowed = seconds_allowed_to_get_ready(entrant.spec.work, others[0])
        deadline = Deadline(max(0.0, min(allowed, time_left)))
    try:
        with entrant.turn():
            for phase in plan.phases:
                entrant.measure(phase, 1, deadline)  # compiles the program
                entrant.first_rates[phase] = _first_rate(entrant, phase, deadline)
                entrant.left_out = reason_if_slow(entrant, others, phase)
                if entrant.left_out:
                    break
            entrant.ask_for_memory()
    except ContestantError as error:
        _leave_out_failed(entrant, "first steps", error, is_first=not others)
    entrant.seconds_to_get_ready = time.monotonic() - began
    entrant.seconds_to_start = min(entrant.seconds_to_get_ready, _SECONDS_TO_START)


def _first_rate(entrant: Entrant, phase: str, deadline: Deadline | None) -> float:
    """Return the images per second of a contestant, measured for at least two seconds.

    If a whole round takes less than two seconds, one round is measured. Once `deadline` passes, the
    contestant is stopped with an error; None means no deadline.
    """
    work, iterations = entrant.spec.work, 1
    while True:
        timing = entrant.measure(phase, iterations, deadline)
        if timing.seconds >= _MIN_SECONDS or timing.images >= work.images(phase):
            return timing.rate
        iterations = min(4 * iterations, work.iterations(phase))


def _leave_out_slow_entrants(
    entrants: Sequence[Entrant], phases: Sequence[str], progress: BenchProgress
) -> None:
    """Leave out the contestants whose first rates are below a tenth of the fastest one's."""
    for entrant in remaining_entrants(entrants[1:]):
        reasons = [reason_if_slow(entrant, entrants, phase) for phase in phases]
        first_reason = next(filter(None, reasons), "")
        if first_reason:
            entrant.left_out = first_reason
            progress.say(_status_message(entrant, phases))


def _status_message(entrant: Entrant, phases: Sequence[str]) -> str:
    """Return a message with a contestant's first rates, or the reason why it was left out."""
    label = entrant.spec.label
    if entrant.left_out:
        return f"{label} is left out of the rounds: {entrant.left_out}"
    rates = [f"{VERBS[phase]} {entrant.first_rates[phase]:,.0f} images/s" for phase in phases]
    ready = duration(entrant.seconds_to_get_ready)
    return f"{label} is ready after {ready}, {' and '.join(rates)}"


def _do_round(
    entrants: Sequence[Entrant], number: int, plan: Plan, progress: BenchProgress
) -> None:
    """Start, measure and end each remaining contestant, one after another, in round `number`."""
    remaining = remaining_entrants(entrants)
    rounds_after = plan.rounds - number
    for position, entrant in enumerate(remaining):
        turn_seconds = [other.seconds_of_a_round(plan.phases) for other in remaining]
        rest_of_round = sum(turn_seconds[position + 1 :])
        later_rounds = rounds_after * sum(turn_seconds)
        after_contest = plan.estimate_rest(entrants[0])
        progress.doing(f"{entrant.spec.label}: round {number} of {plan.rounds}")
        progress.expect(turn_seconds[position], rest_of_round + later_rounds + after_contest)
        try:
            deadline = Deadline(seconds_allowed(turn_seconds[position]))
            _measure_round(entrant, plan.phases, deadline)
        except ContestantError as error:
            is_first = entrant is entrants[0]
            _leave_out_failed(entrant, f"round {number}", error, is_first)
            progress.say(_status_message(entrant, plan.phases))
    progress.say(f"round {number} of {plan.rounds} is done")


def _measure_round(entrant: Entrant, phases: Sequence[str], deadline: Deadline) -> None:
    """Start a contestant, warm it up, measure each phase, and end its process."""
    began = time.monotonic()
    measured_seconds = 0.0
    with entrant.turn():
        for phase in phases:
            iterations = entrant.spec.work.iterations(phase)
            entrant.measure(phase, min(_WARM_UP, iterations), deadline)
            timing = entrant.measure(phase, iterations, deadline)
            entrant.rates.setdefault(phase, []).append(timing.rate)
            measured_seconds += timing.seconds
        entrant.ask_for_memory()
    entrant.seconds_to_start = time.monotonic() - began - measured_seconds


def _leave_out_failed(entrant: Entrant, when: str, error: ContestantError, is_first: bool) -> None:
    """Leave out a contestant that failed; `when` names its activity then, such as "round 2".

    Raises:
      RunError: the first contestant failed; without it nothing is measured.
    """
    if is_first:
        raise RunError(f"{entrant.spec.label}, {when}: {error.reason}") from error
    entrant.left_out = f"{when}: {error.reason}"
