"""The report's section on one study: its variations, their comparison and the findings."""

from collections.abc import Sequence
from typing import Any

from jaxcifar.report import figures, findings, references
from jaxcifar.report.pictures import Pictures
from jaxcifar.report.run_records import Records, StudiedNetwork, StudyRecord, Variation
from jaxcifar.report.statistics import Sample, single_changes
from jaxcifar.report.wording import escape_markdown, mean_and_deviation, varied_fields


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
    draw = pictures.section("study" if folder == "." else folder)
    row_pictures = {}
    for v in variations:
        row_title = f"{v.name}\n{networks[v.name].title}"
        row_pictures[v.name] = figures.draw_curves(draw, v.runs, row_title, f"{v.name}-")
    return {
        "title": escape_markdown(study.title),
        "folder": escape_markdown(folder),
        "notes": study.notes,
        "variations": variations,
        "rows": study.rows,
        "reference_name": escape_markdown(reference_name),
        "has_reference": any(v.reference for v in variations),
        "fields": varied_fields(variations),
        "setting_note": references.setting_note(study),
        "changes": [findings.change_cells(change) for change in single_changes(variations)],
        "sets": sets,
        "nearest_set": references.nearest_set_text(sets) if sets else "",
        "learning": learning,
        "learning_sentence": findings.learning_sentence(learning),
        "mismatches": mismatches,
        "mismatch_verdict": references.mismatch_verdict(mismatches) if mismatches else "",
        "measuring_commands": references.measuring_commands(study, folder),
        "mismatched": _mismatched(variations),
        "seeds": " ".join(map(str, seeds)),
        "pictures": {
            "bars": draw("bars", figures.plot_bars, variations, reference_name, title),
            "validation": draw("validation", figures.plot_all_validation, variations, title),
            "rows": row_pictures,
        },
    }


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
