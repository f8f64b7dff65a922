"""Rows in the benchmark's table of results, and ratios of their speeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcifar.bench.entrant import Entrant
from jaxcifar.bench.work import PHASES

OURS = "jaxcifar"


def result_rows(entrants: Sequence[Entrant]) -> list[dict[str, Any]]:
    """Return the rows in the table of results, one for each contestant and phase.

    A contestant is an implementation of training, such as PyTorch; the phases are "train" and
    "eval". A row of another implementation has `ratio`, how many times as fast this package is, and
    `ratio_spread`, the lowest and highest ratio of a round. A value that was not measured is None.

    Args:
      entrants: the contestants and their measured rates; this package is the first.
    """
    rows = []
    for entrant in entrants:
        work = entrant.spec.work
        for phase in PHASES:
            summary = entrant.summary(phase)
            rate = summary["images_per_second"]
            row = {
                "arch": work.arch,
                "phase": phase,
                "dtype": work.dtype,
                "batch_size": work.batch_size,
                "implementation": entrant.spec.implementation,
                **summary,
                "milliseconds": None if rate is None else 1e3 * work.batch_size / rate,
                "peak_memory_bytes": entrant.peak_memory,
            }
            if entrant.spec.implementation != OURS:
                row["ratio"], row["ratio_spread"] = _speed_ratio(entrants[0], entrant, phase)
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
        for name, candidates in {"float32": float32_rows, "any": torch_rows}.items():
            best = max(candidates, key=lambda row: row["images_per_second"])
            ratios[phase][name] = best["ratio"]
            ratios[phase][f"{name}_spread"] = best["ratio_spread"]
    return ratios


def _is_measured_torch(row: dict[str, Any]) -> bool:
    """Return whether a row of results is PyTorch's, with a rate and a ratio to this package."""
    is_torch = row["implementation"].startswith("torch")
    return is_torch and bool(row["images_per_second"]) and bool(row["ratio"])


def _speed_ratio(
    ours: Entrant, other: Entrant, phase: str
) -> tuple[float | None, list[float] | None]:
    """Return how many times as fast `ours` is as `other`, and the lowest and highest ratio.

    The ratio is the median over the rounds. In each round both were measured within minutes, so a
    slow hour of the machine slows both. If `other` has no rounds, the ratio is that of the rates of
    the first steps, without a spread. An unknown value is None.

    Args:
      ours: this package, with its measured rates.
      other: the other implementation, with its measured rates.
      phase: "train" or "eval".
    """
    our_rates, other_rates = ours.rates.get(phase, []), other.rates.get(phase, [])
    pairs = zip(our_rates, other_rates, strict=False)  # `other` may have fewer rounds
    ratios = [our_rate / other_rate for our_rate, other_rate in pairs]
    if ratios:
        return float(np.median(ratios)), [min(ratios), max(ratios)]
    our_rate = ours.summary(phase)["images_per_second"]
    other_rate = other.summary(phase)["images_per_second"]
    if not our_rate or not other_rate:
        return None, None
    return our_rate / other_rate, None
