"""The head of a report: its title, its date and its author."""

import datetime
from collections.abc import Sequence
from pathlib import Path

from jaxcifar.report.study_records import Records
from jaxcifar.report.wording import escape_markdown, join_names
from jaxcifar.runs.folder import RunFolder


def report_title(records: Records, folder: Path, networks: Sequence[str]) -> str:
    """Return the title: that of the study if the folder is a study's, else the networks' titles."""
    studies = [study for study in records.studies if study.path == folder and study.variations]
    if len(records.studies) == 1 and studies and not records.outside_studies:
        return studies[0].title
    return f"Report: {', '.join(networks)}"


def date_and_author(records: Records, author: str | None) -> str:
    """Return the day on which the last run finished, such as "1 December 2026", and the author.

    Args:
      records: the runs and studies of the report.
      author: name of the author; None takes the authors in the study files, if there are any.
    """
    names = [study.author for study in records.studies if study.author]
    if author is not None:
        names = [author]
    day = _last_day(records)
    date = f"{day.day} {day:%B %Y}"
    authors = join_names(dict.fromkeys(map(escape_markdown, names)))
    return f"{date}, by {authors}" if authors else date


def _last_day(records: Records) -> datetime.date:
    """Return the day, in UTC, on which the newest `result.json` was written."""
    seconds = max(RunFolder(run.path).result_file.stat().st_mtime for run in records.runs)
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date()
