"""Reports: what they compute, that sentences follow the runs, and that the page stands alone."""

import dataclasses
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import assert_one_line_error, command

from jaxcifar.config import Config
from jaxcifar.errors import RunError, UsageError
from jaxcifar.report import findings, write_report
from jaxcifar.report.page import markdown_to_page
from jaxcifar.report.records import read_records
from jaxcifar.report.statistics import (
    Difference,
    Distance,
    Sample,
    epochs_to_share,
    single_changes,
)
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.result import confident_mistakes
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


def write_run(path, config, test, val, mismatched=0.1):
    """A finished run as `experiments.run` leaves it, with figures of our choice."""
    path.mkdir(parents=True)
    folder = RunFolder(path)
    folder.config.write_text(config.to_json())
    rows = [
        {
            "epoch": epoch,
            "learning_rate": config.learning_rate,
            "train_loss": 2.0 / epoch,
            "train_accuracy": (val + 0.05) * share,
            "val_loss": 2.1 / epoch,
            "val_accuracy": val * share,
            "seconds": 10.0,
            "images_per_second": 4500.0,
        }
        for epoch, share in zip(range(1, config.epochs + 1), (0.5, 0.88, 0.95, 1.0), strict=True)
    ]
    folder.write_history(rows)
    right = round(1000 * test)
    confusion = np.diag([right] * 10)
    confusion[3, 5] = 1000 - right  # all of its mistakes are cats taken for dogs
    cats = SimpleNamespace(images=np.zeros((2, 32, 32, 3), np.uint8), labels=np.array([3, 3]))
    mistakes = confident_mistakes(np.eye(10)[[5, 3]] * 7.0, cats)
    np.savez(folder.mistakes, **mistakes)
    folder.write_result(
        {
            "test_accuracy": test,
            "test_loss": 0.5,
            "test_accuracy_mismatched": mismatched,
            "class_accuracy": dict.fromkeys(CLASSES, test) | {"cat": test / 2},
            "confusion_matrix": confusion.tolist(),
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
        }
    )


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


def report(folder):
    write_report(folder)
    return (folder / "REPORT.md").read_text()


@pytest.fixture(scope="module")
def three_seeds(tmp_path_factory):
    folder = write_study(tmp_path_factory.mktemp("study"), THREE_SEEDS)
    return folder, report(folder)


def test_it_has_the_references_sections(three_seeds):
    headings = re.findall(r"^## \d+\. (.*)$", three_seeds[1], re.M)
    assert headings == [
        "CNN on CIFAR-10: the network",
        "CNN on CIFAR-10: training",
        "CNN on CIFAR-10: how the best model was chosen",
        "A made-up study",
        "CNN on CIFAR-10: what the best model gets wrong",
        "Time and cost",
        "To repeat it",
    ]
    numbers = re.findall(r"^## (\d+)\.", three_seeds[1], re.M)
    assert numbers == [str(i) for i in range(1, 8)]


def test_means_spreads_and_differences_to_the_reference(three_seeds):
    tests = [0.81, 0.815, 0.825]
    mean, deviation = 100 * np.mean(tests), 100 * np.std(tests, ddof=1)
    [line] = [x for x in three_seeds[1].splitlines() if x.startswith("| fast |") and "/" in x][-1:]
    assert f"{mean:.2f} ± {deviation:.2f}%" in line
    assert "90.00 / 92.00%" in line
    assert f"{mean - 91:+.2f}" in line


def test_the_margin_is_in_deviations_between_seeds(three_seeds):
    norm, fast = [0.81, 0.82, 0.83], [0.815, 0.825, 0.845]
    pooled = math.sqrt((np.var(norm, ddof=1) + np.var(fast, ddof=1)) / 2)
    margin = np.mean(fast) - np.mean(norm)
    assert "**fast** won among 3 candidates (3 seeds each)" in three_seeds[1]
    assert (
        f"{100 * margin:.2f} points ahead of norm: {margin / pooled:.1f} standard" in three_seeds[1]
    )
    assert "no more than chance" in three_seeds[1]  # the margin is below two of them


def test_a_single_seed_is_measured_by_what_the_images_leave_open(tmp_path):
    accuracies = {row: seeds[:1] for row, seeds in THREE_SEEDS.items()}
    accuracies["fast"] = [(0.95, 0.96, 0.5)]
    text = report(write_study(tmp_path, accuracies))
    error = math.sqrt(0.81 * 0.19 / 5000 + 0.96 * 0.04 / 5000)
    assert f"{0.15 / error:.1f} standard deviations of what 5,000 validation images" in text
    assert "no more than chance" not in text
    assert "±" not in text.split("## 1.")[1]


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


def test_nothing_to_explain(tmp_path):
    assert "nothing to explain" in report(write_study(tmp_path, {"raw": [(0.2, 0.7, 0.1)]}))


def test_another_setting_than_the_references_is_told(tmp_path):
    config = {**STUDY.config, "dataset": "shapes10"}
    text = report(write_study(tmp_path, THREE_SEEDS, dataclasses.replace(STUDY, config=config)))
    assert "dataset cifar10 there, shapes10 here" in text
    assert "These are not CIFAR-10 results" in text


def test_single_changes_pair_what_differs_in_one_field(three_seeds):
    [study] = read_records(three_seeds[0]).studies
    pairs = [(field, a.name, b.name) for field, _, _, a, b in single_changes(study.variations)]
    assert pairs == [("normalize", "raw", "norm"), ("learning_rate", "norm", "fast")]
    assert (
        "| normalisation no → yes | raw → norm | +10.00 | 10.0 σ between seeds | better |"
        in (three_seeds[1])
    )
    assert (
        "| learning rate 0.01 → 0.1 | norm → fast | +0.67 | 0.7 σ between seeds | noise |"
        in (three_seeds[1])
    )


def test_runs_outside_of_studies_are_grouped_by_config(tmp_path):
    config = Config.create("cnn", epochs=4, learning_rate=0.3, augment=False)
    for seed, test in enumerate((0.8, 0.9)):
        write_run(tmp_path / str(seed), dataclasses.replace(config, seed=seed), test, test)
    text = report(tmp_path)
    assert "85.00 ± 7.07% test accuracy" in text
    assert (
        "python -m experiments.run --arch cnn --epochs 4 --learning-rate 0.3 --no-augment" in text
    )
    assert "only variation here" in text


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
    assert re.search(r"0.15 points before .* Below 2, that is no more than chance", text)


def test_the_deviation_of_a_distance_is_that_of_many_draws():
    rng, targets, errors = np.random.RandomState(0), (0.8, 0.6), np.asarray([4e-3, 1e-3])
    near, far = np.asarray([0.78, 0.61]), np.asarray([0.75, 0.66])

    def distance(means):
        pairs = zip(means - errors / math.sqrt(2), means + errors / math.sqrt(2), strict=True)
        return Distance(tuple(Sample(pair, 10_000) for pair in pairs), targets)

    difference = distance(far).behind(distance(near))
    draws = [
        distance(far + errors * rng.randn(2)).value - distance(near + errors * rng.randn(2)).value
        for _ in range(4000)
    ]
    assert difference.by_seeds
    assert difference.value == pytest.approx(np.mean(draws), rel=0.01)
    assert difference.deviation == pytest.approx(np.std(draws), rel=0.05)


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


def test_the_page_stands_alone_and_says_the_same(three_seeds):
    folder, text = three_seeds
    page = (folder / "report.html").read_text()
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(pictures) == page.count('<img src="data:image/png;base64,')
    assert len(set(pictures)) == len(list((folder / "report").glob("*.png")))
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "width=device-width" in page
    for line in re.findall(r"^#+ (.*)$", text, re.M):
        assert f">{line}</h" in page


def test_markup_in_names_stays_text(tmp_path):
    page = markdown_to_page("# <script>alert(1)</script>", "<b>", tmp_path)
    assert "<script>" not in page
    assert "<title>&lt;b&gt;</title>" in page


def test_statistics_against_closed_forms():
    few = Sample((0.5, 0.7), images=100)
    assert few.mean == pytest.approx(0.6)
    assert few.deviation == pytest.approx(0.1 * math.sqrt(2))
    assert few.sampling_error == pytest.approx(math.sqrt(0.24 / 100))
    one = Sample((0.5,), images=100)
    difference = Difference.between(one, few)
    assert (difference.value, difference.by_seeds) == (pytest.approx(0.1), False)
    assert difference.deviation == pytest.approx(math.sqrt(0.25 / 100 + 0.24 / 100))
    assert Difference.between(few, few).is_noise
    assert epochs_to_share([0.1, 0.71, 0.73, 0.8], 0.9) == 3
    assert epochs_to_share([0.8, 0.8], 0.9) == 1


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


def test_findings_format():
    assert findings.percent(0.88414) == "88.41%"
    assert findings.field_value(value=False) == "no"
    assert findings.field_value("none") == "–"


def test_bad_folders_are_one_line(tmp_path):
    assert_one_line_error(command("report", str(tmp_path / "nowhere")), 2, "no such folder")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(UsageError, match="no finished run"):
        write_report(tmp_path)
    write_run(tmp_path / "run", Config.create("cnn", epochs=4), 0.5, 0.5)
    (tmp_path / "run" / "metrics.jsonl").write_text('{"epoch": 1')
    with pytest.raises(RunError, match="can't be read"):
        write_report(tmp_path)
