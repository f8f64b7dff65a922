"""The head of a report: its title, its date and its author."""

import datetime
from collections.abc import Sequence
from pathlib import Path

from jaxcifar.report.study_records import Records
from jaxcifar.report.wording import escape_markdown, join_names
from jaxcifar.runs.folder import RunFolder


def report_title(records: Records, folder: Path, networks: Sequence[str]) -> str:
    """Return the title of a report: the study's title if the folder holds exactly one study.

    Otherwise the title lists `networks`, the titles of the networks in the report.
    """
    if len(records.studies) == 1 and not records.variations_outside_studies:
        [study] = records.studies
        if study.path == folder and study.variations:
            return study.title
    return f"Report: {', '.join(networks)}"


def date_and_author(records: Records, author: str | None) -> str:
    """Return a line with the day on which the last run finished and the author, if known.

    An example is "1 December 2026, by NAME".

    Args:
      records: the runs and studies of the report.
      author: name of the author; None takes the authors in the study files, if there are any.
    """
    if author is None:
        names = [study.author for study in records.studies if study.author]
    else:
        names = [author]
    last_day = _last_day(records)
    date = f"{last_day.day} {last_day:%B %Y}"
    authors = join_names(dict.fromkeys(map(escape_markdown, names)))
    return f"{date}, by {authors}" if authors else date


def _last_day(records: Records) -> datetime.date:
    """Return the day, in UTC, on which the newest `result.json` was written."""
    result_files = [RunFolder(run.path).result_file for run in records.runs]
    last_change = max(file.stat().st_mtime for file in result_files)
    return datetime.datetime.fromtimestamp(last_change, datetime.UTC).date()
