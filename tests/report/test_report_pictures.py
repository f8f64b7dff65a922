"""What a report's pictures draw and what their alternative texts say, by the raw numbers."""

import dataclasses
import json
from statistics import mean

import invented
import numpy as np
import pytest
from invented import BY_VALIDATION, CLASSES, COUNTS, RUNS, chosen, of_test
from report.test_report import figures_of

from jaxcifar.report.study_figures import plot_all_validation
from jaxcifar.report.run_reading import read_records

REFERENCES = {"plain": 0.31, "tester": 0.74, "winner": 0.73}  # the winner's is a mean of two


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The invented study."""
    return invented.write_study(tmp_path_factory.mktemp("invented") / "s")


@pytest.fixture(scope="module")
def figures(folder):
    """The report's figures by the first line of their titles."""
    return figures_of(folder)


@pytest.fixture(scope="module")
def text(folder, figures):
    """The report."""
    return (folder / "REPORT.md").read_text()


def test_in_the_fixture_a_mean_is_neither_the_first_seeds_figure_nor_the_highest():
    for row in set(RUNS) - {"longer"}:
        for values in (of_test(row), chosen(row)):
            assert mean(values) not in (values[0], max(values))


def test_the_bars_are_means_and_have_a_mark_a_seed(figures):
    [figure] = figures["Test accuracy of all rows, each of its chosen epoch"]
    [axes] = figure.axes
    ours, theirs = axes.containers
    assert [bar.get_width() for bar in ours] == pytest.approx([mean(of_test(row)) for row in RUNS])
    assert [bar.get_width() for bar in theirs] == pytest.approx(
        [REFERENCES.get(row, 0) for row in RUNS]
    )
    assert [label.get_text() for label in axes.get_yticklabels()] == list(RUNS)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["ours", "reference: the book"]
    marks = [line.get_xdata().tolist() for line in axes.get_lines()]
    assert marks == [of_test(row) for row in RUNS if len(RUNS[row]) > 1]
    said = {round(label.get_position()[1], 1): label.get_text() for label in axes.texts}
    expected = {}
    for number, row in enumerate(RUNS):
        expected[round(number - 0.2, 1)] = f"{mean(of_test(row)):.2%}"
        if row in REFERENCES:
            expected[round(number + 0.2, 1)] = f"{REFERENCES[row]:.2%}"
    assert said == expected
    assert axes.yaxis_inverted()  # the first row is at the top


def test_the_curves_of_all_rows_are_means_and_named_with_the_chosen_epochs_mean(figures):
    [figure] = figures["Validation accuracy by epoch: all 5 rows"]
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert list(lines) == [f"{row}  {mean(chosen(row)):.2%}" for row in BY_VALIDATION]
    for row, line in zip(BY_VALIDATION, lines.values(), strict=True):
        curve = np.mean([run.val for run in RUNS[row].values()], axis=0)
        assert line.get_ydata() == pytest.approx(curve)
        assert line.get_xdata().tolist() == list(range(1, len(curve) + 1))
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(lines)


def test_a_panel_of_many_rows_draws_its_rows_mean_chosen_epochs_and_the_span_of_all(folder):
    """More than ten rows have a panel each; here the five rows stand there twice and thrice."""
    [study] = read_records(folder).studies
    rows = (*study.variations, *study.variations, study.variations[0])
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file: drawn.append(figure))
        plot_all_validation(rows, "t", None)
    panels = {axes.get_title(): axes for axes in drawn[0].axes if axes.get_title()}
    assert set(panels) == {f"{row}  {mean(chosen(row)):.2%}" for row in RUNS}
    means = [np.mean([run.val for run in RUNS[row].values()], axis=0) for row in RUNS]
    for row, curve in zip(RUNS, means, strict=True):
        axes = panels[f"{row}  {mean(chosen(row)):.2%}"]
        line, diamonds = axes.get_lines()
        assert line.get_ydata() == pytest.approx(curve)
        epochs = [run.chosen for run in RUNS[row].values()]
        assert diamonds.get_xydata() == pytest.approx(np.transpose([epochs, chosen(row)]))
        span = axes.collections[0].get_paths()[0].vertices
        for epoch in range(1, 8):
            heights = span[span[:, 0] == epoch][:, 1]
            values = [other[epoch - 1] for other in means if len(other) >= epoch]
            assert (min(heights), max(heights)) == pytest.approx((min(values), max(values)))


@pytest.mark.parametrize("quantity", ["accuracy", "loss"])
def test_the_curves_of_a_row_are_means_over_its_seeds(figures, quantity):
    for row, runs in RUNS.items():
        [axes] = figures[f"{quantity.capitalize()} by epoch: {row}"][-1].axes
        training, validation, diamonds = axes.get_lines()
        train = np.mean([run.train for run in runs.values()], axis=0)
        val = np.mean(
            [run.val if quantity == "accuracy" else run.val_loss for run in runs.values()], axis=0
        )
        expected = train if quantity == "accuracy" else 3 - train
        assert training.get_ydata() == pytest.approx(expected)
        assert validation.get_ydata() == pytest.approx(val)
        assert diamonds.get_xdata().tolist() == [run.chosen for run in runs.values()]


def test_the_winners_curves_are_of_its_best_run_only(figures):
    run = RUNS["winner"][5]
    [axes] = figures["Accuracy by epoch: winner"][0].axes
    training, validation, diamond = axes.get_lines()
    assert training.get_ydata().tolist() == list(run.train)
    assert validation.get_ydata().tolist() == list(run.val)
    assert diamond.get_xydata().tolist() == [[3, 0.94]]


def test_the_bars_by_class_are_of_the_best_run_the_worst_class_at_the_bottom(figures):
    matrix = invented.confusion("winner", 5)
    accuracy = dict(zip(CLASSES, np.diag(matrix) / COUNTS, strict=True))
    ranked = sorted(accuracy, key=accuracy.get)
    [figure] = figures["Test accuracy: winner"]
    [axes] = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ranked
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(
        [accuracy[name] for name in ranked]
    )
    heights = [bar.get_y() + bar.get_height() / 2 for bar in axes.patches]
    assert heights == pytest.approx([0, 1, 2, 3])
    assert not axes.yaxis_inverted()
    assert [label.get_text() for label in axes.texts] == [f"{accuracy[n]:.2%}" for n in ranked]


def test_the_confusion_matrix_has_a_row_a_true_class(figures):
    matrix = invented.confusion("winner", 5)
    assert (matrix != matrix.T).any()
    [figure] = figures["Test images: winner"]
    [axes] = figure.axes
    [image] = axes.images
    shares = matrix / np.reshape(COUNTS, (4, 1))
    np.testing.assert_allclose(image.get_array(), shares)
    assert (image.norm.vmin, image.norm.vmax) == (0, 1)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true class")
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert tuple(label.get_text() for label in labels) == CLASSES
    counts = np.zeros((4, 4), int)
    for label in axes.texts:
        column, row = label.get_position()
        counts[row, column] = int(label.get_text())
    np.testing.assert_array_equal(counts, matrix)


# Alternative texts, which tell the same to who does not see the pictures.


def alternatives(text, begin):
    return [part.partition("](")[0] for part in text.split("![")[1:] if part.startswith(begin)]


@pytest.mark.parametrize("row", RUNS)
def test_the_text_of_a_rows_curves_has_means_over_seeds(text, row):
    runs = list(RUNS[row].values())
    train, val = (np.mean([getattr(run, name) for run in runs], 0) for name in ("train", "val"))
    losses = np.mean([run.val_loss for run in runs], 0)
    best = [f"{run.val[run.chosen - 1]:.2%} in epoch {run.chosen}" for run in runs]
    best_losses = [f"{run.val_loss[run.chosen - 1]:.4f} in epoch {run.chosen}" for run in runs]
    count = len(val)
    assert alternatives(text, f"Accuracy of {row} ")[-1] == (
        f"Accuracy of {row} by epoch, 1 to {count}: training from {train[0]:.2%} to "
        f"{train[-1]:.2%}; validation from {val[0]:.2%} to {val[-1]:.2%}; validation at the chosen "
        f"epoch {', '.join(best)}"
    )
    assert alternatives(text, f"Loss of {row} ")[-1] == (
        f"Loss of {row} by epoch, 1 to {count}: training from {3 - train[0]:.4f} to "
        f"{3 - train[-1]:.4f}; validation from {losses[0]:.4f} to {losses[-1]:.4f}; validation at "
        f"the chosen epoch {', '.join(best_losses)}"
    )


def test_the_text_of_the_bars_has_means_of_rows_and_of_references(text):
    parts = [
        f"{row} {mean(of_test(row)):.2%}"
        + (f" (reference {REFERENCES[row]:.2%})" if row in REFERENCES else "")
        for row in RUNS
    ]
    assert alternatives(text, "Test accuracy: ") == [f"Test accuracy: {', '.join(parts)}"]


def test_the_text_of_all_validation_curves_has_means_the_best_first(text):
    parts = [f"{row} {mean(chosen(row)):.2%}" for row in BY_VALIDATION]
    [said] = alternatives(text, "Validation accuracy by epoch")
    assert said == f"Validation accuracy by epoch; at the chosen epoch: {', '.join(parts)}"


# Sentences that the invented study's rows do not give.


def test_of_rows_that_tie_the_one_with_the_lower_validation_loss_is_first(tmp_path, monkeypatch):
    """The row listed second has the lower loss; the rows have their seeds' figures in common."""
    lower = {
        seed: dataclasses.replace(run, val_loss=tuple(loss - 0.1 for loss in run.val_loss))
        for seed, run in RUNS["winner"].items()
    }
    monkeypatch.setitem(RUNS, "middle", lower)
    folder = invented.write_study(tmp_path / "s", rows=["winner", "middle"])
    figures_of(folder)
    text = (folder / "REPORT.md").read_text()
    assert "**middle** and “winner” tie: of 2 candidates (3 seeds each)" in text
    assert "**middle** is taken for its lower validation loss." in text


def collapse(path):
    """Make a written run one that takes every test image for the class bee."""
    result = json.loads(path.read_text())
    matrix = np.zeros((4, 4), int)
    matrix[:, 1] = COUNTS
    result["confusion_matrix"] = matrix.tolist()
    path.write_text(json.dumps(result))


def test_a_row_says_how_many_of_its_runs_collapsed(tmp_path):
    folder = invented.write_study(tmp_path / "s", rows=["plain", "longer", "middle"])
    for run in ("plain/seed3", "middle/seed2", "middle/seed8", "longer/seed4"):
        collapse(folder / run / "result.json")
    figures_of(folder)
    text = (folder / "REPORT.md").read_text()
    same = "**: every test image is given the same class."
    assert f"62.50 ± 2.12% test accuracy. **1 of its 2 runs collapsed{same}" in text
    assert f". **2 of its 3 runs collapsed{same}" in text
    assert f". **It collapsed{same}" in text
    assert text.count(same) == 3
