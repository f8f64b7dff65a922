"""Contestants with their measured rates, and the rules for leaving out a slow contestant."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.bench.contestant_process import ContestantError, ContestantProcess, Deadline
from jaxcifar.bench.work import TRAIN, Timing, Work
from jaxcifar.machine.terminal import duration

# A contestant is left out of the rounds if its rate is below this fraction of the best rate for the
# same work.
MIN_RELATIVE_RATE = 0.1
# A contestant is stopped after this number of times its expected seconds, plus these seconds.
_DEADLINE_FACTOR, _DEADLINE_EXTRA_SECONDS = 5, 120
_VERBS = {"train": "trains", "eval": "evaluates"}


@dataclasses.dataclass(frozen=True)
class ContestantSpec:
    """A benchmark contestant that is to be started.

    Attributes:
      label: the contestant's name on the screen.
      implementation: one of `contestant_process.IMPLEMENTATIONS`.
      work: the network to measure.
    """

    label: str
    implementation: str
    work: Work


@dataclasses.dataclass
class Contestant:
    """A benchmark contestant and its measured rates, in images per second.

    Attributes:
      spec: name, implementation and work of the contestant.
      environment: environment variables of its processes.
      seconds_to_get_ready: seconds that the contestant took to compile and take first steps.
      seconds_to_start: seconds that its last process took to start and warm up.
      first_rates: "train" or "eval" -> images per second of the first steps.
      rates: "train" or "eval" -> images per second of each round.
      exclusion_reason: why the contestant takes part in no more rounds; empty if it takes part.
      peak_memory: maximum bytes of memory in use; None if the process could not report it.
    """

    spec: ContestantSpec
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    seconds_to_get_ready: float = 0.0
    seconds_to_start: float = 0.0
    first_rates: dict[str, float] = dataclasses.field(default_factory=dict)
    rates: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    exclusion_reason: str = ""
    peak_memory: int | None = None
    _process: ContestantProcess | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Run the contestant's process during a `with` block, in which `measure` may be called."""
        spec, environment = self.spec, self.environment
        with ContestantProcess(spec.label, spec.implementation, spec.work, environment) as process:
            self._process = process
            yield

    def measure(self, phase: str, iterations: int, deadline: Deadline | None) -> Timing:
        """Make the contestant train or evaluate; return the number of images and the seconds.

        Args:
          phase: "train" or "eval".
          iterations: number of training steps or evaluated batches.
          deadline: time limit, after which the process is killed; None to wait for ever.

        Raises:
          ContestantError: the contestant failed.
        """
        method = "train" if phase == TRAIN else "evaluate"
        assert self._process is not None  # this is called in a turn
        return self._process.ask(method, iterations, deadline=deadline)

    def seconds_of_a_round(self, phases: Sequence[str]) -> float:
        """Return the seconds that the contestant will take in the next round.

        Starting, training and evaluation are expected to take as long as last time.

        Args:
          phases: phases of the round: "train", "eval" or both.
        """
        return self.seconds_to_start + self.seconds_of_work(phases)

    def seconds_of_work(self, phases: Sequence[str]) -> float:
        """Return the seconds that training and evaluation will take in the next round.

        The next round is expected to be as fast as the last measurement. The time to start the
        contestant's process is not included.

        Args:
          phases: phases of the round: "train", "eval" or both.
        """
        seconds = 0.0
        for phase in phases:
            rates = self.rates.get(phase)
            rate = rates[-1] if rates else self.first_rates[phase]
            seconds += self.spec.work.images(phase) / rate
        return seconds

    def summary(self, phase: str) -> dict[str, Any]:
        """Return the results of a phase ("train" or "eval"), for the JSON file.

        Returns:
          `images_per_second`: median of the rounds, or the rate of the first steps if there were no
            rounds, or None if there were no steps either.
          `spread`: the lowest and the highest rate, or None.
          `rounds`: number of measured rounds.
          `rates`: the rate of each round.
          `left_out`: reason why the contestant was left out; missing if it was not.
        """
        rates = self.rates.get(phase, [])
        summarized_rates = rates
        if not rates and phase in self.first_rates:
            summarized_rates = [self.first_rates[phase]]
        has_rate = len(summarized_rates) > 0
        summary: dict[str, Any] = {
            "images_per_second": float(np.median(summarized_rates)) if has_rate else None,
            "spread": [min(summarized_rates), max(summarized_rates)] if has_rate else None,
            "rounds": len(rates),
            "rates": rates,
        }
        if self.exclusion_reason:
            summary["left_out"] = self.exclusion_reason
        return summary

    def status_message(self, phases: Sequence[str]) -> str:
        """Return a message with the contestant's first speeds, or the reason why it is left out.

        `phases` are the phases whose speed is shown: "train", "eval" or both.
        """
        label = self.spec.label
        if self.exclusion_reason:
            return f"{label} is left out of the rounds: {self.exclusion_reason}"
        rates = [f"{_VERBS[phase]} {self.first_rates[phase]:,.0f} images/s" for phase in phases]
        time_to_get_ready = duration(self.seconds_to_get_ready)
        return f"{label} is ready after {time_to_get_ready}, {' and '.join(rates)}"

    def ask_for_memory(self) -> None:
        """Ask the contestant's process for its peak memory, and store it as `peak_memory`.

        A process that has ended or does not answer is ignored.
        """
        assert self._process is not None  # this is called in a turn
        with suppress(ContestantError):
            deadline = Deadline(seconds_allowed(expected_seconds=0))
            self.peak_memory = self._process.ask("peak_memory", deadline=deadline)


def cache_environment(folder: str) -> dict[str, str]:
    """Return environment variables by which JAX and PyTorch keep compiled programs in a folder.

    A variable that the user has set keeps its value.
    """
    default_values = {
        "JAX_COMPILATION_CACHE_DIR": str(Path(folder, "jax")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "TORCHINDUCTOR_CACHE_DIR": str(Path(folder, "torch")),
        "TORCHINDUCTOR_FX_GRAPH_CACHE": "1",
        "TORCHINDUCTOR_AUTOGRAD_CACHE": "1",
    }
    return {name: os.environ.get(name, value) for name, value in default_values.items()}


def remaining_contestants(contestants: Sequence[Contestant]) -> list[Contestant]:
    """Return the contestants that were not left out because of an error or low speed."""
    return [contestant for contestant in contestants if not contestant.exclusion_reason]


def seconds_allowed(expected_seconds: float) -> float:
    """Return the seconds after which a contestant is stopped.

    Args:
      expected_seconds: seconds that the contestant is expected to take.
    """
    return _DEADLINE_EXTRA_SECONDS + _DEADLINE_FACTOR * expected_seconds


def seconds_allowed_to_get_ready(work: Work, first_contestant: Contestant) -> float:
    """Return the seconds that a contestant may take to compile and train its first steps.

    A contestant is expected to take as long as the first contestant. If its steps have n times as
    many images, it is expected to take n times as long.

    Args:
      work: the network that the contestant trains, and its images in a step.
      first_contestant: the first contestant.
    """
    first_work = first_contestant.spec.work
    times_larger = max(1.0, work.images_per_step / first_work.images_per_step)
    return seconds_allowed(times_larger * first_contestant.seconds_to_get_ready)


def reason_if_slow(contestant: Contestant, others: Sequence[Contestant], phase: str) -> str:
    """Return a message if a contestant has less than a tenth of the best speed, otherwise "".

    Args:
      contestant: the contestant to check.
      others: contestants to compare with; those that measure another network are ignored.
      phase: "train" or "eval".
    """
    comparison_key = contestant.spec.work.comparison_key
    comparable_contestants = [
        other for other in others if other.spec.work.comparison_key == comparison_key
    ]
    rivals = [other for other in comparable_contestants if phase in other.first_rates]
    if not rivals or phase not in contestant.first_rates:
        return ""
    fastest_rival = max(rivals, key=lambda rival: rival.first_rates[phase])
    rate, fastest_rate = contestant.first_rates[phase], fastest_rival.first_rates[phase]
    if rate >= MIN_RELATIVE_RATE * fastest_rate:
        return ""
    shown_rate = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    return (
        f"it {_VERBS[phase]} {shown_rate} images/s in its first steps, less than a tenth of "
        f"{fastest_rival.spec.label}'s {fastest_rate:,.0f}"
    )
