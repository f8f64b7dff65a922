"""The section on one study: its rows one by one, all together, and what they show."""

from collections.abc import Sequence
from typing import Any

from jaxcifar.report import figures, findings, references
from jaxcifar.report.pictures import Pictures
from jaxcifar.report.run_records import Records, StudiedNetwork, StudyRecord, Variation
from jaxcifar.report.statistics import Sample, single_changes
from jaxcifar.report.wording import plain, spread, varied_fields


def study_context(
    study: StudyRecord, records: Records, beside: str, pictures: Pictures
) -> dict[str, Any]:
    """What the template says of a study; draws its pictures.

    Args:
      study: with at least one variation.
      records: that it belongs to.
      beside: its folder, relative to the report's.
      pictures: of the report.
    """
    variations = study.variations
    networks = {v.name: _network_of(v, records) for v in variations}
    title = ", ".join(dict.fromkeys(network.title for network in networks.values()))
    lines = references.mismatches(study)
    learning = [findings.learning(v) for v in variations]
    sets = references.reference_sets(study)
    draw = pictures.of(*([] if beside == "." else [beside]) or ["study"])
    named = str(study.reference.get("name", "reference"))
    return {
        "title": plain(study.title),
        "beside": plain(beside),
        "notes": study.notes,
        "variations": variations,
        "rows": study.rows,
        "named": plain(named),
        "referred": any(v.reference for v in variations),
        "fields": varied_fields(variations),
        "note": references.setting_note(study),
        "changes": [findings.single_change(*pair) for pair in single_changes(variations)],
        "sets": sets,
        "nearest": sets and references.nearest_set(sets),
        "learning": learning,
        "learning_sentence": findings.learning_sentence(learning),
        "mismatch": lines and {"lines": lines, "verdict": references.mismatch_verdict(lines)},
        "to_measure": references.to_measure(study, beside),
        "mismatched": _mismatched(variations),
        "seeds": " ".join(
            map(str, sorted({run.config.seed for v in variations for run in v.runs}))
        ),
        "pictures": {
            "bars": draw("bars", figures.plot_bars, variations, named, title),
            "validation": draw("validation", figures.plot_all_validation, variations, title),
            "rows": {
                v.name: figures.draw_curves(
                    draw, v.runs, f"{v.name}\n{networks[v.name].title}", f"{v.name}-"
                )
                for v in variations
            },
        },
    }


def _mismatched(variations: Sequence[Variation]) -> dict[str, str]:
    """By row, the accuracy on images that are normalised the other way; empty if no row has it."""
    found = {v.name: references.mismatched(v) for v in variations}
    if not any(found.values()):
        return {}
    images = variations[0].runs[0].result["examples"]["test"]
    return {
        name: spread(Sample(values, images)) if values else "–" for name, values in found.items()
    }


def _network_of(variation: Variation, records: Records) -> StudiedNetwork:
    return next(n for n in records.networks if any(v is variation for v in n.variations))
