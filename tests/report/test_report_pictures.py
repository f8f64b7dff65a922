"""What a report's pictures draw and what their alternative texts say, by the raw numbers."""

import dataclasses
import itertools
import json
from statistics import mean

import invented
import numpy as np
import pytest
from invented import BY_VALIDATION, CLASSES, COUNTS, RUNS, chosen, of_test
from matplotlib.colors import to_rgb
from report.test_records import made, made_run
from report.test_report import figures_of
from scipy import stats

from jaxcifar.report.row_panels import plot_row_panels
from jaxcifar.report.run_reading import read_records
from jaxcifar.report.study_figures import (
    MANY_ROWS,
    plot_all_validation,
    plot_test_accuracies,
)

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


def test_each_row_is_a_dot_at_its_label_with_its_interval_and_a_mark_a_seed(figures):
    [figure] = figures["Test accuracy of all rows, each of its chosen epoch"]
    [axes] = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [f"{row}  {mean(of_test(row)):.2%}" for row in RUNS]
    assert axes.yaxis_inverted()  # the first row is at the top
    drawn = {marker: [] for marker in ("o", "D", "<", "|", "None")}
    for line in axes.get_lines():
        if len(line.get_xdata()):
            drawn[line.get_marker()].append(line.get_xydata())
    dots = np.concatenate(drawn["o"])
    np.testing.assert_allclose(dots[:, 0], [mean(of_test(row)) for row in RUNS])
    np.testing.assert_array_equal(dots[:, 1], axes.get_yticks())
    marks = [seeds[:, 0].tolist() for seeds in drawn["|"]]
    assert marks == [of_test(row) for row in RUNS if len(RUNS[row]) > 1]
    intervals = [ends[:, 0] for ends in drawn["None"]]
    for row, (low, high) in zip(RUNS, intervals, strict=True):
        values = of_test(row)
        if len(values) > 1:
            expected = stats.t.interval(0.95, len(values) - 1, mean(values), stats.sem(values))
        else:
            right = round(values[0] * invented.IMAGES["test"])
            test = stats.binomtest(right, invented.IMAGES["test"])
            expected = test.proportion_ci(method="wilson")
        assert (low, high) == pytest.approx(tuple(expected))
    low, high = axes.get_xlim()
    inside = {row: value for row, value in REFERENCES.items() if low <= value <= high}
    assert np.concatenate(drawn["D"])[:, 0] == pytest.approx(list(inside.values()))
    assert list(REFERENCES.values()) != list(inside.values())
    assert np.concatenate(drawn["<"]) == pytest.approx(np.array([[low, 0]]))  # the reference's 31%
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["mean, with its 95% interval", "one seed", "reference: the book"]


def test_the_axis_of_test_accuracies_shows_where_the_rows_differ():
    """Four rows within a point, and one that has collapsed: the axis leaves the latter out."""
    values = [0.10, 0.900, 0.903, 0.906, 0.909]
    rows = [made(f"row{i}", made_run(changes={"test_accuracy": x})) for i, x in enumerate(values)]
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file: drawn.append(figure))
        plot_test_accuracies(rows, "", "t", None)
    [axes] = drawn[0].axes
    low, high = axes.get_xlim()
    assert 0.88 < low < 0.9 and 0.909 < high < 0.93
    arrows = [line for line in axes.get_lines() if line.get_marker() == "<"]
    assert [line.get_ydata().tolist() for line in arrows] == [[0]]
    assert axes.get_yticklabels()[0].get_text() == "row0  10.00%"


# Machado, Oliveira and Fernandes (2009): how linear RGB looks to people without one kind of cone.
SIGHT = {
    "usual": np.eye(3),
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]


def lab(linear):
    """CIE L*a*b* of linear RGB with white D65."""
    xyz = np.clip(linear, 0, 1) @ np.transpose(TO_XYZ) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT)
def test_each_row_of_one_picture_has_a_colour_of_its_own(sight):
    """A difference of 10 in CIE L*a*b* is plain to see; 2 is just noticed."""
    rows = [made(f"row{i}", made_run(val=(0.1, 0.5 + i / 100, 0.2))) for i in range(MANY_ROWS)]
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file: drawn.append(figure))
        plot_all_validation(rows, "t", None)
    lines = drawn[0].axes[0].get_lines()
    assert len(lines) == MANY_ROWS >= 10
    rgb = np.array([to_rgb(line.get_color()) for line in lines])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = [lab(color @ np.transpose(SIGHT[sight])) for color in linear]
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
    assert min(distances) > 10
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == MANY_ROWS


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


def test_a_panel_of_many_rows_draws_its_rows_means(folder):
    [study] = read_records(folder).studies
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file: drawn.append(figure))
        plot_row_panels(study.variations, "t", None)
    [axes] = drawn[0].axes
    curves = [line for line in axes.get_lines() if line.get_color() != "#bbbbbb"]
    frames = [line for line in axes.get_lines() if line.get_color() == "#bbbbbb"]
    means = {
        row: [
            np.mean([getattr(run, split) for run in runs.values()], 0) for split in ("train", "val")
        ]
        for row, runs in RUNS.items()
    }
    lowest = min(curve.min() for pair in means.values() for curve in pair)
    highest = max(curve.max() for pair in means.values() for curve in pair)
    for number, (row, frame) in enumerate(zip(RUNS, frames, strict=True)):
        left, right = min(frame.get_xdata()), max(frame.get_xdata())
        top, bottom = min(frame.get_ydata()), max(frame.get_ydata())
        assert (int(left), int(top)) == (number % 4, number // 4)
        for line, curve in zip(curves[2 * number : 2 * number + 2], means[row], strict=True):
            shares = (bottom - line.get_ydata()) / (bottom - top)
            assert lowest + shares * (highest - lowest) == pytest.approx(curve)
            epochs = 1 + 6 * (line.get_xdata() - left) / (right - left)
            assert epochs == pytest.approx(np.arange(1, len(curve) + 1))


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
    [output] = alternatives(text, "Validation accuracy by epoch")
    assert output == f"Validation accuracy by epoch; at the chosen epoch: {', '.join(parts)}"


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
