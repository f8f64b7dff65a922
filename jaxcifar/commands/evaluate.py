"""Evaluate finished runs: `jaxcifar evaluate RUN... [--on SET...]`."""

import datetime
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.common_options import (
    add_data_dir,
    add_json_file,
    add_user_metrics,
    data_folder,
    parse_count,
    parse_path,
)
from jaxcifar.commands.shared.evaluation_pictures import draw_corruptions, draw_run
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
from jaxcifar.machine.paths import require_folder_of
from jaxcifar.machine.terminal import PrintLine, line_printer, pluralize
from jaxcifar.runs.task import looks_like_run, require_trained

if TYPE_CHECKING:
    from jaxcifar.build.user_metrics import UserMetric
    from jaxcifar.commands.shared.evaluated_corruptions import CorruptionEvaluator
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
    """Return the parser of the options of `jaxcifar evaluate`."""
    parser = Parser("evaluate", "Measure how far a trained network can be trusted.", HELP_EXAMPLES)
    parser.add_argument(
        "runs",
        nargs="*",
        type=parse_path,
        metavar="RUN",
        help="finished run, or file of its weights",
    )
    set_option = parser.add_argument(
        "--on",
        nargs="+",
        default=["test"],
        metavar="SET",
        help="images to evaluate on: val; test; train (lists likely label errors); corruptions "
        "(corrupted test images); slips (test images, evaluated with mistakes); cifar10.1 (TFDS), "
        "or cifar10.1:FOLDER (its .npy files); the folder of CIFAR-10-C or CIFAR-100-C; a folder "
        "by class; FILE.csv of labels; .npz; parquet; FILE.npy beside labels.npy (default: test)",
    )
    suggest(set_option, SET_NAMES)
    parser.add_argument(
        "--base",
        type=parse_path,
        metavar="RUN",
        help="on CIFAR-10-C or CIFAR-100-C, divide the errors by those of this run: mean "
        "corruption error (default: no division)",
    )
    parser.add_argument(
        "--images",
        type=parse_count,
        metavar="N",
        help="use only about N images of each set (default: all)",
    )
    add_json_file(parser)
    parser.add_argument(
        "--out",
        type=parse_path,
        metavar="DIR",
        help="draw pictures into DIR (default: no pictures)",
    )
    add_user_metrics(parser)
    add_data_dir(parser)
    return parser


def main(argv: Sequence[str]) -> None:
    """Evaluate runs, print tables, and write the results to the folders of the runs."""
    options = parser().parse_args(argv)
    _require_runs_before_on(options.runs, options.on)
    options.data_dir = data_folder(options.data_dir)
    _check_runs_and_sets(options)
    require_folder_of("--json", options.json)
    console = screen()
    print_line = line_printer(console)
    print_line(f"loading {pluralize(len(options.runs), 'run')} and their images")

    from jaxcifar.build.user_metrics import load_metrics
    from jaxcifar.commands.shared.evaluated import short_names, show_evaluations
    from jaxcifar.commands.shared.evaluated_corruptions import CorruptionEvaluator
    from jaxcifar.commands.shared.evaluated_runs import load_run

    start_jax()
    user_metrics = load_metrics(options.metric)
    run_names = short_names(options.runs)
    if options.out:
        with explain_write_errors(f"--out {options.out}"):
            options.out.mkdir(parents=True, exist_ok=True)
    # Load all runs before the first evaluation, so that errors are reported at once.
    runs = [load_run(path, name, options, print_line) for path, name in run_names.items()]
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    corruption_evaluator = CorruptionEvaluator(runs, options, date, print_line)
    evaluations: dict[str, Evaluation] = {}
    uses_of_test_images: dict[str, list[Look]] = {}
    for number, run in enumerate(runs):
        result = _evaluate_run(run, date, user_metrics, corruption_evaluator, print_line)
        evaluations[run.name], uses_of_test_images[run.name] = result.evaluation, []
        if run.folder:
            new_use = _use_of_test_images(run, options.on, date)
            uses_of_test_images[run.name] = _save_and_return_uses_of_test_images(
                run.folder, result.evaluation, new_use, print_line, options.images is None
            )
        if options.out:
            file_prefix = f"{number}-" if len(runs) > 1 else ""
            draw_run(options.out, file_prefix, run, result)
    if options.out:
        draw_corruptions(options.out, evaluations)
    show_evaluations(console, evaluations, uses_of_test_images)
    named_evaluations = [{"run": run, **evaluation} for run, evaluation in evaluations.items()]
    write_json(options.json, {"runs": named_evaluations})


def _require_runs_before_on(runs: Sequence[Path], set_names: Sequence[str]) -> None:
    """Check that runs are given, all of them before `--on`: words after `--on` name sets of images.

    Raises:
      UsageError: no run is given, or one of the sets is the folder of a run.
    """
    example = f"write runs before --on, as in {shell_command('evaluate')} RUN --on test"
    for name in set_names:
        if name not in SET_NAMES and looks_like_run(Path(name)):
            raise UsageError(f"--on {name}: is a run, not a set of images; {example}")
    if not runs:
        raise UsageError(f"no RUN is given; {example}")


def _check_runs_and_sets(options: Namespace) -> None:
    """Check the runs and sets of images, and that `--base` is given only with corrupted images.

    Raises:
      UsageError: a run, a set or `--base` can't be used.
    """
    for run in options.runs:
        require_trained(run)
    if options.base:
        require_trained(options.base)
    for set_name in options.on:
        check_set_name(set_name)
    if options.base and not any(is_corruption_set(set_name) for set_name in options.on):
        raise UsageError(
            "--base: is for --on FOLDER of CIFAR-10-C or CIFAR-100-C; add that option, or leave "
            "out --base"
        )


def _use_of_test_images(run: "LoadedRun", set_names: Sequence[str], date: str) -> "Look | None":
    """Return the date and purpose of this evaluation if it uses a run's test images, else None."""
    if not run.has_test_copies and not any(map(uses_test_images, set_names)):
        return None
    purpose = f"evaluate --on {' '.join(set_names)}"
    return {"date": date, "purpose": purpose[:_MAX_PURPOSE_LENGTH]}


def _evaluate_run(
    run: "LoadedRun",
    date: str,
    user_metrics: "Sequence[UserMetric]",
    corruption_evaluator: "CorruptionEvaluator",
    print_line: PrintLine,
) -> "EvaluationResult":
    """Evaluate a run on all its sets of images, and return the results."""
    from jaxcifar.commands.shared.evaluated_files import add_image_sources
    from jaxcifar.evaluation.evaluation_mistakes import evaluation_mistakes
    from jaxcifar.evaluation.measure import evaluate_sets

    classifier = run.classifier
    result = evaluate_sets(
        classifier.logits,
        run.sets,
        predictors_with_mistakes=evaluation_mistakes(classifier),
        class_names=classifier.class_names,
        val=run.val,
        date=date,
        report_step=lambda step: print_line(f"{run.name}: {step}"),
        user_metrics=user_metrics,
    )
    add_image_sources(run, result, print_line)
    if run.corrupted_sets:
        result.evaluation["corruption_sets"] = corruption_evaluator.evaluate(run)
    return result


def _save_and_return_uses_of_test_images(
    run_folder: Path,
    evaluation: "Evaluation",
    new_use: "Look | None",
    print_line: PrintLine,
    are_sets_complete: bool,
) -> "list[Look]":
    """Write results to the folder of their run; if that fails, print a line.

    Args:
      run_folder: folder of the run.
      evaluation: the results.
      new_use: date and purpose of the evaluation; None if the run's test images were not used.
      print_line: prints a line.
      are_sets_complete: True if `--images` left out no images of the sets.

    Returns:
      date and purpose of each evaluation in the folder that used the run's test images.
    """
    from jaxcifar.commands.shared.kept_figures import lines_about_kept_figures
    from jaxcifar.runs.evaluation_file import read_looks, save_evaluation
    from jaxcifar.runs.folder import RunFolder

    try:
        uses = save_evaluation(run_folder, evaluation, new_use, always_replace=are_sets_complete)
        for line in lines_about_kept_figures(run_folder, evaluation):
            print_line(line)
        return uses
    except BusyError:
        print_line(
            f"{run_folder}: not written, because another process is using this folder; evaluate "
            "again later"
        )
    except OSError as error:
        reason = error.strerror or error
        print_line(f"{run_folder}: can't be written ({reason}); use --json FILE for the figures")
    return read_looks(RunFolder(run_folder))
