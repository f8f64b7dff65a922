"""Sentences on runs that continue other runs, and on runs whose training ended early."""

from collections.abc import Iterable
from pathlib import PurePath

from jaxcifar.machine.terminal import pluralize
from jaxcifar.report.run_groups import continued_row_or_run
from jaxcifar.report.run_records import Variation
from jaxcifar.report.wording import escape_markdown, join_names, quoted_name

_DIGEST_LETTERS = 12


def training_notes(variations: Iterable[Variation]) -> list[str]:
    """Return a sentence for each variation that continues another run or ended early."""
    notes = []
    for variation in variations:
        notes += [_continuation_note(variation), _early_end_note(variation)]
    return [note for note in notes if note]


def _continuation_note(variation: Variation) -> str:
    """Return a sentence on the run that a variation continues, or "" if it continues none."""
    config = variation.config
    if not config.continue_from:
        return ""
    name = escape_markdown(PurePath(continued_row_or_run(config)).name)
    checksums_by_epoch: dict[int, list[str]] = {}  # of the checkpoints from which the runs continue
    for run in variation.runs:
        checksum = (run.config.continue_sha256 or "")[:_DIGEST_LETTERS]
        checksums_by_epoch.setdefault(run.config.earlier_epochs, []).append(f"`{checksum}…`")
    checkpoints = join_names(
        f"{epoch} ({join_names(checksums)})"
        for epoch, checksums in sorted(checksums_by_epoch.items())
    )
    return (
        f"{quoted_name(variation.name)} continues {name} after epoch {checkpoints}; in brackets is "
        "the SHA-256 of its last checkpoint. Its curves include that run."
    )


def _early_end_note(variation: Variation) -> str:
    """Return a sentence on runs that ended before their last epoch, or "" if there are none."""
    config = variation.config
    last_epochs = sorted(len(run.history) for run in variation.runs)
    early_epochs = [epoch for epoch in last_epochs if epoch < config.epochs]
    if not early_epochs:
        return ""
    epochs = join_names(map(str, dict.fromkeys(early_epochs)))
    run_count = ""
    if len(last_epochs) > 1:
        run_count = f" in {len(early_epochs)} of {pluralize(len(last_epochs), 'run')}"
    return (
        f"{quoted_name(variation.name)} ended early{run_count}, after epoch {epochs} of "
        f"{config.epochs}: no epoch was better in the last {config.patience}."
    )
