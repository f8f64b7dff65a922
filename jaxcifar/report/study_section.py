"""The report's section on one study: its variations, their comparison and the findings."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxcifar.report import effects, figures, findings, references, study_figures
from jaxcifar.report.pictures import DrawPicture, Pictures
from jaxcifar.report.run_records import StudiedNetwork, Variation
from jaxcifar.report.statistics import Sample, single_changes
from jaxcifar.report.study_records import Records, StudyRecord
from jaxcifar.report.wording import (
    escape_markdown,
    join_names,
    mean_and_deviation,
    unusual_settings,
    varied_fields,
)


def study_context(
    study: StudyRecord, records: Records, folder: str, pictures: Pictures
) -> dict[str, Any]:
    """Draw the pictures of a study, and return the values for the report's template.

    `folder` is the study's folder relative to the report; "." if the report is in that folder.
    """
    variations = study.variations
    networks = {v.name: _network_of(v, records) for v in variations}
    title = ", ".join(dict.fromkeys(network.title for network in networks.values()))
    mismatches = references.mismatches(study)
    learning = [findings.learning(v) for v in variations]
    sets = references.reference_sets(study)
    seeds = sorted({run.config.seed for v in variations for run in v.runs})
    reference_name = str(study.reference.get("name", "reference"))
    has_reference = any(v.reference for v in variations)
    draw = pictures.section("study" if folder == "." else folder)
    return {
        "title": escape_markdown(study.title),
        "folder": escape_markdown(folder),
        "notes": study.notes,
        "variations": variations,
        "not_trained": _not_trained(study),
        "reference_name": escape_markdown(reference_name),
        "has_reference": has_reference,
        "fields": varied_fields(variations),
        "epochs_note": references.epochs_note(study),
        "effects": effects.effect_sentences(variations),
        "changes": [findings.change_cells(change) for change in single_changes(variations)],
        "sets": sets,
        "nearest_set": references.nearest_set_text(sets) if sets else "",
        "learning": learning,
        "learning_sentence": findings.learning_sentence(learning),
        "mismatches": mismatches,
        "mismatch_verdict": references.mismatch_verdict(mismatches) if mismatches else "",
        "measuring_commands": references.measuring_commands(study, folder),
        "mismatched": _mismatched(variations) if has_reference else {},
        "seeds": " ".join(map(str, seeds)),
        "folds": max((v.folds[0].total for v in variations if len(v.folds) > 1), default=0),
        "pictures": _shared_pictures(variations, reference_name, title, draw),
        **_rows(variations, networks, title, draw),
    }


def _shared_pictures(
    variations: Sequence[Variation], reference: str, title: str, draw: DrawPicture
) -> dict[str, str]:
    """Draw the pictures of all rows, and return their paths; {} for a single row."""
    if len(variations) < 2:
        return {}
    validation = draw("validation", study_figures.plot_all_validation, variations, title)
    plot = study_figures.plot_test_accuracies
    return {"validation": validation, "test": draw("test", plot, variations, reference, title)}


def _rows(
    variations: Sequence[Variation],
    networks: Mapping[str, StudiedNetwork],
    title: str,
    draw: DrawPicture,
) -> dict[str, Any]:
    """Return `rows`, a section per row of a study of few rows, or else `row_table` and `panels`.

    A single row has neither, because there is nothing to compare it with.
    """
    if len(variations) > study_figures.MANY_ROWS:
        table = [findings.row_cells(v, variations[:row]) for row, v in enumerate(variations)]
        return {"rows": [], "row_table": table, "panels": _panels(variations, title, draw)}
    rows = []
    for number, variation in enumerate(variations if len(variations) > 1 else ()):
        earlier = variations[:number]
        row_title = f"{variation.name}\n{networks[variation.name].title}"
        settings = unusual_settings(variation, variations)
        row = {
            "variation": variation,
            "heading": escape_markdown(variation.name) + (f": {settings}" if settings else ""),
            "findings": findings.row_findings(variation, earlier),
            "compared": [findings.compared_row(variation, earlier)] if earlier else [],
            "pictures": figures.draw_curves(draw, variation.runs, row_title, f"{variation.name}-"),
        }
        rows.append(row)
    return {"rows": rows, "row_table": [], "panels": []}


def _panels(variations: Sequence[Variation], title: str, draw: DrawPicture) -> list[dict[str, str]]:
    """Draw pages of small curves, and return each page's path and the names of its rows."""
    pages = []
    size = study_figures.ROWS_ON_A_PAGE
    for begin in range(0, len(variations), size):
        rows = variations[begin : begin + size]
        headline = f"Accuracy by epoch: rows {begin + 1} to {begin + len(rows)}\n{title}"
        path = draw("rows", study_figures.plot_row_panels, rows, headline)
        names = f"{escape_markdown(rows[0].name)} to {escape_markdown(rows[-1].name)}"
        pages.append({"path": path, "names": names})
    return pages


def _not_trained(study: StudyRecord) -> str:
    """Return the number of the study's rows without a run, and their names; "" if all have one."""
    if not study.not_begun:
        return ""
    names = join_names(escape_markdown(name) for name in study.not_begun)
    return f"{len(study.not_begun)} of the study's {study.rows} rows are not trained yet: {names}."


def _mismatched(variations: Sequence[Variation]) -> dict[str, str]:
    """Return the accuracy on wrongly normalised images by variation; {} if never measured."""
    accuracies = {v.name: references.mismatched_accuracies(v) for v in variations}
    if not any(accuracies.values()):
        return {}
    images = variations[0].runs[0].result["examples"]["test"]
    return {
        name: mean_and_deviation(Sample(values, images)) if values else "–"
        for name, values in accuracies.items()
    }


def _network_of(variation: Variation, records: Records) -> StudiedNetwork:
    return next(n for n in records.networks if any(v is variation for v in n.variations))
