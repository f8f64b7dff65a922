"""Rows in the benchmark's table of results, and ratios of their speeds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxcifar.bench.contestant import Contestant
from jaxcifar.bench.work import PHASES

OUR_IMPLEMENTATION = "jaxcifar"


def result_rows(contestants: Sequence[Contestant]) -> list[dict[str, Any]]:
    """Return the rows in the table of results, one for each contestant and phase.

    A contestant is an implementation of training, such as PyTorch; the phases are "train" and
    "eval". A row of another implementation has `ratio`, how many times as fast this package is, and
    `ratio_spread`, the lowest and highest ratio of a round. A value that was not measured is None.

    Args:
      contestants: the contestants and their measured rates; this package is the first.
    """
    our_contestant = contestants[0]
    rows = []
    for contestant in contestants:
        work = contestant.spec.work
        for phase in PHASES:
            summary = contestant.summary(phase)
            rate = summary["images_per_second"]
            milliseconds_per_batch = None if rate is None else 1e3 * work.batch_size / rate
            row = {
                "arch": work.arch,
                "phase": phase,
                "dtype": work.dtype,
                "batch_size": work.batch_size,
                "implementation": contestant.spec.implementation,
                **summary,
                "milliseconds": milliseconds_per_batch,
                "peak_memory_bytes": contestant.peak_memory,
            }
            if contestant.spec.implementation != OUR_IMPLEMENTATION:
                speed_ratio = _speed_ratio(our_contestant, contestant, phase)
                row["ratio"], row["ratio_spread"] = speed_ratio.ratio, speed_ratio.spread
            rows.append(row)
    return rows


def speed_ratios(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how many times as fast this package is as PyTorch, for each phase.

    This package is compared with the fastest row of PyTorch. A phase ("train" or "eval") is missing
    if this package or PyTorch in float32 was not measured.

    Returns:
      phase -> a dict with these keys:
        `float32`: the ratio to PyTorch in float32.
        `any`: the ratio to PyTorch in the precision in which it is fastest.
        `float32_spread`, `any_spread`: the lowest and the highest ratio of a round, or None.
    """
    ratios: dict[str, Any] = {}
    for phase in PHASES:
        torch_rows = [row for row in rows if row["phase"] == phase and _is_measured_torch(row)]
        float32_rows = [row for row in torch_rows if row["dtype"] == "float32"]
        if not float32_rows:
            continue
        ratios[phase] = {}
        for precision, compared_rows in {"float32": float32_rows, "any": torch_rows}.items():
            fastest_row = max(compared_rows, key=lambda row: row["images_per_second"])
            ratios[phase][precision] = fastest_row["ratio"]
            ratios[phase][f"{precision}_spread"] = fastest_row["ratio_spread"]
    return ratios


def _is_measured_torch(row: dict[str, Any]) -> bool:
    """Return whether a row of results is PyTorch's, with a rate and a ratio to this package."""
    is_torch = row["implementation"].startswith("torch")
    return is_torch and bool(row["images_per_second"]) and bool(row["ratio"])


class _SpeedRatio(NamedTuple):
    """How many times as fast this package is, and the lowest and highest ratio of a round."""

    ratio: float | None
    spread: list[float] | None


def _speed_ratio(ours: Contestant, other: Contestant, phase: str) -> _SpeedRatio:
    """Return how many times as fast `ours` is as `other`.

    The ratio is the median over the rounds. In each round both were measured within minutes, so a
    slow hour of the machine slows both. If `other` has no rounds, the rates of the first steps are
    compared, without a spread. An unknown value is None.

    Args:
      ours: this package, with its measured rates.
      other: the other implementation, with its measured rates.
      phase: "train" or "eval".
    """
    our_rates, other_rates = ours.rates.get(phase, []), other.rates.get(phase, [])
    pairs = zip(our_rates, other_rates, strict=False)  # `other` may have fewer rounds
    ratios = [our_rate / other_rate for our_rate, other_rate in pairs]
    if ratios:
        return _SpeedRatio(float(np.median(ratios)), [min(ratios), max(ratios)])
    our_rate = ours.summary(phase)["images_per_second"]
    other_rate = other.summary(phase)["images_per_second"]
    if not our_rate or not other_rate:
        return _SpeedRatio(None, None)
    return _SpeedRatio(our_rate / other_rate, None)
