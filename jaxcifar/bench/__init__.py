"""How fast networks are trained and evaluated here, by us and by others, side by side."""

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxcifar.bench.contestant import IMPLEMENTATIONS, Contestant
from jaxcifar.bench.work import Work
from jaxcifar.errors import RunError

Say = Callable[[str], None]
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
    """
    rows, ours = [], []
    for work in works:
        names = [name for name in IMPLEMENTATIONS if peer or not name.startswith("torch")]
        entries = [(name, work) for name in names]
        if peer:
            other = "float32" if work.dtype == "bfloat16" else "bfloat16"
            twin = Work(**{**vars(work), "dtype": other})
            entries += [(name, twin) for name in names if name.startswith("torch")]
        with contextlib.ExitStack() as stack:
            contestants = [stack.enter_context(Contestant(*entry)) for entry in entries]
            measured = _in_turn(contestants, rounds, say)
            for contestant, rates in measured:
                rows += _rows(contestant, rates, macs[work.arch])
            if measured and measured[0][0].name == "jaxcifar":
                peak = measured[0][0].ask("peak_flops")
        train = next(row for row in rows if _is(row, work, "train"))
        ours.append(_beyond_steps(work, train["milliseconds"], say))
        for row in rows:
            if _is(row, work, row["phase"]):
                row["share_of_peak"] = row["flops_per_second"] / peak
        ours[-1]["peak_flops_per_second"] = peak
        ours[-1]["at_once"] = _at_once(work, at_once, rounds, say)
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


def _rows(contestant: Contestant, rates: Rates, macs: int) -> list[dict[str, Any]]:
    memory, work = contestant.ask("peak_memory"), contestant.work
    rows = []
    for phase in PHASES:
        rate = float(np.median(rates[phase]))
        passes = 3 if phase == "train" else 1  # the gradient takes two more
        rows.append({
            "arch": work.arch,
            "phase": phase,
            "dtype": work.dtype,
            "batch_size": work.batch_size,
            "implementation": contestant.name,
            "images_per_second": rate,
            "spread": [min(rates[phase]), max(rates[phase])],
            "milliseconds": 1e3 * work.batch_size / rate,
            "flops_per_second": 2 * macs * passes * rate,
            "peak_memory_bytes": memory,
        })  # fmt: skip
    return rows


def _is(row: dict[str, Any], work: Work, phase: str) -> bool:
    mine = ("jaxcifar", work.arch, work.dtype, phase)
    return (row["implementation"], row["arch"], row["dtype"], row["phase"]) == mine


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


def _at_once(
    work: Work, numbers: Sequence[int], rounds: int, say: Say
) -> list[dict[str, float | list[float]]]:
    """Images a second of all runs together, by how many there are."""
    found = []
    for runs in numbers:
        try:
            with Contestant("jaxcifar", work) as contestant:
                rates = contestant.ask("at_once", runs, rounds)
        except RunError as error:
            say(f"not measured: {runs} runs at once: {error}")
            continue
        found.append({
            "runs": runs,
            "images_per_second": float(np.median(rates)),
            "spread": [min(rates), max(rates)],
        })  # fmt: skip
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
