"""Sentences on runs that continue other runs, and on runs whose training ended early."""

from collections.abc import Iterable
from pathlib import PurePath

from jaxcifar.machine.terminal import pluralize
from jaxcifar.report.run_groups import continued_row_or_run
from jaxcifar.report.run_records import Variation
from jaxcifar.report.wording import escape_markdown, join_names, quoted

_DIGEST_LETTERS = 12


def training_notes(variations: Iterable[Variation]) -> list[str]:
    """Return a sentence for each variation that continues another run or ended early."""
    notes = []
    for variation in variations:
        notes += [_continued(variation), _ended_early(variation)]
    return [note for note in notes if note]


def _continued(variation: Variation) -> str:
    """Return a sentence on the run that a variation continues, or "" if it continues none."""
    config = variation.config
    if not config.continue_from:
        return ""
    name = escape_markdown(PurePath(continued_row_or_run(config)).name)
    lengths = sorted({run.config.continue_epochs or 0 for run in variation.runs})
    epochs = join_names(map(str, lengths))
    digests = [(run.config.continue_sha256 or "")[:_DIGEST_LETTERS] for run in variation.runs]
    shown = join_names(f"`{digest}…`" for digest in digests)
    return (
        f"{quoted(variation.name)} continues {name} after epoch {epochs} "
        f"(SHA-256 of its last checkpoint: {shown}); its curves and times include that run."
    )


def _ended_early(variation: Variation) -> str:
    """Return a sentence on runs that ended before their last epoch, or "" if there are none."""
    config = variation.config
    lengths = sorted(len(run.history) for run in variation.runs)
    early_lengths = [length for length in lengths if length < config.epochs]
    if not early_lengths:
        return ""
    epochs = join_names(map(str, dict.fromkeys(early_lengths)))
    runs = ""
    if len(lengths) > 1:
        runs = f" in {len(early_lengths)} of {pluralize(len(lengths), 'run')}"
    return (
        f"{quoted(variation.name)} ended early{runs}, after epoch {epochs} of {config.epochs}: no "
        f"epoch was better in the last {config.patience}."
    )
