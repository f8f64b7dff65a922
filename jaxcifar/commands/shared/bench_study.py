"""The option `--study` of `jaxcifar bench`: measure how fast the runs of a study train."""

import dataclasses
from argparse import Namespace
from typing import Any

from jaxcifar.bench.bench_progress import BenchProgress
from jaxcifar.commands.shared.bench_options import DEFAULT_BATCH_SIZE
from jaxcifar.config.option_names import option_name
from jaxcifar.errors import UsageError
from jaxcifar.studies.study import Study

_OPTIONS_EXCLUDED_BY_STUDY = (
    "arch",
    "arch_args",
    "batch_size",
    "peer",
    "at_once",
    "steps",
    "plot",
)


def read_study(options: Namespace) -> Study:
    """Return the study that the option `--study` names, with the precision of `--dtype` if given.

    Raises:
      UsageError: the study can't be read, or another option can't be used with `--study`.
    """
    for name in _OPTIONS_EXCLUDED_BY_STUDY:
        is_given = getattr(options, name, None) is not None
        if is_given:
            raise UsageError(f"--{option_name(name)}: can't be used with --study; leave it out")
    study = Study.read(options.study)
    if options.dtype:
        study = dataclasses.replace(study, config={**study.config, "dtype": options.dtype})
    study.check()
    return study


def measure_study(
    study: Study, rounds: int, on_cpu: bool, progress: BenchProgress
) -> list[dict[str, Any]]:
    """Measure how fast the runs of a study train.

    Runs that use the same compiled program are equally fast, so programs are measured, not runs.
    Each program is measured `rounds` times, on a CPU (`on_cpu`) with fewer steps each time.

    Returns:
      a dict for each program; see `jaxcifar.bench.measure_programs`.
    """
    from jaxcifar.bench import measure_programs
    from jaxcifar.bench.sizes import model_and_macs, steps_per_round

    config_of_row = {row.name: study.config_of(row, seed=0) for row in study.rows}
    # Rows with equal shared parts use the same program, so one of their configs is enough.
    config_of_program = {config.shared_part(): config for config in config_of_row.values()}
    steps_of_programs = []
    for config in config_of_program.values():
        _, macs = model_and_macs(config)
        steps_of_programs.append(steps_per_round(macs, on_cpu))
    steps_of_slowest_program = min(steps_of_programs)
    images_per_round = DEFAULT_BATCH_SIZE * steps_of_slowest_program
    return measure_programs(config_of_row, images_per_round, rounds, progress)
