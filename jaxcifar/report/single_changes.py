"""Pairs of variations that differ in one setting only."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxcifar.report.run_records import Variation


class SingleChange(NamedTuple):
    """Two variations that differ in one setting only, which has an old and a new value."""

    setting: str
    old_value: Any
    new_value: Any
    old_row: Variation
    new_row: Variation


def single_changes(variations: Sequence[Variation]) -> list[SingleChange]:
    """Return all pairs of variations that differ in exactly one setting other than the seed."""
    changes = []
    for old_row, new_row in itertools.combinations(variations, 2):
        value_changes = old_row.changes_to(new_row)
        if len(value_changes) == 1:
            setting, values = next(iter(value_changes.items()))
            changes.append(SingleChange(setting, values.old, values.new, old_row, new_row))
    return changes
