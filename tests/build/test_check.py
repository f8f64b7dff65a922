"""A user's network, augmentation and rule: checked before training, and called by their names."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from runs.test_fit import train
from small import SMALL

from jaxcifar.build.model import check_model, create_model
from jaxcifar.build.network_arguments import check_argument
from jaxcifar.build.setup import Setup
from jaxcifar.build.update_rule import update_rule
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.training import network

FILE = ROOT / "tests" / "own" / "steps.py"
TINY = {"dataset": "shapes10", "batch_size": 32, "epochs": 1}


def config_of(**names):
    """`layers=...` stands for `FILE.py:layers`."""
    code = {kind: f"{FILE}:{name}" for kind, name in names.items()}
    if "arch" not in code:
        code |= {"arch": "cnn", "arch_args": SMALL}
    return Config.create(**code, **TINY)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"augmentation": "to_bytes"}, "returns uint8; it gets floats from 0 to 1"),
        ({"augmentation": "without_a_key"}, "TypeError"),
        ({"augmentation": "forgets_labels"}, "must return two values, images and labels"),
        (
            {"augmentation": "counts_labels"},
            "returns wrong labels; they must be a float32 array",
        ),
        ({"optimizer": "for_other_layers"}, "ValueError"),
        ({"optimizer": "grows"}, "the shapes or dtypes of its state change in a step"),
        ({"optimizer": "sums"}, "its updates have other shapes"),
    ],
)
def test_the_code_that_is_wrong_is_named(easy_dataset, names, words):
    """Beside a network of the user, which is right."""
    [(kind, name)] = names.items()
    with pytest.raises(UsageError, match=words) as error:
        Setup.check(config_of(arch="Net", **names), easy_dataset, 1, jax.devices()[:1])
    assert str(error.value).startswith(f"--{kind} {FILE}:{name}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("up_to_255", r"returns values from 0 to 2\d\d;"),
        ("divides_by_255", r"values up to 0\.00\d+ for pixels up to [01]\S*; .* division by 255"),
        ("not_a_number", "returns values from inf to inf;"),
        ("doubles_labels", "returns labels from 0 that sum to 2 to 2;"),
    ],
)
def test_pixels_out_of_range_are_found_before_training(easy_dataset, tmp_path, name, words):
    with pytest.raises(UsageError, match=words) as error:
        train(tmp_path / "run", easy_dataset, config_of(arch="Net", augmentation=name))
    assert str(error.value).startswith(f"--augmentation {FILE}:{name}: ")
    assert not (tmp_path / "run" / "config.json").exists()


def shown_by(config, dataset, path):
    screen = io.StringIO()
    train(path, dataset, config, screen=screen)
    return " ".join(screen.getvalue().split())


def test_probabilities_in_place_of_logits_are_pointed_out(easy_dataset, tmp_path):
    line = "the outputs look like probabilities (they are positive and sum to 1)"
    config = config_of(arch="Softmax")
    assert shown_by(config, easy_dataset, tmp_path / "run").count(line) == 1
    # Strong noise and contrast are no error, and logits are no probabilities.
    config = config_of(arch="Net", augmentation="noise")
    assert line not in shown_by(config, easy_dataset, tmp_path / "noise")


def test_gradients_of_several_batches_are_averaged():
    """`optax.MultiSteps` is a rule only after `gradient_transformation()`."""
    rule = update_rule(config_of(optimizer="of_two_batches"))(0.5)
    weights = {"w": jnp.zeros(2)}
    state = rule.init(weights)
    first, state = rule.update({"w": jnp.array([1.0, 2.0])}, state, weights)
    second, _ = rule.update({"w": jnp.array([3.0, 6.0])}, state, weights)
    np.testing.assert_array_equal(first["w"], [0, 0])
    np.testing.assert_allclose(second["w"], [-1, -2])


def test_a_module_may_be_named_in_place_of_its_class():
    config = config_of(arch="narrow")
    model = create_model(config, 4)
    check_model(config, model, 4)
    assert (model.width, model.num_classes) == (2, 4)


def test_a_sequential_trains_by_its_batch_and_is_evaluated_by_its_statistics():
    config = config_of(arch="layers")
    model = create_model(config, 10)
    check_model(config, model, 10)
    images = jax.random.normal(jax.random.key(0), (16, 32, 32, 3))
    variables = network.variables(*network.init(model, jax.random.key(1), images))
    keys = jax.random.key(2), jax.random.key(3)
    results = [network.forward(model, variables, images, key, None) for key in keys]
    assert np.abs(results[0][0] - results[1][0]).max() > 1e-3  # dropout
    [(_, statistics)] = results[0][1]["network"].items()
    kernel = variables["params"]["network"]["layers_0"]["kernel"]
    convolved = jax.lax.conv_general_dilated(
        images, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(
        statistics["mean"], 0.5 * np.asarray(convolved).mean((0, 1, 2)), atol=1e-5
    )
    evaluated = [network.predict(model, variables, images[:n])[:4] for n in (4, 16)]
    np.testing.assert_allclose(*evaluated, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Mean", r"steps.py:\d+: NameError: .*batch.*`axis_name: "),
        ("KeepsAKey", "its variable noise/key is a random key"),
    ],
)
def test_what_can_not_be_trained_is_explained(name, words):
    """An axis of another program; a random key among the variables."""
    config = config_of(arch=name)
    with pytest.raises(UsageError, match=words) as error:
        check_model(config, create_model(config, 10), 10)
    assert "\n" not in str(error.value)


def test_a_number_for_a_list_gets_the_way_to_write_a_list_of_one_value():
    with pytest.raises(UsageError, match=r"widths=4: .* 32,64,128, .* is written widths=4,$"):
        check_argument(Config.create("cnn"), "widths", 4, {"widths": (32, 64, 128)}, {})
