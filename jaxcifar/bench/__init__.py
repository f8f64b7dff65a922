"""Speed measurements of training and evaluation in this package, plain Flax and PyTorch."""

import dataclasses
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcifar.bench.bench_progress import BenchProgress
from jaxcifar.bench.bench_rows import result_rows, speed_ratios
from jaxcifar.bench.contest import Plan, compete
from jaxcifar.bench.contestant import Contestant, ContestantSpec
from jaxcifar.bench.contestant_process import IMPLEMENTATIONS, ContestantProcess
from jaxcifar.bench.work import CLASSES, PHASES, TRAIN, Work
from jaxcifar.config.experiment import Config

_MIN_STEPS = 3  # of a measured program
_MIN_STEPS_WITH_TWO_IMAGE_SIZES = 20  # if only a fraction of the steps uses smaller images


def measure_implementations(
    work: Work,
    peer: str | None,
    rounds: int,
    progress: BenchProgress,
    estimate_later_seconds: Callable[[Contestant], float] = lambda our_contestant: 0.0,
    time_limit: float = math.inf,
) -> dict[str, Any]:
    """Measure how fast this package, plain Flax and PyTorch train and evaluate a network.

    Args:
      work: the network to measure.
      peer: "torch" to measure PyTorch too, in float32 and in bfloat16; None to leave it out.
      rounds: number of times that each implementation is measured; the medians are returned.
      progress: shows the current activity and the time left.
      estimate_later_seconds: called with the measured rates of this package; returns the seconds
        that the command needs after this measurement.
      time_limit: seconds for this measurement and the rest of the command. If time is short, there
        are fewer rounds.

    Returns:
      a dict: "rows", the results of each implementation in training and in evaluation, this package
      first; and "ratio", how many times as fast this package is as PyTorch.
      `docs/measurements/performance.md` describes both.

    Raises:
      RunError: this package failed to train or evaluate the network.
    """
    plan = Plan(PHASES, rounds, estimate_later_seconds, time_limit)
    specs = _contestant_specs(work, includes_torch=peer == "torch")
    rows = result_rows(compete(specs, plan, progress))
    return {"rows": rows, "ratio": speed_ratios(rows)}


def _contestant_specs(work: Work, includes_torch: bool) -> list[ContestantSpec]:
    """Return the implementations to measure: this package, plain Flax, and PyTorch if wanted.

    PyTorch in bfloat16 comes last, because it is very slow on processors that emulate bfloat16.
    """
    specs = [_contestant_spec("jaxcifar", work), _contestant_spec("plain flax", work)]
    if not includes_torch:
        return specs
    torch_implementations = [name for name in IMPLEMENTATIONS if name.startswith("torch")]
    for dtype in ("float32", "bfloat16"):
        work_in_dtype = dataclasses.replace(work, dtype=dtype)
        specs += [_contestant_spec(name, work_in_dtype) for name in torch_implementations]
    return specs


def _contestant_spec(implementation: str, work: Work) -> ContestantSpec:
    return ContestantSpec(f"{implementation} {work.dtype}", implementation, work)


def measure_programs(
    runs: Mapping[str, Config], images_per_measurement: int, rounds: int, progress: BenchProgress
) -> list[dict[str, Any]]:
    """Measure the training speed of each compiled program that a study's runs need.

    Most runs share a program, because hyper-parameters such as `shift` and `cutout` are inputs of
    the program. Only the input `small_fraction` (fraction of the steps that use smaller images)
    changes the speed, so each of its values is measured.

    Args:
      runs: name -> settings of the study's runs.
      images_per_measurement: approximate number of training images in one measurement.
      rounds: number of times that each program is measured; the medians are returned.
      progress: shows the current activity and the time left.

    Returns:
      one dict for each program: the names of its `runs`, `batch_size`, `dtype`, and the measured
      speed as `Contestant.summary` describes it.

    Raises:
      RunError: the first program can't be measured.
      UsageError: a run's network can't be created.
    """
    works_by_program: dict[tuple[Config, float], dict[str, Work]] = {}  # by the runs' names
    for name, config in runs.items():
        work = _work_of_run(config, images_per_measurement)
        program_key = work.config.shared_part(), config.small_fraction
        works_by_program.setdefault(program_key, {})[name] = work
    specs = []
    for work_by_name in works_by_program.values():
        label = _first_name_and_count(list(work_by_name))
        first_work = next(iter(work_by_name.values()))
        specs.append(ContestantSpec(label, "jaxcifar", first_work))
    contestants = _compete_in_training(specs, rounds, progress)
    results = []
    for work_by_name, contestant in zip(works_by_program.values(), contestants, strict=True):
        work = contestant.spec.work
        program = {"runs": list(work_by_name), "batch_size": work.batch_size, "dtype": work.dtype}
        results.append({**program, **contestant.summary(TRAIN)})
    return results


def _work_of_run(config: Config, images_per_measurement: int) -> Work:
    """Return a run's training as work to measure, with about `images_per_measurement` images."""
    # Imported here, because a contestant imports this module before it sets its JAX settings.
    import jax

    from jaxcifar.build.model import compute_dtype, create_model
    from jaxcifar.training import network

    dtype_if_taken = compute_dtype(config, jax.devices()[0])
    model = create_model(config, CLASSES, dtype_if_taken)
    dtype = str(network.dtype(model))
    mixes_image_sizes = config.small_fraction != 0
    min_steps = _MIN_STEPS_WITH_TWO_IMAGE_SIZES if mixes_image_sizes else _MIN_STEPS
    steps = max(min_steps, images_per_measurement // config.batch_size)
    return Work.for_run(config, dtype, steps)


def _first_name_and_count(names: Sequence[str]) -> str:
    """Return the first name and the number of further names, such as "baseline and 3 more"."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def seconds_of_remaining_measurements(
    run_counts: Sequence[int], rounds: int, our_contestant: Contestant
) -> float:
    """Return the seconds that `measure_startup` and `measure_parallel_runs` will take.

    Args:
      run_counts: for each later measurement, the number of runs that are trained together.
      rounds: number of times that each measurement is repeated.
      our_contestant: the measured rates of this package.
    """
    start_seconds = our_contestant.seconds_to_get_ready
    round_seconds = our_contestant.seconds_of_work([TRAIN])
    startup_seconds = 2 * start_seconds + 2 * round_seconds
    parallel_seconds = sum(start_seconds + rounds * runs * round_seconds for runs in run_counts)
    return startup_seconds + parallel_seconds


def measure_startup(
    work: Work, step_milliseconds: float, progress: BenchProgress
) -> dict[str, Any]:
    """Measure how long a run needs to start, and how long it works outside of its training steps.

    The first training step is timed twice: with nothing compiled before, and with a compiled
    program in JAX's cache. Then a whole run is timed.

    Args:
      work: the network to measure.
      step_milliseconds: time of a training step.
      progress: shows the current activity.

    Returns:
      a dict for the JSON file. It has the network's `arch`, `dtype` and `batch_size`, and:
        `first_step_seconds`: seconds to the first step, "cold" (nothing compiled) and "warm".
        `epoch_images`: number of images in an epoch.
        `epoch_seconds`: seconds of the whole run, divided by its number of epochs.
        `seconds_beyond_steps`: seconds of the whole run, minus those of its training steps.

    Raises:
      RunError: training failed.
    """
    label = f"jaxcifar {work.dtype}"
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "JAX_COMPILATION_CACHE_DIR": str(Path(folder, "cache")),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        progress.set_activity(f"{label}: starting, nothing compiled before")
        with ContestantProcess(label, "jaxcifar", work, environment) as process:
            cold_seconds = process.seconds_to_first_step()
        progress.set_activity(f"{label}: starting again, then a whole run")
        with ContestantProcess(label, "jaxcifar", work, environment) as process:
            warm_seconds = process.seconds_to_first_step()
            run_seconds = process.ask("whole_run", Path(folder, "run"))["wall_seconds"]
    step_count = work.config.epochs * work.steps
    return {
        "arch": work.arch,
        "dtype": work.dtype,
        "batch_size": work.batch_size,
        "first_step_seconds": {"cold": cold_seconds, "warm": warm_seconds},
        "epoch_images": work.steps * work.batch_size,
        "epoch_seconds": run_seconds / work.config.epochs,
        "seconds_beyond_steps": run_seconds - step_count * step_milliseconds / 1e3,
    }


def measure_parallel_runs(
    work: Work, run_counts: Sequence[int], rounds: int, progress: BenchProgress
) -> list[dict[str, Any]]:
    """Measure how fast several runs train together.

    Args:
      work: the network and the batch size of a single run.
      run_counts: for each measurement, the number of runs that are trained together.
      rounds: number of times that each measurement is repeated; the medians are returned.
      progress: shows the current activity and the time left.

    Returns:
      one dict for each measurement: `runs` (number of runs trained together), and their common
      speed as `Contestant.summary` describes it.

    Raises:
      RunError: the first measurement failed.
    """
    if not run_counts:
        return []
    specs = []
    for run_count in run_counts:
        work_of_runs = dataclasses.replace(work, runs_at_once=run_count)
        specs.append(ContestantSpec(f"{run_count} at once", "jaxcifar", work_of_runs))
    contestants = _compete_in_training(specs, rounds, progress)
    return [
        {"runs": contestant.spec.work.runs_at_once, **contestant.summary(TRAIN)}
        for contestant in contestants
    ]


def _compete_in_training(
    specs: Sequence[ContestantSpec], rounds: int, progress: BenchProgress
) -> list[Contestant]:
    """Measure the training speed of contestants, and return the contestants with their rates."""
    return compete(specs, Plan([TRAIN], rounds), progress)
