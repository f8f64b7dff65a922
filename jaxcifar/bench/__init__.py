"""How fast networks are trained and evaluated here, by us and by others, side by side."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcifar.bench.contestant import IMPLEMENTATIONS, Contestant
from jaxcifar.bench.work import Work
from jaxcifar.data.prepare import Say
from jaxcifar.errors import RunError

Rates = dict[str, list[float]]  # images a second of each round, by phase
PHASES = ("train", "eval")


def measure(
    works: Sequence[Work],
    peer: str | None,
    rounds: int,
    at_once: Sequence[int],
    macs: dict[str, int],
    say: Say,
) -> dict[str, Any]:
    """Let all contestants do their work in turn, round after round.

    Args:
      works: what we do; a network's are compared with each other and with its peers.
      peer: "torch" to let PyTorch take part, in float32 and in bfloat16.
      rounds: of which the medians are taken, after one that does not count.
      at_once: numbers of runs to train together as well.
      macs: multiply-accumulates of one image's forward pass, by arch.
      say: called with a line now and then.

    Returns:
      `rows`, `ratio` and `ours` (see `docs/performance.md`).

    Raises:
      RunError: ours can't do the work.
    """
    rows, ours = [], []
    for work in works:
        names = [name for name in IMPLEMENTATIONS if peer or not name.startswith("torch")]
        entries = [(name, work) for name in names]
        if peer:
            other = "float32" if work.dtype == "bfloat16" else "bfloat16"
            twin = dataclasses.replace(work, dtype=other)
            entries += [(name, twin) for name in names if name.startswith("torch")]
        with contextlib.ExitStack() as stack:
            contestants = [stack.enter_context(Contestant(*entry)) for entry in entries]
            measured = _in_turn(contestants, rounds, say)
            ours_first, *_ = measured  # what can't be measured of ours has been raised
            peak = ours_first[0].ask("peak_flops")
            for contestant, rates in measured:
                rows += _rows(contestant, rates, macs[work.arch], peak)
        milliseconds = 1e3 * work.batch_size / float(np.median(ours_first[1]["train"]))
        ours.append(
            _beyond_steps(work, milliseconds, say)
            | {
                "peak_flops_per_second": peak,
                "at_once": _at_once(work, at_once, rounds, say),
            }
        )
    return {"rows": rows, "ratio": _ratios(rows), "ours": ours}


def _in_turn(
    contestants: Sequence[Contestant], rounds: int, say: Say
) -> list[tuple[Contestant, Rates]]:
    """Rates of those that can do the work at all; one after another, so that none is disturbed."""
    measured = []
    for contestant in contestants:  # compile and warm up
        try:
            contestant.ask("train", contestant.work.steps)
            contestant.ask("evaluate")
        except RunError as error:
            if contestant.name == "jaxcifar":
                raise
            say(f"not measured: {error}")
            continue
        measured.append((contestant, {phase: [] for phase in PHASES}))
    for number in range(rounds):
        for contestant, rates in measured:
            work = contestant.work
            seconds = contestant.ask("train", work.steps)
            rates["train"].append(work.steps * work.batch_size / seconds)
            rates["eval"].append(work.test_images / contestant.ask("evaluate"))
        say(f"{contestants[0].work.arch}: round {number + 1} of {rounds}")
    return measured


def _rows(contestant: Contestant, rates: Rates, macs: int, peak: float) -> list[dict[str, Any]]:
    memory, work = contestant.ask("peak_memory"), contestant.work
    rows = []
    for phase in PHASES:
        summary = _summary(rates[phase])
        passes = 3 if phase == "train" else 1  # the gradient takes two more
        flops = 2 * macs * passes * summary["images_per_second"]
        row = {
            "arch": work.arch,
            "phase": phase,
            "dtype": work.dtype,
            "batch_size": work.batch_size,
            "implementation": contestant.name,
            **summary,
            "milliseconds": 1e3 * work.batch_size / summary["images_per_second"],
            "flops_per_second": flops,
            "peak_memory_bytes": memory,
        }
        if contestant.name == "jaxcifar":  # the peak is of our precision, by our compiler
            row["share_of_peak"] = flops / peak
        rows.append(row)
    return rows


def _summary(rates: Sequence[float]) -> dict[str, Any]:
    """Median, lowest and highest of rounds."""
    return {"images_per_second": float(np.median(rates)), "spread": [min(rates), max(rates)]}


def _beyond_steps(work: Work, milliseconds: float, say: Say) -> dict[str, Any]:
    """What a user waits for beside steps: the first one, and a run's bookkeeping."""
    say(f"{work.arch}: starting, and a whole run")
    with tempfile.TemporaryDirectory() as cache:
        environment = {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        with Contestant("jaxcifar", work, environment) as contestant:
            cold = contestant.seconds_to_first_step()
        with Contestant("jaxcifar", work, environment) as contestant:
            warm = contestant.seconds_to_first_step()
            result = contestant.ask("whole_run")
    steps = work.config.epochs * work.steps
    wall = result["wall_seconds"]
    return {
        "arch": work.arch,
        "dtype": work.dtype,
        "batch_size": work.batch_size,
        "first_step_seconds": {"cold": cold, "warm": warm},
        "epoch_images": work.steps * work.batch_size,
        "epoch_seconds": wall / work.config.epochs,
        "seconds_beyond_steps": wall - steps * milliseconds / 1e3,
    }


def _at_once(work: Work, numbers: Sequence[int], rounds: int, say: Say) -> list[dict[str, Any]]:
    """Images a second of all runs together, by how many there are."""
    found = []
    for runs in numbers:
        try:
            with Contestant("jaxcifar", dataclasses.replace(work, at_once=runs)) as contestant:
                contestant.ask("train", work.steps)  # warm up
                seconds = [contestant.ask("train", work.steps) for _ in range(rounds)]
        except RunError as error:
            say(f"not measured: {runs} runs at once: {error}")
            continue
        images = runs * work.steps * work.batch_size
        found.append({"runs": runs, **_summary([images / s for s in seconds])})
        say(f"{work.arch}: {runs} at once, {found[-1]['images_per_second']:,.0f} images/s")
    return found


def _ratios(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Our best over the best of PyTorch, by arch and phase: in float32, and in any precision."""
    ratios: dict[str, Any] = {}

    def best(arch: str, phase: str, torch: bool, dtypes: Sequence[str]) -> float | None:
        rates = [
            row["images_per_second"]
            for row in rows
            if (row["arch"], row["phase"]) == (arch, phase) and row["dtype"] in dtypes
            if row["implementation"].startswith("torch") == torch
            if row["implementation"] != "plain flax"
        ]
        return max(rates, default=None)

    for arch in dict.fromkeys(row["arch"] for row in rows):
        for phase in PHASES:
            any_dtype = ("float32", "bfloat16")
            ours = best(arch, phase, False, any_dtype)
            peers = {
                "float32": best(arch, phase, True, ["float32"]),
                "any": best(arch, phase, True, any_dtype),
            }
            if all(peers.values()):
                ratios.setdefault(arch, {})[phase] = {k: ours / v for k, v in peers.items()}
    return ratios
