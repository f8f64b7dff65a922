"""Images that stay on the host: fed to the devices, they give the same numbers, bit for bit."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from rich.console import Console
from small import SMALL

from jaxcifar.build import host_images, setup
from jaxcifar.build.host_images import choose_steps_per_feed
from jaxcifar.build.setup import Setup
from jaxcifar.config.experiment import Config
from jaxcifar.data import Dataset
from jaxcifar.runs.dispatches import split_into_dispatches
from jaxcifar.runs.fit import fit
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import Task
from jaxcifar.training import network, predicting

DENSE = "own.net:Net"  # its program trains several steps in a loop, also on a CPU
SETTINGS = {
    "dataset": "shapes10",
    "batch_size": 16,
    "epochs": 2,
    "flip": "alternate",  # depends on the images' places in the training set
    "cutout": 6,
}


def config(arch, **changes):
    args = {"arch_args": SMALL} if arch == "cnn" else {}
    return Config.create(arch, **args, **{**SETTINGS, **changes})


def trained(configs, dataset, steps_at_a_time, monkeypatch, fed):
    """Return the states of runs after the first epoch, trained at once in a few dispatches."""
    monkeypatch.setattr(setup, "choose_steps_per_feed", lambda *_: steps_at_a_time if fed else None)
    made = Setup.create(configs[0], dataset, len(configs), jax.devices()[:1])
    program, together = made.program, made.parallel_runs
    assert isinstance(made.train.images, np.ndarray) == fed
    hypers = [made.place(made.hyperparameters(each)) for each in configs]
    made.compile_ahead(hypers[0])
    states = [program.init(hyper, dataset.train.images) for hyper in hypers]
    orders = [program.epoch_order(hyper, np.int32(0), 128) for hyper in hypers]
    states, hypers, orders = (together.join(trees) for trees in (states, hypers, orders))
    steps = program.steps_per_epoch
    for first in range(0, steps, steps_at_a_time):
        count = min(steps_at_a_time, steps - first)
        examples = made.examples_for_steps(orders, [first] * len(configs), count)
        states, means = made.train_steps(states, hypers, *examples, orders, np.int32(count))
    return jax.device_get((states.variables, means))


@pytest.mark.parametrize(
    ("arch", "run_count", "steps_at_a_time"),
    [("cnn", 1, 1), (DENSE, 2, 3)],  # the eight steps end in a dispatch of two
)
def test_images_sent_in_parts_give_the_same_weights(
    arch, run_count, steps_at_a_time, easy_dataset, monkeypatch
):
    configs = [config(arch, seed=seed) for seed in range(run_count)]
    arguments = configs, easy_dataset, steps_at_a_time, monkeypatch
    with_all, fed = trained(*arguments, fed=False), trained(*arguments, fed=True)
    jax.tree.map(np.testing.assert_array_equal, with_all, fed)


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(host_images, "image_memory", lambda devices: 10**5)
    # Two chunks of ten images at a time, so that the 40 images are predicted in two blocks.
    monkeypatch.setattr(predicting, "EVAL_BATCH", 10)
    monkeypatch.setattr(predicting, "HOST_BLOCK_BYTES", 20 * 3 * 32 * 32)


def run(folder, dataset):
    """Train and test a run; return its rows without times, its result, weights and lines."""
    lines = []
    console = Console(quiet=True)
    console.print = lambda *texts, **_: lines.append(" ".join(map(str, texts)))
    result = fit(Task(config(DENSE), folder), lambda: dataset, console)
    rows = RunFolder(folder).read_history()
    for row in rows:
        del row["seconds"], row["images_per_second"]
    figures = {name: result[name] for name in ("test_loss", "test_accuracy_flip", "last_epoch")}
    return rows, figures, result["weights_sha256"], lines


def test_a_whole_run_gives_the_same_numbers(tmp_path, easy_dataset, request, monkeypatch):
    monkeypatch.setattr(predicting, "EVAL_BATCH", 10)
    *usual, lines = run(tmp_path / "usual", easy_dataset)
    assert not any("fed" in line for line in lines)
    request.getfixturevalue("little_memory")
    *fed, lines = run(tmp_path / "fed", easy_dataset)
    assert fed == usual
    shown_lines = [line for line in lines if "stay in the host's memory" in line]
    assert len(shown_lines) == 1
    assert "the images take 1 MB, and cpu has 1 MB for them" in shown_lines[0]


def test_blocks_of_images_on_the_host_give_the_same_logits(easy_dataset, little_memory):
    made = Setup.create(config(DENSE), easy_dataset, devices=jax.devices()[:1])
    program = made.program
    hyper = made.place(made.hyperparameters(config(DENSE)))
    variables = program.init(hyper, easy_dataset.train.images).variables
    images = easy_dataset.test.images[:35]
    together = predicting.predict(program, variables, hyper, jax.numpy.asarray(images))
    in_blocks = predicting.predict(program, variables, hyper, images)
    np.testing.assert_array_equal(together, in_blocks)
    mirrored = predicting.predict(program, variables, hyper, images[:, :, ::-1])
    assert mirrored.shape == (35, 10)


def devices(platform, stats=None, count=1):
    device = SimpleNamespace(platform=platform, memory_stats=lambda: stats)
    return [device] * count


def test_half_of_the_free_memory_is_for_images(monkeypatch):
    monkeypatch.setattr(host_images, "available_memory", lambda: 8 * 10**9)
    assert host_images.image_memory(devices("cpu")) == 4 * 10**9
    assert host_images.image_memory(devices("cpu", count=4)) == 10**9  # they share it
    stats = {"bytes_limit": 16 * 10**9, "bytes_in_use": 4 * 10**9}
    assert host_images.image_memory(devices("gpu", stats)) == 6 * 10**9


@pytest.mark.parametrize(
    ("platform", "memory", "steps"),
    [
        ("gpu", 10**9, None),  # all images fit
        ("gpu", 10 * 16 * 3072, 8),  # more than the steps of an epoch
        ("gpu", 3 * 16 * 3072, 3),
        ("gpu", 1000, 1),
        ("cpu", 3 * 16 * 3072, 1),
    ],
)
def test_how_many_steps_are_fed_at_a_time(platform, memory, steps, easy_dataset, monkeypatch):
    monkeypatch.setattr(host_images, "image_memory", lambda _: memory)
    mesh = SimpleNamespace(local_devices=devices(platform))
    program = SimpleNamespace(mesh=mesh, batch_size=16, steps_per_epoch=8)
    assert choose_steps_per_feed(program, easy_dataset, run_count=1) == steps


def test_a_dispatch_has_no_more_steps_than_are_fed():
    mesh = SimpleNamespace(devices=np.asarray(devices("gpu"), object))
    program = SimpleNamespace(mesh=mesh, compiles_loops=True, batch_size=16, steps_per_feed=3)
    assert split_into_dispatches(8, program) == [3, 3, 2]
    program.steps_per_feed = None
    assert split_into_dispatches(8, program) == [8]


@pytest.mark.parametrize(("size", "count"), [(28, 5000), (32, 5000), (64, 1250), (224, 102)])
def test_first_weights_are_computed_from_fewer_large_images(size, count):
    assert network.init_image_count((100_000, size, size, 3)) == count


@pytest.mark.parametrize(("size", "count"), [(28, 500), (32, 500), (64, 125), (224, 32)])
def test_fewer_large_images_are_evaluated_at_a_time(size, count):
    assert predicting.eval_batch_size((10_000, size, size, 3)) == count


def test_arrays_of_other_sizes_are_refused_with_the_size(easy_dataset):
    images, labels = np.zeros((40, 40, 40, 3), np.uint8), np.arange(40) % 2
    data = Dataset.from_arrays(images, labels, images, labels, image_size=40)
    wrong = Config.create("cnn", dataset="./x.npz", batch_size=4)
    with pytest.raises(Exception, match=r"--image-size 32: the images of arrays have 40x40 pixels"):
        Setup.check(wrong, data, run_count=1)
