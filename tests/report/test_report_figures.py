"""Every figure of a report, of a study's screen and of `compare`, computed from the raw numbers."""

import io
import itertools
import json
import math
import re
from statistics import mean, stdev

import invented
import numpy as np
import pytest
from conftest import assert_one_line_error, obeyed
from invented import BY_VALIDATION, CLASSES, COUNTS, IMAGES, RUNS, chosen, images_of, of_test
from matplotlib.figure import Figure
from report.test_report import figures_of, report
from rich.console import Console
from scipy import stats

from jaxcifar.commands import ablation, compare
from jaxcifar.commands.shared.cli import exit_code_of
from jaxcifar.commands.shared.ranking import show_ranking
from jaxcifar.errors import OutOfMemoryError
from jaxcifar.report import findings, statistics
from jaxcifar.report.run_reading import read_records, read_run
from jaxcifar.runs.task import Outcome

ROWS = list(RUNS)  # as the study lists them


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The study, with a run that has failed."""
    path = invented.write_study(tmp_path_factory.mktemp("invented") / "s")
    invented.fail(path, "middle", seed=9, epochs=3)
    return path


@pytest.fixture(scope="module")
def figures(folder):
    """The report's figures, as `figures_of` returns them."""
    return figures_of(folder)


@pytest.fixture(scope="module")
def text(folder, figures):
    return (folder / "REPORT.md").read_text()


def spread(values):
    """Mean and deviation in percent, as a report writes them."""
    if len(values) == 1:
        return f"{100 * values[0]:.2f}%"
    return f"{100 * mean(values):.2f} ± {100 * stdev(values):.2f}%"


def compared(first, second, *images):
    """Return (difference, 95% interval, p-value, "seeds" or "images").

    The difference is the second sample's mean minus the first's. `images` are the numbers of
    images of the two samples, or one number for both.
    """
    value = mean(second) - mean(first)
    if min(len(first), len(second)) > 1:
        test = stats.ttest_ind(second, first, equal_var=False)
        (low, high), p = test.confidence_interval(0.95), test.pvalue
        by = "seeds"
    else:
        counts = images if len(images) == 2 else 2 * images
        samples = zip((first, second), counts, strict=True)
        error = math.sqrt(sum(mean(x) * (1 - mean(x)) / count for x, count in samples))
        low, high = value - 1.959964 * error, value + 1.959964 * error
        p, by = 2 * stats.norm.sf(abs(value) / error), "images"
    p = f"{math.floor(1000 * p) / 1000:.3f}" if p >= 0.001 else "< 0.001"
    return value, f"{100 * low:+.2f} to {100 * high:+.2f}", p, by


def table(text, first, after=""):
    """The lines below a table's head that begins with `first`, each a dictionary by column."""
    lines = text[text.index(after) :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    body = itertools.takewhile(lambda line: line.startswith("|"), lines[start:])
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in body)
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_all_values_of_the_fixture_differ_so_that_mix_ups_show():
    best = {
        "mean": lambda row: np.mean(chosen(row)),
        "median": lambda row: np.median(chosen(row)),
        "seed": lambda row: max(chosen(row)),
        "last": lambda row: np.mean([run.val[-1] for run in RUNS[row].values()]),
        "test": lambda row: np.mean(of_test(row)),
    }
    leaders = {what: max(ROWS, key=value) for what, value in best.items()}
    assert leaders.pop("mean") == "winner"
    assert "winner" not in leaders.values()
    assert (
        max(RUNS["winner"], key=lambda seed: RUNS["winner"][seed].test) != 5
    )  # best on validation
    curve = np.mean([run.val for run in RUNS["winner"].values()], 0)
    assert curve[1] > 0.9 * curve[-1] and curve[1] < 0.9 * max(curve)
    runs = [run for seeds in RUNS.values() for run in seeds.values()]
    assert all(1 < run.chosen < len(run.val) for run in runs)
    for run in runs:
        order = sorted(range(len(run.val)), key=lambda i, r=run: (-r.val[i], r.val_loss[i]))
        assert order[0] + 1 == run.chosen


def test_the_table_of_all_rows(text):
    lines = table(text, "row", after=". All rows")
    assert [line["row"] for line in lines] == ROWS
    settings = {"normalisation": "yes", "augmentation": "yes", "learning rate": "0.02"}
    changes = {
        "plain": {"normalisation": "no", "augmentation": "no"},
        "tester": {"augmentation": "no"},
        "middle": {"learning rate": "0.2"},
        "longer": {"epochs": "7"},
    }
    known = {"plain": [0.31], "tester": [0.74], "winner": [0.70, 0.76]}
    for line in lines:
        row = line.pop("row")
        theirs = known.get(row)
        assert line == {
            "validation": spread(chosen(row)),
            "test": spread(of_test(row)),
            "mismatched": spread(of_test(row, "mismatched")),
            "reference": " / ".join(f"{100 * x:.2f}" for x in theirs) + "%" if theirs else "–",
            "difference": f"{100 * (mean(of_test(row)) - mean(theirs)):+.2f}" if theirs else "–",
            **settings,
            "epochs": "5",
            **changes.get(row, {}),
        }


def test_the_table_of_candidates_is_by_the_mean_on_validation(text):
    lines = table(text, "candidate")
    assert [line["candidate"] for line in lines] == BY_VALIDATION
    for line in lines:
        row = line["candidate"]
        assert line["validation"] == spread(chosen(row))
        epochs = ", ".join(str(run.chosen) for run in RUNS[row].values())
        assert line["chosen epoch"] == f"{epochs} of {7 if row == 'longer' else 5}"
        counts = images_of(row)["val"], IMAGES["val"]
        margin, interval, p, _ = compared(chosen(row), chosen("winner"), *counts)
        if row == "winner":
            expected = ["–"] * 4
        else:
            expected = [f"{100 * margin:.2f}", interval, p, line["differs from the first in"]]
        columns = ("points behind", "95% interval", "p", "differs from the first in")
        assert [line[name] for name in columns] == expected
    assert [line["differs from the first in"] for line in lines[1:]] == [
        "learning rate 0.2",
        "augmentation no",
        "epochs 7",
        "normalisation no, augmentation no",
    ]


def test_a_sentence_says_which_row_is_chosen_and_how_surely(text):
    margin, interval, p, _ = compared(chosen("middle"), chosen("winner"), IMAGES["val"])
    assert (
        f"**winner** is first among 5 candidates (1 to 3 seeds each) with "
        f"{spread(chosen('winner'))} validation accuracy, {100 * margin:.2f} points ahead of "
        f"“middle” (95% interval {interval}, p = {p}, by seeds). It can't be told apart from "
        "“middle” and “tester”: none of these has won."
    ) in text
    assert (
        f": {spread(of_test('winner'))} test accuracy with “winner” (normalisation yes, "
        "augmentation yes, learning rate 0.02), 3 seeds, 5 epochs; on validation it can't be told "
        "apart from “middle” and “tester”."
    ) in text


def test_the_chosen_model_is_the_winners_best_seed_at_its_best_epoch(text):
    run = RUNS["winner"][5]
    assert (
        f"The chosen model is “winner”, seed 5, after epoch 3 of 5: **{run.test:.2%} test "
        f"accuracy**, test loss {1.5 - run.test:.4f}. After the last epoch it is "
        f"{run.last_test:.2%}."
    ) in text
    assert (
        "training from 50.00% to 88.00%; validation from 64.00% to 70.00%; validation at the "
        "chosen epoch 94.00% in epoch 3]"
    ) in text


def test_the_effect_of_each_single_change_is_stated(text):
    lines = table(text, "change")
    pairs = [("plain", "tester"), ("tester", "winner"), ("winner", "middle"), ("winner", "longer")]
    verdicts = ["better", "worse", "can't be told apart", "worse"]
    assert [line["rows"] for line in lines] == [f"{a} → {b}" for a, b in pairs]
    assert [line["change"] for line in lines] == [
        "normalisation no → yes",
        "augmentation no → yes",
        "learning rate 0.02 → 0.2",
        "epochs 5 → 7",
    ]
    for line, (first, second), verdict in zip(lines, pairs, verdicts, strict=True):
        value, interval, p, by = compared(of_test(first), of_test(second), IMAGES["test"])
        got = [line[name] for name in ("points", "95% interval", "p", "by", "verdict")]
        assert got == [f"{100 * value:+.2f}", interval, p, by, verdict]
    assert {line["by"] for line in lines} == {"seeds", "images"}


@pytest.mark.parametrize(
    ("row", "closest", "way"),
    [
        ("tester", "plain", "higher"),
        ("winner", "tester", "lower"),
        ("middle", "winner", "lower"),
        ("longer", "winner", "lower"),
    ],
)
def test_a_sentence_compares_each_row_with_the_closest_row(text, row, closest, way):
    value, interval, p, by = compared(of_test(closest), of_test(row), IMAGES["test"])
    apart = ", so the two can't be told apart" if float(p) >= 0.05 else ""
    assert (
        f"compared with “{closest}”. Its test accuracy is {100 * abs(value):.2f} points {way} "
        f"(95% interval {interval}, p = {p}, by {by}){apart}."
    ) in text


def test_each_row_is_compared_with_the_most_similar_earlier_row_in_words_and_table(text):
    similar = {"tester": "plain", "winner": "tester", "middle": "winner", "longer": "winner"}
    for number, (row, other) in enumerate(similar.items(), start=2):
        section = re.search(rf"^### \d+\.{number} {row}\b.*?(?=^##)", text, re.M | re.S)[0]
        assert set(re.findall("“(.*?)”", section.partition("|")[0])) == {other}
        lines = table(section, "row")
        assert [line["row"] for line in lines] == [other, f"**{row}**"]
        assert [line["validation"] for line in lines] == [
            spread(chosen(other)),
            spread(chosen(row)),
        ]
        assert [line["test"] for line in lines] == [
            spread(of_test(other)),
            f"**{spread(of_test(row))}**",
        ]


def test_overfitting_and_speed_of_learning(text):
    gaps, epochs = {}, {}
    for line in table(text, "row", after=". Overfitting, and how fast a row learns\n"):
        runs = RUNS[line["row"]].values()
        train, val = (np.mean([getattr(run, name) for run in runs], 0) for name in ("train", "val"))
        gaps[line["row"]] = 100 * (train[-1] - val[-1])
        epochs[line["row"]] = int(np.flatnonzero(val >= 0.9 * val[-1])[0]) + 1
        assert line == {
            "row": line["row"],
            "training": f"{train[-1]:.2%}",
            "validation": f"{val[-1]:.2%}",
            "gap": f"{gaps[line['row']]:+.2f}",
            "epochs to 90% of the last": f"{epochs[line['row']]} of {len(val)}",
        }
    assert list(gaps) == ROWS
    widest, narrowest = max(gaps, key=gaps.get), min(gaps, key=gaps.get)
    assert (
        f"The gap is widest for “{widest}” ({gaps[widest]:+.2f} points) and smallest for "
        f"“{narrowest}” ({gaps[narrowest]:+.2f})."
    ) in text
    assert len(set(epochs.values())) > 1
    first, last = (end(epochs.values()) for end in (min, max))
    firsts, lasts = ([row for row in ROWS if epochs[row] == x] for x in (first, last))
    assert f"“{firsts[0]}”" in text.partition("The first to reach 90%")[2].partition("(epoch")[0]
    assert f"the last: “{lasts[0]}” (epoch {last})." in text


def test_images_normalised_at_the_wrong_moment(text):
    [line] = table(text, "row", after=". Images normalised at the wrong moment\n")
    assert list(line.values()) == [
        "plain",
        f"{mean(of_test('plain')):.2%}",
        f"{mean(of_test('plain', 'mismatched')):.2%}",
        "31.00%",
    ]


def test_classes_are_ranked_by_accuracy_and_not_by_mistakes(text):
    matrix = invented.confusion("winner", 5)
    assert matrix.trace() == 1000 * RUNS["winner"][5].test
    accuracy = {
        name: matrix[i, i] / count
        for i, (name, count) in enumerate(zip(CLASSES, COUNTS, strict=True))
    }
    worst, best = min(accuracy, key=accuracy.get), max(accuracy, key=accuracy.get)
    pairs = {
        (CLASSES[i], CLASSES[j]): matrix[i, j] + matrix[j, i]
        for i, j in itertools.combinations(range(4), 2)
    }
    most = max(pairs, key=pairs.get)
    assert (
        f"Of “winner”, seed 5. The hardest class is {worst} ({accuracy[worst]:.2%} right), the "
        f"easiest {best} ({accuracy[best]:.2%}). It mistakes {most[0]} and {most[1]} for each "
        f"other most often: {pairs[most]} of its {1000 - matrix.trace()} mistakes."
    ) in text
    ranked = ", ".join(f"{n} {accuracy[n]:.2%}" for n in sorted(accuracy, key=accuracy.get))
    assert f"![Test accuracy by class: {ranked}]" in text
    right = ", ".join(f"{n} {matrix[i, i]} of {COUNTS[i]}" for i, n in enumerate(CLASSES))
    assert f"![Confusion matrix; right answers: {right}]" in text


def test_times_and_costs_are_those_of_the_runs(text):
    """A run trained beside others counts for its share of the time."""
    lines = table(text, "row", after="Time and cost\n")
    assert {line["row"] for line in lines} == set(ROWS)
    total_seconds = training_seconds = total_petaflop = 0
    for line in lines:
        runs = list(RUNS[line["row"]].values())
        rates = [np.dot(run.seconds, run.rate) / sum(run.seconds) for run in runs]
        device = sum(run.wall / run.at_once for run in runs)
        compiling = max((run.compiling or 0 for run in runs), default=0)
        whole_batches = images_of(line["row"])["train"] // 100 * 100
        flops = invented.FLOPS[line["row"]]
        multiplications = sum(flops * whole_batches * len(run.val) for run in runs)
        petaflop = 2 * 3 * multiplications / 1e15
        total_seconds += device
        training_seconds += sum(sum(run.seconds) / run.at_once for run in runs)
        total_petaflop += petaflop
        digits = max(0, 2 - int(np.floor(np.log10(petaflop))))  # three significant ones
        assert line == {
            "row": line["row"],
            "runs": str(len(runs)),
            "seconds per run": f"{mean(run.wall for run in runs):,.0f}",
            "training": f"{mean(sum(run.seconds) for run in runs):,.1f}",
            "compiling": f"{compiling:.1f}" if compiling else "–",
            "images/s": f"{mean(rates):,.0f}",
            "device time": f"{device:.0f} s" if device < 200 else f"{device / 60:.0f} min",
            "training arithmetic": f"{petaflop:.{digits}f} PFLOP",
        }
    assert f"In total 11 runs took {total_seconds / 60:.0f} min on a device of longer and " in text
    speed = 1000 * total_petaflop / training_seconds
    assert f"of it for {total_petaflop:.3g} PFLOP: {speed:.3g} TFLOP/s." in text


def test_what_the_runs_were_made_with_and_how_to_repeat_them(text):
    facts = dict(list(line.values()) for line in table(text, "what"))
    assert facts["images to train, validate, test"] == "4,090 / 500 / 1,000, 8,190 / 400 / 1,000"
    assert facts["seeds"] == "0, 1, 2, 3, 4, 5, 8"
    assert sorted(facts["runs at once"].split(", ")) == ["1", "2", "3", "4"]
    assert sorted(facts["computed in"].split(", ")) == ["bfloat16", "float32"]
    assert facts["commit"] == "c0ffee, decade"
    assert (facts["jax"], facts["flax"]) == ("0.0", "not installed")
    assert "--study study.json --seeds 0 1 2 3 4 5 8 --out" in text


def test_a_failed_run_is_left_out_of_all_figures_and_named(text):
    assert "- middle/seed9: the training loss became nan in epoch 4; " in text
    assert "because they are not finished or not readable: middle/seed9." in text


def test_a_clear_winner_has_won(tmp_path):
    invented.write_study(tmp_path, rows=["plain", "winner"])
    text = report(tmp_path)
    margin, interval, p, _ = compared(chosen("plain"), chosen("winner"), IMAGES["val"])
    assert float(p) < 0.05
    assert (
        f"**winner** won among 2 candidates (2 to 3 seeds each) with {spread(chosen('winner'))} "
        f"validation accuracy, {100 * margin:.2f} points ahead of “plain” (95% interval "
        f"{interval}, p = {p}, by seeds). "
        "Its lead over every other row is larger than chance explains (p below 0.05 each)."
    ) in text


# The screen of a study: its command finds all runs over, and shows what they came to.


def command_of(folder, home, rows, seeds):
    """The study's command over a folder whose runs are over, some of them by failing."""
    study = home / "study.json"
    study.write_text(invented.STUDY.to_json())
    words = ("--study", study, "--out", folder, "--data-dir", home, "--rows", *rows)
    words += ("--seeds", *seeds)
    return obeyed("ablation", *map(str, words), env={"COLUMNS": "300"})


def test_a_study_with_a_failed_row_exits_1_and_shows_the_others(folder, tmp_path):
    done = command_of(folder, tmp_path, ["middle"], [2, 5, 8, 9])
    assert_one_line_error(done, 1, "error: 1 of 4 runs failed: middle seed 9")
    lines = done.stdout.splitlines()
    assert "0 runs done now, with 0 training programs compiled." in lines
    assert any(line.startswith("middle seed 9: the training loss became nan") for line in lines)
    assert lines[-1] == f"report: {folder / 'report.html'}, and the same in REPORT.md"
    # The figures are those of all runs in the folder, as the report's are.
    table = {}
    for line in lines:
        cells = re.split(r" {2,}", line.strip())
        if cells[0] in RUNS:
            table[cells[0]] = cells[1:]
    assert list(table) == ROWS
    for row, cells in table.items():
        wall = sum(run.wall / run.at_once for run in RUNS[row].values())
        time = f"{wall:.0f} s" if wall < 200 else f"{wall / 60:.0f} min"
        shown = [str(len(RUNS[row])), spread(chosen(row)), spread(of_test(row)), time]
        assert cells == ([*shown, "<- first"] if row == "winner" else shown)
    text = " ".join(" ".join(lines).split())
    margin = mean(chosen("winner")) - mean(chosen("middle"))
    assert (
        f"first: winner, {spread(chosen('winner'))} of the validation images and "
        f"{spread(of_test('winner'))} of the test images; in validation {100 * margin:.2f} points "
        "ahead of middle. Its lead over middle and tester may be chance, so none of these is the "
        "best."
    ) in text


def test_a_study_whose_best_row_is_sure_says_best(tmp_path):
    folder = invented.write_study(tmp_path / "s", rows=["plain", "winner"])
    done = command_of(folder, tmp_path, ["plain"], RUNS["plain"])
    assert done.returncode == 0, done.stderr
    margin = 100 * (mean(chosen("winner")) - mean(chosen("plain")))
    text = " ".join(done.stdout.split())
    assert (
        f"best: winner, {spread(chosen('winner'))} of the validation images and "
        f"{spread(of_test('winner'))} of the test images; in validation {margin:.2f} points ahead "
        "of plain. report: "
    ) in text
    assert done.stdout.count("<- best") == 1


def test_a_row_that_fails_now_is_counted_among_this_shards_runs(
    folder, tmp_path, monkeypatch, capsys
):
    """Of four runs a shard of two: one ends, the other does not fit into memory."""

    def conduct(tasks, *_):
        first, second = tasks
        error = OutOfMemoryError("training: out of memory, 9 GB could not be allocated")
        return [Outcome(first, result={}), Outcome(second, error=error)]

    monkeypatch.setenv("COLUMNS", "300")  # no line is folded, however long the folder's path
    monkeypatch.setattr("jaxcifar.studies.conduct.conduct", conduct)
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: None)
    study = tmp_path / "study.json"
    study.write_text(invented.STUDY.to_json())
    words = ("--study", study, "--out", folder, "--data-dir", tmp_path, "--rows", "plain", "middle")
    arguments = [*map(str, words), "--seeds", "2", "5", "--shard", "2/2"]
    assert exit_code_of(lambda: ablation.main(arguments)) == 1
    out, err = capsys.readouterr()
    assert err.startswith("error: 1 of 2 runs failed: middle seed 5 (reasons above); ")
    assert "Invented: 2 of 4 runs, in " in out
    assert "\n1 run done now, with " in out
    assert "\nmiddle seed 5: training: out of memory, 9 GB could not be allocated\n" in out


def test_a_study_with_a_damaged_row_exits_1(tmp_path):
    folder = invented.write_study(tmp_path / "s", rows=["longer", "plain"])
    (folder / "plain" / "seed1" / "result.json").write_text("[")
    done = command_of(folder, tmp_path, ["plain"], RUNS["plain"])
    assert_one_line_error(done, 1, "1 of 2 runs can't be read (plain seed 1)", "--force")
    assert "left out: plain/seed1: result.json" in done.stdout


# `compare`.


def rows_of(output):
    """The lines of its table by name, the cells apart."""
    return {
        name.strip(): re.split(r" {2,}", cells.strip())
        for name, cells in re.findall(r"^(\S[^(\n]*?) {2,}(.*)$", output, re.M)
    }


def test_compare_shows_what_each_run_reached_in_its_own_column(folder):
    named = [("winner", 8), ("longer", 4), ("middle", 5)]
    paths = [str(folder / row / f"seed{seed}") for row, seed in named]
    done = obeyed("compare", *paths, str(folder / "middle" / "seed9"), env={"COLUMNS": "140"})
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout)
    runs = [RUNS[row][seed] for row, seed in named]
    rates = [np.dot(run.seconds, run.rate) / sum(run.seconds) for run in runs]
    failed = RUNS["winner"][2]
    rate = np.dot(failed.seconds[:3], failed.rate[:3]) / sum(failed.seconds[:3])
    assert rows["epochs"] == ["5", "7", "5", "5"]
    assert rows["learning rate"] == ["0.02", "0.02", "0.2", "0.2"]
    assert rows["seed"] == ["8", "4", "5", "9"]
    assert rows["epochs trained"] == ["5 of 5", "7 of 7", "5 of 5", "3 of 5"]
    assert rows["best epoch"] == [*(str(run.chosen) for run in runs), "3"]
    best = [f"{run.val[run.chosen - 1]:.2%}" for run in runs]
    assert rows["validation"] == [*best, f"{max(failed.val[:3]):.2%}"]
    assert rows["test"] == [*(f"{run.test:.2%}" for run in runs), "-"]
    assert rows["test with flips"] == [*(f"{run.flip:.2%}" for run in runs), "-"]
    assert rows["device time"] == ["35 s", "12 min", "32 s", "-"]
    assert rows["images/s"] == [f"{each:,.0f}" for each in (*rates, rate)]
    assert rows["device"] == [*(f"a device of {row}" for row, _ in named), "-"]
    assert "batch_size" not in rows and "batch size" not in rows  # the same in all
    assert "(2) longer/seed4\n" in done.stdout


def test_compare_draws_each_runs_validation_and_names_its_best(folder, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: drawn.append(figure))
    runs = [read_run(folder / row / f"seed{seed}") for row, seed in (("winner", 8), ("longer", 4))]
    compare.plot_accuracies(["one", "two"], runs, tmp_path / "x.svg", "svg")
    lines = {line.get_label(): line for line in drawn[0].axes[0].get_lines()}
    assert list(lines) == ["one, best 81.00%", "two, best 76.00%"]
    for line, run in zip(lines.values(), (RUNS["winner"][8], RUNS["longer"][4]), strict=True):
        assert line.get_ydata().tolist() == list(run.val)
        assert line.get_xdata().tolist() == list(range(1, len(run.val) + 1))


def test_compare_refuses_bad_runs_with_its_exit_codes(folder, tmp_path):
    paths = [str(folder / "winner" / f"seed{seed}") for seed in (2, 5)]
    assert_one_line_error(obeyed("compare", *paths, str(tmp_path)), 2, "is not a run")
    assert_one_line_error(obeyed("compare", paths[0], paths[0]), 2, "two runs or more")
    invented.write_run(tmp_path / "bad", "winner", 2)
    (tmp_path / "bad" / "result.json").write_text("{")
    done = obeyed("compare", paths[0], str(tmp_path / "bad"))
    assert_one_line_error(done, 1, "bad: result.json")


def test_reports_exit_codes_and_last_line(tmp_path):
    assert_one_line_error(obeyed("report", str(tmp_path)), 2, "no finished run here or below")
    invented.write_run(tmp_path / "one", "longer", 4)
    done = obeyed("report", str(tmp_path))
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert text.endswith(f" report: {tmp_path / 'report.html'}, and the same in REPORT.md")
    (tmp_path / "REPORT.md").unlink()
    (tmp_path / "REPORT.md").mkdir()
    done = obeyed("report", str(tmp_path))
    assert_one_line_error(done, 1, "the report can't be written")


# Guessing, of unbalanced classes: the most frequent is 40% of the test images.


@pytest.mark.parametrize(("above", "guessing"), [(0.024, True), (0.027, False)])
def test_a_run_guesses_if_it_is_within_1_64_standard_errors_of_the_most_frequent_class(
    folder, above, guessing
):
    """0.4 + 1.645 sqrt(0.4 0.6 / 1000) = 0.4255."""
    run = read_run(folder / "winner" / "seed5")
    assert statistics.guessing_accuracy(run) == pytest.approx(0.4)
    run.result["test_accuracy"] = 0.4 + above
    assert statistics.is_guessing(run) == guessing


def test_learning_of_one_row_has_only_a_gap():
    line = {"name": "a", "train": 0.9, "val": 0.95, "gap": -0.05, "epochs": 2, "of": 5}
    assert findings.learning_sentence([line]) == "The gap is -5.00 points."
    other = {**line, "name": "b", "gap": 0.02}
    assert findings.learning_sentence([line, other]) == (
        "The gap is widest for “b” (+2.00 points) and smallest for “a” (-5.00). All reach 90% of "
        "their last validation accuracy in epoch 2."
    )


def test_each_run_below_the_folder_is_counted_once(folder):
    records = read_records(folder)
    found = sorted((run.path.parent.name, run.config.seed) for run in records.runs)
    assert found == sorted((row, seed) for row in RUNS for seed in RUNS[row])
    [failed] = records.unfinished_runs
    assert (failed.path.name, len(failed.history)) == ("seed9", 3)
    assert json.loads((failed.path / "config.json").read_text())["seed"] == 9


def without_validation(path):
    """Make a run of `invented` one that kept no images to validate."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in line.items() if not k.startswith("val_")} for line in lines]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    result = json.loads((path / "result.json").read_text())
    del result["val_accuracy"]
    result |= {"selected_epoch": len(lines), "examples": {"train": 4500, "val": 0, "test": 1000}}
    (path / "result.json").write_text(json.dumps(result))


def test_no_run_without_validation_is_called_the_best(tmp_path):
    invented.write_study(tmp_path, rows=["winner", "longer"])
    for path in tmp_path.glob("*/seed*"):
        without_validation(path)
    text = report(tmp_path)
    lines = table(text, "row", after="Trained on all images\n")
    assert [list(line.values()) for line in sorted(lines, key=lambda line: line["row"])] == [
        [row, "CNN on CIFAR-10", str(len(RUNS[row])), epochs, spread(of_test(row)),
         spread(of_test(row, "flip"))]
        for row, epochs in (("longer", "7"), ("winner", "5"))
    ]  # fmt: skip
    assert "is first among" not in text and "validation accuracy" not in text
    screen = io.StringIO()
    show_ranking(Console(file=screen, width=120), read_records(tmp_path))
    shown = {line.split()[0]: line for line in screen.getvalue().splitlines() if line.strip()}
    for row in ("winner", "longer"):
        cells = re.split(r" {2,}", shown[row].strip())
        assert cells[1:4] == [
            str(len(RUNS[row])),
            spread(of_test(row)),
            spread(of_test(row, "flip")),
        ]
    assert "no row can be called the best." in screen.getvalue()
    assert "<-" not in screen.getvalue()
