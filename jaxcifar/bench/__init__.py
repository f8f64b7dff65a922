"""How fast networks are trained and evaluated here, by us and by others, side by side."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from jaxcifar.bench.contestant import IMPLEMENTATIONS, Contestant
from jaxcifar.bench.work import Work
from jaxcifar.config import Config
from jaxcifar.data.prepare import Say
from jaxcifar.errors import RunError

Rates = dict[str, list[float]]  # images a second of each round, by phase
PHASES = ("train", "eval")


def measure(
    work: Work, macs: int, peer: str | None, rounds: int, at_once: Sequence[int], say: Say
) -> dict[str, Any]:
    """Let all contestants do some work in turn, round after round.

    Args:
      work: what we do.
      macs: multiply-accumulates of one image's forward pass.
      peer: "torch" to let PyTorch take part, in float32 and in bfloat16.
      rounds: of which the medians are taken, after one that does not count.
      at_once: numbers of runs to train together as well.
      say: called with a line now and then.

    Returns:
      `rows`, `ratio` and `ours` (see `docs/performance.md`).

    Raises:
      RunError: ours can't do the work.
    """
    names = [name for name in IMPLEMENTATIONS if peer or not name.startswith("torch")]
    entries = [(name, work) for name in names]
    if peer:
        other = "float32" if work.dtype == "bfloat16" else "bfloat16"
        twin = dataclasses.replace(work, dtype=other)
        entries += [(name, twin) for name in names if name.startswith("torch")]
    with _contestants(entries, say) as able:
        measured = _in_turn(able, PHASES, rounds, say)
        peak = able[0].ask("peak_flops")  # that of ours: without it nothing is measured
        rows = [row for entry in measured for row in _rows(*entry, macs, peak)]
    ours = _beyond_steps(work, rows[0]["milliseconds"], say)
    ours["peak_flops_per_second"] = peak
    ours["at_once"] = _at_once(work, at_once, rounds, say)
    return {"rows": rows, "ratio": _ratios(rows), "ours": ours}


def measure_programs(
    runs: Mapping[str, Config], images: int, rounds: int, say: Say
) -> list[dict[str, Any]]:
    """How fast the programs train that some runs need, in turn; most share one.

    What is data to a program, as `shift` or `cutout` is, is computed whether it is asked for or
    not, and so costs all runs the same. `small_part` alone is data that costs less or more.

    Args:
      runs: their settings by name, those of a study's rows.
      images: to train on in a round, about.
      rounds: of which the medians are taken, after one that does not count.
      say: called with a line now and then.

    Returns:
      of each program the names of its `runs`, `batch_size`, `dtype`, `images_per_second` and
      `spread`.

    Raises:
      RunError: the first can't be measured.
    """
    # Not above: a contestant imports this file before its own settings of JAX's are made.
    import jax

    from jaxcifar.runs.setup import compute_dtype

    programs: dict[tuple[Config, float], tuple[list[str], Work]] = {}
    for name, run in runs.items():
        dtype = str(compute_dtype(run, jax.devices()[0]))
        fewest = 3 if run.small_size == 32 else 20  # of which `small_part` is a part
        work = Work.of(run, dtype, max(fewest, images // run.batch_size))
        key = work.config.shared_part(), run.small_part
        programs.setdefault(key, ([], work))[0].append(name)
    names = {work: shared for shared, work in programs.values()}
    with _contestants([("jaxcifar", work) for work in names], say, ["train"]) as able:
        measured = _in_turn(able, ["train"], rounds, say)
    for work in names.keys() - {contestant.work for contestant in able}:
        say(f"not measured: {', '.join(names[work])}")
    return [
        {
            "runs": names[contestant.work],
            "batch_size": contestant.work.batch_size,
            "dtype": contestant.work.dtype,
            **_summary(rates["train"]),
        }
        for contestant, rates in measured
    ]


@contextlib.contextmanager
def _contestants(
    entries: Sequence[tuple[str, Work]], say: Say, phases: Sequence[str] = PHASES
) -> Iterator[list[Contestant]]:
    """Those that can do their work, compiled and warm.

    Raises:
      RunError: ours can't do the work.
    """
    with contextlib.ExitStack() as stack:
        contestants = [stack.enter_context(Contestant(*entry)) for entry in entries]
        with ThreadPoolExecutor(len(contestants)) as pool:
            errors = list(pool.map(partial(_warm_up, phases), contestants))
        for error in filter(None, errors):
            if error is errors[0]:
                raise error
            say(f"not measured: {error}")
        yield [c for c, error in zip(contestants, errors, strict=True) if error is None]


def _warm_up(phases: Sequence[str], contestant: Contestant) -> RunError | None:
    try:
        for phase in phases:
            _do(phase, contestant)
    except RunError as error:
        return error
    return None


def _do(phase: str, contestant: Contestant) -> float:
    """Images a second of one round."""
    work = contestant.work
    if phase == "train":
        images, asked = work.at_once * work.steps * work.batch_size, ("train", work.steps)
    else:
        images, asked = work.test_images, ("evaluate",)
    return images / contestant.ask(*asked)


def _in_turn(
    contestants: Sequence[Contestant], phases: Sequence[str], rounds: int, say: Say
) -> list[tuple[Contestant, Rates]]:
    """Images a second of each, one after another, so that none is disturbed."""
    measured = [(contestant, {phase: [] for phase in phases}) for contestant in contestants]
    for number in range(rounds):
        for contestant, rates in measured:
            for phase in phases:
                rates[phase].append(_do(phase, contestant))
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
    if not numbers:
        return []
    say(f"{work.arch}: {', '.join(map(str, numbers))} runs at once")
    entries = [("jaxcifar", dataclasses.replace(work, at_once=number)) for number in numbers]
    with _contestants(entries, say, ["train"]) as able:
        measured = _in_turn(able, ["train"], rounds, say)
    return [{"runs": c.work.at_once, **_summary(rates["train"])} for c, rates in measured]


def _ratios(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Our best over the best of PyTorch, by phase: in float32, and in any precision."""
    ratios = {}
    for phase in PHASES:
        rates = {True: [], False: []}  # by whether they are PyTorch's
        single = []
        for row in rows:
            if row["phase"] != phase or row["implementation"] == "plain flax":
                continue
            torch = row["implementation"].startswith("torch")
            rates[torch].append(row["images_per_second"])
            if torch and row["dtype"] == "float32":
                single.append(row["images_per_second"])
        if rates[False] and single:
            ours = max(rates[False])
            ratios[phase] = {"float32": ours / max(single), "any": ours / max(rates[True])}
    return ratios
