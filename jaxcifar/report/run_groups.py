"""Group finished runs that differ only in seed or fold into the variations of a report."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxcifar.config.experiment import Config
from jaxcifar.report.run_records import FinishedRun, Variation


def seedless_config(config: Config) -> Config:
    """Return a config that is equal for runs that differ only in seed.

    Seeds of a study's row that continue another row have the same row in `continue_from`.
    """
    continued = Path(config.continue_from)
    if continued.name == f"seed{config.seed}":
        continued = continued.parent
    row = str(continued) if config.continue_from else ""
    return dataclasses.replace(config, seed=0, continue_from=row, continue_sha256=None)


def group_runs(runs: Iterable[FinishedRun]) -> list[tuple[FinishedRun, ...]]:
    """Group runs that differ only in seed, or in which fold of the same number of folds they have.

    Each run with converted weights forms its own group.
    """
    groups: dict[Any, list[FinishedRun]] = {}
    for run in runs:
        one_fold = str(run.fold._replace(number=1)) if run.fold else ""
        config = dataclasses.replace(seedless_config(run.config), fold=one_fold).to_json()
        key = config, run.data.identity, run.converted and run.path
        groups.setdefault(key, []).append(run)

    def seed_and_fold(run: FinishedRun) -> tuple[Any, ...]:
        return run.config.seed, run.fold or ()

    return [tuple(sorted(group, key=seed_and_fold)) for group in groups.values()]


def with_unique_names(variations: Iterable[Variation]) -> list[Variation]:
    """Return the variations with " (2)", " (3)" and so on appended to repeated names."""
    unique: list[Variation] = []
    for variation in variations:
        name = variation.name
        same = sum(other.name.partition(" (")[0] == name for other in unique)
        if same:
            variation = dataclasses.replace(variation, name=f"{name} ({same + 1})")
        unique.append(variation)
    return unique
