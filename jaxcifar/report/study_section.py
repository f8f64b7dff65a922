"""The report's section on one study: its variations, their comparison and the findings."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxcifar.report import figures, findings, references, study_figures
from jaxcifar.report.effect_sentences import effect_sentences
from jaxcifar.report.pictures import DrawPicture, Pictures
from jaxcifar.report.repeat_words import word_or_runs
from jaxcifar.report.row_panels import ROWS_ON_A_PICTURE, plot_row_panels
from jaxcifar.report.run_records import Variation
from jaxcifar.report.single_changes import single_changes
from jaxcifar.report.statistics import Sample
from jaxcifar.report.study_records import Records, StudiedNetwork, StudyRecord
from jaxcifar.report.wording import (
    escape_markdown,
    join_names,
    mean_and_deviation,
    unusual_settings_text,
    varied_fields,
)


def study_context(
    study: StudyRecord, records: Records, folder: str, pictures: Pictures
) -> dict[str, Any]:
    """Draw the pictures of a study, and return the values for the report's template.

    Args:
      study: the study.
      records: all runs and studies of the report.
      folder: the study's folder relative to the report; "." if the report is in that folder.
      pictures: draws pictures, and gives them file names.
    """
    variations = study.variations
    network_of_row = {variation.name: _network_of(variation, records) for variation in variations}
    network_titles = dict.fromkeys(network.title for network in network_of_row.values())
    title = ", ".join(network_titles)
    wrong_normalisation_rows = references.wrong_normalisation_rows(study)
    verdict = ""
    if wrong_normalisation_rows:
        verdict = references.wrong_normalisation_verdict(wrong_normalisation_rows)
    learning_cells = [findings.learning_cells(variation) for variation in variations]
    sets = references.reference_sets(study)
    seeds = sorted({run.config.seed for variation in variations for run in variation.runs})
    fold_counts = [variation.folds[0].total for variation in variations if len(variation.folds) > 1]
    reference_name = str(study.reference.get("name", "reference"))
    has_reference = any(variation.reference_accuracies for variation in variations)
    draw = pictures.make_draw_function("study" if folder == "." else folder)
    return {
        "title": escape_markdown(study.title),
        "folder": escape_markdown(folder),
        "notes": study.notes,
        "variations": variations,
        "not_trained": _not_trained_sentence(study),
        "reference_name": escape_markdown(reference_name),
        "has_reference": has_reference,
        "fields": varied_fields(variations),
        "epochs_note": references.epochs_note(study),
        "effects": effect_sentences(variations),
        "changes": [findings.change_cells(change) for change in single_changes(variations)],
        "sets": sets,
        "nearest_set": references.nearest_set_text(sets) if sets else "",
        "learning": learning_cells,
        "learning_sentence": findings.learning_sentence(learning_cells),
        "mismatches": wrong_normalisation_rows,
        "mismatch_verdict": verdict,
        "measuring_commands": references.wrong_normalisation_commands(study, folder),
        "mismatched": _wrong_normalisation_texts(variations) if has_reference else {},
        "seeds": " ".join(map(str, seeds)),
        "folds": max(fold_counts, default=0),
        "pictures": _shared_pictures(variations, reference_name, title, draw),
        **_row_comparisons(variations, network_of_row, title, draw),
    }


def _shared_pictures(
    variations: Sequence[Variation], reference_name: str, title: str, draw: DrawPicture
) -> dict[str, str]:
    """Draw two pictures that compare all variations, and return their paths.

    Args:
      variations: the variations.
      reference_name: name of the source of reference accuracies, for the legend.
      title: title of the pictures.
      draw: draws a picture and returns its path.

    Returns:
      "validation", the path of the curves of validation accuracy, and "test", the path of the test
      accuracies; or an empty dict for a single variation.
    """
    if len(variations) < 2:
        return {}
    plot_validation = study_figures.plot_all_validation
    plot_test = study_figures.plot_test_accuracies
    return {
        "validation": draw("validation", plot_validation, variations, title),
        "test": draw("test", plot_test, variations, reference_name, title),
    }


def _row_comparisons(
    variations: Sequence[Variation],
    network_of_row: Mapping[str, StudiedNetwork],
    title: str,
    draw: DrawPicture,
) -> dict[str, Any]:
    """Compare each row of a study with the rows before it, and draw the learning curves.

    Args:
      variations: the rows of the study.
      network_of_row: name of a row -> the row's network.
      title: title of the pictures.
      draw: draws a picture and returns its path.

    Returns:
      a dict of lists, which are empty for a study of one row. A study of up to `MANY_ROWS` rows has
      in "rows" the content of a section for each row. A larger study has instead in "row_table"
      the cells of a table line for each row, and in "panels" the pictures of all rows.
    """
    sections: list[dict[str, Any]] = []
    table_lines: list[dict[str, str]] = []
    panels: list[dict[str, str]] = []
    has_many_rows = len(variations) > study_figures.MANY_ROWS
    if has_many_rows:
        for number, variation in enumerate(variations):
            earlier_rows = variations[:number]
            table_lines.append(findings.comparison_cells(variation, earlier_rows))
        panels = _draw_row_panels(variations, title, draw)
    elif len(variations) > 1:
        for number, variation in enumerate(variations):
            row_title = f"{variation.name}\n{network_of_row[variation.name].title}"
            file_prefix = f"{variation.name}-"
            section = {
                **_compare_with_earlier_rows(variations, number),
                "pictures": figures.draw_curves(draw, variation.runs, row_title, file_prefix),
            }
            sections.append(section)
    return {"rows": sections, "row_table": table_lines, "panels": panels}


def _compare_with_earlier_rows(variations: Sequence[Variation], number: int) -> dict[str, Any]:
    """Return the texts of the section on one row of a study, which compare it with earlier rows.

    Args:
      variations: all rows of the study.
      number: index of the row.

    Returns:
      a dict: the row as "variation"; the "heading"; the sentences "findings"; and "compared", a
      list that has the most similar earlier row, or nothing for the first row.
    """
    variation, earlier_rows = variations[number], variations[:number]
    heading = escape_markdown(variation.name)
    settings = unusual_settings_text(variation, variations)
    if settings:
        heading += f": {settings}"
    compared_rows = []  # the first row is compared with no other
    if earlier_rows:
        compared_rows.append(findings.most_similar_row(variation, earlier_rows))
    return {
        "variation": variation,
        "heading": heading,
        "findings": findings.comparison_sentences(variation, earlier_rows),
        "compared": compared_rows,
    }


def _draw_row_panels(
    variations: Sequence[Variation], title: str, draw: DrawPicture
) -> list[dict[str, str]]:
    """Draw the learning curves of all rows of a study, with many small panels in each picture.

    Returns:
      a dict for each picture: its "path"; "names", such as "ROW1 to ROW40", its first and last row;
      and "mean", such as ", mean over seeds", or "" if each row has one run.
    """
    pictures = []
    for start in range(0, len(variations), ROWS_ON_A_PICTURE):
        rows = variations[start : start + ROWS_ON_A_PICTURE]
        headline = f"Accuracy by epoch: rows {start + 1} to {start + len(rows)}\n{title}"
        path = draw("rows", plot_row_panels, rows, headline)
        row_range = f"{escape_markdown(rows[0].name)} to {escape_markdown(rows[-1].name)}"
        run_words = {row.run_word for row in rows if len(row.runs) > 1}
        mean_text = f", mean over {word_or_runs(run_words)}" if run_words else ""
        pictures.append({"path": path, "names": row_range, "mean": mean_text})
    return pictures


def _not_trained_sentence(study: StudyRecord) -> str:
    """Return a sentence on the rows of a study that have no run yet; "" if there are none."""
    if not study.rows_not_begun:
        return ""
    names = join_names(escape_markdown(name) for name in study.rows_not_begun)
    count = len(study.rows_not_begun)
    return f"{count} of the study's {study.row_count} rows are not trained yet: {names}."


def _wrong_normalisation_texts(variations: Sequence[Variation]) -> dict[str, str]:
    """Return the accuracy of each variation on wrongly normalised test images, as text.

    Such images are normalised differently than in training.

    Returns:
      name of a variation -> the text; or {} if no variation was tested on such images.
    """
    accuracies = {
        row.name: references.accuracies_with_wrong_normalisation(row) for row in variations
    }
    if not any(accuracies.values()):
        return {}
    image_count = variations[0].runs[0].result["examples"]["test"]
    texts = dict.fromkeys(accuracies, "–")
    for name, values in accuracies.items():
        if values:
            texts[name] = mean_and_deviation(Sample(values, image_count))
    return texts


def _network_of(variation: Variation, records: Records) -> StudiedNetwork:
    """Return the network that a variation belongs to, from all networks of the report."""
    for network in records.networks:
        if any(other is variation for other in network.variations):
            return network
    raise AssertionError(f"{variation.name}: this variation is in no network of the report")
