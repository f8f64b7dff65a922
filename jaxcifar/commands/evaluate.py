"""Evaluate finished runs: `jaxcifar evaluate RUN... [--on SET...]`."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.common_options import (
    add_data_dir,
    add_json_file,
    add_metric,
    count,
    data_folder,
    location,
)
from jaxcifar.commands.shared.output import explain_write_errors, screen, write_json
from jaxcifar.commands.shared.parser import Parser, suggest
from jaxcifar.errors import BusyError, UsageError
from jaxcifar.evaluation.image_sets import (
    SET_NAMES,
    check_set_name,
    is_corruption_set,
    uses_test_images,
)
from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.files import atomic_write
from jaxcifar.machine.paths import require_folder_of
from jaxcifar.machine.terminal import PrintLine, line_printer, pluralize
from jaxcifar.runs.task import looks_like_run, require_trained

if TYPE_CHECKING:
    from jaxcifar.commands.shared.evaluated_runs import LoadedRun
    from jaxcifar.evaluation.measure import EvaluationResult
    from jaxcifar.runs.evaluation_file import Evaluation, Look

HELP_EXAMPLES = (
    ("first", "accuracy and calibration of the run `first` on the test images"),
    ("first --on corruptions", "accuracy on corrupted test images"),
    ("first --metric my_metrics.py:mean_rank", "also by a metric of your own"),
    ("first --on slips", "how mistakes in evaluating would change the accuracy"),
    ("first --on train --out pictures", "training images that may have a wrong label"),
    ("first --on CIFAR-10-C --base cnn", "robustness, relative to another run"),
    ("rows/*/seed0 --on val", "the rows of a study on the validation images"),
)
_MAX_PURPOSE_LENGTH = 1000  # characters


def parser() -> Parser:
    parser = Parser("evaluate", "Measure how far a trained network can be trusted.", HELP_EXAMPLES)
    parser.add_argument(
        "runs", nargs="*", type=location, metavar="RUN", help="finished run, or file of its weights"
    )
    sets = parser.add_argument(
        "--on",
        nargs="+",
        default=["test"],
        metavar="SET",
        help="images to evaluate on: val; test; train (lists likely label errors); corruptions "
        "(corrupted test images); slips (test images, evaluated with mistakes); cifar10.1 (TFDS), "
        "or cifar10.1:FOLDER (its .npy files); the folder of CIFAR-10-C or CIFAR-100-C; a folder "
        "by class; FILE.csv of labels; .npz; parquet; FILE.npy beside labels.npy (default: test)",
    )
    suggest(sets, SET_NAMES)
    parser.add_argument(
        "--base",
        type=location,
        metavar="RUN",
        help="on CIFAR-10-C or CIFAR-100-C, divide the errors by those of this run: mean "
        "corruption error (default: no division)",
    )
    parser.add_argument(
        "--images",
        type=count,
        metavar="N",
        help="use only about N images of each set (default: all)",
    )
    add_json_file(parser)
    parser.add_argument(
        "--out", type=location, metavar="DIR", help="draw pictures into DIR (default: no pictures)"
    )
    add_metric(parser)
    add_data_dir(parser)
    return parser


def main(argv: Sequence[str]) -> None:
    """Evaluate runs, print tables, and write the results to the folders of the runs."""
    options = parser().parse_args(argv)
    _check_order(options.runs, options.on)
    options.data_dir = data_folder(options.data_dir)
    for run in [*options.runs, *filter(None, [options.base])]:
        require_trained(run)
    for name in options.on:
        check_set_name(name)
    if options.base and not any(is_corruption_set(name) for name in options.on):
        raise UsageError("--base: is for --on FOLDER of CIFAR-10-C or CIFAR-100-C; give that too")
    require_folder_of("--json", options.json)
    console = screen()
    print_line = line_printer(console)
    print_line(f"loading {pluralize(len(options.runs), 'run')} and their images")

    from jaxcifar.build.user_metrics import load_metrics
    from jaxcifar.commands.shared.evaluated import short_names, show
    from jaxcifar.commands.shared.evaluated_corruptions import CorruptionEvaluator
    from jaxcifar.commands.shared.evaluated_runs import load_run, name_files
    from jaxcifar.evaluation.evaluation_mistakes import evaluation_mistakes
    from jaxcifar.evaluation.measure import evaluate_sets

    start_jax()
    metrics = load_metrics(options.metric)
    names = short_names(options.runs)
    if options.out:
        with explain_write_errors(f"--out {options.out}"):
            options.out.mkdir(parents=True, exist_ok=True)
    # Load all runs before the first evaluation, so that errors are reported at once.
    runs = [load_run(path, name, options, print_line) for path, name in names.items()]
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    evaluator = CorruptionEvaluator(runs, options, date, print_line)
    look: Look | None = None
    if any(uses_test_images(name) for name in options.on):
        purpose = f"evaluate --on {' '.join(options.on)}"[:_MAX_PURPOSE_LENGTH]
        look = {"date": date, "purpose": purpose}
    evaluations: dict[str, Evaluation] = {}
    looks: dict[str, list[Look]] = {}
    for number, run in enumerate(runs):
        classifier = run.classifier

        def print_activity(activity: str, name: str = run.name) -> None:
            print_line(f"{name}: {activity}")

        evaluated = evaluate_sets(
            classifier.logits,
            run.sets,
            mistakes=evaluation_mistakes(classifier),
            class_names=classifier.class_names,
            val=run.val,
            date=date,
            report_step=print_activity,
            user_metrics=metrics,
        )
        name_files(run, evaluated, print_line)
        if run.corrupted:
            evaluated.evaluation["corruption_sets"] = evaluator.evaluate(run)
        evaluations[run.name], looks[run.name] = evaluated.evaluation, []
        if run.folder:
            looks[run.name] = save(run.folder, evaluated.evaluation, look, print_line)
        if options.out:
            prefix = f"{number}-" if len(runs) > 1 else ""
            draw(options.out, prefix, run, evaluated)
    if options.out:
        draw_corruptions(options.out, evaluations)
    show(console, evaluations, looks)
    write_json(
        options.json,
        {"runs": [{"run": run, **evaluation} for run, evaluation in evaluations.items()]},
    )


def _check_order(runs: Sequence[Path], sets: Sequence[str]) -> None:
    """Check that no run was written after `--on SET...`, which takes all words that follow.

    Raises:
      UsageError: no run is given, or one of the `sets` is the folder of a run.
    """
    example = f"write runs before --on, as in {shell_command('evaluate')} RUN --on test"
    for name in sets:
        if name not in SET_NAMES and looks_like_run(Path(name)):
            raise UsageError(f"--on {name}: is a run, not a set of images; {example}")
    if not runs:
        raise UsageError(f"no RUN is given; {example}")


def save(
    folder: Path, evaluation: "Evaluation", look: "Look | None", print_line: PrintLine
) -> "list[Look]":
    """Write an evaluation to the folder of its run; if that fails, print a line.

    Returns:
      records of all uses of the run's test images. `look` records the use now, if there is one.
    """
    from jaxcifar.runs.evaluation_file import read_evaluation, read_looks, save_evaluation
    from jaxcifar.runs.folder import RunFolder

    try:
        looks = save_evaluation(folder, evaluation, look)
        written: Mapping[str, Any] = read_evaluation(RunFolder(folder)) or {"sets": {}}
        new: Mapping[str, Any] = evaluation
        for part in ("sets", "corruption_sets"):
            for name, figures in new.get(part, {}).items():
                images = written[part][name]["images"]
                if images > figures["images"]:
                    print_line(
                        f"{folder}: evaluation.json keeps the figures of {images:,} images of "
                        f"{name}"
                    )
        return looks
    except BusyError:
        print_line(f"{folder}: not written, because another process is using this folder")
    except OSError as error:
        print_line(f"{folder}: can't be written ({error.strerror or error})")
    return read_looks(RunFolder(folder))


def draw(folder: Path, prefix: str, run: "LoadedRun", evaluated: "EvaluationResult") -> None:
    """Draw reliability diagrams and mistakes of a run as `PREFIX*.png`, for each set of images."""
    from jaxcifar.report.evaluation_figures import plot_reliability
    from jaxcifar.runs.plots import plot_label_errors, plot_mistakes

    temperature, class_names = evaluated.evaluation.get("temperature"), run.classifier.class_names
    for name, (figures, mistakes, label_errors) in evaluated.results.items():
        file_name = _file_name(name)
        title = f"{run.name}\n{figures['title']}"
        path = folder / f"{prefix}{file_name}-reliability.png"
        draw_picture(path, plot_reliability, figures, temperature, title)
        path = folder / f"{prefix}{file_name}-mistakes.png"
        draw_picture(path, plot_mistakes, class_names, mistakes, title)
        if label_errors is not None:
            path = folder / f"{prefix}{file_name}-label-errors.png"
            draw_picture(path, plot_label_errors, class_names, label_errors, title)


def draw_corruptions(folder: Path, evaluations: dict[str, "Evaluation"]) -> None:
    """Draw the accuracy of all runs on each set of corrupted images, as `corruptions*.png`."""
    from jaxcifar.report.evaluation_figures import plot_corruptions

    by_set: dict[str, dict[str, Any]] = {}  # title of the set -> run -> results
    for run, evaluation in evaluations.items():
        sets: dict[str, Any] = dict(evaluation.get("corruption_sets", {}))
        if "corruptions" in evaluation:
            sets[""] = evaluation["corruptions"]
        for set_title, results in sets.items():
            by_set.setdefault(set_title, {})[run] = results
    for set_title, results in by_set.items():
        title = f"Accuracy on {set_title or 'corrupted test images'}"
        if len(results) == 1:
            title += f": {next(iter(results))}"
        ending = f"-{_file_name(set_title)}" if set_title else ""
        draw_picture(folder / f"corruptions{ending}.png", plot_corruptions, results, title)


def _file_name(text: str) -> str:
    """Return a text with "-" in place of characters that are unusual in file names."""
    return "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "-" for c in text)


def draw_picture(path: Path, plot: Callable[..., None], *arguments: Any) -> None:
    """Open the file of a picture, and call `plot(*arguments, file)` to draw the picture."""
    with explain_write_errors(str(path)), atomic_write(path) as file:
        plot(*arguments, file)
