"""How fast networks are trained and evaluated here, by us and by others, side by side."""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcifar.bench.bench_progress import BenchProgress
from jaxcifar.bench.contest import compete
from jaxcifar.bench.contestant import IMPLEMENTATIONS, Contestant
from jaxcifar.bench.entrant import Entrant, EntrantSpec
from jaxcifar.bench.work import PHASES, TRAIN, Work
from jaxcifar.config.experiment import Config


def measure(
    work: Work,
    macs: int,
    peer: str | None,
    rounds: int,
    progress: BenchProgress,
    estimate_rest: Callable[[Entrant], float] = lambda ours: 0.0,
) -> dict[str, Any]:
    """Let all contestants do some work in turn, round after round.

    Args:
      work: what we do.
      macs: multiply-accumulates of one image's forward pass.
      peer: "torch" to let PyTorch take part, in float32 and in bfloat16.
      rounds: how often each is measured; the medians are taken.
      progress: shows what is done.
      estimate_rest: called with our entrant; returns the seconds that the command needs after the
        contest.

    Returns:
      `rows`, ours first, `ratio` and `peak_flops_per_second` (see `docs/performance.md`).

    Raises:
      RunError: ours can't do the work.
    """
    with compete(_entries(work, peer), PHASES, rounds, progress, estimate_rest) as field:
        peak = field[0].contestant.ask("peak_flops")
    rows = [row for entrant in field for row in _rows(entrant, macs, peak)]
    return {"rows": rows, "ratio": _ratios(rows), "peak_flops_per_second": peak}


def _entries(work: Work, peer: str | None) -> list[EntrantSpec]:
    """Return ours, then the others: float32 before bfloat16, which some processors emulate."""
    others = [("plain flax", work)]
    if peer:
        torch = [name for name in IMPLEMENTATIONS if name.startswith("torch")]
        for dtype in ("float32", "bfloat16"):
            others += [(name, dataclasses.replace(work, dtype=dtype)) for name in torch]
    entries = [("jaxcifar", work), *others]
    return [EntrantSpec(f"{name} {its.dtype}", name, its) for name, its in entries]


def measure_programs(
    runs: Mapping[str, Config], images: int, rounds: int, progress: BenchProgress
) -> list[dict[str, Any]]:
    """Measure how fast the programs train that some runs need, in turn; most runs share one.

    What is data to a program, as `shift` or `cutout` is, is computed whether it is asked for or
    not, and so costs all runs the same. `small_part` alone is data that costs less or more.

    Args:
      runs: their settings by name, those of a study's rows.
      images: to train on in a round, about.
      rounds: how often each is measured; the medians are taken.
      progress: shows what is done.

    Returns:
      of each program the names of its `runs`, `batch_size`, `dtype`, and the figures of
      `Entrant.summary`.

    Raises:
      RunError: the first can't be measured.
    """
    # Not above: a contestant imports this file before its own settings of JAX's are made.
    import jax

    from jaxcifar.build.setup import compute_dtype

    programs: dict[tuple[Config, float], tuple[list[str], Work]] = {}
    for name, run in runs.items():
        dtype = str(compute_dtype(run, jax.devices()[0]))
        fewest = 3 if run.small_size == 32 else 20  # of which `small_part` is a part
        work = Work.of(run, dtype, max(fewest, images // run.batch_size))
        key = work.config.shared_part(), run.small_part
        programs.setdefault(key, ([], work))[0].append(name)
    entries = [
        EntrantSpec(_shortened(names), "jaxcifar", work) for names, work in programs.values()
    ]
    field = _compete_in_training(entries, rounds, progress)
    return [
        {
            "runs": names,
            "batch_size": work.batch_size,
            "dtype": work.dtype,
            **entrant.summary(TRAIN),
        }
        for (names, work), entrant in zip(programs.values(), field, strict=True)
    ]


def _shortened(names: Sequence[str]) -> str:
    """Return the first name, and how many more there are."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _rows(entrant: Entrant, macs: int, peak: float) -> list[dict[str, Any]]:
    """Return an entrant's figures, a row a phase; None where nothing was measured."""
    work = entrant.entry.work
    rows = []
    for phase in PHASES:
        summary = entrant.summary(phase)
        rate = summary["images_per_second"]
        passes = 3 if phase == TRAIN else 1  # the gradient takes two more
        flops = None if rate is None else 2 * macs * passes * rate
        row = {
            "arch": work.arch,
            "phase": phase,
            "dtype": work.dtype,
            "batch_size": work.batch_size,
            "implementation": entrant.entry.implementation,
            **summary,
            "milliseconds": None if rate is None else 1e3 * work.batch_size / rate,
            "flops_per_second": flops,
            "peak_memory_bytes": entrant.peak_memory,
        }
        # The peak is of our precision, by our compiler.
        if row["implementation"] == "jaxcifar" and flops is not None:
            row["share_of_peak"] = flops / peak
        rows.append(row)
    return rows


def seconds_of_remaining_measurements(at_once: Sequence[int], rounds: int, ours: Entrant) -> float:
    """Return the seconds that `beyond_steps` and `measure_at_once` are expected to take.

    Args:
      at_once: numbers of runs to train together.
      rounds: how often each number is measured.
      ours: our figures.
    """
    starting, a_round = ours.seconds_to_get_ready, ours.seconds_of_a_round([TRAIN])
    together = sum(starting + rounds * number * a_round for number in at_once)
    return 2 * starting + 2 * a_round + together


def measure_startup(work: Work, milliseconds: float, progress: BenchProgress) -> dict[str, Any]:
    """Measure how long a user waits for the first step, and for a run's bookkeeping.

    Args:
      work: what we do.
      milliseconds: of a training step.
      progress: shows what is done.

    Returns:
      `ours` of `docs/performance.md`, without the runs at once and the peak.

    Raises:
      RunError: ours can't do the work.
    """
    label = f"jaxcifar {work.dtype}"
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "JAX_COMPILATION_CACHE_DIR": str(Path(folder, "cache")),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        progress.doing(f"{label}: starting, nothing compiled before")
        with Contestant(label, "jaxcifar", work, environment) as contestant:
            cold = contestant.seconds_to_first_step()
        progress.doing(f"{label}: starting again, then a whole run")
        with Contestant(label, "jaxcifar", work, environment) as contestant:
            warm = contestant.seconds_to_first_step()
            result = contestant.ask("whole_run", Path(folder, "run"))
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


def measure_parallel_runs(
    work: Work, numbers: Sequence[int], rounds: int, progress: BenchProgress
) -> list[dict[str, Any]]:
    """Measure how fast several runs train together.

    Args:
      work: what one run does.
      numbers: how many runs there are, once for each number.
      rounds: how often each is measured; the medians are taken.
      progress: shows what is done.

    Returns:
      of each number the `runs`, and the figures of `Entrant.summary` for all of them together.

    Raises:
      RunError: the first can't be measured.
    """
    if not numbers:
        return []
    works = [dataclasses.replace(work, at_once=number) for number in numbers]
    entries = [EntrantSpec(f"{its.at_once} at once", "jaxcifar", its) for its in works]
    field = _compete_in_training(entries, rounds, progress)
    return [{"runs": e.entry.work.at_once, **e.summary(TRAIN)} for e in field]


def _compete_in_training(
    entries: Sequence[EntrantSpec], rounds: int, progress: BenchProgress
) -> list[Entrant]:
    """Return the entrants, measured in training; their processes have ended."""
    with compete(entries, [TRAIN], rounds, progress) as field:
        return field


def _ratios(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return our best over the best of PyTorch, by phase: in float32, and in any precision."""
    ratios = {}
    for phase in PHASES:
        measured = [row for row in rows if row["phase"] == phase and row["images_per_second"]]
        of_ours = [r["images_per_second"] for r in measured if r["implementation"] == "jaxcifar"]
        torch = [row for row in measured if row["implementation"].startswith("torch")]
        of_any = [row["images_per_second"] for row in torch]
        of_float32 = [row["images_per_second"] for row in torch if row["dtype"] == "float32"]
        if of_ours and of_float32:
            ours = max(of_ours)
            ratios[phase] = {"float32": ours / max(of_float32), "any": ours / max(of_any)}
    return ratios
