"""A run on images of another size than 32x32, from training to the report's pictures."""

import dataclasses
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from jaxcifar import Dataset
from jaxcifar.api import summarize
from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.build.model import create_model
from jaxcifar.config.experiment import Config
from jaxcifar.data import load_dataset
from jaxcifar.errors import RunError
from jaxcifar.evaluation.image_sets import load_set
from jaxcifar.runs.fit import fit
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.initial_weights import load_initial_weights
from jaxcifar.runs.mistakes import mistakes_by_cell
from jaxcifar.runs.task import Task
from jaxcifar.trained.load import load
from jaxcifar.training import network

SIZE = 72  # larger than what a run stores of an image
SMALL = {"widths": (4,), "hidden": 8}
NAMES = ("dark", "light")


def examples(count, seed, size=SIZE):
    rng = np.random.RandomState(seed)
    labels = np.arange(count) % 2
    noise = rng.randint(0, 150, (count, size, size, 3)) + 60 * labels[:, None, None, None]
    return noise.astype(np.uint8), labels


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """The settings of a short run on an .npz file, in whose folder it is."""
    folder = tmp_path_factory.mktemp("t")
    (x_train, y_train), (x_test, y_test) = examples(40, 0), examples(20, 1)
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    np.savez(folder / "x.npz", **arrays, class_names=NAMES)
    return {
        "dataset": str(folder / "x.npz"),
        "image_size": SIZE,
        "arch_args": SMALL,
        "epochs": 1,
        "batch_size": 16,
        "optimizer": "sgd",
        "shift": 9,
        "cutout": 40,
    }


@pytest.fixture(scope="module")
def run(settings, tmp_path_factory):
    """The folder of the finished run."""
    folder = tmp_path_factory.mktemp("t")
    config = Config.create("cnn", **settings)
    task = Task(config, folder / "run")
    fit(task, lambda: load_dataset(config, folder / "data", str), Console(quiet=True))
    return folder / "run"


def test_the_config_and_the_networks_table_have_the_size(run):
    assert json.loads((run / "config.json").read_text())["image_size"] == SIZE
    summary = json.loads((run / "network.json").read_text())
    assert summary["graph"][0]["output_shape"] == [SIZE, SIZE, 3]
    flattened = 4 * (SIZE // 2) ** 2  # one pool
    [dense] = [layer for layer in summary["layers"] if layer["kind"] == "Linear"][:1]
    assert dense["params"] == 8 * flattened + 8


def test_the_network_classifies_images_of_its_size_and_resizes_others(run, tmp_path):
    classifier = load(run)
    assert classifier.image_size == SIZE
    images, _ = examples(2, 2)
    logits = classifier.logits(images)
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    np.testing.assert_allclose(classifier.logits(tmp_path / "a.png"), logits[:1], rtol=1e-4)
    large, _ = examples(2, 3, 90)
    resized = np.stack(
        [Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for image in large]
    )
    np.testing.assert_array_equal(classifier.logits(large), classifier.logits(resized))
    assert classifier.features(images).shape == (2, 8)


def test_stored_images_are_thumbnails(run, settings):
    folder = RunFolder(run)
    training = folder.read_training_images(2)
    assert training["image"].shape == (8, 64, 64, 3)
    assert training["augmented"].shape == (8, 3, 64, 64, 3)
    mistakes = folder.read_mistakes(2)
    wrong = len(mistakes["index"])
    assert mistakes["image"].shape == (wrong, 64, 64, 3)
    assert folder.read_confusions(2)["image"].shape[1:] == (64, 64, 3)


def test_fewer_large_images_are_stored_by_cell():
    images, labels = np.zeros((900, 64, 64, 3), np.uint8), np.arange(900, dtype=np.int32) % 30
    logits = np.random.RandomState(0).randn(900, 30)
    data = Dataset.from_arrays(images, labels, images, labels, image_size=64)
    wrong = mistakes_by_cell(logits, data.test)
    assert len(wrong["index"]) == 100
    assert wrong["image"].nbytes <= 400 * 32 * 32 * 3


def test_images_of_another_size_are_resized_and_this_is_reported(run, tmp_path):
    (images, labels), lines = examples(6, 4, 30), []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "new" / NAMES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    found = load_set(str(tmp_path / "new"), None, NAMES, tmp_path, lines.append, SIZE)
    assert found.examples.images.shape == (6, SIZE, SIZE, 3)
    resized = f"{tmp_path.name}/new: images of 30x30 pixels are resized to {SIZE}x{SIZE}"
    assert lines == [f"{resized}, the size that the network takes."]


def test_weights_for_another_size_are_refused_with_the_size(run, settings):
    changes = {"image_size": 40, "shift": 4, "init": str(run)}
    config = Config.create("cnn", **settings | changes)
    program = make_program(config, len(NAMES), 40, jax.devices())
    dataset = SimpleNamespace(class_names=NAMES, mean=np.full(3, 0.5), std=np.full(3, 0.2))
    hyper = make_hyperparameters(config, dataset, program.steps_per_epoch)
    images = jax.ShapeDtypeStruct((40, 40, 40, 3), np.uint8)
    state = program.init.eval_shape(program, hyper, images)
    setup = SimpleNamespace(dataset=dataset, program=program)
    with pytest.raises(RunError, match=rf"--arch-args and the --image-size {SIZE} of these weig"):
        load_initial_weights(state, setup, hyper, config, str)


SHALLOW = {
    "cnn": {"widths": (4, 5, 6), "hidden": 7},
    "resnet18": {"widths": (4, 5, 6, 7), "blocks": (1, 1, 1, 1)},
    "fastnet": {"widths": (4, 6, 8), "depths": (1, 1, 1), "mirrored": True, "blurred": True},
}


@pytest.mark.parametrize("size", [28, 45, 224])
@pytest.mark.parametrize("arch", SHALLOW)
def test_the_networks_take_any_size(arch, size):
    """Traced only. The CNN's first dense layer gets the pixels that three pools of two leave."""
    config = dataclasses.replace(Config.create(arch, arch_args=SHALLOW[arch]), image_size=size)
    model = create_model(config, 7)
    variables = network.variable_shapes(model, size)
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    logits = jax.eval_shape(lambda v, x: network.predict(model, v, x), variables, images)
    assert logits.shape == (2, 7)
    if arch == "cnn":
        inputs = 6 * (size // 8) ** 2
        assert variables["params"]["Dense_0"]["kernel"].shape == (inputs, 7)
    else:
        usual = jax.tree.map(jnp.shape, network.variable_shapes(model))
        assert jax.tree.map(jnp.shape, variables) == usual


def test_the_summary_of_a_network_follows_the_size():
    """A convolution's work is in proportion to the pixels, apart from the dense layers."""
    two_stages = {"widths": (8, 16), "blocks": (1, 1)}
    usual, large = (summarize("resnet18", image_size=size, **two_stages) for size in (32, 64))
    assert usual.params == large.params
    dense = 16 * 10
    assert large.macs - dense == 4 * (usual.macs - dense)
