"""Group finished runs that differ only in seed or fold into the variations of a report."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxcifar.config.experiment import Config
from jaxcifar.config.folds import run_folder_name
from jaxcifar.report.run_records import FinishedRun, Variation


def seedless_config(config: Config) -> Config:
    """Return a copy of a config that is equal for all runs which differ only in seed.

    A run may continue a run of another row of its study, with the same seed. Then `continue_from`
    in the copy is the folder of that row, such as `ROW` for `ROW/seed3`. The runs of that row may
    have ended early, at different epochs.
    """
    return dataclasses.replace(
        config,
        seed=0,
        continue_from=continued_row_or_run(config),
        continue_sha256=None,
        continue_epochs=None,
    )


def continued_row_or_run(config: Config) -> str:
    """Return the path of the row of a study that a run continues, or of the run outside a row.

    The path of the run `ROW/seed3` of a row is `ROW`. Return "" if the run continues no other run.
    """
    if not config.continue_from:
        return ""
    path = Path(config.continue_from)
    is_run_of_row = path.name == run_folder_name(config.seed, config.fold)
    return str(path.parent if is_run_of_row else path)


def group_runs(runs: Iterable[FinishedRun]) -> list[tuple[FinishedRun, ...]]:
    """Group runs that differ only in seed or fold.

    Runs with different numbers of folds are in different groups. Each run with converted weights
    forms its own group. The runs of a group are in the order of their seeds, and of the folds of
    each seed.
    """
    groups: dict[Any, list[FinishedRun]] = {}
    for run in runs:
        first_fold = str(run.fold._replace(number=1)) if run.fold else ""
        config = dataclasses.replace(seedless_config(run.config), fold=first_fold).to_json()
        converted_path = run.path if run.converted else None
        key = config, run.data.identity, converted_path
        groups.setdefault(key, []).append(run)

    def seed_and_fold(run: FinishedRun) -> tuple[Any, ...]:
        return run.config.seed, run.fold or ()

    return [tuple(sorted(group, key=seed_and_fold)) for group in groups.values()]


def with_unique_names(variations: Iterable[Variation]) -> list[Variation]:
    """Return the variations with " (2)", " (3)" and so on appended to repeated names."""
    unique: list[Variation] = []
    for variation in variations:
        name = variation.name
        same_name = [other for other in unique if other.name.partition(" (")[0] == name]
        if same_name:
            variation = dataclasses.replace(variation, name=f"{name} ({len(same_name) + 1})")
        unique.append(variation)
    return unique
