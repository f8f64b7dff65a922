"""Reports: what they compute, that sentences follow the runs, and that the page stands alone."""

import dataclasses
import io
import json
import math
import os
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import assert_one_line_error, obeyed
from drawn_once import save_no_figures
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from rich.console import Console
from scipy import stats

from jaxcifar.commands.shared.ranking import show_ranking
from jaxcifar.config.experiment import Config
from jaxcifar.diagram.network_summary import summarize
from jaxcifar.errors import UsageError
from jaxcifar.networks.cnn import CNN
from jaxcifar.report import classes, wording, write_report
from jaxcifar.report.page import markdown_to_page
from jaxcifar.report.row_panels import plot_row_panels
from jaxcifar.report.run_reading import read_records, read_run
from jaxcifar.report.single_changes import single_changes
from jaxcifar.report.study_figures import plot_all_validation
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.mistakes import confident_mistakes
from jaxcifar.runs.plots import SPLITS, epoch_ticks, plot_curves
from jaxcifar.studies.study import Study

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
STUDY = Study.from_dict(
    {
        "title": "A made-up study",
        "config": {"arch": "cnn", "epochs": 4, "batch_size": 128, "learning_rate": 0.01},
        "rows": {
            "raw": {"normalize": False, "reference": [0.20]},
            "norm": {"reference": [0.80]},
            "fast": {"learning_rate": 0.1, "reference": [0.90, 0.92]},
        },
        "reference": {"name": "the report", "arch": "cnn", "dataset": "cifar10", "epochs": 4},
    }
)


def write_run(path, config, test, val, mismatched=0.1, names=CLASSES, matrix=None, **changes):
    """A finished run as `experiments.run` leaves it, with figures of our choice.

    `matrix` is its confusion matrix, `changes` replaces fields of its result.
    """
    path.mkdir(parents=True)
    folder = RunFolder(path)
    folder.config_file.write_text(config.to_json())
    rows = [
        {
            "epoch": epoch,
            "learning_rate": config.learning_rate,
            "train_loss": 2.0 / epoch,
            "train_accuracy": min(1.0, val + 0.05) * share,
            "val_loss": 2.1 / epoch,
            "val_accuracy": val * share,
            "seconds": 10.0,
            "images_per_second": 4500.0,
        }
        for epoch, share in zip(range(1, config.epochs + 1), (0.5, 0.88, 0.95, 1.0), strict=True)
    ]
    folder.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if matrix is None:
        right = round(1000 * test)
        matrix = np.diag([right] * 10)
        matrix[3, 5] = 1000 - right  # all of its mistakes are cats taken for dogs
    matrix = np.asarray(matrix)
    some = SimpleNamespace(images=np.zeros((2, 32, 32, 3), np.uint8), labels=np.array([1, 1]))
    np.savez(folder.mistakes_file, **confident_mistakes(np.eye(len(names))[[0, 1]] * 7.0, some))
    by_class = np.diag(matrix) / np.maximum(matrix.sum(1), 1)
    result = {
        "test_accuracy": test,
        "test_loss": 0.5,
        "test_accuracy_mismatched": mismatched,
        "class_accuracy": dict(zip(names, by_class.tolist(), strict=True)),
        "confusion_matrix": matrix.tolist(),
        "selected_epoch": 4,
        "selection_rule": "highest",
        "val_accuracy": val,
        "last_epoch": {"epoch": 4, "test_accuracy": test, "test_loss": 0.5},
        "dataset": "CIFAR-10",
        "dataset_fingerprint": {},
        "examples": {"train": 45000, "val": 5000, "test": 10000},
        "parameters": 551722,
        "flops": 39356160,
        "images_per_second": 4500.0,
        "device": "a made-up device",
        "versions": {"jax": "0.0"},
        "config": dataclasses.asdict(config),
        "wall_seconds": 50.0,
        "at_once": 1,
        "compute_dtype": "float32",
        "git_commit": "c0ffee",
        **changes,
    }
    folder.result_file.write_text(json.dumps(result))


def write_study(folder, accuracies, study=STUDY):
    """`accuracies`: row -> (test, validation, mismatched) for each seed."""
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_text(study.to_json())
    for row in study.rows:
        for seed, (test, val, mismatched) in enumerate(accuracies.get(row.name, [])):
            path = folder / row.name / f"seed{seed}"
            write_run(path, study.config_of(row, seed), test, val, mismatched)
    return folder


THREE_SEEDS = {
    "raw": [(0.70, 0.71, 0.21), (0.72, 0.73, 0.19), (0.71, 0.72, 0.20)],
    "norm": [(0.80, 0.81, 0.50), (0.81, 0.82, 0.50), (0.82, 0.83, 0.50)],
    "fast": [(0.81, 0.815, 0.5), (0.815, 0.825, 0.5), (0.825, 0.845, 0.5)],
}


def report(folder, pictures=False):
    """The text; most tests do without the pictures, which take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        if not pictures:
            save_no_figures(patch)
        write_report(folder)
    return (folder / "REPORT.md").read_text()


def figures_of(folder):
    """Write the report; return its figures by the first line of their titles, in lists."""
    drawn = {}

    def keep(figure, file, **options):
        first_line = figure.get_suptitle().splitlines()[0]
        drawn.setdefault(first_line, []).append(figure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", keep)
        write_report(folder)
    return drawn


@pytest.fixture(scope="module")
def three_seeds(tmp_path_factory):
    folder = write_study(tmp_path_factory.mktemp("study"), THREE_SEEDS)
    return folder, report(folder, pictures=True)


def test_a_report_begins_with_results_and_ends_with_how_to_repeat_them(three_seeds):
    headings = re.findall(r"^## \d+\. (.*)$", three_seeds[1], re.M)
    assert headings == [
        "All rows",
        "What one change does",
        "Overfitting, and how fast a row learns",
        "Images normalised at the wrong moment",
        "CNN on CIFAR-10: training",
        "CNN on CIFAR-10: how the best model was chosen",
        "CNN on CIFAR-10: what the best model gets wrong",
        "Each row",
        "Other metrics",
        "Time and cost",
        "CNN on CIFAR-10: the network",
        "How to repeat it",
    ]
    numbers = re.findall(r"^## (\d+)\.", three_seeds[1], re.M)
    assert numbers == [str(i) for i in range(1, 13)]


def test_means_spreads_and_differences_to_the_reference(three_seeds):
    tests = [0.81, 0.815, 0.825]
    mean, deviation = 100 * np.mean(tests), 100 * np.std(tests, ddof=1)
    [line] = [x for x in three_seeds[1].splitlines() if x.startswith("| fast |") and "/" in x][-1:]
    assert f"{mean:.2f} ± {deviation:.2f}%" in line
    assert "90.00 / 92.00%" in line
    assert f"{mean - 91:+.2f}" in line


def test_the_winner_is_compared_with_the_others_by_welchs_test(three_seeds):
    norm, fast, raw = [0.81, 0.82, 0.83], [0.815, 0.825, 0.845], [0.71, 0.73, 0.72]
    margin = np.mean(fast) - np.mean(norm)
    p = stats.ttest_ind(fast, norm, equal_var=False).pvalue
    assert p > 0.05  # so it is first, but has not won
    assert "**fast** is first among 3 candidates (3 seeds each)" in three_seeds[1]
    assert f"{100 * margin:.2f} points ahead of “norm” (95% interval " in three_seeds[1]
    assert f"p = {math.floor(1000 * p) / 1000:.3f}, by seeds)" in three_seeds[1]
    assert "It can't be told apart from “norm”: none of these has won." in three_seeds[1]
    assert stats.ttest_ind(fast, raw, equal_var=False).pvalue < 0.05  # raw is not named


def test_a_single_seed_is_judged_by_the_images(tmp_path):
    accuracies = {row: seeds[:1] for row, seeds in THREE_SEEDS.items()}
    accuracies["fast"] = [(0.95, 0.96, 0.5)]
    text = report(write_study(tmp_path, accuracies))
    half = 1.959964 * math.sqrt(0.81 * 0.19 / 5000 + 0.96 * 0.04 / 5000)
    interval = f"{100 * (0.15 - half):+.2f} to {100 * (0.15 + half):+.2f}"
    assert f"15.00 points ahead of “norm” (95% interval {interval}, p < 0.001, by images)" in text
    assert "Its lead over every other row is larger than chance explains" in text
    assert "With a single seed the spread between seeds is not known." in text
    assert "±" not in text


def test_ties_are_reported_as_ties(tmp_path):
    accuracies = {"raw": [(0.7, 0.8, 0.2)], "norm": [(0.7, 0.8, 0.2)], "fast": [(0.6, 0.7, 0.2)]}
    text = report(write_study(tmp_path, accuracies))
    assert "**raw** and “norm” tie: of 3 candidates (one seed each)" in text
    assert "**raw** is taken for being listed first" in text
    assert "| norm | 80.00% | 4 of 4 | a tie |" in text
    assert "Its test accuracy is the same: a tie." in text
    assert not re.search(r"[ +]0\.00 points (ahead|of)", text)


def test_collapsed_runs_are_named(tmp_path):
    one_answer = np.zeros((10, 10), int)
    one_answer[:, 3] = 1000
    guessing = np.full((10, 10), 100)
    names = [name.replace("cat", "c*t") for name in CLASSES]
    for name, matrix in (("one", one_answer), ("guess", guessing)):
        config = Config.create("cnn", epochs=4, learning_rate=0.1 + len(name))
        write_run(tmp_path / name, config, 0.1, 0.1, matrix=matrix, names=names)
    text = report(tmp_path)
    summary = text.partition("## Contents")[0]
    sentence = "seed 0, collapsed: it says “{}” for every test image (10.00% right)"
    assert sentence.format(r"c\*t") in summary
    screen = io.StringIO()  # where a star stands for itself, without Markdown's backslash
    show_ranking(Console(file=screen, width=200), read_records(tmp_path))
    assert sentence.format("c*t") in screen.getvalue()
    assert "no better than always saying the most frequent class (10.00%)" in text
    assert "None can be told apart from guessing" in text
    write_run(tmp_path / "good", Config.create("cnn", epochs=4), 0.8, 0.8, names=names)
    output = classes.hardest_and_easiest_class_text(read_run(tmp_path / "one"), "one")
    assert r"it says c\*t for every image, so no class is harder" in output
    text = report(tmp_path)
    assert "None can be told apart" not in text
    assert len(re.findall("always saying|collapsed:", text)) == 2


def test_runs_that_are_left_out_are_printed_and_listed_in_the_summary(tmp_path):
    write_study(tmp_path, {"raw": [(0.7, 0.8, 0.2)], "fast": [(0.8, 0.9, 0.2)]})
    (tmp_path / "raw" / "seed0" / "result.json").write_text("[")
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        save_no_figures(patch)
        write_report(tmp_path, lines.append)
    assert lines[0].startswith("left out: raw/seed0: result.json")
    assert len(lines) == 1  # nobody asked for the row "norm"
    text = (tmp_path / "REPORT.md").read_text()
    summary = text.partition("## Contents")[0]
    assert "because they are not finished or not readable: raw/seed0." in summary
    assert summary.count("norm.") == 1  # one neutral line
    assert "1 of the study's 3 rows are not trained yet: norm." in summary


def test_the_summary_has_the_settings_of_the_best_row(tmp_path):
    reached = {"raw": 0.6, "norm": 0.7, "fast": 0.8}
    text = report(write_study(tmp_path, {k: [(v, v + 0.1, 0.2)] for k, v in reached.items()}))
    assert re.search(r"with “fast” \(learning rate [\d.]+\), one seed", text)
    assert re.search(r"### \d+\.1 raw: normalisation no", text)


def test_the_winner_follows_the_runs(tmp_path):
    accuracies = {**THREE_SEEDS, "raw": [(0.5, 0.99, 0.2)]}
    assert "**raw** won" in report(write_study(tmp_path, accuracies))


@pytest.mark.parametrize(
    ("mismatched", "verdict"),
    [(0.21, "That explains them:"), (0.45, "in part"), (0.69, "does not explain all")],
)
def test_the_mismatch_verdict_follows_the_runs(tmp_path, mismatched, verdict):
    accuracies = {"raw": [(0.71, 0.71, mismatched)], "norm": [(0.8, 0.8, 0.5)]}
    assert verdict in report(write_study(tmp_path, accuracies))


def test_low_accuracies_of_our_own_leave_nothing_to_explain(tmp_path):
    assert "nothing to explain" in report(write_study(tmp_path, {"raw": [(0.2, 0.7, 0.1)]}))


@pytest.mark.parametrize(
    ("change", "word"),
    [({"dataset": "shapes10"}, "shapes10"), ({"arch_args": {"hidden": 8}}, "hidden 8")],
)
def test_other_networks_and_data_sets_are_not_compared_with_the_reference(tmp_path, change, word):
    study = dataclasses.replace(STUDY, config={**STUDY.config, **change})
    text = report(write_study(tmp_path, THREE_SEEDS, study))
    assert word in text
    for phrase in ("the report", "test | reference", "difference |", "wrong moment", "mismatched"):
        assert phrase not in text.lower()
    assert ("These are not CIFAR-10 results" in text) == ("dataset" in change)


def test_epochs_that_differ_from_the_references_are_reported(tmp_path):
    reference = {**STUDY.reference, "epochs": 50}
    text = report(
        write_study(tmp_path, THREE_SEEDS, dataclasses.replace(STUDY, reference=reference))
    )
    assert "The reference was trained for 50 epochs, these rows for 4." in text
    assert "| row | validation | test | mismatched | reference | difference |" in text


def test_the_report_of_a_single_run_says_nothing_of_comparisons(tmp_path):
    write_run(tmp_path / "run", Config.create("cnn", epochs=4), 0.8, 0.8)
    text = report(tmp_path)
    words = (
        "p-value",
        "95% interval** says",
        "By seeds",
        "By images",
        "±",
        "candidate",
        "Each row",
    )
    assert [word for word in words if word in text] == []
    assert "chosen" not in text.partition("## Contents")[0]
    assert "one seed" not in text


def test_the_title_date_and_author_stand_first(tmp_path):
    study = dataclasses.replace(STUDY, author="Ann *B* Lee")
    write_study(tmp_path, THREE_SEEDS, study)
    for number, file in enumerate(sorted(tmp_path.rglob("result.json"))):
        os.utime(file, (86400 * number, 86400 * number))  # days after 1 January 1970
    lines = [line for line in report(tmp_path).splitlines() if line][:2]
    assert lines == ["# A made-up study", r"9 January 1970, by Ann \*B\* Lee"]
    with pytest.MonkeyPatch.context() as patch:
        save_no_figures(patch)
        write_report(tmp_path, author="Eve <b>")
    assert r"9 January 1970, by Eve \<b\>" in (tmp_path / "REPORT.md").read_text()


def test_without_an_author_there_is_only_the_date(three_seeds):
    [_, date] = [line for line in three_seeds[1].splitlines() if line][:2]
    assert re.fullmatch(r"\d+ [A-Z][a-z]+ \d{4}", date)


def test_a_checkout_that_is_not_installed_is_not_called_missing(tmp_path):
    versions = {"jaxcifar": None, "tensorflow-datasets": None}
    write_run(tmp_path / "run", Config.create("cnn", epochs=4), 0.8, 0.8, versions=versions)
    text = report(tmp_path)
    assert "| jaxcifar | from a checkout, see commit |" in text
    assert "| tensorflow-datasets | not installed |" in text


def test_settings_without_effect_are_neither_in_headings_nor_in_tables(tmp_path):
    config = {"arch": "cnn", "recipe": "strong", "epochs": 4}
    rows = {"strong": {}, "no-augment": {"augment": False}, "wider": {"shift": 2}}
    study = Study.from_dict({"config": config, "rows": rows})
    text = report(write_study(tmp_path, {name: [(0.8, 0.8, 0.1)] for name in rows}, study))
    assert re.search(r"^### \d+\.2 no-augment: augmentation no$", text, re.M)
    assert "| row | validation | test | augmentation | shift |" in text
    assert "| no-augment | 80.00% | 80.00% | no | – |" in text
    assert "| augmentation yes → no | strong → no-augment |" in text


def test_the_layers_the_settings_and_the_explanations_fold_away(three_seeds):
    folder, text = three_seeds
    page = (folder / "report.html").read_text()
    titles = ["How to read the figures", "The layers, one a line", "The settings of each run"]
    for content in (text, page):
        assert re.findall("<summary>(.*)</summary>", content) == titles
        assert content.count("<details>") == content.count("</details>") == 3
    folded = re.findall("<details>(.*?)</details>", page, re.S)
    words = ["standard deviation between seeds", "Conv2d-1", "batch size"]
    assert all(word in part for word, part in zip(words, folded, strict=True))


def test_text_columns_break_so_that_a_table_fits_the_page(tmp_path):
    """The widest table at 1,280 pixels: numbers in one line, text by its longest word."""
    many = {
        "arch_args": {"hidden": 8},
        "optimizer": "muon",
        "learning_rate": 0.3,
        "weight_decay": 0.01,
        "label_smoothing": 0.2,
        "schedule": "cosine",
    }
    rows = {"one": {}, "two": many}
    study = Study.from_dict({"config": STUDY.config, "rows": rows})
    seeds = [(0.8, 0.8, 0.1), (0.81, 0.81, 0.1)] * 6
    write_study(
        tmp_path, {"one": seeds, "two": [(a - 0.1, b - 0.1, c) for a, b, c in seeds]}, study
    )
    lines = report(tmp_path).partition("| candidate |")[2].splitlines()
    body = [line.strip("|").split("|") for line in lines[2:4]]
    numbers = max(sum(len(cell) + 2 for cell in row[1:-1]) for row in body)
    words = max(len(word) + 4 for row in body for cell in row for word in cell.split())
    assert max(len(row[-1]) for row in body) > 80
    assert 8 * (numbers + 2 * words) < 1100  # about 8 pixels a letter
    style = (tmp_path / "report.html").read_text().partition("</style>")[0]
    rules = dict(re.findall(r"^([^{}\n]+) \{([^}]*white-space: nowrap[^}]*)\}", style, re.M))
    of_cells = [selector for selector in rules if "td" in selector]
    assert of_cells == ['td.right, td[style*="right"]']


def test_single_changes_pair_what_differs_in_one_field(three_seeds):
    [study] = read_records(three_seeds[0]).studies
    pairs = [(field, a.name, b.name) for field, _, _, a, b in single_changes(study.variations)]
    assert pairs == [("normalize", "raw", "norm"), ("learning_rate", "norm", "fast")]
    assert (
        "| normalisation no → yes | raw → norm | +10.00 | +7.73 to +12.27 | < 0.001 | seeds "
        "| better |" in three_seeds[1]
    )  # equal variances of 1e-4: 2.7764, Student's for 4 degrees of freedom, by 0.01 sqrt(2 / 3)
    assert re.search(
        r"\| learning rate 0.01 → 0.1 \| norm → fast \| \+0.67 .* \| can't be told apart \|",
        three_seeds[1],
    )


def test_runs_outside_of_studies_are_grouped_by_config(tmp_path):
    config = Config.create("cnn", epochs=4, learning_rate=0.3, augment=False)
    for seed, test in enumerate((0.8, 0.9)):
        write_run(tmp_path / str(seed), dataclasses.replace(config, seed=seed), test, test)
    text = report(tmp_path)
    assert "85.00 ± 7.07% test accuracy" in text
    assert "jaxcifar run --arch cnn --epochs 4 --learning-rate 0.3 --no-augment" in text
    assert "Nothing else was tried" not in text


def test_training_and_compiling_have_their_own_columns(tmp_path):
    """Four epochs of 10 s in a run of 50 s; a run of an older version tells no compiling."""
    write_study(tmp_path, {"raw": [(0.7, 0.8, 0.2)] * 3, "norm": [(0.7, 0.8, 0.2)]})
    for seed, seconds in enumerate((12.345, 0.2)):
        file = tmp_path / f"raw/seed{seed}/result.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"compile_seconds": seconds}))
    times = report(tmp_path).partition("Time and cost\n")[2]
    assert "| row | runs | seconds per run | training | compiling | images/s |" in times
    assert "| raw | 3 | 50 | 40.0 | 12.3 | 4,500 |" in times
    assert "| norm | 1 | 50 | 40.0 | – | 4,500 |" in times


def test_the_set_of_rows_nearest_to_the_reference(tmp_path):
    rows = {
        f"{name}{size}": {"learning_rate": rate, "step_size": size, "reference": [known]}
        for size in (1, 2)
        for name, rate, known in (("slow", 0.01, 0.8), ("fast", 0.1, 0.6))
    }
    config = {**STUDY.config, "schedule": "step"}
    study = Study.from_dict({"config": config, "rows": rows, "reference": {"sets": ["step_size"]}})
    tests = {"slow1": 0.83, "fast1": 0.56, "slow2": 0.80, "fast2": 0.61}
    accuracies = {name: [(test, test, 0.1)] for name, test in tests.items()}
    text = report(write_study(tmp_path, accuracies, study))
    assert f"| step size 1 | +3.00, -4.00 | {math.sqrt((9 + 16) / 2):.2f} |" in text
    assert f"| step size 2 | +0.00, +1.00 | {math.sqrt(1 / 2):.2f} |" in text
    assert "step size 2 comes nearest" in text
    assert "2.83 points before step size 1" in text
    tied = {"slow1": 0.805, "fast1": 0.595, "slow2": 0.80, "fast2": 0.605}
    accuracies = {name: [(test, test, 0.1)] for name, test in tied.items()}
    text = report(write_study(tmp_path / "tied", accuracies, study))
    assert re.search(r"0.15 points before .*, by images\)\. The two can't be told apart", text)


def test_unfinished_and_failed_runs_are_listed(tmp_path):
    write_study(tmp_path, {"raw": THREE_SEEDS["raw"]})
    for name, failure in (("norm", None), ("fast", "the loss became nan\n")):
        path = tmp_path / name / "seed0"
        write_run(path, Config.create("cnn", epochs=4), 0.5, 0.5)
        (path / "result.json").unlink()
        if failure:
            (path / "failure.txt").write_text(failure)
    text = report(tmp_path)
    assert "- norm/seed0: 4 of 4 epochs" in text
    assert "- fast/seed0: the loss became nan" in text


def change_run(path, rows, settings, **changes):
    """Change a made-up run: its rows, fields of its config, and fields of its result."""
    folder = RunFolder(path)
    config = dataclasses.replace(folder.read_config(), **settings)
    folder.config_file.write_text(config.to_json())
    folder.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = json.loads(folder.result_file.read_text())
    folder.result_file.write_text(json.dumps({**result, **changes}))


def test_runs_that_ended_early_or_continue_another_are_named(tmp_path):
    """One of two seeds ended after three of four epochs; two runs go on where others ended."""
    write_study(tmp_path, {name: values[:2] for name, values in THREE_SEEDS.items()})
    for seed in (0, 1):
        path = tmp_path / "norm" / f"seed{seed}"
        rows = RunFolder(path).read_history()
        if seed == 1:
            rows = [*rows[:2], {**rows[2], "val_accuracy": 0.0}]
        change_run(path, rows, {"patience": 1}, selected_epoch=2 + 2 * (seed == 0))
        path = tmp_path / "fast" / f"seed{seed}"
        continued = {"continue_from": f"old/base/seed{seed}", "continue_epochs": 2 + seed}
        continued["continue_sha256"] = f"{seed}" * 64
        change_run(path, RunFolder(path).read_history(), continued)
    [study] = read_records(tmp_path).studies
    assert [len(variation.runs) for variation in study.variations] == [2, 2, 2]
    text = report(tmp_path)
    assert (
        "- “norm” ended early in 1 of 2 runs, after epoch 3 of 4: no epoch was better in the last 1"
    ) in text
    assert (
        "- “fast” continues base after epoch 2 (`000000000000…`) and 3 (`111111111111…`); in "
        "brackets is the SHA-256 of its last checkpoint. Its curves include that run."
    ) in text
    assert "4, 2 of 3, 4 |" in text  # the chosen epochs of the row, and its epochs
    gap = np.mean([0.86 - 0.81, 0.87 * 0.95 - 0.0])  # of each run's own last epoch
    shown = re.search(r"\| norm \| [\d.]+% \| 40\.50% \| \+([\d.]+) \|", text)
    assert float(shown[1]) == pytest.approx(100 * gap, abs=0.006)
    training = np.mean([40, 30])
    assert f"| {training:.1f} |" in text  # seconds


def test_the_page_needs_no_other_file_and_has_the_same_text(three_seeds):
    folder, text = three_seeds
    page = (folder / "report.html").read_text()
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    for form, kind in (("svg", "svg+xml"), ("png", "png")):
        named = [path for path in pictures if path.endswith(form)]
        assert len(named) == page.count(f'<img class="{form}" src="data:image/{kind};base64,')
        assert len(set(named)) == len(list((folder / "report").glob(f"*.{form}")))
    assert not re.search(r'src="(?!data:)|href="(?!#)', page)
    body = page.partition("<script")[0]
    linked, ids = (re.findall(rf'{what}="#?(.*?)"', body) for what in ("href", " id"))
    assert set(linked) <= set(ids)
    assert len(ids) == len(set(ids)) == len(re.findall("<h[1-6]", body))
    assert len(page) < 3e6
    captions = re.findall(r"<figcaption><em>Figure (\d+): ", page)
    assert captions == [str(number + 1) for number in range(page.count("<figure"))]
    assert page.count("<th ") == page.count('<th scope="') + page.count("<th style")
    assert "width=device-width" in page
    for line in re.findall(r"^#+ (.*)$", text, re.M):
        assert f">{line}</h" in page


def test_the_axis_of_epochs_shows_the_first_the_last_and_round_ones():
    assert epoch_ticks(1) == [1]
    assert epoch_ticks(8) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert epoch_ticks(20) == [1, 5, 10, 15, 20]
    assert epoch_ticks(101) == [1, 20, 40, 60, 80, 101]  # 100 would run into 101
    assert epoch_ticks(30, max_ticks=4) == [1, 10, 20, 30]


def test_curves_are_means_and_differ_without_their_colours(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: drawn.append(figure))
    losses = {"train_loss": [[4.0, 2.0], [2.0, 0.0]], "val_loss": [[5.0, 3.0], [5.0, 1.0]]}
    histories = [
        [{key: values[run][epoch] for key, values in losses.items()} for epoch in (0, 1)]
        for run in (0, 1)
    ]
    plot_curves(histories, [2, 1], "loss", "a title", tmp_path / "loss.png")
    lines = {line.get_label(): line for line in drawn[0].axes[0].get_lines()}
    training, validation = (lines[name] for name in (SPLITS["train"][0], SPLITS["val"][0]))
    assert training.get_ydata().tolist() == [3.0, 1.0]
    assert validation.get_ydata().tolist() == [5.0, 2.0]
    assert training.get_linestyle() != validation.get_linestyle()
    assert training.get_marker() != validation.get_marker()
    assert lines["chosen epoch"].get_xydata().tolist() == [[2, 3.0], [1, 5.0]]
    assert lightness(training.get_color()) - lightness(validation.get_color()) > 30


def lightness(color):
    """CIE L* (0 to 100) of sRGB."""
    red, green, blue = (
        x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in to_rgb(color)
    )
    return 116 * (0.2126 * red + 0.7152 * green + 0.0722 * blue) ** (1 / 3) - 16


def test_markup_in_names_stays_text():
    page = markdown_to_page("# <script>alert(1)</script>", "<b>", {})
    assert "<script>alert" not in page
    assert page.count("<script") == 1  # the page's own
    assert "<title>&lt;b&gt;</title>" in page


def test_confident_mistakes_are_the_surest_wrong_answers():
    rng = np.random.RandomState(0)
    logits, labels = rng.randn(50, 10), rng.randint(0, 10, 50)
    images = rng.randint(0, 256, (50, 32, 32, 3)).astype(np.uint8)
    got = confident_mistakes(logits, SimpleNamespace(images=images, labels=labels))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = [i for i in range(50) if logits[i].argmax() != labels[i]]
    expected = sorted(wrong, key=lambda i: -probabilities[i].max())[:20]
    assert got["index"].tolist() == expected
    np.testing.assert_array_equal(got["image"], images[expected])
    np.testing.assert_allclose(got["confidence"], probabilities[expected].max(1), rtol=1e-6)
    assert (got["label"] != got["predicted"]).all()


def test_numbers_values_and_names_are_written_in_words():
    assert wording.percent(0.88414) == "88.41%"
    assert wording.value_text(value=False) == "no"
    assert wording.value_text("none") == "none"
    assert wording.value_text((16, 32)) == "16, 32"
    assert wording.join_names("abc") == "a, b and c"
    assert wording.join_names("abcdefgh") == "a, b, c, d, e and 3 others"
    assert wording.escape_markdown("a|b_c *d*") == r"a\|b_c \*d\*"


def own_config(arch="gone/net.py:Mixer", **arguments):
    """A config that names somebody's own network, which is nowhere to be found."""
    return dataclasses.replace(
        Config.create("cnn", epochs=4, dropout=0.0),
        arch=arch,
        arch_args=tuple(sorted(arguments.items())),
        sources=(("arch", "0" * 64),) if ":" in arch else (),
    )


def write_own_study(folder, rows):
    """`rows`: name -> (arguments of the network, test accuracy)."""
    folder.mkdir(exist_ok=True)
    texts = {"title": "Depth | width", "rows": {name: {} for name in rows}, "reference": {}}
    (folder / "study.json").write_text(json.dumps(texts))
    for name, (arguments, test) in rows.items():
        config = own_config(**arguments)
        write_run(folder / name / "seed0", config, test, test)
    return folder


def test_arguments_of_a_users_network_are_columns_and_single_changes(tmp_path):
    rows = {
        "plain": ({}, 0.6),
        "deep": ({"depth": 8}, 0.7),
        "wide": ({"depth": 8, "width": 64}, 0.8),
        "wider": ({"depth": 8, "width": 128}, 0.81),
    }
    modules = set(sys.modules)
    text = report(write_own_study(tmp_path, rows))
    assert "| row | validation | test | depth | width |" in text
    assert re.search(r"\| deep \| 70.00% \| .* \| 8 \| – \|", text)
    assert "| width 64 → 128 | wide → wider | +1.00 |" in text
    assert "| depth not set → 8 | plain → deep | +10.00 |" in text
    assert text.startswith("# Depth \\| width\n")
    assert "**Mixer on CIFAR-10**" in text
    assert "Not described here: the run's folder has no network.json; repeat the run" in text
    assert not {name for name in sys.modules.keys() - modules if "net" in name.split(".")[-1:]}


def test_rows_may_vary_the_network_itself(tmp_path):
    write_own_study(tmp_path, {"mine": ({}, 0.6), "theirs": ({}, 0.7)})
    config = tmp_path / "theirs" / "seed0" / "config.json"
    config.write_text(own_config(arch="resnet18").to_json())
    (config.parent / "network.json").write_text(summarize(CNN((4,), hidden=8)).to_json())
    text = report(tmp_path)
    assert "| row | validation | test | network |" in text
    assert "| network net.py:Mixer → resnet18 | mine → theirs | +10.00 |" in text


def test_the_stored_description_of_a_network_is_shown(tmp_path):
    """As the run's folder has it, without the network."""
    write_run(tmp_path / "run", own_config(), 0.5, 0.5)
    network = tmp_path / "run" / "network.json"
    described = summarize(CNN((4,), hidden=8))
    network.write_text(described.to_json())
    text = report(tmp_path)
    assert f"{described.params:,} parameters, {described.flops:,} FLOPs per image" in text
    assert f"```\n{described.table()}```" in text
    assert "The network, drawn" in text
    network.write_text('{"params": 12')
    assert "Not described here: network.json in the run's folder can't be read (" in report(
        tmp_path
    )


def test_different_data_sets_with_the_same_name_are_separate_networks(tmp_path):
    for digest in ("a" * 64, "b" * 64):
        texts = {"dataset": "birds", "dataset_fingerprint": {"train": digest}}
        config = Config.create("cnn", epochs=4)
        for seed in (0, 1):
            seeded = dataclasses.replace(config, seed=seed)
            write_run(tmp_path / digest / str(seed), seeded, 0.5, 0.5, **texts)
    text = report(tmp_path)
    for digest in ("aaaaaaaa", "bbbbbbbb"):
        assert f". CNN on birds, SHA-256 {digest}: training" in text
        assert f"`{8 * digest}`" in text
    assert "These are not CIFAR-10 results" not in text
    assert text.count("50.00 ± 0.00% test accuracy") == 2


@pytest.mark.parametrize("count", [2, 30, 100])
def test_few_and_many_classes_have_all_pictures(tmp_path, count):
    """Every picture is drawn; many classes get a table of the worst confusions."""
    matrix = np.diag([50] * count)
    matrix[1, 0], matrix[0, 1] = 9, 4
    names = ["a|b", "$x_1$", *(f"a class with a long name {i}" for i in range(2, count))]
    test = 50 * count / matrix.sum()
    config = Config.create("cnn", epochs=4)
    texts = {"class_names": names, "dataset": "$own$ data"}
    write_run(tmp_path / "run", config, test, test, names=names, matrix=matrix, **texts)
    text = report(tmp_path, pictures=True)
    assert f"The hardest class is \\$x_1\\$ ({50 / 59:.2%} right)" in text
    table = "| \\$x_1\\$ | a\\|b | 9 of 59 |" in text and "| a\\|b | \\$x_1\\$ | 4 of 54 |" in text
    assert table == (count > classes.MANY_CLASSES)


def test_classes_without_test_images_are_neither_hard_nor_easy(tmp_path):
    matrix = np.diag([50, 0, 40])
    matrix[2, 0] = 10
    config = Config.create("cnn", epochs=4)
    write_run(tmp_path / "run", config, 0.9, 0.9, names=["a", "b", "c"], matrix=matrix)
    run = read_run(tmp_path / "run")
    assert [run.class_names[i] for i in classes.classes_by_accuracy(run)] == ["c", "a"]


def cut(path):
    path.write_text(path.read_text()[:-20])


def replaced_by_a_folder(path):
    path.unlink()
    path.mkdir()


def without(*keys):
    def remove(path):
        content = inner = json.loads(path.read_text())
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        path.write_text(json.dumps(content))

    return remove


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("result.json", cut, "result.json: is not valid JSON"),
        ("config.json", cut, "config.json: is not valid JSON"),
        ("metrics.jsonl", cut, "metrics.jsonl: line 4: is not valid JSON"),
        ("result.json", replaced_by_a_folder, "result.json: is not a regular file"),
        ("config.json", replaced_by_a_folder, "config.json: is not a regular file"),
        ("metrics.jsonl", replaced_by_a_folder, "metrics.jsonl: is not a regular file"),
        ("result.json", lambda path: path.write_text("[]"), "result.json: Expected `object`"),
        ("config.json", lambda path: path.write_text("[]"), "config.json: Expected `object`"),
        (
            "config.json",
            lambda path: path.write_bytes(b"\xff"),
            "config.json: byte 0 is not UTF-8 text",
        ),
        (
            "metrics.jsonl",
            lambda path: path.write_text("7\n"),
            "metrics.jsonl: line 1: Expected `object`",
        ),
        ("metrics.jsonl", lambda path: path.write_text(""), "metrics.jsonl has 0 of 4 epochs"),
        (
            "result.json",
            without("confusion_matrix"),
            "result.json: Object missing required field `confusion_matrix`",
        ),
        (
            "result.json",
            without("class_accuracy", "cat"),
            "confusion_matrix must have image counts for 9 classes",
        ),
    ],
)
def test_a_run_that_can_not_be_read_is_left_out_and_named(tmp_path, name, damage, reason):
    good, bad = (Config.create("cnn", epochs=4, seed=seed) for seed in (0, 1))
    write_run(tmp_path / "good", good, 0.5, 0.5)
    write_run(tmp_path / "bad", bad, 0.9, 0.9)
    damage(tmp_path / "bad" / name)
    records = read_records(tmp_path)
    assert [run.path.name for run in records.runs] == ["good"]
    [(path, why)] = records.unreadable_reasons.items()
    assert path.name == "bad"
    assert reason in why
    assert "\n" not in why


def test_what_can_not_be_read_does_not_stop_the_report(tmp_path):
    write_study(tmp_path, {"raw": THREE_SEEDS["raw"]})
    cut(tmp_path / "study.json")
    cut(tmp_path / "raw" / "seed1" / "result.json")
    (tmp_path / "raw" / "seed2" / "mistakes.npz").write_text("no archive")
    text = report(tmp_path)
    assert "- study.json: study.json: is not valid JSON" in text
    assert "- raw/seed1: result.json: is not valid JSON" in text
    assert "mistakes.npz in the run's folder can't be read" in text
    assert "70.50 ± 0.71% test accuracy" in text


def test_a_bad_folder_gives_a_one_line_error(tmp_path):
    assert_one_line_error(obeyed("report", str(tmp_path / "nowhere")), 2, "no such folder")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(UsageError, match="no finished run"):
        write_report(tmp_path)
    write_run(tmp_path / "run", Config.create("cnn", epochs=4), 0.5, 0.5)
    (tmp_path / "run" / "metrics.jsonl").write_text('{"epoch": 1')
    with pytest.raises(UsageError, match=r"no finished run here or below; .*run can't be read"):
        write_report(tmp_path)


def test_a_page_that_would_be_too_large_has_smaller_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxcifar.report.pictures._MAX_SVG_BYTES", 150_000)
    write_run(tmp_path / "run", Config.create("cnn", epochs=4), 0.5, 0.5)
    report(tmp_path, pictures=True)
    forms = [path.suffix for path in (tmp_path / "report").iterdir()]
    assert forms.count(".svg") >= 1
    assert forms.count(".png") >= 2
    sizes = [path.stat().st_size for path in (tmp_path / "report").glob("*.svg")]
    assert sum(sizes) <= 150_000


def test_of_more_rows_than_colours_the_best_are_coloured_and_all_have_panels(tmp_path, monkeypatch):
    rows = {f"row{i}": {"learning_rate": 0.01 * (i + 1)} for i in range(13)}
    study = Study.from_dict({"config": STUDY.config, "rows": rows, "reference": {}})
    accuracies = {name: [(0.5, 0.5 + i / 100, 0.1)] for i, name in enumerate(rows)}
    write_study(tmp_path, accuracies, study)
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, file: drawn.append(figure))
    [found] = read_records(tmp_path).studies
    plot_all_validation(found.variations, "t", tmp_path / "x")
    lines = drawn[0].axes[0].get_lines()
    assert len(lines) == 13
    colored = [line for line in lines if not line.get_label().startswith(("_", "the other"))]
    labels = [f"row{number}  {50 + number}.00%" for number in range(12, 2, -1)]
    assert [line.get_label() for line in colored] == labels
    assert len({line.get_color() for line in colored}) == 10
    assert "the other 3 rows" in [line.get_label() for line in lines]
    plot_row_panels(found.variations, "t", tmp_path / "x")
    names = [text.get_text() for text in drawn[1].axes[0].texts if "row" in text.get_text()]
    assert names == [f"row{number}  {50 + number}.00%" for number in range(13)]


def test_many_rows_have_one_table_and_few_pictures(tmp_path):
    rows = {f"row{i}": {"learning_rate": 0.01 * (i + 1)} for i in range(60)}
    study = Study.from_dict({"config": STUDY.config, "rows": rows, "reference": {}})
    accuracies = {name: [(0.5 + i / 200, 0.5 + i / 200, 0.1)] for i, name in enumerate(rows)}
    drawn = figures_of(write_study(tmp_path, accuracies, study))
    assert sum(map(len, drawn.values())) <= 12
    text = (tmp_path / "REPORT.md").read_text()
    assert "### " not in text
    assert "Accuracy by epoch: training dashed" in text  # one run for each row: no mean
    assert "{{" not in text and "{%" not in text  # the template's own code
    assert re.search(
        r"^\| row59 \| 79.50% \| row0 \| learning rate 0.01 → 0.6 \| \+29.50 ", text, re.M
    )


def test_rows_that_have_not_begun_are_named(tmp_path):
    write_study(tmp_path, {row: THREE_SEEDS[row] for row in ("raw", "norm")})
    text = report(tmp_path)
    assert "1 of the study's 3 rows are not trained yet: fast." in text
    assert "not finished" not in text and "Not in this report" not in text
