"""What goes into the last dense layer, of any network."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

import jaxcifar
from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError, UsageError
from jaxcifar.networks.nnx_network import nnx_network
from jaxcifar.trained.classifier import Classifier
from jaxcifar.trained.features import last_features
from jaxcifar.training.network import variable_shapes

IMAGES = np.random.RandomState(0).randint(0, 256, (5, 32, 32, 3)).astype(np.uint8)


class Mean(nn.Module):
    """Mean colours as the input of layers that a test adds; it keeps them for comparison."""

    num_classes: int = 10

    @nn.compact
    def __call__(self, x, train):
        return self.logits(nn.relu(nn.Dense(7, name="hidden")(x.mean((1, 2)))))


class Plain(Mean):
    @nn.compact
    def logits(self, x):
        return nn.Dense(self.num_classes, name="head")(x)


class Scaled(Mean):
    def logits(self, x):
        return nn.log_softmax(nn.Dense(self.num_classes, name="head")(x) / 8)


class WithLaterDense(Mean):
    def logits(self, x):
        logits = nn.Dense(self.num_classes, name="head")(x)
        nn.Dense(self.num_classes, name="unused")(x**2)
        return logits


class Rematerialised(Mean):
    def logits(self, x):
        return nn.remat(nn.Dense)(self.num_classes, name="head")(x)


class ByHand(Mean):
    def logits(self, x):
        return x @ self.param("head", nn.initializers.normal(), (7, self.num_classes))


class Squared(Mean):
    def logits(self, x):
        return nn.Dense(self.num_classes, name="head")(x) ** 2


def classifier_of(network):
    """A classifier with random weights."""
    config = Config.create("cnn", dataset="shapes10", batch_size=4, normalize=False)
    statistics = type("Statistics", (), {"mean": np.zeros(3), "std": np.ones(3)})
    program = make_program(config, 10, 4, jax.devices()[:1])
    program = dataclasses.replace(program, model=network, network_identity=network)
    hp = make_hyperparameters(config, statistics, program.steps_per_epoch)
    variables = network.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
    names = {"class_names": list("abcdefghij")}
    return Classifier.create(config, names, program, hp, variables)


@pytest.mark.parametrize("network", [Plain, Scaled, WithLaterDense, Rematerialised])
def test_features_of_a_users_network_by_hand(network, monkeypatch):
    classifier = classifier_of(network())
    monkeypatch.setattr("jaxcifar.trained.features.EVAL_BATCH", 2)  # three batches
    found = classifier.features(IMAGES)
    hidden = classifier.variables["params"]["hidden"]
    pixels = np.float32(IMAGES).mean((1, 2)) / 255
    expected = np.maximum(pixels @ np.asarray(hidden["kernel"]) + np.asarray(hidden["bias"]), 0)
    assert found.shape == (5, 7) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("network", [ByHand, Squared])
def test_a_network_without_a_last_dense_layer_has_no_features(network):
    with pytest.raises(UsageError, match=r"no dense layer .* computes its logits"):
        classifier_of(network()).features(IMAGES)


def test_features_that_are_no_numbers_are_refused():
    classifier = classifier_of(Plain())
    broken = jax.tree.map(lambda leaf: leaf * np.inf, classifier.variables)
    arguments = (classifier._program, broken, classifier._hyper, IMAGES, "net")
    with pytest.raises(RunError, match=r"net: .*not finite"):
        list(last_features(*arguments))


@pytest.mark.parametrize("arch, arguments", [
    ("resnet18", {"widths": (4,), "blocks": (1,)}),
    ("fastnet", {"widths": (4,)}),
    ("cnn", {"widths": (4,), "hidden": 6}),
])  # fmt: skip
def test_features_of_each_network_give_its_logits(arch, arguments):
    config = Config.create(arch, arch_args=arguments, dataset="shapes10", batch_size=4)
    statistics = type("Statistics", (), {"mean": np.full(3, 0.5), "std": np.full(3, 0.2)})
    program = make_program(config, 10, 4, jax.devices()[:1])
    hp = make_hyperparameters(config, statistics, program.steps_per_epoch)
    rng, shapes = np.random.RandomState(0), variable_shapes(program.model)

    def draw(path, leaf):
        lowest = 0.1 if jax.tree_util.keystr(path).endswith("['var']") else -0.5
        return np.float32(rng.uniform(lowest, 0.5, leaf.shape))

    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    names = {"class_names": list("abcdefghij")}
    classifier = Classifier.create(config, names, program, hp, variables)
    brightness = np.linspace(0.1, 1, len(IMAGES))[:, None, None, None]
    images = (brightness * IMAGES).astype(np.uint8)
    features, logits = classifier.features(images), classifier.logits(images)
    [last] = [
        layer
        for name, layer in variables["params"].items()
        if name == max(n for n in variables["params"] if n.startswith("Dense"))
    ]
    product = features @ np.asarray(last["kernel"]) + np.asarray(last.get("bias", 0))
    assert np.ptp(logits, axis=0).max() > 0.02 * np.abs(logits).max()  # the images differ
    factor = logits.std() / product.std()  # FastNet divides its logits
    np.testing.assert_allclose(factor * product, logits, atol=1e-3 * np.abs(logits).max())


def test_features_of_a_file_are_those_of_its_pixels(tmp_path):
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    classifier = jaxcifar.load()
    found = classifier.features(tmp_path / "a.png")
    np.testing.assert_allclose(found, classifier.features(IMAGES[:1]), atol=1e-6)


class NNXPlain(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(3, 7, rngs=rngs)
        self.head = nnx.Linear(7, 10, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.hidden(x.mean((1, 2)))))


def test_features_of_an_nnx_network_are_those_computed_by_hand():
    classifier = classifier_of(nnx_network(lambda rngs: NNXPlain(rngs)))
    found = classifier.features(IMAGES)
    hidden = classifier.variables["params"]["hidden"]
    pixels = np.float32(IMAGES).mean((1, 2)) / 255
    expected = np.maximum(pixels @ np.asarray(hidden["kernel"]) + np.asarray(hidden["bias"]), 0)
    np.testing.assert_allclose(found, expected, atol=1e-4)
