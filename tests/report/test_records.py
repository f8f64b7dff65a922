"""What a report reads off runs, on made-up runs in which all that could be mixed up differs."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from jaxcifar.config.experiment import Config
from jaxcifar.report import statistics
from jaxcifar.report.metric_table import metric_table
from jaxcifar.report.run_groups import group_into_networks, group_runs
from jaxcifar.report.run_records import FinishedRun, RunRecord, Variation
from jaxcifar.report.single_changes import single_changes
from jaxcifar.report.study_records import Records, StudiedNetwork

MATRIX = [[6, 2, 0], [0, 0, 0], [1, 0, 3]]  # no test image of the second class


def made_run(val=(0.5, 0.9, 0.7), loss=(1.0, 0.6, 0.4), changes=None, matrix=MATRIX, **settings):
    """A finished run whose best epoch is neither the first nor the last.

    `val` and `loss` are of the validation images by epoch; `changes` replaces fields of its result.
    """
    history = [
        {"epoch": epoch, "val_accuracy": accuracy, "val_loss": cost, "train_loss": 2.0 * cost}
        for epoch, (accuracy, cost) in enumerate(zip(val, loss, strict=True), 1)
    ]
    result = {
        "test_accuracy": 0.75,
        "val_accuracy": max(val),
        "dataset": "CIFAR-10",
        "examples": {"train": 45_000, "val": 5_000, "test": 10_000},
        "confusion_matrix": matrix,
        "class_accuracy": {"cat": 0.75, "dog": 0.0, "ship": 0.75},
        **(changes or {}),
    }
    config = Config.create("cnn", **{"epochs": len(val), **settings})
    return FinishedRun(Path("runs"), config, history, result, None)


def made(name, *runs, **settings):
    """A variation; without runs, of one run with these settings."""
    return Variation(name, runs or (made_run(**settings),))


def converted(**changes):
    return made_run(changes={"converted": {"file": "net.pth", "sha256": "ab"}, **changes})


def test_the_selected_epoch_is_the_best_and_neither_the_first_nor_the_last():
    assert made_run().selected_metrics["epoch"] == 2
    # Of equal accuracies the lower loss counts.
    assert made_run(val=(0.9, 0.5, 0.9), loss=(0.6, 0.1, 0.5)).selected_metrics["epoch"] == 3
    assert made_run(val=(0.9, 0.5, 0.9), loss=(0.5, 0.1, 0.6)).selected_metrics["epoch"] == 1


def test_the_accuracy_of_a_class_is_its_share_of_the_diagonal():
    run = made_run()
    np.testing.assert_array_equal(run.confusion, MATRIX)
    np.testing.assert_array_equal(run.class_accuracy, [0.75, np.nan, 0.75])
    other = made_run(matrix=[[1, 1], [3, 5]])
    np.testing.assert_array_equal(other.class_accuracy, [0.5, 0.625])


def test_a_run_without_validation_is_not_confused_with_a_converted_run():
    run = made_run()
    assert not run.lacks_validation
    del run.result["val_accuracy"]
    assert run.lacks_validation
    assert run.converted is None
    other = converted()
    del other.result["val_accuracy"]
    assert not other.lacks_validation
    assert other.converted["file"] == "net.pth"
    assert RunRecord(Path(), run.config, [], None, None).converted is None


def test_data_sets_with_the_same_images_are_equal_under_any_name():
    prints = {"train": "a" * 64, "test": "b" * 64}
    backwards = dict(reversed(prints.items()))
    one = made_run(changes={"dataset": "One", "dataset_fingerprint": prints}).data
    two = made_run(
        changes={"dataset": "Two", "dataset_fingerprint": backwards, "dataset_name": "mine.npz"}
    ).data
    assert one.identity == two.identity
    assert (one.name, two.name) == ("cifar10", "mine.npz")
    assert (one.title, two.title) == ("One", "Two")
    assert one.fingerprints == (("train", "a" * 64), ("test", "b" * 64))
    unknown = made_run(changes={"dataset": "One"}).data
    assert unknown.identity == "One"
    assert unknown.fingerprints == ()
    changed = made_run(changes={"dataset_fingerprint": prints | {"test": "c" * 64}}).data
    assert changed.identity != one.identity


def test_the_figures_of_a_variation_are_by_run_and_by_epoch():
    variation = made(
        "row",
        made_run(changes={"test_accuracy": 0.5}, seed=3),
        made_run(val=(0.1, 0.2, 0.3), changes={"test_accuracy": 0.75}, seed=5),
    )
    assert variation.values("test_accuracy").tolist() == [0.5, 0.75]
    whole = made("row", made_run(val=(0, 1), loss=(1, 0), changes={"test_accuracy": 1}))
    assert whole.values("test_accuracy").dtype == whole.curve("val_loss").dtype == np.float64
    assert variation.curve("val_accuracy").tolist() == [[0.5, 0.9, 0.7], [0.1, 0.2, 0.3]]
    assert variation.config.seed == 3
    assert variation.data.title == "CIFAR-10"
    assert "seed" not in variation.settings
    assert variation.settings["epochs"] == 3


def test_a_curve_has_nan_where_a_run_ended_before_the_others():
    early = made_run(val=(0.5, 0.4), loss=(1, 2), epochs=3, patience=1)
    variation = made("row", made_run(), early)
    np.testing.assert_array_equal(
        variation.curve("val_accuracy"), [[0.5, 0.9, 0.7], [0.5, 0.4, np.nan]]
    )
    assert variation.trained_epochs == [2, 3]
    assert made("row", early, early).trained_epochs == [2]


def test_changes_have_the_old_and_the_new_value_and_no_seed():
    one = made("one", learning_rate=0.1, seed=1)
    two = made("two", learning_rate=0.2, seed=2)
    assert one.changes_to(two) == {"learning_rate": (0.1, 0.2)}
    assert two.changes_to(one) == {"learning_rate": (0.2, 0.1)}
    assert one.changes_to(made("three", learning_rate=0.1, seed=9)) == {}


def test_the_best_run_is_chosen_by_validation_then_by_loss():
    low = made_run(val=(0.6, 0.8, 0.7), changes={"test_accuracy": 0.99})
    high = made_run(val=(0.5, 0.9, 0.7), loss=(1.0, 0.6, 0.4))
    surer = made_run(val=(0.5, 0.9, 0.7), loss=(1.0, 0.5, 0.4))
    assert made("row", low, high, surer).best_run is surer
    assert made("row", surer, high, low).best_run is surer
    assert made("row", low, high).best_run is high
    first = converted()
    assert made("row", first, surer).best_run is first


def test_the_winner_has_the_best_mean_and_not_the_best_median():
    def variation(name, *accuracies, loss=0.6):
        runs = [made_run(val=(0.1, value, 0.2), loss=(1.0, loss, 0.1)) for value in accuracies]
        return made(name, *runs)

    median = variation("median", 0.80, 0.81, 0.40)
    mean = variation("mean", 0.70, 0.71, 0.72)
    surer = variation("surer", 0.70, 0.71, 0.72, loss=0.5)
    network = StudiedNetwork("CNN", (median, mean, surer))
    assert [v.name for v in network.ranked_variations] == ["surer", "mean", "median"]
    assert network.winner is surer
    assert network.data == median.data
    assert network.converted is None


def test_converted_networks_are_not_ranked():
    first, second = made("a", converted(val_accuracy=0.1)), made("b", converted(val_accuracy=0.9))
    network = StudiedNetwork("CNN", (first, second))
    assert network.ranked_variations == [first, second]
    assert network.winner is first
    assert network.converted["file"] == "net.pth"


def test_records_contain_each_finished_run_once():
    one, two = made("one"), made("two", made_run(seed=1), made_run(seed=2))
    whole, other = made("whole"), made("other", converted())
    records = Records(
        networks=(StudiedNetwork("A", (one, two)), StudiedNetwork("B", (other,))),
        studies=(),
        variations_outside_studies=(one,),
        variations_without_validation=(whole,),
        unfinished_runs=(),
        unreadable_reasons={},
    )
    assert [v.name for v in records.variations] == ["one", "two", "other"]
    assert [v.name for v in records.trained_variations] == ["one", "two", "whole"]
    assert records.runs == [*one.runs, *two.runs, *other.runs, *whole.runs]


@pytest.mark.parametrize("name", ["data_sha256", "SHA-256 of net.py"])
def test_a_changed_file_name_hides_the_change_of_its_checksum(name, monkeypatch):
    found = {"arch": ("a.py:Net", "b.py:Net"), name: ("1", "2"), "seed": (0, 1), "epochs": (3, 4)}

    def changes():
        """Of two variations whose configs say seed 0 and seed 1."""
        one, two = made("one", seed=0), made("two", seed=1)
        return one.changes_to(two)

    monkeypatch.setattr(
        Config, "settings", lambda config: {key: pair[config.seed] for key, pair in found.items()}
    )
    assert changes() == {"arch": found["arch"], "epochs": (3, 4)}
    del found["arch"]
    assert changes() == {name: ("1", "2"), "epochs": (3, 4)}


def test_settings_without_effect_are_neither_settings_nor_changes():
    """Without augmentation nothing is shifted; a step of the schedule needs a schedule of steps."""
    plain = made("plain", augment=False)
    shifted = made("shifted", shift=2, flip="alternate")
    assert plain.changes_to(shifted) == {"augment": (False, True)}
    assert shifted.changes_to(plain) == {"augment": (True, False)}
    assert not {"shift", "border", "flip", "cutout"} & plain.settings.keys()
    assert {"shift", "border", "flip", "cutout"} <= shifted.settings.keys()
    assert not plain.has_effect("shift") and shifted.has_effect("shift")
    stepped = made("stepped", schedule="step", step_size=3)
    assert "step_size" not in plain.settings and stepped.settings["step_size"] == 3
    assert made("none").changes_to(stepped) == {"schedule": ("none", "step")}


def test_two_settings_that_switch_each_other_off_are_still_changes():
    small = made("small", small_size=24, small_fraction=0.5)
    assert made("whole").changes_to(small) == {"small_size": (32, 24), "small_fraction": (0.0, 0.5)}


def test_a_sample_has_the_number_of_images_of_its_split():
    variation = made("row", made_run(changes={"test_accuracy": 0.5}), made_run(seed=1))
    tested = statistics.Sample.of(variation, "test_accuracy")
    assert (tested.values, tested.images) == ((0.5, 0.75), 10_000)
    validated = statistics.Sample.of(variation, "val_accuracy", "val")
    assert (validated.values, validated.images) == ((0.9, 0.9), 5_000)


def test_guessing_means_always_answering_the_most_frequent_class():
    """Of 50, 30 and 20 images by true class, whatever was predicted."""
    matrix = [[10, 40, 0], [30, 0, 0], [0, 15, 5]]
    assert statistics.guessing_accuracy(made_run(matrix=matrix)) == 0.5


@pytest.mark.parametrize("largest", [30, 40])
def test_a_run_guesses_if_its_accuracy_could_come_from_guessing(largest):
    """One-sided at 5%: against the normal distribution of a share of 60 images."""
    matrix = np.diag([60 - largest - 10, largest, 10]).tolist()
    level = largest / 60
    critical = stats.norm.isf(0.05, loc=level, scale=(level * (1 - level) / 60) ** 0.5)
    for accuracy, guesses in ((critical - 1e-6, True), (critical + 1e-6, False), (0.0, True)):
        run = made_run(matrix=matrix, changes={"test_accuracy": accuracy})
        assert statistics.is_guessing(run) == guesses


def test_an_accuracy_exactly_at_the_bound_counts_as_guessing():
    run = made_run(matrix=[[4, 0], [0, 0]], changes={"test_accuracy": 1.0})  # the bound is 1
    assert statistics.is_guessing(run)


def test_single_changes_are_all_pairs_that_differ_in_one_setting():
    base = made("base", learning_rate=0.1, batch_size=64)
    fast = made("fast", learning_rate=0.2, batch_size=64)
    both = made("both", learning_rate=0.2, batch_size=32)
    again = made("again", learning_rate=0.1, batch_size=64, seed=3)
    pairs = single_changes([base, fast, again, both])
    assert [(name, old, new, a.name, b.name) for name, old, new, a, b in pairs] == [
        ("learning_rate", 0.1, 0.2, "base", "fast"),
        ("learning_rate", 0.2, 0.1, "fast", "again"),
        ("batch_size", 64, 32, "fast", "both"),
    ]


def test_a_share_is_reached_when_it_is_equalled():
    assert statistics.first_epoch_at_share([0.25, 0.5, 0.75, 1.0], 0.5) == 2


def on_images(path, sha256="a" * 64, **settings):
    """A run on images of the user at this path."""
    run = made_run(**settings)
    config = dataclasses.replace(run.config, dataset=path, data_sha256=sha256)
    return dataclasses.replace(run, config=config)


def test_seeds_on_moved_images_are_one_row():
    home, disk = on_images("/home/images", seed=0), on_images("/disk/images", seed=1)
    assert group_runs([home, disk]) == [(home, disk)]
    other_images = on_images("/home/images", "b" * 64, seed=1)
    assert len(group_runs([home, other_images])) == 2


def test_moved_images_are_no_change_of_a_row():
    home = made("home", on_images("/home/images", learning_rate=0.1))
    disk = made("disk", on_images("/disk/images", learning_rate=0.2))
    assert home.changes_to(disk) == {"learning_rate": (0.1, 0.2)}
    other_images = made("other", on_images("/other", "b" * 64, learning_rate=0.1))
    assert home.changes_to(other_images) == {"dataset": ("/home/images", "/other")}


def own_network_run(folder, text, **settings):
    """A run of a network in `folder/net.py`, which has this text."""
    folder.mkdir(exist_ok=True)
    (folder / "net.py").write_text(text)
    config = Config.create(f"{folder}/net.py:Net", epochs=3, val_fraction=0.1, **settings)
    return dataclasses.replace(made_run(), config=config)


def test_seeds_of_a_study_started_in_another_folder_are_one_row(tmp_path):
    here = own_network_run(tmp_path / "here", "Net = 1", seed=0)
    there = own_network_run(tmp_path / "there", "Net = 1", seed=1)
    assert group_runs([here, there]) == [(here, there)]
    row = own_network_run(tmp_path / "there", "Net = 1", learning_rate=0.3)
    other = own_network_run(tmp_path / "other", "Net = 2", seed=1)
    assert len(group_runs([here, other])) == 2
    variations = made("here", here), made("row", row), made("other", other)
    networks = group_into_networks(variations)
    assert [network.variations for network in networks] == [variations[:2], variations[2:]]


def test_accuracies_in_another_order_are_a_tie_that_the_loss_decides():
    """The means differ by rounding, so the loss must decide."""

    def variation(name, accuracies, loss):
        runs = [
            made_run(val=(0.1, value), loss=(1.0, loss), changes={"val_accuracy": value})
            for value in accuracies
        ]
        return made(name, *runs)

    high, low = variation("high", (0.9, 0.8, 0.7), 0.6), variation("low", (0.8, 0.7, 0.9), 0.5)
    means = {v.mean("val_accuracy") for v in (high, low)}
    assert len(means) == 2
    for variations in ((high, low), (low, high)):
        assert StudiedNetwork("CNN", variations).winner is low


def test_the_spread_of_a_metric_is_the_standard_deviation_of_a_sample():
    runs = [
        made_run(changes={"test_loss": loss}, seed=seed) for seed, loss in enumerate((0.2, 0.6))
    ]
    table = metric_table([made("row", *runs), made("one", runs[0])])
    (loss_column,) = [i for i, title in enumerate(table["titles"]) if "oss" in title]
    cells = {line["name"]: line["cells"][loss_column] for line in table["lines"]}
    assert cells["row"].endswith("± 0.28")  # 0.4 / sqrt(2); divided by n it would be 0.2
    assert "±" not in cells["one"]
