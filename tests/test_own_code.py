"""Somebody's own network, update rule, schedule or augmentation: loaded, or told in one line."""

import dataclasses
import hashlib
import json

import jax
import numpy as np
import pytest
from conftest import assert_one_line_error, command
from test_fit import train

from jaxcifar.config import Config
from jaxcifar.errors import RunError, UsageError
from jaxcifar.models import check_model, create_model
from jaxcifar.runs.setup import Setup
from jaxcifar.training.schedules import learning_rates

NETWORKS = """
from flax import linen as nn
import jax.numpy as jnp

class Net(nn.Module):
    width: int = 4
    num_classes: int = 10

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Dense(self.width)(x.mean((1, 2))))
        return nn.Dense(self.num_classes)(x)

class Fails(Net):
    def __call__(self, x, train):
        return jnp.zeros(3)[x.shape[0], 1]

class FailsInTraining(Net):
    def __call__(self, x, train):
        if train:
            raise RuntimeError("\\n\\tnot yet")
        return jnp.zeros((len(x), 10))

class NoTrain(nn.Module):
    def __call__(self, x):
        return x

class Seven(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(7)(x.mean((1, 2)))

class Pair(Net):
    def __call__(self, x, train):
        return x, x

class Infinite(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(10)(x.mean((1, 2))) / jnp.zeros(())

def made(width=3):
    return Net(width=width)

number = 5

def gives_number():
    return 5
"""
RULES = """
import optax

def lion(learning_rate, momentum, weight_decay):
    return optax.lion(learning_rate, b1=momentum, weight_decay=weight_decay)

def none(learning_rate, momentum, weight_decay):
    return None

def warm(step, steps_per_epoch, total_steps):
    return min(1.0, step / steps_per_epoch)

def early(step, steps_per_epoch, total_steps):
    return 1 / step

def negative(step, steps_per_epoch, total_steps):
    return 1 - step

def cut(key, images):
    return images[:, :16]

def dim(key, images):
    return images / 2
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "net.py").write_text(NETWORKS)
    (folder / "rules.py").write_text(RULES)
    (folder / "syntax.py").write_text("\n\nclass Net(:\n")
    (folder / "exits.py").write_text("import sys\nsys.exit('bye')\n")
    return folder


def network(files, name, file="net.py", **settings):
    config = Config.create(f"{files / file}:{name}", **settings)
    model = create_model(config, 10)
    check_model(config, model, 10)
    return model


def test_a_class_and_a_function_both_give_the_network(files):
    assert network(files, "Net").width == 4
    assert network(files, "Net", arch_args={"width": 7}).width == 7
    assert network(files, "made", arch_args={"width": 7}).width == 7
    assert create_model(Config.create(f"{files}/net.py:Net"), 3).num_classes == 3


def test_a_module_is_named_by_its_dotted_name():
    name = "experiments.networks.mixer:Mixer"
    config = Config.create(name, arch_args={"depth": 1, "width": 8})
    assert create_model(config, 5).num_classes == 5
    assert config.network_title == "Mixer (depth 1, width 8)"


@pytest.mark.parametrize(
    ("name", "file", "settings", "words"),
    [
        ("Net", "nowhere.py", {}, ["nowhere.py", "no such file"]),
        ("Nett", "net.py", {}, ["no Nett there", "Net"]),
        ("Net", "syntax.py", {}, ["syntax.py:3", "SyntaxError"]),
        ("Net", "exits.py", {}, ["exits.py:2", "SystemExit: bye"]),
        ("Fails", "net.py", {}, ["net.py:16", "Error"]),
        ("FailsInTraining", "net.py", {}, ["net.py:21", "RuntimeError: not yet"]),
        ("NoTrain", "net.py", {}, ["no `train`"]),
        ("Seven", "net.py", {}, ["returns [2, 7]", "10 classes"]),
        ("Pair", "net.py", {}, ["returns tuple"]),
        ("number", "net.py", {}, ["no Flax module"]),
        ("gives_number", "net.py", {}, ["gives int"]),
        ("Net", "net.py", {"arch_args": {"widht": 3}}, ["widht", "did you mean width?"]),
        ("Net", "net.py", {"arch_args": {"num_classes": 3}}, ["num_classes"]),
        ("Net", "net.py", {"arch_args": {"width": "wide"}}, ["width=wide", "of the kind of 4"]),
        ("Net", "net.py", {"dropout": 0.5}, ["--dropout 0.5", "--arch-args"]),
        ("Net", "net.py", {"dtype": "bfloat16"}, ["--dtype bfloat16", "no field `dtype`"]),
    ],
)
def test_what_is_wrong_is_told_in_one_line(files, name, file, settings, words):
    with pytest.raises(UsageError) as error:
        network(files, name, file, **settings)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_logits_that_are_not_finite_stop_the_run_before_its_first_step(
    files, easy_dataset, tmp_path
):
    config = Config.create(f"{files}/net.py:Infinite", dataset="shapes10", batch_size=32, epochs=1)
    with pytest.raises(UsageError, match="not finite before the first step"):
        train(tmp_path / "run", easy_dataset, config)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def own(files, easy_dataset, **settings):
    named = {kind: f"{files}/rules.py:{name}" for kind, name in settings.items()}
    config = Config.create(
        f"{files}/net.py:Net", dataset="shapes10", batch_size=32, epochs=2, **named
    )
    return config, Setup.create(config, easy_dataset, devices=jax.devices()[:1])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer": "none"}, "gives NoneType, not an optax rule"),
        ({"augmentation": "cut"}, "the same shape"),
        ({"augmentation": "warm"}, "TypeError"),
    ],
)
def test_a_rule_that_does_not_fit_is_told_before_training(files, easy_dataset, settings, words):
    with pytest.raises(UsageError, match=words):
        own(files, easy_dataset, **settings)


@pytest.mark.parametrize(
    ("name", "words"),
    [("early", "rules.py:14: ZeroDivisionError"), ("negative", "gives -1.0 at step 2")],
)
def test_a_schedule_that_fails_is_told(files, name, words):
    config = Config.create("cnn", epochs=1, schedule=f"{files}/rules.py:{name}")
    with pytest.raises(UsageError, match=words):
        learning_rates(config, 4)


def test_a_schedule_of_ones_own_multiplies_the_rate(files):
    config = Config.create("cnn", epochs=2, learning_rate=0.1, schedule=f"{files}/rules.py:warm")
    np.testing.assert_allclose(learning_rates(config, 2), [0, 0.05, 0.1, 0.1])


def test_an_augmentation_and_a_rule_of_ones_own_are_applied(files, easy_dataset):
    """One step: the loss is that of images half as bright, every weight moves by the rate."""
    config, setup = own(files, easy_dataset, optimizer="lion", augmentation="dim")
    config = dataclasses.replace(config, augment=False, weight_decay=0.0)
    hp = setup.place(setup.hyperparameters(config))
    state, order = setup.program.init(hp), setup.program.epoch_order(hp, np.int32(0), 128)
    before = jax.device_get(state.params)
    states, hps, orders = setup.together.join([(state, hp, order)])
    states, mean = setup.together.train_steps(states, hps, *setup.train, orders, np.int32(1))
    [after] = setup.together.split(states)

    chosen = np.asarray(order)[:32]
    pixels = easy_dataset.train.images[chosen].mean((1, 2)) / 255 / 2
    x = (pixels - easy_dataset.mean) / easy_dataset.std
    for name in ("Dense_0", "Dense_1"):
        x = np.maximum(x, 0) if name == "Dense_1" else x
        x = x @ before[name]["kernel"] + before[name]["bias"]
    labels = easy_dataset.train.labels[chosen]
    losses = np.log(np.exp(x).sum(1)) - x[range(32), labels]
    assert float(mean["loss"][0]) == pytest.approx(losses.mean(), rel=1e-4)
    moved = np.abs(after.params["Dense_1"]["bias"] - before["Dense_1"]["bias"])
    np.testing.assert_allclose(moved, config.learning_rate, rtol=1e-3)


def test_a_run_keeps_the_file_and_refuses_to_go_on_with_another(files, easy_dataset, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(NETWORKS)
    settings = {"dataset": "shapes10", "batch_size": 32, "epochs": 1}
    result = train(tmp_path / "run", easy_dataset, Config.create(f"{file}:Net", **settings))
    digest = hashlib.sha256(NETWORKS.encode()).hexdigest()
    assert result["config"]["sources"] == {"arch": digest}
    assert (tmp_path / "run" / "sources" / "arch" / "mine.py").read_text() == NETWORKS
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["sources"]["arch"] == digest
    file.write_text(NETWORKS + "\n")
    with pytest.raises(UsageError, match=r"SHA-256 of .*mine.py:Net"):
        train(tmp_path / "run", easy_dataset, Config.create(f"{file}:Net", **settings))


def test_a_config_is_read_without_its_file(files):
    config = Config.create(f"{files}/net.py:Net", arch_args={"width": 5}, augment=False)
    gone = config.to_json().replace(str(files), "/nowhere")
    read = Config.from_json(gone)
    assert (read.arch, dict(read.arch_args)) == ("/nowhere/net.py:Net", {"width": 5})
    with pytest.raises(RunError, match="is no number, text"):
        Config.from_json(gone.replace("5", '{"a": 1}', 1))


def test_the_commands_tell_it_in_one_line(files):
    done = command("summary", "--arch", f"{files}/net.py:Seven")
    assert_one_line_error(done, 2, "net.py:Seven: returns [2, 7]")
    done = command("run", "--arch", f"{files}/net.py:Net", "--arch-args", "width")
    assert_one_line_error(done, 2, "NAME=VALUE")
