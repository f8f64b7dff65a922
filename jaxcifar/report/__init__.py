"""A report from run folders alone: `REPORT.md`, its pictures, and the same as one HTML page."""

import itertools
import re
from pathlib import Path
from typing import Any

import jinja2

from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.files import lock_folder, write_text
from jaxcifar.machine.terminal import PrintLine, pluralize
from jaxcifar.report import costs, described, findings, wording
from jaxcifar.report.contents import PLACE, with_contents
from jaxcifar.report.metric_table import metric_table
from jaxcifar.report.network_section import network_context
from jaxcifar.report.page import markdown_to_page
from jaxcifar.report.pictures import Pictures
from jaxcifar.report.run_reading import read_records
from jaxcifar.report.run_records import SYNTHETIC, Records, RunRecord
from jaxcifar.report.statistics import LEVEL
from jaxcifar.report.study_section import study_context
from jaxcifar.report.wording import listed, plain
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.result import SELECTION_RULE

_TOLD = 8  # of what is left out, on the screen


def write_report(folder: Path, say: PrintLine | None = None) -> Path:
    """Write `REPORT.md`, `report.html` and their pictures from the runs in `folder` and below.

    Nothing that a run's folder names is imported or run, and no data set is needed. Runs and
    studies that can't be read are left out and named.

    Args:
      folder: of the runs.
      say: told of what is left out, a line each.

    Returns:
      the path of `report.html`.

    Raises:
      UsageError: there is no such folder, or no finished run in it that can be read.
      RunError: the report can't be written.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    try:
        with lock_folder(folder):  # read inside: the last of several writers has seen the most
            records = read_records(folder)
            pictures = Pictures(folder)
            context = _context(records, folder, pictures)
            markdown = _environment().get_template("report.md.j2").render(context)
            markdown = with_contents(re.sub(r"\n{3,}", "\n\n", markdown))
            write_text(folder / "REPORT.md", markdown)
            page = folder / "report.html"
            write_text(page, markdown_to_page(markdown, context["title"], pictures.drawn))
            pictures.delete_others()  # last: the report before may need them
            _tell([*context["unreadable"], *context["unfinished"]], say)
    except OSError as error:
        raise RunError(
            f"{folder}: the report can't be written ({error.strerror or error})"
        ) from error
    return page


def _tell(left_out: list[str], say: PrintLine | None) -> None:
    if say is None:
        return
    for line in left_out[:_TOLD]:
        say(f"left out: {line}")
    if left_out[_TOLD:]:
        say(f"left out: {len(left_out) - _TOLD} more, which the report names")


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, ""),
        autoescape=False,  # it writes Markdown
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _place(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _how_far(run: RunRecord) -> str:
    if run.failure:
        return run.failure
    if not run.history and RunFolder(run.path).weights.exists():
        return "converted, but not tested"
    return f"{len(run.history)} of {run.config.epochs} epochs"


def _context(records: Records, folder: Path, pictures: Pictures) -> dict[str, Any]:
    """Everything that the template names."""
    sections, figures = itertools.count(1), itertools.count(1)
    networks = [network_context(network, pictures) for network in records.networks]
    data = {run.data.identity: run.data for run in records.runs}
    titles = [network.title for network in records.networks]
    unfinished = [
        *(f"{_place(run.path, folder)}: {_how_far(run)}" for run in records.unfinished),
        *(
            f"{_place(study.path / name, folder)}: not begun"
            for study in records.studies
            for name in study.absent
        ),
    ]
    unreadable = [f"{_place(path, folder)}: {why}" for path, why in records.unreadable.items()]
    on_all = [(v, f"{v.config.network_title} on {v.data.title}") for v in records.on_all]
    return {
        "title": f"Report: {', '.join(titles or dict.fromkeys(title for _, title in on_all))}",
        "synthetic": [d.title for d in data.values() if d.name == SYNTHETIC],
        "networks": networks,
        "looked_again": any((network["evaluation"] or {}).get("looks") for network in networks),
        "studies": [
            study_context(study, records, _place(study.path, folder), pictures)
            for study in records.studies
            if study.variations
        ],
        "on_all": on_all,
        "contents": PLACE,
        "figure": lambda: next(figures),
        "section": lambda: next(sections),
        "rule": SELECTION_RULE,
        "level": f"{LEVEL:g}",
        "several": any(len(v.runs) > 1 for v in records.trained),
        "times": costs.times(records),
        "time_sentence": costs.time_sentence(records),
        "commands": costs.commands(records),
        "conversions": costs.conversions(records),
        "metrics": metric_table([*records.variations, *records.on_all]),
        "trained": records.trained,
        "facts": costs.facts(records),
        "unfinished": unfinished,
        "unreadable": unreadable,
        "left_out": listed(plain(line.partition(": ")[0]) for line in [*unfinished, *unreadable]),
        **{
            name: getattr(wording, name)
            for name in ("percent", "points", "accuracy", "with_flips", "reference",
                         "reference_difference", "seeds", "field_title", "field_value",
                         "settings_among", "plain", "quoted")
        },
        "counted": pluralize,
        "step_from": findings.step_from,
        "best": findings.best,
        **{
            name: getattr(described, name)
            for name in ("curves", "rows", "by_class", "confusions", "validation")
        },
    }  # fmt: skip
