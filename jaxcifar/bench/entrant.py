"""Entrants of a contest: their figures, and the rules by which they are left out."""

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from jaxcifar.bench.contestant import Contestant, ContestantError, Deadline
from jaxcifar.bench.work import TRAIN, Timing, Work

MIN_RELATIVE_RATE = (
    0.1  # of the best rate for the same work: a slower entrant is left out of the rounds
)
_TIMES_AS_LONG, _SECONDS_MORE = 5, 120
VERBS = {"train": "trains", "eval": "evaluates"}


@dataclasses.dataclass(frozen=True)
class EntrantSpec:
    """A contestant to be started: its name on the screen, its implementation, its work."""

    label: str
    implementation: str
    work: Work


@dataclasses.dataclass
class Entrant:
    """A contestant and its figures.

    Attributes:
      entry: its name and its work.
      contestant: its process.
      seconds_to_get_ready: seconds from its start until it could take part in rounds.
      first_rates: images a second of its first steps, by phase.
      rates: images a second of each round, by phase.
      left_out: the reason why it takes part in no more rounds, or empty.
      peak_memory: bytes at most; None if its process could not be asked.
    """

    entry: EntrantSpec
    contestant: Contestant
    seconds_to_get_ready: float = 0.0
    first_rates: dict[str, float] = dataclasses.field(default_factory=dict)
    rates: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    left_out: str = ""
    peak_memory: int | None = None

    def measure(self, phase: str, pieces: int, deadline: Deadline | None) -> Timing:
        """Let the contestant train so many steps, or evaluate so many batches.

        Args:
          phase: one of `work.PHASES`.
          pieces: steps or batches.
          deadline: when its process is killed; None to wait for ever.

        Raises:
          ContestantError: it failed.
        """
        method = "train" if phase == TRAIN else "evaluate"
        return self.contestant.ask(method, pieces, deadline=deadline)

    def seconds_of_a_round(self, phases: Sequence[str]) -> float:
        """Return the seconds expected for the next round, given the rates of the last one."""
        seconds = 0.0
        for phase in phases:
            rates = self.rates.get(phase)
            rate = rates[-1] if rates else self.first_rates[phase]
            seconds += self.entry.work.images(phase) / rate
        return seconds

    def summary(self, phase: str) -> dict[str, Any]:
        """Return the figures of a phase.

        Returns:
          `images_per_second` (median) and `spread` (lowest and highest) of the rounds, or else of
          the first steps, or else None; `rounds`, how many were measured; `left_out`, the reason,
          if there is one.
        """
        rates = self.rates.get(phase, [])
        shown = rates
        if not rates and phase in self.first_rates:
            shown = [self.first_rates[phase]]
        summary = {
            "images_per_second": float(np.median(shown)) if shown else None,
            "spread": [min(shown), max(shown)] if shown else None,
            "rounds": len(rates),
        }
        return summary | ({"left_out": self.left_out} if self.left_out else {})

    def leave_out(self, reason: str) -> None:
        """Let it take part in no more rounds, and end its process."""
        self.left_out = reason
        self.ask_for_memory()
        self.contestant.kill()

    def ask_for_memory(self) -> None:
        """Set `peak_memory`, unless its process is dead or has not begun to measure."""
        if self.first_rates:
            with suppress(ContestantError):
                deadline = Deadline(seconds_allowed(seconds=0))
                self.peak_memory = self.contestant.ask("peak_memory", deadline=deadline)


def remaining_entrants(field: Sequence[Entrant]) -> list[Entrant]:
    """Return the entrants that are not left out."""
    return [entrant for entrant in field if not entrant.left_out]


def seconds_allowed(seconds: float) -> float:
    """Return the seconds after which an entrant is stopped.

    Args:
      seconds: that it is expected to take.
    """
    return _SECONDS_MORE + _TIMES_AS_LONG * seconds


def seconds_allowed_to_get_ready(work: Work, first: Entrant) -> float:
    """Return the seconds that an entrant may take to get ready.

    It is expected to take as long as the first entrant. With more images at a time it may take
    longer in proportion.

    Args:
      work: the work of the entrant.
      first: the first entrant.
    """
    times_larger = max(1.0, work.images_a_step / first.entry.work.images_a_step)
    return seconds_allowed(times_larger * first.seconds_to_get_ready)


def reason_if_slow(entrant: Entrant, others: Sequence[Entrant], phase: str) -> str:
    """Return the reason if an entrant is too slow for its phase, or else an empty text.

    Args:
      entrant: that is compared.
      others: the entrants that it is compared with, if their work is the same.
      phase: one of `work.PHASES`.
    """
    rivals = [
        other
        for other in others
        if other.entry.work.task == entrant.entry.work.task and phase in other.first_rates
    ]
    if not rivals or phase not in entrant.first_rates:
        return ""
    best = max(rivals, key=lambda rival: rival.first_rates[phase])
    rate, best_rate = entrant.first_rates[phase], best.first_rates[phase]
    if rate >= MIN_RELATIVE_RATE * best_rate:
        return ""
    shown_rate = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    return (
        f"it {VERBS[phase]} {shown_rate} images/s in its first steps, less than a tenth of "
        f"{best.entry.label}'s {best_rate:,.0f}"
    )
