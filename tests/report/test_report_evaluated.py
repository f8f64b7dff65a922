"""The report's section on what was found out about the winner after its run."""

import json
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from report.test_report import THREE_SEEDS, report, write_run, write_study

from jaxcifar.config.experiment import Config
from jaxcifar.data.corruptions import CORRUPTIONS
from jaxcifar.report.evaluation_figures import plot_corruptions, plot_reliability
from jaxcifar.report.evaluation_section import evaluation_context
from jaxcifar.report.published_corruptions import _corruption_set_sentences
from jaxcifar.report.run_reading import read_run
from jaxcifar.runs.evaluation_file import BINS, save_evaluation

DATE = "2026-01-02T03:04:05+00:00"
LOOK = {"date": DATE, "purpose": "evaluate --on test"}


def calibration(confidence, accuracy, ece, loss):
    """Two bins, of 900 images and of 100, that have these means."""
    bins = [{"images": 0, "confidence": 0.0, "accuracy": 0.0} for _ in range(BINS)]
    bins[12] = {"images": 900, "confidence": confidence + 0.02, "accuracy": accuracy + 0.01}
    bins[10] = {"images": 100, "confidence": confidence - 0.18, "accuracy": accuracy - 0.09}
    return {"loss": loss, "ece": ece, "bins": bins}


def figures(title, accuracy, confidence=0.87, ece=None):
    plain_error = abs(confidence - accuracy) if ece is None else ece
    return {
        "title": title,
        "date": DATE,
        "images": 1000,
        "accuracy": accuracy,
        "interval": [accuracy - 0.02, accuracy + 0.02],
        "accuracy_flip": accuracy + 0.005,
        "class_accuracy": {"cat": accuracy},
        "plain": calibration(confidence, accuracy, plain_error, 1.6 - accuracy),
        "tempered": calibration(accuracy + 0.01, accuracy, 0.013, 1.4 - accuracy),
        "mistakes": [{"index": 3, "label": "cat", "predicted": "dog", "confidence": 0.99}],
    }


def found(**others):
    kinds = {kind: [0.8, 0.7, 0.6, 0.5, 0.41] for kind in CORRUPTIONS}
    kinds |= {"blur": [0.8, 0.8, 0.8, 0.8, 0.79], "noise": [0.5, 0.3, 0.1, 0.07, 0.03]}
    corruptions = {"date": DATE, "images": 1000, "clean": 0.81, "accuracy": kinds}
    sets = {"test": figures("CIFAR-10, test", 0.825), "own:x": figures("photos", 0.7)}
    return {"temperature": 1.5, "sets": sets, "corruptions": corruptions, **others}


def context_and_figures(run, evaluation):
    """What the report's template gets about a run's evaluation, and its figures by name."""
    save_evaluation(run, evaluation, None)
    figures = {}

    def draw(name, plot, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Figure, "savefig", lambda figure, file: figures.update({name: figure}))
            plot(*arguments, None)

    return evaluation_context(read_run(run), "CNN on CIFAR-10", draw), figures


@pytest.fixture
def run(tmp_path):
    """The folder of a single run."""
    write_run(tmp_path / "run", Config.create("cnn", epochs=4), 0.825, 0.86)
    return tmp_path / "run"


@pytest.fixture
def study(tmp_path):
    """A study's folder, and that of its winner's best run."""
    return write_study(tmp_path, THREE_SEEDS), tmp_path / "fast" / "seed2"


def section(text):
    [body] = re.findall(
        r"^## \d+\. [^\n]*: calibration and other images$(.*?)^## ", text, re.M | re.S
    )
    return body


def test_the_results_of_evaluate_are_reported(study):
    folder, winner = study
    save_evaluation(winner, found(), LOOK)
    text = report(folder, pictures=True)
    body = section(text)
    accuracies, errors = "82.50% (80.50 to 84.50) | 83.00%", "0.7750 | 4.50% | 0.5750 | 1.30%"
    assert f"| CIFAR-10, test | 1,000 | {accuracies} | {errors} |" in body
    assert "87.00% on average, and 82.50% are right: it is surer than it should be" in body
    assert (
        "Dividing its logits by 1.5, the temperature that fits the validation images best, makes "
        "the error 1.30%"
    ) in body
    assert "On photos its accuracy is -12.50 points from that on the test images" in body
    means = [0.2, 0.798, *[0.602] * 5]
    assert f"{100 * np.mean(means):.2f}% are left on average" in body
    assert "The most harmful kind is noise (-61.00 points), the least harmful blur (-1.20)" in body
    assert "| noise | 50.00% | 30.00% | 10.00% | 7.00% | 3.00% | 20.00% |" in body
    assert "the test images were looked at again: once" in body
    assert "looked at once, after that choice, and again where this report says so." in text
    pictures = re.findall(r"\]\((report/.*?\.svg)\)", body)
    assert len(pictures) == 2
    assert all((folder / picture).exists() for picture in pictures)


def test_the_mean_over_standard_kinds_is_not_confused_with_all_kinds():
    """ "saturate" is an extra kind, which the mean leaves out."""
    accuracy = {"fog": [0.6] * 5, "snow": [0.8] * 5, "saturate": [0.1] * 5}
    results = {"mean": 0.7, "images": 10, "accuracy": accuracy, "mean_corruption_error": 0.5}
    text = _corruption_set_sentences(results)
    assert text.startswith("On average over the standard kinds and strengths, 70.00% of 10 images")
    assert "The most harmful kind of all in the table is saturate (10.00%)" in text
    assert text.endswith("averaged over the standard kinds.")


def test_published_corruptions_are_reported_with_their_errors(study):
    folder, winner = study
    accuracy = {"fog": [0.8, 0.7, 0.6, 0.5, 0.4], "snow": [0.9, 0.9, 0.8, 0.8, 0.7]}
    results = {"title": "CIFAR-10-C", "date": DATE, "images": 10_000, "mean": 0.71}
    results |= {"accuracy": accuracy, "base": "old *net*"}
    errors = {"corruption_error": {"fog": 0.5, "snow": 0.25}, "mean_corruption_error": 0.375}
    with_base, without = {**results, **errors}, {**results, "title": "my C"}
    sets = {"CIFAR-10-C": with_base, "my C": without}
    save_evaluation(winner, {"sets": {}, "corruption_sets": sets}, LOOK)
    body = section(report(folder, pictures=True))
    of_base, of_other = body.partition("### my C")[::2]
    assert "### CIFAR-10-C\n" in of_base
    assert "71.00% of 10,000 images are classified correctly" in of_base
    assert "most harmful kind is fog (60.00%), the least harmful snow (82.00%)" in of_base
    assert (
        r"mean corruption error is 37.50%: that many errors for each 100 of old \*net\*" in of_base
    )
    table = [line for line in of_base.splitlines() if line.startswith("|")]
    assert table == [
        "| corruption | 1 | 2 | 3 | 4 | 5 | mean | corruption error |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| fog | 80.00% | 70.00% | 60.00% | 50.00% | 40.00% | 60.00% | 50.00% |",
        "| snow | 90.00% | 90.00% | 80.00% | 80.00% | 70.00% | 82.00% | 25.00% |",
    ]
    table = [line for line in of_other.splitlines() if line.startswith("|")]
    assert table == [
        "| corruption | 1 | 2 | 3 | 4 | 5 | mean |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| fog | 80.00% | 70.00% | 60.00% | 50.00% | 40.00% | 60.00% |",
        "| snow | 90.00% | 90.00% | 80.00% | 80.00% | 70.00% | 82.00% |",
    ]
    assert "mean corruption error" not in of_other
    pictures = re.findall(r"\]\((report/.*?\.svg)\)", body)
    assert len(pictures) == 2 and all((folder / picture).exists() for picture in pictures)


def test_sentence_picture_and_alternative_text_use_the_test_images_in_any_order_of_sets(study):
    """Other images were evaluated first; the validation images are no other images."""
    sets = {
        "val": figures("CIFAR-10, validation", 0.86),
        "own:x": figures("photos", 0.7),
        "test": figures("CIFAR-10, test", 0.825),
    }
    _, drawn = context_and_figures(study[1], found(sets=sets))
    assert drawn["reliability"].get_suptitle().endswith("\nCIFAR-10, test")
    body = section(report(study[0]))
    assert "On CIFAR-10, test its answers have a probability of 87.00% on average" in body
    assert "the expected calibration error is 4.50%](" in body
    assert "looked at" not in body
    shifts = re.findall(r"^- On (.*) its accuracy is (.*) points from", body, re.M)
    assert shifts == [("photos", "-12.50")]
    lines = [line.split(" |")[0] for line in body.splitlines() if "| 1,000 |" in line]
    assert lines == ["| CIFAR-10, validation", "| photos", "| CIFAR-10, test"]


def test_without_test_images_the_picture_is_of_the_first_images(run):
    sets = {"own:x": figures("photos", 0.7), "val": figures("CIFAR-10, validation", 0.86)}
    context, drawn = context_and_figures(run, found(sets=sets))
    assert context["calibration"].startswith("On photos its answers have a probability of 87.00%")
    assert context["calibration_error"] == "17.00%"
    assert context["shifts"] == []
    assert drawn["reliability"].get_suptitle().endswith("\nphotos")


def test_the_picture_of_probabilities_has_the_bins_of_the_file(run):
    _, drawn = context_and_figures(run, found())
    [axes] = drawn["reliability"].axes
    heights = [bar.get_height() for bar in axes.patches]
    expected = np.zeros(BINS)
    expected[[10, 12]] = 0.1, 0.9
    assert heights == pytest.approx(expected)
    middles = [bar.get_x() + bar.get_width() / 2 for bar in axes.patches]
    assert middles == pytest.approx((np.arange(BINS) + 0.5) / BINS)
    lines = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
    assert list(lines) == ["perfectly calibrated", "unchanged: error 4.50%",
                           "at temperature 1.5: error 1.30%"]  # fmt: skip
    _, plain, tempered = lines.values()
    assert plain == pytest.approx(np.array([[0.69, 0.735], [0.89, 0.835]]))
    assert tempered == pytest.approx(np.array([[0.655, 0.735], [0.855, 0.835]]))


def test_bins_of_few_images_are_not_drawn(tmp_path):
    bins = [{"images": 0, "confidence": 0.0, "accuracy": 0.0} for _ in range(BINS)]
    bins[2] = {"images": 9, "confidence": 0.18, "accuracy": 1.0}
    bins[5] = {"images": 10, "confidence": 0.38, "accuracy": 0.5}
    some = {"title": "x", "images": 19, "plain": {"loss": 1.0, "ece": 0.3, "bins": bins}}
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, file: drawn.append(figure))
        plot_reliability(some, None, "x", tmp_path / "x.png")
    [_, line] = drawn[0].axes[0].get_lines()
    assert line.get_xydata().tolist() == [[0.38, 0.5]]


def test_the_picture_of_corruptions_has_a_panel_a_kind(run):
    evaluated = found()
    _, figures = context_and_figures(run, evaluated)
    panels = [panel for panel in figures["corruptions"].axes if panel.axison]
    drawn = {panel.get_title(): panel.get_lines() for panel in panels}
    assert list(drawn) == list(evaluated["corruptions"]["accuracy"])
    for kind, values in evaluated["corruptions"]["accuracy"].items():
        [line] = drawn[kind]
        assert line.get_xdata().tolist() == [0, 1, 2, 3, 4, 5]
        assert line.get_ydata().tolist() == [0.81, *values]


def test_the_legend_names_the_runs_of_a_picture_of_corruptions(tmp_path):
    found = {
        "one": {"clean": 0.9, "accuracy": {"blur": [0.8, 0.7, 0.6, 0.5, 0.4]}},
        "two": {"clean": 0.7, "accuracy": {"blur": [0.6, 0.5, 0.4, 0.3, 0.2]}},
    }
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, file: drawn.append(figure))
        plot_corruptions(found, "x", tmp_path / "x.png")
    [figure] = drawn
    lines = {line.get_label(): line.get_ydata().tolist() for line in figure.axes[0].get_lines()}
    assert lines == {
        "one": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
        "two": [0.7, 0.6, 0.5, 0.4, 0.3, 0.2],
    }
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]


def test_slips_are_listed_below_the_accuracy_without_a_slip(study):
    accuracy = {"red and blue swapped": 0.7, "shifted and flipped": 0.79}
    slips = {"date": DATE, "images": 1000, "clean": 0.81, "accuracy": accuracy}
    save_evaluation(study[1], {"sets": {}, "slips": slips}, None)
    body = section(report(study[0]))
    table = body.partition("| mistake | accuracy |\n| --- | ---: |\n")[2].split("\n\n")[0]
    assert table.splitlines() == [
        "| none | 81.00% |",
        "| red and blue swapped | 70.00% |",
        "| shifted and flipped | 79.00% |",
    ]
    assert "on the first 1,000 test images" in body


@pytest.mark.parametrize(
    ("confidence", "ece", "words"),
    [
        (0.75, None, "it is less sure than it could be (expected calibration error 7.50%)"),
        (0.826, None, "its probabilities can be taken as they are"),
        (0.826, 0.2, "too sure of some answers and not sure enough of others"),
        (0.93, 0.2, "it is surer than it should be"),
    ],
)
def test_the_verdict_follows_the_figures(run, confidence, ece, words):
    sets = {"test": figures("CIFAR-10, test", 0.825, confidence, ece)}
    context, _ = context_and_figures(run, found(sets=sets))
    assert words in context["calibration"]
    assert context["looks"] == 0


def test_without_an_evaluation_the_section_is_missing(study):
    save_evaluation(study[0] / "raw" / "seed0", found(), None)  # not the winner
    text = report(study[0])
    assert "calibration and other" not in text
    assert "looked at once, after that choice.\n" in text


@pytest.mark.parametrize("part", ["sets", "corruptions", "looks"])
def test_an_evaluation_may_have_one_part_only(study, part):
    if part == "looks":
        (study[1] / "test_looks.jsonl").write_text(json.dumps(LOOK) + "\n")
    else:
        save_evaluation(study[1], {"sets": {}, part: found()[part]}, None)
    body = section(report(study[0]))
    assert ("| images |" in body) == (part == "sets")
    assert ("Corrupted test images" in body) == (part == "corruptions")
    assert "Dividing" not in body


@pytest.mark.parametrize("content", ["", "[1]", json.dumps({"sets": {"test": 3}})])
def test_a_damaged_file_is_named(study, content):
    (study[1] / "evaluation.json").write_text(content)
    assert "Not shown here: evaluation.json" in section(report(study[0]))


def test_markup_in_an_evaluation_stays_text(study):
    evil = "<script>x</script> ![a](b.png) | **bold** $x$"
    kinds = {evil: [0.5] * 5, "b" * 900: [0.5] * 5}
    corruptions = {**found()["corruptions"], "accuracy": kinds}
    sets = {evil: figures(evil, 0.7), "test": figures("CIFAR-10, test", 0.8)}
    save_evaluation(study[1], found(sets=sets, corruptions=corruptions), None)
    body = section(report(study[0], pictures=True))
    assert "<script" not in body.replace("\\<", "")
    assert "![a](b.png)" not in body
    page = (study[0] / "report.html").read_text()
    assert "<script>x" not in page
    assert page.count("</script>") == page.count("<script")


def test_a_temperature_at_a_limit_is_not_reported_as_the_best(run):
    context, _ = context_and_figures(run, found(temperature=0.01))
    text = context["calibration"]
    assert "No temperature fits the validation images best" in text
    assert "Dividing its logits" not in text
