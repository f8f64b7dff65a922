"""Write reports about run folders: `REPORT.md` with pictures, and the same text as HTML."""

import functools
import itertools
import re
from pathlib import Path
from typing import Any

import jinja2

from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.files import lock_folder, write_text
from jaxcifar.machine.terminal import PrintLine, pluralize
from jaxcifar.report import alternative_texts, costs, wording
from jaxcifar.report.contents import CONTENTS_PLACEHOLDER, add_contents
from jaxcifar.report.heading import date_and_author, report_title
from jaxcifar.report.metric_table import metric_table
from jaxcifar.report.network_section import network_context
from jaxcifar.report.page import markdown_to_page
from jaxcifar.report.page_data import make_page_data
from jaxcifar.report.pictures import Pictures
from jaxcifar.report.repeat_words import words_for_repeats
from jaxcifar.report.run_reading import read_records
from jaxcifar.report.run_records import SYNTHETIC_DATA_SET, RunRecord
from jaxcifar.report.settings_tables import settings_tables
from jaxcifar.report.statistics import SIGNIFICANCE_LEVEL
from jaxcifar.report.study_records import Records
from jaxcifar.report.study_section import study_context
from jaxcifar.report.training_notes import training_notes
from jaxcifar.report.wording import escape_markdown, join_names
from jaxcifar.runs.epoch_selection import SELECTION_RULE
from jaxcifar.runs.folder import RunFolder

_MAX_LEFT_OUT_LINES = 8  # most lines that are printed about left-out runs


def write_report(
    folder: Path, print_line: PrintLine | None = None, author: str | None = None
) -> Path:
    """Write `REPORT.md`, `report.html` and their pictures into `folder`, from the runs in it.

    The user's code is never imported, and no data set is needed. The report lists the runs and
    studies that it leaves out because their files can't be read.

    Args:
      folder: the folder; runs in its subfolders belong to the report too.
      print_line: prints a line about a run that is left out; None prints nothing.
      author: name below the title; None takes the authors that the study files name.

    Returns:
      the path of `report.html`.

    Raises:
      UsageError: the folder does not exist or has no readable finished run.
      RunError: the report can't be written.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; give the folder of runs or of a study")
    try:
        with lock_folder(folder):  # also while reading, so the last writer sees all runs
            records = read_records(folder)
            pictures = Pictures(folder)
            context = _report_context(records, folder, pictures)
            context["date_and_author"] = date_and_author(records, author)
            markdown = _template_environment().get_template("report.md.j2").render(context)
            markdown = add_contents(re.sub(r"\n{3,}", "\n\n", markdown))
            write_text(folder / "REPORT.md", markdown)
            page = folder / "report.html"
            data = make_page_data(pictures.plot_calls)
            write_text(
                page,
                markdown_to_page(markdown, context["title"], pictures.content_of_picture, data),
            )
            pictures.delete_older_pictures()  # not earlier: the old report needs them until now
    except OSError as error:
        raise RunError(
            f"{folder}: the report can't be written ({error.strerror or error}); make the folder "
            "writable or free space on the disk, then run jaxcifar report again"
        ) from error
    if print_line is not None:
        _print_left_out([*context["unreadable"], *context["unfinished"]], print_line)
    return page


def _print_left_out(reasons: list[str], print_line: PrintLine) -> None:
    """Print one line for each run that the report leaves out, up to `_MAX_LEFT_OUT_LINES` runs.

    Each string in `reasons` has the path of a run and the reason why the run is left out.
    """
    for reason in reasons[:_MAX_LEFT_OUT_LINES]:
        print_line(f"left out: {reason}")
    if len(reasons) > _MAX_LEFT_OUT_LINES:
        print_line(f"left out: {len(reasons) - _MAX_LEFT_OUT_LINES} more, which the report lists")


@functools.cache  # compiling the template takes a quarter of a second
def _template_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, ""),
        autoescape=False,  # the template is Markdown, not HTML
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    for module in (wording, alternative_texts):
        environment.globals.update(vars(module))  # the template calls their functions
    return environment


def _progress_text(run: RunRecord) -> str:
    """Return how far an unfinished run came: its failure, or its number of finished epochs."""
    if run.failure:
        return run.failure
    if not run.history and RunFolder(run.path).weights_file.exists():
        return "converted, but not tested"
    return f"{len(run.history)} of {run.config.epochs} epochs"


def _relative_path(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _report_context(records: Records, folder: Path, pictures: Pictures) -> dict[str, Any]:
    """Draw the report's pictures, and return the values that fill the template `report.md.j2`."""
    section_numbers, figure_numbers = itertools.count(1), itertools.count(1)
    network_contexts = [network_context(network, pictures) for network in records.networks]
    study_contexts = [
        study_context(study, records, _relative_path(study.path, folder), pictures)
        for study in records.studies
        if study.variations
    ]
    data_set_of_identity = {run.data.identity: run.data for run in records.runs}
    synthetic_titles = [
        data_set.title
        for data_set in data_set_of_identity.values()
        if data_set.name == SYNTHETIC_DATA_SET
    ]
    without_validation = [
        (variation, f"{variation.config.network_title} on {variation.data.title}")
        for variation in records.variations_without_validation
    ]
    network_titles = [network.title for network in records.networks]
    if not network_titles:  # all runs were trained without validation
        network_titles = list(dict.fromkeys(title for _, title in without_validation))
    evaluations = [network["evaluation"] for network in network_contexts if network["evaluation"]]
    was_tested_again = any(evaluation.get("looks", 0) > 0 for evaluation in evaluations)
    unfinished = {
        _relative_path(run.path, folder): _progress_text(run) for run in records.unfinished_runs
    }
    unreadable = {
        _relative_path(path, folder): reason for path, reason in records.unreadable_reasons.items()
    }
    repeat_words = words_for_repeats(records.trained_variations)
    return {
        "title": report_title(records, folder, network_titles),
        "synthetic": synthetic_titles,
        "networks": network_contexts,
        "tested_again": was_tested_again,
        "studies": study_contexts,
        "without_validation": without_validation,
        "contents": CONTENTS_PLACEHOLDER,
        "figure": lambda: next(figure_numbers),
        "section": lambda: next(section_numbers),
        "selection_rule": SELECTION_RULE,
        "significance_level": f"{SIGNIFICANCE_LEVEL:g}",
        "has_comparisons": any(len(network.variations) > 1 for network in records.networks),
        "has_several_runs": bool(repeat_words),
        "has_several_seeds": "seeds" in repeat_words,
        "has_folds": "folds" in repeat_words,
        "times": costs.time_rows(records),
        "time_sentence": costs.time_sentence(records),
        "commands": costs.training_commands(records),
        "conversions": costs.conversion_commands(records),
        "metrics": metric_table([*records.variations, *records.variations_without_validation]),
        "trained": records.trained_variations,
        "training_notes": training_notes(records.trained_variations),
        "facts": costs.fact_rows(records),
        "settings": settings_tables(records.trained_variations),
        "unfinished": [f"{path}: {progress}" for path, progress in unfinished.items()],
        "unreadable": [f"{path}: {reason}" for path, reason in unreadable.items()],
        "left_out": join_names(escape_markdown(path) for path in [*unfinished, *unreadable]),
        "pluralize": pluralize,
    }
