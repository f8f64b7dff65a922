"""Rows in the benchmark's table of results, and ratios of their speeds."""

from collections.abc import Sequence
from typing import Any

from jaxcifar.bench.entrant import Entrant
from jaxcifar.bench.work import PHASES, TRAIN


def result_rows(entrant: Entrant, macs: int, peak: float) -> list[dict[str, Any]]:
    """Return a contestant's rows in the table of results, one for training and one for evaluation.

    Args:
      entrant: the contestant and its measured rates.
      macs: multiply-accumulates of the forward pass of one image.
      peak: multiplications and additions per second of a large matrix product.

    Returns:
      the rows; a value is None if it was not measured.
    """
    work = entrant.spec.work
    rows = []
    for phase in PHASES:
        summary = entrant.summary(phase)
        rate = summary["images_per_second"]
        passes = 3 if phase == TRAIN else 1  # the gradient costs as much as two forward passes
        milliseconds, flops = None, None
        if rate is not None:
            milliseconds = 1e3 * work.batch_size / rate
            flops = 2 * macs * passes * rate
        row = {
            "arch": work.arch,
            "phase": phase,
            "dtype": work.dtype,
            "batch_size": work.batch_size,
            "implementation": entrant.spec.implementation,
            **summary,
            "milliseconds": milliseconds,
            "flops_per_second": flops,
            "peak_memory_bytes": entrant.peak_memory,
        }
        # The peak was measured in the precision and with the compiler of this package.
        if row["implementation"] == "jaxcifar" and flops is not None:
            row["share_of_peak"] = flops / peak
        rows.append(row)
    return rows


def speed_ratios(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how many times as fast this package is as PyTorch, for each phase.

    The fastest row of this package is compared with the fastest row of PyTorch. A phase ("train" or
    "eval") is missing if this package or PyTorch in float32 was not measured.

    Returns:
      phase -> `float32`, the ratio to PyTorch in float32, and `any`, to PyTorch in any precision.
    """
    ratios = {}
    for phase in PHASES:
        measured = [row for row in rows if row["phase"] == phase and row["images_per_second"]]
        jaxcifar_rows = [row for row in measured if row["implementation"] == "jaxcifar"]
        torch_rows = [row for row in measured if row["implementation"].startswith("torch")]
        jaxcifar_rates = [row["images_per_second"] for row in jaxcifar_rows]
        any_rates = [row["images_per_second"] for row in torch_rows]
        float32_rates = [
            row["images_per_second"] for row in torch_rows if row["dtype"] == "float32"
        ]
        if jaxcifar_rates and float32_rates:
            best = max(jaxcifar_rates)
            ratios[phase] = {"float32": best / max(float32_rates), "any": best / max(any_rates)}
    return ratios
