"""Evaluate runs on sets such as CIFAR-10-C for `jaxcifar evaluate`, and show the results."""

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table
from rich.text import Text

from jaxcifar.commands.shared.output import make_table
from jaxcifar.errors import printable
from jaxcifar.machine.paths import is_same_path
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.evaluation_file import LEVELS, CorruptionSet

if TYPE_CHECKING:
    from jaxcifar.commands.shared.evaluated_runs import LoadedRun

Results = dict[str, CorruptionSet]  # by the title of the set


class CorruptionEvaluator:
    """Evaluates runs on sets of corrupted images, such as CIFAR-10-C.

    If there is a base run (`--base`), errors are also given relative to the errors of this run. The
    base run is evaluated first, and only once.

    Args:
      runs: the runs that will be evaluated.
      options: the options of the command.
      date: date and time of the evaluation.
      print_line: prints a line about each step.

    Raises:
      UsageError: the base run, or a set of images, can't be used.
      RunError: a file can't be read, or a logit is not finite.
    """

    def __init__(
        self, runs: Sequence["LoadedRun"], options: Namespace, date: str, print_line: PrintLine
    ) -> None:
        self._date = date
        self._print_line = print_line
        self._base_name = printable(options.base) if options.base else None
        self._base_run = self._load_base(runs, options) if options.base else None
        self._base: Results = self._measure(self._base_run) if self._base_run else {}

    def evaluate(self, run: "LoadedRun") -> Results:
        """Evaluate a run on its sets of corrupted images.

        Raises:
          RunError: a logit is not finite, or the base run makes no errors on a kind of corruption.
        """
        from jaxcifar.evaluation.corruption_sets import with_corruption_errors

        # Compare runs themselves: the base and another run may have the same short name.
        results = self._base if run is self._base_run else self._measure(run)
        if self._base_name is None:
            return results
        return {
            title: with_corruption_errors(found, self._base[title], self._base_name)
            for title, found in results.items()
        }

    def _load_base(self, runs: Sequence["LoadedRun"], options: Namespace) -> "LoadedRun":
        """Return the run of `--base`; load it unless it is one of `runs`."""
        from jaxcifar.commands.shared.evaluated_runs import LoadedRun, open_corruption_sets
        from jaxcifar.trained.load import load

        for run in runs:
            if run.folder is not None and is_same_path(str(run.folder), str(options.base)):
                return run
        classifier = load(options.base, data_dir=options.data_dir)
        corrupted = open_corruption_sets(classifier, options, print_line=lambda line: None)
        return LoadedRun(str(self._base_name), None, classifier, [], corrupted, None)

    def _measure(self, run: "LoadedRun") -> Results:
        """Evaluate a run on its sets of corrupted images."""
        from jaxcifar.evaluation.corruption_sets import evaluate_corruption_set

        def begin(activity: str) -> None:
            self._print_line(f"{run.name}: {activity}")

        return {
            corrupted.title: evaluate_corruption_set(
                run.classifier.logits, corrupted, self._date, begin
            )
            for corrupted in run.corrupted
        }


def corruption_table(run: str, found: CorruptionSet) -> Table:
    """Return a table of a run's accuracy on a set such as CIFAR-10-C, by kind and strength."""
    from jaxcifar.evaluation.image_sets import EXTRA_CORRUPTIONS, STANDARD_CORRUPTIONS

    strengths = [str(level) for level in range(1, LEVELS + 1)]
    errors = found.get("corruption_error")
    error_column = ["error / base"] if errors else []
    images = f"{found['images']:,} images each"
    title = f"Accuracy on {found['title']}, {images}, by strength: {run}"
    columns = [*strengths, "mean", *error_column]
    table = make_table(title, ("corruption",), columns, wrap_numbers=True)

    def add_row(kind: str, values: Sequence[float], error: float | None) -> None:
        cells = [f"{value:.2%}" for value in (*values, np.mean(values))]
        table.add_row(Text(printable(kind)), *cells, *([] if error is None else [f"{error:.1%}"]))

    accuracy = found["accuracy"]
    standard = [kind for kind in accuracy if kind in STANDARD_CORRUPTIONS]
    in_mean = standard or list(accuracy)
    for kind in in_mean:
        add_row(kind, accuracy[kind], errors[kind] if errors else None)
    means = np.mean([accuracy[kind] for kind in in_mean], axis=0)
    table.add_section()
    add_row(f"mean of {len(in_mean)}", means, found.get("mean_corruption_error"))
    extra = [kind for kind in accuracy if kind in EXTRA_CORRUPTIONS and kind not in in_mean]
    if extra:
        table.add_section()
    for kind in extra:
        add_row(f"{kind} (extra)", accuracy[kind], errors[kind] if errors else None)
    if errors:
        table.caption = Text(f"error / base: errors relative to {found.get('base', '')}; mean: mCE")
    return table
