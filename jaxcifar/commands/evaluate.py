"""Evaluate finished runs: `python -m experiments.evaluate RUN... [--on SET...]`."""

import datetime
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jaxcifar.commands.shared.cli import add_data_dir, count, data_folder, location, start_jax
from jaxcifar.commands.shared.metric_option import add_metric
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.errors import BusyError, RunError, UsageError
from jaxcifar.evaluation.image_sets import TEST_SETS, check_set_name, load_run_dataset, load_set
from jaxcifar.machine.files import atomic_write, write_text
from jaxcifar.machine.paths import require_folder_of
from jaxcifar.machine.terminal import PrintLine, line_printer, pluralize
from jaxcifar.runs.task import require_trained

if TYPE_CHECKING:
    from jaxcifar.data import Dataset
    from jaxcifar.evaluation.image_sets import ImageSet
    from jaxcifar.evaluation.measure import EvaluationResult
    from jaxcifar.runs.evaluation_file import Evaluation, Look
    from jaxcifar.trained.classifier import Classifier

EXAMPLES = (
    ("first", "accuracy and calibration on the test images of a run in the folder first"),
    ("first --on corruptions", "on corrupted test images"),
    ("first --metric my_metrics.py:mean_rank", "by a measure of the user's too"),
    ("first --on slips", "how mistakes in evaluating would make it look"),
    ("rows/*/seed0 --on val", "a study's rows on the validation images"),
)


def parser() -> Parser:
    """The command's options."""
    parser = Parser("evaluate", "Tell how far a trained network can be trusted.", EXAMPLES)
    parser.add_argument(
        "runs", nargs="+", type=location, metavar="RUN", help="finished run, or file of its weights"
    )
    parser.add_argument(
        "--on",
        nargs="+",
        default=["test"],
        metavar="SET",
        help="val, test, corruptions (made from the test images), slips (the test images, "
        "evaluated wrongly), cifar10.1 (as TFDS prepared it) "
        "or cifar10.1:FOLDER (its .npy files), or a folder of images by class (default: test)",
    )
    parser.add_argument(
        "--images",
        type=count,
        metavar="N",
        help="look at only about so many of each set (default: all)",
    )
    parser.add_argument(
        "--json", type=location, metavar="FILE", help="write all figures there (default: nowhere)"
    )
    parser.add_argument(
        "--out", type=location, metavar="DIR", help="draw pictures there (default: none)"
    )
    add_metric(parser)
    add_data_dir(parser)
    return parser


def main(argv: Sequence[str]) -> None:
    """Evaluate, show and keep what is found."""
    options = parser().parse_args(argv)
    options.data_dir = data_folder(options.data_dir)
    for run in options.runs:
        require_trained(run)
    for name in options.on:
        check_set_name(name)
    require_folder_of("--json", options.json)
    console = Console(emoji=False, highlight=False)
    say = line_printer(console)
    say(f"loading {pluralize(len(options.runs), 'run')} and their images")

    from jaxcifar.build.user_metrics import load_metrics
    from jaxcifar.commands.shared.evaluated import short_names, show
    from jaxcifar.evaluation.evaluation_mistakes import evaluation_mistakes
    from jaxcifar.evaluation.measure import evaluate_sets
    from jaxcifar.runs.evaluation_file import read_evaluation, read_looks
    from jaxcifar.runs.folder import RunFolder
    from jaxcifar.trained.load import load

    start_jax()
    metrics = load_metrics(options.metric)
    names = short_names(options.runs)
    if options.out:
        make_folder(options.out)
    work = []  # what can be refused is refused before anything takes long
    for run in names:
        classifier = load(run, data_dir=options.data_dir)
        if home := folder_of(run):
            read_evaluation(RunFolder(home)), read_looks(RunFolder(home))
        work.append((run, home, classifier, *images_of(run, classifier, options, say)))
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    purpose = f"evaluate --on {' '.join(options.on)}"[:1000]
    look: Look | None = {"date": date, "purpose": purpose} if {*TEST_SETS} & {*options.on} else None
    evaluations: dict[str, Evaluation] = {}
    looks: dict[str, list[Look]] = {}
    for number, (run, home, classifier, sets, val) in enumerate(work):
        name, classes = names[run], classifier.class_names
        begin = partial(tell_next, say, name)
        mistakes = evaluation_mistakes(classifier)
        found = evaluate_sets(
            classifier.logits,
            sets,
            mistakes=mistakes,
            class_names=classes,
            val=val,
            date=date,
            begin=begin,
            user_metrics=metrics,
        )
        evaluations[name] = found.evaluation
        looks[name] = keep(home, found.evaluation, look, say) if home else []
        if options.out:
            prefix = f"{number}-" if len(work) > 1 else ""
            draw(options.out, prefix, name, classes, found)
    if options.out:
        draw_corruptions(options.out, evaluations)
    show(console, evaluations, looks)
    if options.json:
        write_json(options.json, evaluations)


def folder_of(run: Path) -> Path | None:
    """The folder of a run, also where it is named by its weights; None of a file by itself."""
    if run.is_dir():
        return run
    of_a_run = run.name == "weights.safetensors" and (run.parent / "result.json").exists()
    return run.parent if of_a_run else None


def tell_next(say: PrintLine, run: str, what: str) -> None:
    """Say what comes next."""
    say(f"{run}: {what}")


def images_of(
    run: Path, classifier: "Classifier", options: Any, say: PrintLine
) -> tuple[list["ImageSet"], Any]:
    """The sets that a run is to be evaluated on, and its validation images if they are at hand."""
    dataset, classes = None, classifier.class_names
    try:
        dataset = load_run_dataset(classifier.config, classes, options.data_dir, say)
    except (UsageError, RunError) as error:
        if {*TEST_SETS, "val"} & {*options.on}:
            raise type(error)(f"{run}: {error}") from error
        say(f"{run}: no temperature is fitted, for its validation images can't be had: {error}")

    def dataset_of_run() -> "Dataset":
        assert dataset is not None  # else a set that needs it has raised above
        return dataset

    sets = []
    for name in dict.fromkeys(options.on):
        found = load_set(name, dataset_of_run, classes, options.data_dir, say)
        sets.append(found.subset(options.images))
    if len({found.name for found in sets}) < len(sets):
        raise UsageError("--on: two sets would go by one name; evaluate on one after the other")
    return sets, dataset and dataset.val


def keep(run: Path, found: "Evaluation", look: Any, say: PrintLine) -> list["Look"]:
    """Write what is found to the run's folder, where that can be done; else say so."""
    from jaxcifar.runs.evaluation_file import read_evaluation, read_looks, record
    from jaxcifar.runs.folder import RunFolder

    try:
        looks = record(run, found, look)
        kept = read_evaluation(RunFolder(run)) or {"sets": {}}
        for name, figures in found["sets"].items():
            if (more := kept["sets"][name]["images"]) > figures["images"]:
                say(f"{run}: of {name}, evaluation.json keeps the figures of {more:,} images")
        return looks
    except BusyError:
        say(f"{run}: another process is at work there, so nothing is written there")
    except OSError as error:
        say(f"{run}: nothing is written there ({error.strerror or error})")
    return read_looks(RunFolder(run))


def make_folder(path: Path) -> None:
    """Make `--out`, before anything takes long."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"--out {path}: can't be made ({error.strerror})") from error


def draw(
    folder: Path, prefix: str, run: str, class_names: Sequence[str], found: "EvaluationResult"
) -> None:
    """Reliability and mistakes of a run, a picture a set."""
    from jaxcifar.report.evaluation_section import plot_reliability
    from jaxcifar.runs.plots import plot_mistakes

    temperature = found.evaluation.get("temperature")
    for name, figures in found.evaluation["sets"].items():
        slug = "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "-" for c in name)
        title = f"{run}\n{figures['title']}"
        picture(folder / f"{prefix}{slug}-reliability.png", plot_reliability, figures, temperature,
                title)  # fmt: skip
        picture(folder / f"{prefix}{slug}-mistakes.png", plot_mistakes, class_names,
                found.mistakes[name], title)  # fmt: skip


def draw_corruptions(folder: Path, evaluations: dict[str, "Evaluation"]) -> None:
    """Accuracy by strength, all runs in one picture."""
    from jaxcifar.report.evaluation_section import plot_corruptions

    found = {
        run: evaluation["corruptions"]
        for run, evaluation in evaluations.items()
        if "corruptions" in evaluation
    }
    if found:
        title = "Accuracy on corrupted test images"
        title += f": {next(iter(found))}" if len(found) == 1 else ""
        picture(folder / "corruptions.png", plot_corruptions, found, title)


def picture(path: Path, plot: Callable[..., None], *arguments: Any) -> None:
    """Draw one, whole or not at all."""
    try:
        with atomic_write(path) as file:
            plot(*arguments, file)
    except OSError as error:
        raise RunError(f"{path}: can't be written ({error.strerror or error})") from error


def write_json(path: Path, evaluations: dict[str, "Evaluation"]) -> None:
    """All figures, a run after the other."""
    runs = [{"run": run, **evaluation} for run, evaluation in evaluations.items()]
    try:
        write_text(path, json.dumps({"runs": runs}, indent=1) + "\n")
    except OSError as error:
        raise RunError(f"--json {path}: can't be written ({error.strerror})") from error
