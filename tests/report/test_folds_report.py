"""Runs of several folds: grouped, averaged over seeds, and their spread over the folds."""

import dataclasses
import json
import re

import invented
import numpy as np
import pytest
from conftest import obeyed
from matplotlib.figure import Figure

from jaxcifar.report import write_report
from jaxcifar.report.run_reading import read_records
from jaxcifar.report.statistics import Difference, Sample
from jaxcifar.report.training_notes import training_notes
from jaxcifar.report.wording import repeat_count_text
from jaxcifar.runs.folder import RunFolder

VALUES = {("1/3", 0): 0.80, ("2/3", 0): 0.83, ("3/3", 0): 0.87, ("1/3", 1): 0.82,
          ("2/3", 1): 0.85, ("3/3", 1): 0.81}  # fmt: skip
OF_FOLDS = [0.81, 0.84, 0.84]  # the mean over the seeds of each fold


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study with a row of three folds and two seeds, and a row of a single split."""
    folder = tmp_path_factory.mktemp("folds")
    (folder / "study.json").write_text(invented.STUDY.to_json())
    invented.write_run(folder / "plain" / "seed1", "plain", 1)
    row, donor = "middle", next(iter(invented.RUNS["middle"]))
    for (fold, seed), accuracy in VALUES.items():
        path = folder / row / f"fold{fold.replace('/', 'of')}_seed{seed}"
        invented.write_run(path, row, donor)
        config = RunFolder(path).read_config()
        config = dataclasses.replace(config, seed=seed, fold=fold)
        (path / "config.json").write_text(config.to_json())
        result = json.loads((path / "result.json").read_text())
        (path / "result.json").write_text(json.dumps({**result, "val_accuracy": accuracy}))
    return folder


def write_rows_of_folds(folder, seeds):
    """Write a study with two rows that differ in one setting; each has three folds and some seeds.

    Return the test losses of "middle" by fold and seed, as `[folds, seeds]`.
    """
    (folder / "study.json").write_text(invented.STUDY.to_json())
    losses = np.random.RandomState(0).uniform(1, 2, (3, len(seeds)))
    for row in ("winner", "middle"):
        donor = next(iter(invented.RUNS[row]))
        for (fold, number), loss in np.ndenumerate(losses):
            path = folder / row / f"fold{fold + 1}of3_seed{seeds[number]}"
            invented.write_run(path, row, donor)
            config = RunFolder(path).read_config()
            config = dataclasses.replace(config, seed=seeds[number], fold=f"{fold + 1}/3")
            (path / "config.json").write_text(config.to_json())
            result = json.loads((path / "result.json").read_text())
            result["test_accuracy"] += 0.01 * fold
            result["test_loss"] = loss
            (path / "result.json").write_text(json.dumps(result))
    return losses


@pytest.mark.parametrize(("seeds", "runs"), [([4], "3 folds"), ([4, 7], "6 runs")])
def test_the_report_calls_folds_folds(tmp_path, monkeypatch, seeds, runs):
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: None)  # saves time
    losses = write_rows_of_folds(tmp_path, seeds)
    text = write_report(tmp_path).with_name("REPORT.md").read_text()
    assert f"Accuracy and loss of “middle” by epoch: mean and span of {runs}." in text
    assert "In brackets: 95% intervals, from the spread between folds." in text
    assert "± is the standard deviation between folds." in text
    assert "between seeds" not in text
    assert "(3 folds each)" in text
    assert re.search(r"learning rate 0.02 → 0.2 \| winner → middle .* \| folds \|", text)
    means = losses.mean(axis=1)  # of each fold
    assert f"| middle | {means.mean():.4g} ± {means.std(ddof=1):.2g} |" in text


def test_seeds_and_folds_together_are_called_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: None)  # saves time
    write_rows_of_folds(tmp_path, [4])
    for seed in invented.RUNS["plain"]:
        invented.write_run(tmp_path / "plain" / f"seed{seed}", "plain", seed)
    variations = {v.name: v for v in read_records(tmp_path).variations}
    samples = [Sample.of(variations[name], "test_accuracy") for name in ("plain", "middle")]
    assert Difference.between(*samples).error_basis == "runs"
    assert repeat_count_text(list(variations.values())) == "2 to 3 runs each"
    text = write_report(tmp_path).with_name("REPORT.md").read_text()
    assert "- **±** is the standard deviation between seeds." in text
    assert "± is the standard deviation between folds." in text
    assert "Accuracy and loss of “plain” by epoch: mean and span of 2 seeds." in text


def test_runs_that_differ_in_fold_and_seed_are_one_variation(folder):
    variations = {v.name: v for v in read_records(folder).variations}
    assert set(variations) == {"plain", "middle"}
    middle, plain = variations["middle"], variations["plain"]
    assert [str(fold) for fold in middle.folds] == ["1/3", "2/3", "3/3"]
    assert [(run.config.seed, run.config.fold) for run in middle.runs] == sorted(
        (seed, fold) for fold, seed in VALUES
    )
    np.testing.assert_allclose(middle.values_by_seed_or_fold("val_accuracy"), OF_FOLDS)
    sample = Sample.of(middle, "val_accuracy", "val")
    assert sample.mean == pytest.approx(np.mean(OF_FOLDS))
    assert sample.deviation == pytest.approx(np.std(OF_FOLDS, ddof=1))
    assert plain.folds == ()
    assert (
        plain.values_by_seed_or_fold("val_accuracy").tolist()
        == plain.values("val_accuracy").tolist()
    )
    assert (repeat_count_text([middle]), repeat_count_text([plain])) == ("3 folds", "one seed")
    assert middle.settings["fold"] == "each of 3"


def test_folds_of_another_number_are_another_variation(folder, tmp_path):
    for fold in ("1/3", "1/4"):
        path = tmp_path / fold.replace("/", "of")
        invented.write_run(path, "plain", 1)
        config = dataclasses.replace(RunFolder(path).read_config(), fold=fold)
        (path / "config.json").write_text(config.to_json())
    assert [len(v.runs) for v in read_records(tmp_path).variations] == [1, 1]


def test_a_row_of_folds_that_continues_another_row_is_one_variation(tmp_path):
    """The continued runs have ended early, after three and after two epochs."""
    for number in (1, 2):
        name = f"fold{number}of2_seed1"
        invented.write_run(tmp_path / name, "plain", 1)
        config = dataclasses.replace(
            RunFolder(tmp_path / name).read_config(),
            fold=f"{number}/2",
            continue_from=f"old/base/{name}",
            continue_epochs=4 - number,
            continue_sha256=f"{number}" * 64,
        )
        (tmp_path / name / "config.json").write_text(config.to_json())
    [variation] = read_records(tmp_path).variations
    assert len(variation.runs) == 2
    [note] = training_notes([variation])
    assert "base after epoch 2 (`222222222222…`) and 3 (`111111111111…`); in brackets" in note


def test_the_report_and_the_comparison_say_mean_and_spread_over_folds(folder, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: None)  # saves time
    spread = f"{100 * np.mean(OF_FOLDS):.2f} ± {100 * np.std(OF_FOLDS, ddof=1):.2f}%"
    text = write_report(folder, lambda line: None).with_name("REPORT.md").read_text()
    assert f"{spread}" in text
    assert "means over folds, each validated on its own part" in text
    assert "--folds 3 --out NEW_FOLDER" in text
    runs = [str(path) for path in sorted((folder / "middle").iterdir())]
    done = obeyed("compare", *runs, env={"COLUMNS": "300"})
    assert done.returncode == 0, done.stderr
    assert f"validation {spread} over 3 of 3 folds (mean ± standard deviation)" in done.stdout
