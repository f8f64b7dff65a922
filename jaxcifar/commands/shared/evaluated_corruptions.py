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
from jaxcifar.runs.evaluation_file import LEVELS, Corruptions, CorruptionSet

if TYPE_CHECKING:
    from jaxcifar.commands.shared.evaluated_runs import LoadedRun

ResultsByTitle = dict[str, CorruptionSet]  # by the title of the set


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
        self._base_run = self._find_or_load_base_run(runs, options) if options.base else None
        self._base_results = self._raw_results(self._base_run) if self._base_run else {}

    def evaluate(self, run: "LoadedRun") -> ResultsByTitle:
        """Evaluate a run on its sets of corrupted images, and compare it with the base run, if any.

        Returns:
          the run's results on each set, by the set's title.

        Raises:
          RunError: a logit is not finite, or the base run makes no errors on a kind of corruption.
        """
        from jaxcifar.evaluation.corruption_sets import with_corruption_errors

        # Compare runs themselves: the base and another run may have the same short name.
        results = self._base_results if run is self._base_run else self._raw_results(run)
        if self._base_name is None:
            return results
        return {
            title: with_corruption_errors(result, self._base_results[title], self._base_name)
            for title, result in results.items()
        }

    def _find_or_load_base_run(
        self, runs: Sequence["LoadedRun"], options: Namespace
    ) -> "LoadedRun":
        """Return the run of `--base`, with which other runs are compared; load it if necessary."""
        from jaxcifar.commands.shared.evaluated_runs import LoadedRun, open_corruption_sets
        from jaxcifar.trained.load import load

        for run in runs:
            if run.folder is not None and is_same_path(str(run.folder), str(options.base)):
                return run
        classifier = load(options.base, data_dir=options.data_dir)
        # Lines about these sets were printed when the other runs were loaded.
        corrupted_sets = open_corruption_sets(classifier, options, print_line=lambda line: None)
        return LoadedRun(
            name=printable(options.base),
            folder=None,
            classifier=classifier,
            sets=[],
            corrupted_sets=corrupted_sets,
            val=None,
        )

    def _raw_results(self, run: "LoadedRun") -> ResultsByTitle:
        """Return a run's results on each set of corrupted images, not compared with another run."""
        from jaxcifar.evaluation.corruption_sets import evaluate_corruption_set

        def print_activity(activity: str) -> None:
            self._print_line(f"{run.name}: {activity}")

        logits_of = run.classifier.logits
        return {
            images.title: evaluate_corruption_set(logits_of, images, self._date, print_activity)
            for images in run.corrupted_sets
        }


def corruption_set_table(run: str, result: CorruptionSet) -> Table:
    """Return a table of a run's accuracy on a set such as CIFAR-10-C, by kind and strength."""
    from jaxcifar.evaluation.corruption_sets import kinds_in_mean

    strengths = [str(level) for level in range(1, LEVELS + 1)]
    relative_errors = result.get("corruption_error")
    columns = [*strengths, "mean"]
    if relative_errors:
        columns.append("error / base")
    image_count = f"{result['images']:,} images each"
    title = f"Accuracy on {result['title']}, {image_count}, by strength: {run}"
    table = make_table(title, ("corruption",), columns, wrap_numbers=True)

    def add_row(row_title: str, accuracies: Sequence[float], error: float | None) -> None:
        cells = [f"{accuracy:.2%}" for accuracy in (*accuracies, np.mean(accuracies))]
        if error is not None:
            cells.append(f"{error:.1%}")
        table.add_row(Text(printable(row_title)), *cells)

    accuracies_by_kind = result["accuracy"]
    averaged_kinds = kinds_in_mean(accuracies_by_kind)
    for kind in averaged_kinds:
        error = relative_errors[kind] if relative_errors else None
        add_row(kind, accuracies_by_kind[kind], error)
    means = np.mean([accuracies_by_kind[kind] for kind in averaged_kinds], axis=0)
    table.add_section()
    add_row(f"mean of {len(averaged_kinds)}", means, result.get("mean_corruption_error"))
    extra_kinds = [kind for kind in accuracies_by_kind if kind not in averaged_kinds]
    if extra_kinds:
        table.add_section()
    for kind in extra_kinds:
        error = relative_errors[kind] if relative_errors else None
        add_row(f"{kind} (extra)", accuracies_by_kind[kind], error)
    if relative_errors:
        base_name = result.get("base", "")
        table.caption = Text(f"error / base: errors relative to {base_name}; mean: mCE")
    return table


def corruption_strength_table(run: str, corruptions: Corruptions) -> Table:
    """Return a table of a run's accuracy on corrupted test images, by kind and strength."""
    strengths = [str(level) for level in range(1, LEVELS + 1)]
    title = f"Accuracy on corrupted test images, by strength: {run}"
    table = make_table(title, ("corruption",), ("none", *strengths, "mean"), wrap_numbers=True)

    def add_row(row_title: str, accuracies: Sequence[float]) -> None:
        accuracies_of_row = (corruptions["clean"], *accuracies, np.mean(accuracies))
        cells = [f"{accuracy:.2%}" for accuracy in accuracies_of_row]
        table.add_row(Text(printable(row_title)), *cells)

    for kind, accuracies in corruptions["accuracy"].items():
        add_row(kind, accuracies)
    means = np.mean(list(corruptions["accuracy"].values()), axis=0)
    add_row("mean", means)
    return table
