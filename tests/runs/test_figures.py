"""Every figure of a run, computed a second time from the raw arrays and the weights of each step.

Two runs train at once, on images of which no two numbers are equal: classes, splits, epochs and
channels all differ, the best epoch is neither the first nor the last, and no batch size divides a
split. The clock is set by hand, so that seconds are known too.
"""

import dataclasses
import hashlib
import io
import json
import re
from functools import cached_property, partial
from threading import Event
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest
import safetensors.numpy
from rich.console import Console
from small import SMALL

from jaxcifar.build import setup
from jaxcifar.build.model import create_model
from jaxcifar.build.setup import Setup
from jaxcifar.commands.run import show_result
from jaxcifar.config.experiment import Config
from jaxcifar.data import Dataset
from jaxcifar.runs import dispatches, training_loop
from jaxcifar.runs import run as run_module
from jaxcifar.runs.epoch_selection import best_epoch
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.result import mean_images_per_second
from jaxcifar.runs.run import Run
from jaxcifar.runs.task import Task
from jaxcifar.runs.training_loop import fit_all
from jaxcifar.runs.training_progress import TrainProgress
from jaxcifar.training import predicting
from jaxcifar.training.metrics import only_predicted_class
from jaxcifar.training.parallel_runs import ParallelRuns

NAMES = ("ant", "bee", "cat", "dog")
# The number of images of each class.
TRAIN_AND_VAL_COUNTS = (30, 45, 60, 25)
VAL_COUNTS = (8, 11, 15, 6)  # a quarter of TRAIN_AND_VAL_COUNTS
TEST_COUNTS = (9, 20, 14, 28)
BATCH, EPOCHS, STEPS = 32, 5, 3  # 120 images to train on: 24 are left over in each epoch
AT_A_TIME = 16  # images evaluated at a time: none of the splits is a multiple
# How far the tests' clocks go on when a program is compiled, and when a set is predicted.
COMPILE_SECONDS, PREDICT_SECONDS = 7.0, 1000.0
SETTINGS = {
    "batch_size": BATCH,
    "epochs": EPOCHS,
    "optimizer": "sgd",
    "momentum": 0.8,
    "weight_decay": 0.01,
    "schedule": "step",
    "step_size": 1,
    "gamma": 8.0,  # the rate rises until the weights are no good any more
    "warmup": 0.25,
    "label_smoothing": 0.1,
    "average": 0.6,
    "augment": False,
    "dropout": 0.0,
    "val_fraction": 0.25,
}
RATES = (0.02, 0.08)  # of the two runs: the higher rate ends the learning an epoch earlier


def some_images(counts, seed):
    """Return noise images and labels.

    Which half is brighter depends on the class; each channel has a different mean.
    """
    rng = np.random.RandomState(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    images = rng.randint(0, 120, (len(labels), 32, 32, 3)) + np.array([0, 30, 60])
    bright = [np.s_[:, :16], np.s_[:, 16:], np.s_[:16], np.s_[16:]]
    for image, label in zip(images, labels, strict=True):
        image[bright[label]] += 8
    mislabelled = rng.rand(len(labels)) < 0.15
    labels[mislabelled] = rng.permutation(labels[mislabelled])
    return images.astype(np.uint8), labels


class Clock:
    """A clock that goes only when it is told to."""

    now = 0.0

    def monotonic(self):
        return self.now


class Recording:
    """Weights, orders and states that are recorded during the training of both runs."""

    def __init__(self):
        self.before = []  # weights and statistics of both runs before each step
        self.orders = []  # the orders of images of both runs, for each step
        self.after = {}  # (name of a run, epoch) -> the state after that epoch


@pytest.fixture(scope="module")
def arrays():
    return *some_images(TRAIN_AND_VAL_COUNTS, 0), *some_images(TEST_COUNTS, 1)


@pytest.fixture(scope="module")
def dataset(arrays):
    return Dataset.from_arrays(*arrays, NAMES, name="insects", val_fraction=0.25)


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """Both runs: their folders, configs, results, the recording, and the text on the screen."""
    folder = tmp_path_factory.mktemp("runs")
    recording, clock, compiling = Recording(), Clock(), Clock()
    base = Config.create("cnn", arch_args=SMALL, dataset="insects", data_sha256=dataset.sha256,
                         **SETTINGS)  # fmt: skip
    configs = [
        dataclasses.replace(base, seed=seed, learning_rate=rate) for seed, rate in enumerate(RATES)
    ]
    tasks = [Task(config, folder / name, name) for config, name in zip(configs, "ab", strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        watch(patch, recording, clock, compiling)
        screen = io.StringIO()
        progress = TrainProgress(Console(file=screen, width=170))
        program = Setup.create(configs[0], dataset, run_count=2, devices=jax.devices()[:1])
        runs = [Run(task, print, progress.observers_of(task)) for task in tasks]
        outcomes = list(fit_all(runs, program, progress, Event()))
    assert [outcome.error for outcome in outcomes] == [None, None]
    results = {outcome.task.name: outcome.result for outcome in outcomes}
    return SimpleNamespace(
        paths={task.name: task.path for task in tasks},
        configs=dict(zip("ab", configs, strict=True)),
        results=results,
        recording=recording,
        screen=screen.getvalue(),
    )


def watch(patch, recording, clock, compiling):
    """Record what is computed, and set the clocks."""
    train_steps, end_epoch = Setup.train_steps.fget, Run.end_epoch
    predict, trace = predicting.predict, ParallelRuns.trace

    def recorded_steps(self):
        step = train_steps(self)

        def one(states, hps, images, labels, orders, count):
            assert count == 1
            recording.before.append(jax.device_get((states.params, states.batch_stats)))
            recording.orders.append(np.asarray(orders))
            clock.now += len(recording.before)  # a second for the first step, two for the next
            return step(states, hps, images, labels, orders, count)

        return one

    def recorded_end(self, state, trained):
        row = end_epoch(self, state, trained)
        recording.after[self.task.name, row["epoch"]] = jax.device_get(state)
        return row

    def slow_predict(self, *arguments):
        clock.now += PREDICT_SECONDS
        return predict(self, *arguments)

    def slowly_compiled(self, *arguments):
        compiling.now += COMPILE_SECONDS
        return trace(self, *arguments)

    patch.setattr(Setup, "train_steps", property(recorded_steps))
    patch.setattr(Run, "end_epoch", recorded_end)
    patch.setattr(predicting, "predict", slow_predict)
    patch.setattr(ParallelRuns, "trace", slowly_compiled)
    patch.setattr(predicting, "EVAL_BATCH", AT_A_TIME)
    patch.setattr(dispatches, "_IMAGES_PER_CPU_DISPATCH", 1)  # a step at a time
    for module in (training_loop, run_module):
        patch.setattr(module, "time", clock)
    patch.setattr(setup, "time", compiling)


@pytest.fixture(scope="module", params=["a", "b"])
def run(request, trained, arrays):
    return ExpectedRun(trained, request.param, arrays)


class ExpectedRun:
    """One of the two runs, with its figures recomputed in NumPy."""

    def __init__(self, trained, name, arrays):
        self.name, self.slot = name, "ab".index(name)
        self.path, self.config = trained.paths[name], trained.configs[name]
        self.result, self.recording = trained.results[name], trained.recording
        self.screen = trained.screen
        self.model = create_model(self.config, len(NAMES))
        self.apply = jax.jit(partial(self.model.apply, train=False))
        lines = (self.path / "metrics.jsonl").read_text().splitlines()
        self.rows = [json.loads(line) for line in lines]
        self.train, self.val = parts(*arrays[:2])
        self.given, self.test = arrays[:2], arrays[2:]
        pixels = self.train[0] / 255
        self.mean, self.std = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))

    def states(self):
        """Weights and statistics before the first step and after each."""
        last = self.recording.after[self.name, EPOCHS]
        befores = [jax.tree.map(lambda leaf: leaf[self.slot], b) for b in self.recording.before]
        return [*befores, (last.params, last.batch_stats)]

    @cached_property
    def averages(self):
        """What is evaluated after each epoch: the average, by its definition."""
        first, *others = self.states()
        average, after = first, []
        for step, state in enumerate(others):
            keep = min(0.6, (step + 1) / (step + 10))
            average = jax.tree.map(lambda old, new, k=keep: k * old + (1 - k) * new, average, state)
            if step % STEPS == STEPS - 1:
                after.append(average)
        return after

    def logits(self, weights, images, normalised=True):
        params, stats = weights
        pixels = images / 255
        if normalised:
            pixels = (pixels - self.mean) / self.std
        variables = {"params": params, "batch_stats": stats}
        return np.asarray(self.apply(variables, np.float32(pixels)))

    @cached_property
    def best(self):
        """The epoch that validation chooses, by figures computed here."""
        figures = [measured(self.logits(w, self.val[0]), self.val[1]) for w in self.averages]
        return 1 + max(range(EPOCHS), key=lambda i: (figures[i][1], -figures[i][0]))

    @cached_property
    def chosen(self):
        return self.averages[self.best - 1]


def parts(images, labels):
    """Training and validation images in the order of training, found by the package's split."""
    dataset = Dataset.from_arrays(images, labels, images, labels, val_fraction=0.25)
    return dataset.train, dataset.val


def measured(logits, labels):
    """Mean cross-entropy and accuracy."""
    logits = np.float64(logits)
    log_sum = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
    losses = log_sum - logits[np.arange(len(labels)), labels]
    return losses.mean(), (logits.argmax(-1) == labels).mean()


def confusion_of(logits, labels):
    """Images by true class (rows) and predicted class."""
    confusion = np.zeros((4, 4), int)
    for label, answer in zip(labels, logits.argmax(-1), strict=True):
        confusion[label, answer] += 1
    return confusion


def by_class(confusion):
    """F1 score and recall of each class, of which all occur."""
    f1, recall = [], []
    for label in range(4):
        right, occurs = confusion[label, label], confusion[label].sum()
        precision = right / max(confusion[:, label].sum(), 1)
        recall.append(right / occurs)
        f1.append(2 * precision * recall[-1] / (precision + recall[-1]) if right else 0.0)
    return f1, recall


def test_validation_images_are_training_images_and_no_others(dataset, arrays):
    """A quarter of each class, whatever order the images come in; the rest is trained on."""

    def pairs(images, labels):
        return {(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)}

    train, val, test = (pairs(*part) for part in (dataset.train, dataset.val, dataset.test))
    assert (len(train), len(val), len(test)) == (120, 40, 71)  # no image is there twice
    assert train | val == pairs(*arrays[:2])
    assert test == pairs(*arrays[2:])
    np.testing.assert_array_equal(np.bincount(dataset.val.labels), VAL_COUNTS)


def test_mean_and_deviation_are_those_of_the_images_trained_on(dataset, arrays, run):
    """Validation images are not included, because that would leak them into training."""
    for got, expected in ((dataset.mean, run.mean), (dataset.std, run.std)):
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    with_val = (arrays[0] / 255).mean((0, 1, 2))
    assert (np.abs(with_val - run.mean) > 1e-5).all()
    assert (np.diff(run.mean) > 0.1).all()


def test_each_epoch_of_each_run_has_an_order_of_its_own(trained):
    orders = np.asarray(trained.recording.orders)  # a step, a run, a place
    assert orders.shape == (EPOCHS * STEPS, 2, 120)
    by_epoch = orders.reshape(EPOCHS, STEPS, 2, 120)
    np.testing.assert_array_equal(by_epoch, np.repeat(by_epoch[:, :1], STEPS, axis=1))
    for order in by_epoch[:, 0].reshape(-1, 120):
        np.testing.assert_array_equal(np.sort(order), np.arange(120))
    assert len(np.unique(by_epoch[:, 0].reshape(-1, 120), axis=0)) == 2 * EPOCHS


def test_runs_of_two_seeds_begin_with_other_weights(trained):
    kernel = trained.recording.before[0][0]["Conv_0"]["kernel"]
    assert np.abs(kernel[0] - kernel[1]).min(axis=(0, 1)).max() > 0.01


def rates_of(run):
    """Return the learning rate of each step.

    Warmup for a quarter of the steps; then the rate is multiplied by 8 each epoch. The schedule
    counts its epochs from the end of the warmup.
    """
    rising = round(0.25 * EPOCHS * STEPS)
    rise = [(step + 1) / (rising + 1) for step in range(rising)]
    after = [8.0 ** (step // STEPS) for step in range(EPOCHS * STEPS - rising)]
    return RATES[run.slot] * np.array(rise + after)


def batches(run):
    """Images and labels of each step."""
    images, labels = run.train
    for step, orders in enumerate(run.recording.orders):
        first = step % STEPS * BATCH
        chosen = orders[run.slot][first : first + BATCH]
        yield images[chosen], labels[chosen]


def in_training(run):
    """Softened loss and logits, by the network itself, with the statistics of its batch."""

    @jax.jit
    def loss(params, stats, pixels, labels):
        variables = {"params": params, "batch_stats": stats}
        logits, _ = run.model.apply(variables, pixels, train=True, mutable=["batch_stats"])
        targets = optax.smooth_labels(jax.nn.one_hot(labels, len(NAMES)), 0.1)
        return optax.softmax_cross_entropy(logits, targets).mean(), logits

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


@pytest.fixture(scope="module")
def retraced(trained, arrays):
    """For each run and step: labels, logits and gradients of the batch.

    They are computed with the weights before that step.
    """
    found = {}
    for name in "ab":
        run = ExpectedRun(trained, name, arrays)
        gradient = found.get("gradient") or in_training(run)
        found["gradient"] = gradient  # one program for both
        found[name] = []
        for (params, stats), (images, labels) in zip(run.states(), batches(run), strict=False):
            pixels = np.float32((images / 255 - run.mean) / run.std)
            (_, logits), grads = gradient(params, stats, pixels, labels)
            found[name].append((labels, np.asarray(logits), jax.device_get(grads)))
    return found


def test_every_step_follows_sgd_with_momentum_weight_decay_and_its_learning_rate(run, retraced):
    states = [params for params, _ in run.states()]
    velocity = jax.tree.map(np.zeros_like, states[0])
    for step, rate in enumerate(rates_of(run)):
        grads = retraced[run.name][step][2]
        velocity = jax.tree.map(
            lambda v, grad, weight: 0.8 * v + grad + 0.01 * weight, velocity, grads, states[step]
        )
        expected = jax.tree.map(lambda v, r=rate: -r * v, velocity)
        moved = jax.tree.map(np.subtract, states[step + 1], states[step])
        difference = jax.tree.map(np.subtract, moved, expected)
        assert optax.tree.norm(difference) < 0.01 * optax.tree.norm(expected), step


def test_each_row_has_the_figures_of_its_epoch(run, retraced):
    """Training figures by the weights before each step, validation by the average after them."""
    assert [row["epoch"] for row in run.rows] == [1, 2, 3, 4, 5]
    for epoch, (row, average) in enumerate(zip(run.rows, run.averages, strict=True)):
        steps = range(epoch * STEPS, (epoch + 1) * STEPS)
        labels = np.concatenate([retraced[run.name][step][0] for step in steps])
        logits = np.concatenate([retraced[run.name][step][1] for step in steps])
        loss, accuracy = measured(logits, labels)  # of the targets as they are, not softened
        val_logits = run.logits(average, run.val[0])
        val_loss, val_accuracy = measured(val_logits, run.val[1])
        val_f1, val_recall = by_class(confusion_of(val_logits, run.val[1]))
        seconds = sum(step + 1 for step in steps)
        expected = {
            "epoch": epoch + 1,
            "learning_rate": rates_of(run)[epoch * STEPS],  # that of its first step
            "train_loss": loss,
            "train_accuracy": accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "val_macro_f1": np.mean(val_f1),
            "val_balanced_accuracy": np.mean(val_recall),
            "seconds": seconds,
            "images_per_second": STEPS * BATCH / seconds,  # trained on, none that is looked at
            "runs_together": 2,
        }
        assert row == pytest.approx(expected, rel=1e-3)
        for name, images in (("train", STEPS * BATCH), ("val", len(run.val[1]))):
            right = round(expected[f"{name}_accuracy"] * images)
            assert row[f"{name}_accuracy"] == right / images  # to the last digit


def test_each_epoch_is_shown_with_the_figures_of_its_row(run):
    lines = re.findall(rf"^{run.name}  epoch (.*)$", run.screen, re.M)
    assert len(lines) == EPOCHS
    for epoch, (line, row) in enumerate(zip(lines, run.rows, strict=True), start=1):
        assert line.startswith(f"{epoch}/5  train loss ")
        output = re.fullmatch(
            r"./5  train loss (\S+) accuracy +(\S+)%  val loss (\S+) accuracy +(\S+)%"
            r"  lr (\S+) +(\S+) images/s"
            r"  macro-F1 (\S+)%  balanced accuracy (\S+)%",
            line,
        )
        shown = {  # factor of what is shown, and how far it may be rounded
            "train_loss": (1, 6e-4),
            "train_accuracy": (100, 6e-3),
            "val_loss": (1, 6e-4),
            "val_accuracy": (100, 6e-3),
            "learning_rate": (1, 0.06 * row["learning_rate"]),
            "images_per_second": (1, 0.51),
            "val_macro_f1": (100, 6e-3),
            "val_balanced_accuracy": (100, 6e-3),
        }
        for text, (name, (factor, rounding)) in zip(output.groups(), shown.items(), strict=True):
            assert float(text.replace(",", "")) == pytest.approx(row[name] * factor, abs=rounding)


def test_the_best_epoch_is_kept_and_not_the_last(run):
    best, chosen = run.best, run.chosen
    assert 1 < best < EPOCHS
    assert run.result["selected_epoch"] == best
    written = safetensors.numpy.load_file(run.path / "weights.safetensors")
    kept, last = (run.recording.after[run.name, epoch].average for epoch in (best, EPOCHS))

    def flat(weights):
        named = {"params": weights[0], "batch_stats": weights[1]}
        leaves, _ = jax.tree_util.tree_flatten_with_path(named)
        return {
            jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves
        }

    assert written.keys() == flat(kept).keys()
    for name, array in written.items():
        np.testing.assert_array_equal(array, flat(kept)[name])
        np.testing.assert_allclose(array, flat(chosen)[name], rtol=1e-4, atol=1e-5)
    kernel = "params/Conv_0/kernel"
    assert not np.allclose(written[kernel], flat(last)[kernel])


def test_the_result_says_what_the_chosen_weights_do_on_the_test_images(run):
    images, labels = run.test
    chosen, last = run.chosen, run.averages[-1]
    logits = run.logits(chosen, images)
    loss, accuracy = measured(logits, labels)
    _, both = measured(logits + run.logits(chosen, images[:, :, ::-1]), labels)
    last_loss, last_accuracy = measured(run.logits(last, images), labels)
    val_accuracy = measured(run.logits(chosen, run.val[0]), run.val[1])[1]
    confusion = confusion_of(logits, labels)
    f1, recall = by_class(confusion)
    # All figures differ, so a swap would be noticed.
    figures = {accuracy, both, last_accuracy, val_accuracy, np.mean(f1), np.mean(recall)}
    assert len(figures) == 6
    assert (confusion != confusion.T).any() and len(set(recall)) == 4
    result = dict(run.result)
    assert json.loads((run.path / "result.json").read_text()) == result
    assert result.pop("class_accuracy") == pytest.approx(
        dict(zip(NAMES, recall, strict=True)), rel=1e-6
    )
    np.testing.assert_array_equal(result.pop("confusion_matrix"), confusion)
    assert result.pop("last_epoch") == pytest.approx(
        {"epoch": EPOCHS, "test_accuracy": last_accuracy, "test_loss": last_loss}, rel=1e-3
    )
    assert result.pop("channel_mean") == pytest.approx(list(run.mean), rel=1e-6)
    assert result.pop("channel_std") == pytest.approx(list(run.std), rel=1e-6)
    numbers = {
        "test_accuracy": accuracy,
        "test_loss": loss,
        "test_macro_f1": np.mean(f1),
        "test_balanced_accuracy": np.mean(recall),
        "test_accuracy_flip": both,
        "val_accuracy": val_accuracy,
        "wall_seconds": sum(range(1, 16)) + PREDICT_SECONDS * sets_predicted_before_the_end(run),
        "images_per_second": EPOCHS * STEPS * BATCH / sum(range(1, 16)),
    }
    found = {name: result.pop(name) for name in numbers}
    assert found == pytest.approx(numbers, rel=1e-3)
    assert found["test_accuracy"] == np.trace(confusion) / len(labels)  # to the last digit
    names = ["loss", "accuracy", "macro_f1", "balanced_accuracy"]
    assert [metric["name"] for metric in result.pop("metrics")] == names
    assert_the_rest(run, result)


def sets_predicted_before_the_end(run):
    """Return how many sets both runs predict until this run ends: its wall time includes them all.

    Both runs predict the validation images after each epoch. After the last epoch, run a is
    validated and tested first, and then run b.
    """
    tests_of_a_run = 3  # chosen weights, last weights, mirror images
    if run.name == "a":
        # Run b's last validation comes after the end of run a, and so do run b's tests.
        validations_of_a, validations_of_b = EPOCHS, EPOCHS - 1
        return validations_of_a + validations_of_b + tests_of_a_run
    # Run b waits for everything that run a does.
    return EPOCHS + EPOCHS + tests_of_a_run + tests_of_a_run


def assert_the_rest(run, result):
    """Check the entries of the result that do not depend on the weights."""
    pixels = 32 * 32
    products = pixels * 4 * (27 + 36) + 16 * 16 * 4 * 8 + 8 * 4
    normalised = 2 * pixels * 4 + 8
    weights = (27 * 4 + 4) + 8 + (36 * 4 + 4) + 8 + (1024 * 8 + 8) + 16 + (8 * 4 + 4)
    digest = hashlib.sha256((run.path / "weights.safetensors").read_bytes()).hexdigest()
    fingerprint = {"train": fingerprint_of(*run.given), "test": fingerprint_of(*run.test)}
    expected = {
        "selected_epoch": run.best,
        "selection_rule": "highest validation accuracy, then lowest validation loss",
        "dataset": "insects",
        "dataset_name": "insects",
        "dataset_fingerprint": fingerprint,
        "class_names": list(NAMES),
        "examples": {"train": 120, "val": 40, "test": 71},
        "parameters": weights,
        "flops": products + 4 * normalised,
        "config": run.config.to_dict(),
        "compute_dtype": "float32",
        "at_once": 2,
        "compile_seconds": COMPILE_SECONDS,
        "weights_sha256": digest,
    }
    assert {name: result.pop(name) for name in expected} == expected
    assert result.pop("device").startswith("cpu")
    assert result.pop("versions")["jax"] == jax.__version__
    assert result.keys() == {"compiler_settings", "git_commit"}  # see test_environment.py


def fingerprint_of(images, labels):
    """SHA-256 of all records in the order of their bytes: a label, then a plane a colour."""
    records = [
        bytes([label]) + image.transpose(2, 0, 1).tobytes()
        for image, label in zip(images, labels, strict=True)
    ]
    return hashlib.sha256(b"".join(sorted(records))).hexdigest()


def test_the_last_lines_say_what_the_result_says(run):
    lines = []
    show_result(lines.append, run.result, run.path)
    images, labels = run.test
    logits = run.logits(run.chosen, images)
    both = logits + run.logits(run.chosen, images[:, :, ::-1])
    last = run.logits(run.averages[-1], images)
    chosen = run.logits(run.chosen, run.val[0])
    test, flip, end = (measured(each, labels)[1] for each in (logits, both, last))
    validation = measured(chosen, run.val[1])[1]
    right = logits.argmax(1) == labels
    balanced = np.mean([right[labels == c].mean() for c in np.unique(labels)])
    seconds = run.result["wall_seconds"]
    assert lines[:-1] == [
        f"test accuracy   {test:.2%} on insects",
        f"with flips      {flip:.2%}, by both an image and its mirror image",
        f"balanced        {balanced:.2%}, the mean of the accuracies of the classes",
        f"chosen          epoch {run.best}, validation accuracy {validation:.2%} "
        "(highest validation accuracy, then lowest validation loss)",
        f"last epoch      {end:.2%} after epoch 5",
        f"time            {seconds:,.0f} s, 4 images/s on {run.result['device']}, float32",
    ]
    assert lines[-1].endswith(f" in {run.path}/")
    named = re.findall(r"[\w.]+\.\w+(?=,| in )", lines[-1].partition("files")[2])
    assert {path.name for path in run.path.iterdir()} >= set(named) >= {"result.json", "loss.png"}


def test_the_mistakes_are_those_that_the_network_was_surest_of(run):
    images, labels = run.test
    order = by_records(images, labels)  # of the test images within the data set
    images, labels = images[order], labels[order]
    logits = np.float64(run.logits(run.chosen, images))
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    confidence = odds.max(-1) / odds.sum(-1)
    wrong = np.flatnonzero(logits.argmax(-1) != labels)
    surest = sorted(wrong, key=lambda index: -confidence[index])[:20]
    with np.load(run.path / "mistakes.npz") as kept:
        assert len(kept["index"]) == min(20, len(wrong))
        np.testing.assert_allclose(kept["confidence"], confidence[surest], rtol=1e-3)
        for index, label, predicted, image in zip(
            kept["index"], kept["label"], kept["predicted"], kept["image"], strict=True
        ):
            assert labels[index] == label != predicted == logits[index].argmax()
            np.testing.assert_array_equal(image, images[index])


def test_the_confusions_are_the_surest_wrong_answers_of_each_pair_of_classes(run):
    images, labels = run.test
    order = by_records(images, labels)
    images, labels = images[order], labels[order]
    logits = np.float64(run.logits(run.chosen, images))
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    confidence, predicted = odds.max(-1) / odds.sum(-1), logits.argmax(-1)
    expected = {}
    for index in np.argsort(-confidence, kind="stable"):
        if predicted[index] != labels[index]:
            cell = int(labels[index]), int(predicted[index])
            expected[cell] = [*expected.get(cell, []), confidence[index]][:4]
    kept = RunFolder(run.path).read_confusions(10)
    got = {}
    for label, answer, chance in zip(
        kept["label"], kept["predicted"], kept["confidence"], strict=True
    ):
        cell = int(label), int(answer)
        got[cell] = [*got.get(cell, []), float(chance)]
    assert got.keys() == expected.keys()
    for cell, chances in expected.items():
        np.testing.assert_allclose(got[cell], chances, rtol=1e-3)
    for index, image in zip(kept["index"], kept["image"], strict=True):
        np.testing.assert_array_equal(image, images[index])


def test_a_run_stores_training_images(run):
    kept = RunFolder(run.path).read_training_images(10)
    assert not run.config.augment
    np.testing.assert_array_equal(kept["augmented"], np.repeat(kept["image"][:, None], 3, axis=1))
    assert kept["augmented"].shape == (8, 3, 32, 32, 3)


def by_records(images, labels):
    """The order of images in a data set: that of their records' bytes."""
    planes = [image.transpose(2, 0, 1).tobytes() for image in images]
    return sorted(range(len(labels)), key=lambda i: bytes([labels[i]]) + planes[i])


def row(epoch, accuracy, loss):
    return {"epoch": epoch, "val_accuracy": accuracy, "val_loss": loss}


def test_of_equally_accurate_epochs_the_one_of_lowest_loss_is_the_best():
    history = [row(1, 0.5, 0.1), row(2, 0.7, 0.9), row(3, 0.7, 0.4), row(4, 0.7, 0.6)]
    assert best_epoch(history) == 3
    assert best_epoch([*history, row(5, 0.6, 0.2)]) == 3
    assert best_epoch([*history, row(5, 0.7, 0.4)]) == 3  # of equal ones the first
    assert best_epoch([{"epoch": 1}, {"epoch": 2}]) == 2  # nothing was validated


def test_the_rate_of_a_run_is_all_its_images_over_all_its_seconds():
    history = [
        {"seconds": 10.0, "images_per_second": 100.0},
        {"seconds": 1.0, "images_per_second": 1000.0},
    ]
    assert mean_images_per_second(history) == pytest.approx(2000 / 11)


def test_a_run_is_collapsed_only_if_all_its_answers_are_one_class():
    matrix = np.array([[0, 9, 0], [0, 4, 0], [0, 7, 0]])
    assert only_predicted_class(matrix) == 1
    assert only_predicted_class(matrix.T) is None  # one class alone was asked for
    assert only_predicted_class(matrix + np.eye(3, dtype=int)) is None
    assert only_predicted_class(np.array([[9, 0], [0, 0]])) is None
