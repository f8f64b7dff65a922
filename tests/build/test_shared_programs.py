"""Runs that share a program in a study: the fields that are data to it, and all the others."""

import dataclasses

import jax
import numpy as np
import pytest
from small import SMALL, easy_dataset

from jaxcifar.build.learning_rates import learning_rates
from jaxcifar.build.make_program import make_program
from jaxcifar.build.training_labels import training_hyperparameters
from jaxcifar.config.experiment import Config

BASE = Config.create(
    "cnn",
    recipe="strong",
    arch_args=SMALL,
    dataset="shapes10",
    batch_size=32,
    optimizer="sgd",
    schedule="step",
    lr_scale="linear",
    small_size=16,
    small_fraction=0.5,
)
# Values of each field that is data to the program.
DATA = {
    "recipe": ("reference", "strong"),
    "learning_rate": (0.1, 0.5),
    "momentum": (0.0, 0.9),
    "nesterov": (False, True),
    "weight_decay": (0.0, 0.1),
    "bias_decay": (False, True),
    "bias_rate": (1.0, 64.0),
    "non_kernel_rate": (1.0, 3.0),
    "clip_norm": (0.0, 1.0),
    "lr_scale": ("none", "linear", "sqrt"),
    "schedule": ("none", "step", "cosine", "linear"),
    "warmup": (0.0, 0.25),
    "step_size": (1, 5),
    "gamma": (0.1, 0.5),
    "label_smoothing": (0.0, 0.2),
    "average": (0.5, 0.99),
    "class_weights": ("balanced", '{"a": 2.0}'),
    "label_noise": (0.1, 1.0),
    "mixup": (0.2, 1.0),
    "cutmix": (0.2, 1.0),
    "normalize": (False, True),
    "augment": (False, True),
    "shift": (0, 4),
    "border": ("zeros", "reflect"),
    "flip": ("random", "alternate", "none"),
    "cutout": (0, 8),
    "small_fraction": (0.25, 0.75),
    "init": ("", "weights.safetensors"),
    "init_sha256": (None, "0" * 64),
    "continue_from": ("", "run"),
    "continue_sha256": (None, "0" * 64),
    "continue_epochs": (None, 1),
    "patience": (0, 3),
    "base_batch_size": (64, 128),
    "seed": (0, 1),
}
# Values of each field that makes another program, or needs other images or another number of steps.
CODE = {
    "arch": ("cnn", "resnet18"),
    "arch_args": ((("widths", (4,)),), (("widths", (8,)),)),
    "dataset": ("shapes10", "cifar10"),
    "epochs": (1, 2),
    "batch_size": (32, 64),
    "accumulate": (1, 2),
    "optimizer": ("sgd", "adam", "adamw", "muon"),
    "average": (0.0, 0.9),
    "class_weights": ("none", "balanced"),
    "label_noise": (0.0, 0.5),
    "mixup": (0.0, 1.0),
    "cutmix": (0.0, 1.0),
    "dropout": (0.0, 0.5),
    "image_size": (32, 64),
    "small_size": (16, 32),
    "small_fraction": (0.0, 0.25),
    "augmentation": ("none", "own.py:augment"),
    "val_fraction": (0.0, 0.1),
    "fold": ("", "1/5", "2/5"),
    "train_examples": (None, 100),
    "dtype": ("float32", "bfloat16"),
    "sources": ((), (("arch", "0" * 64),)),
    "imports": ((), (("arch: own.py", "0" * 64),)),
    "data_sha256": (None, "0" * 64),
}


def configs(name, values):
    return [dataclasses.replace(BASE, **{name: value}) for value in values]


def compiled_for(config):
    """Return what must be equal where one compiled program serves two runs."""
    dataset = easy_dataset()
    program = make_program(config, 10, 128, jax.devices())
    hp = training_hyperparameters(config, dataset, program.steps_per_epoch)
    state = program.init.eval_shape(program, hp, dataset.train.images)

    def form(array):
        return np.shape(array), str(array.dtype)

    return program, jax.tree.map(form, hp), jax.tree.map(form, state)


def test_each_field_is_known_as_data_or_as_code():
    assert {*DATA, *CODE} == {field.name for field in dataclasses.fields(Config)}


@pytest.mark.parametrize("name", DATA)
def test_a_field_that_is_data_shares_a_program(name):
    assert len({config.shared_part() for config in configs(name, DATA[name])}) == 1


@pytest.mark.parametrize("name", CODE)
def test_a_field_that_is_no_data_shares_none(name):
    shared = {config.shared_part() for config in configs(name, CODE[name])}
    assert len(shared) == len(CODE[name])


@pytest.mark.parametrize("name", DATA)
def test_runs_that_share_a_program_can_be_run_by_it(name):
    """The programs, and the shapes of all that enters them, are equal."""
    first, *others = map(compiled_for, configs(name, DATA[name]))
    assert all(other == first for other in others)


def test_runs_of_different_lengths_can_be_run_by_one_program():
    """More epochs than before do not wait for the compiler again."""
    short, long = map(compiled_for, configs("epochs", (1, 50)))
    assert short == long


def test_a_run_of_very_many_steps_has_a_learning_rate_for_each():
    config = dataclasses.replace(BASE, epochs=70_000, schedule="linear")
    rates = training_hyperparameters(config, easy_dataset(), steps_per_epoch=1).learning_rate
    np.testing.assert_array_equal(rates[:70_000], learning_rates(config, 1))


NEW_LEAVES = ("class_weights", "label_noise", "mixup", "cutmix")


@pytest.mark.parametrize(
    "name", [*("average", "dropout", "batch_size", "optimizer", "small_size"), *NEW_LEAVES]
)
def test_runs_of_other_programs_are_seen_to_differ(name):
    """Or the test above could not fail."""
    first, *others = map(compiled_for, configs(name, CODE[name]))
    assert all(other != first for other in others)
