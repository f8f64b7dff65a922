"""How update rules are called: settings go by name, to users' rules too."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import ROOT

from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.setup import Setup
from jaxcifar.build.update_rule import update_rule
from jaxcifar.config.experiment import Config
from jaxcifar.config.registry import KINDS
from jaxcifar.errors import UsageError
from jaxcifar.runs.array_trees import named_arrays

NET = ROOT / "tests" / "own" / "net.py"
STATISTICS = SimpleNamespace(mean=np.zeros(3), std=np.ones(3))
# Each returns what it was called with, by its own parameters' names.
RULES = """
import functools

import optax


def named(learning_rate, momentum, weight_decay):
    return locals()

def in_another_order(learning_rate, weight_decay, momentum):
    return locals()

def rate_last(weight_decay, momentum, learning_rate):
    return locals()

def rate_by_keyword(*, momentum, learning_rate):
    return locals()

def only_decay(learning_rate, weight_decay):
    return locals()

def only_a_rate(learning_rate):
    return locals()

def by_keyword_alone(learning_rate, *, weight_decay, momentum):
    return locals()

def with_more_of_its_own(learning_rate, momentum, *, nesterov=True):
    return locals()

def far_behind(learning_rate, b1=0.9, b2=0.999, weight_decay=0.0):
    return locals()

def any_names(learning_rate, **settings):
    return {"learning_rate": learning_rate, **settings}

def other_names(lr, mu, wd):
    return locals()

def other_names_with_defaults(lr, mu=0.5, wd=0.5, eps=1e-8):
    return locals()

def one_other_name(lr, momentum, wd=0.5):
    return locals()

def any_number(*numbers):
    return dict(enumerate(numbers))

class Rule:
    def __call__(self, rate, momentum, decay):
        return {"rate": rate, "momentum": momentum, "decay": decay}

def my_adam(rate, b1=0.9, b2=0.999, eps=1e-8):
    return locals()

def my_sgd(rate, momentum=0.5, nesterov=True):
    return locals()

an_object = Rule()
partial = functools.partial(named, weight_decay=0.25)
number = 5


def sgd_named(learning_rate, weight_decay, momentum):
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate, momentum)
    )

def sgd_by_position(lr, mu, wd):
    return optax.chain(optax.add_decayed_weights(wd), optax.sgd(lr, mu))

def without_decay(learning_rate, momentum):
    return optax.sgd(learning_rate, momentum)
"""
GIVEN = {
    "named": {"learning_rate": 1, "momentum": 2, "weight_decay": 3},
    "in_another_order": {"learning_rate": 1, "momentum": 2, "weight_decay": 3},
    "only_decay": {"learning_rate": 1, "weight_decay": 3},
    "only_a_rate": {"learning_rate": 1},
    "by_keyword_alone": {"learning_rate": 1, "momentum": 2, "weight_decay": 3},
    "with_more_of_its_own": {"learning_rate": 1, "momentum": 2, "nesterov": True},
    "far_behind": {"learning_rate": 1, "b1": 0.9, "b2": 0.999, "weight_decay": 3},
    "any_names": {"learning_rate": 1, "momentum": 2, "weight_decay": 3},
    "other_names": {"lr": 1, "mu": 2, "wd": 3},
    "rate_last": {"learning_rate": 1, "momentum": 2, "weight_decay": 3},
    "rate_by_keyword": {"learning_rate": 1, "momentum": 2},
    "other_names_with_defaults": {"lr": 1, "mu": 2, "wd": 3, "eps": 1e-8},
    "one_other_name": {"lr": 1, "momentum": 2, "wd": 3},
    "any_number": {0: 1, 1: 2, 2: 3},
    "an_object": {"rate": 1, "momentum": 2, "decay": 3},
    "my_adam": {"rate": 1, "b1": 0.9, "b2": 0.999, "eps": 1e-8},
    "my_sgd": {"rate": 1, "momentum": 2, "nesterov": True},
    "partial": {"learning_rate": 1, "momentum": 2, "weight_decay": 3},
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "rules.py"
    path.write_text(RULES)
    return path


def config_with(file, name, **settings):
    return Config.create(
        f"{NET}:Net",
        dataset="shapes10",
        batch_size=32,
        epochs=1,
        optimizer=f"{file}:{name}",
        **settings,
    )


@pytest.mark.parametrize("name", GIVEN)
def test_a_users_rule_is_given_the_settings_that_it_has_parameters_for(file, name):
    rule = update_rule(config_with(file, name))
    assert rule(1, momentum=2, weight_decay=3) == GIVEN[name]


@pytest.mark.parametrize("name", ["adam", "adagrad", "adamw", "sgd"])
def test_a_rule_of_optax_gets_the_settings_that_it_has_by_name(name):
    """Not `b1=momentum` and `b2=weight_decay`, the places of optax's parameters."""
    config = Config.create("cnn", optimizer=f"optax:{name}")
    rule = update_rule(config)(0.5, momentum=0.25, weight_decay=0.125)
    by_name = {"sgd": {"momentum": 0.25}, "adamw": {"weight_decay": 0.125}}
    expected = getattr(optax, name)(0.5, **by_name.get(name, {}))
    params, grads = jnp.asarray([2.0, -4.0]), jnp.asarray([1.0, 0.5])
    states = [rule.init(params), expected.init(params)]
    for _ in range(2):
        updates, states[0] = rule.update(grads, states[0], params)
        expected_updates, states[1] = expected.update(grads, states[1], params)
        np.testing.assert_array_equal(updates, expected_updates)


def test_the_same_rule_is_equal_so_that_programs_are_shared(file):
    one, again, other = (
        update_rule(config_with(file, name)) for name in ("other_names", "other_names", "named")
    )
    assert one == again and hash(one) == hash(again)
    assert one != other


def test_what_is_no_function_is_refused(file):
    with pytest.raises(UsageError, match=r"number: is int, not a function that returns"):
        update_rule(config_with(file, "number"))


@pytest.mark.parametrize("name", KINDS["optimizer"])
def test_hyperparameters_hold_each_setting_of_the_rule_by_its_name(name):
    values = {"momentum": 0.75, "weight_decay": 0.125, "non_kernel_rate": 3.0}
    takes = KINDS["optimizer"][name].takes
    given = {key: value for key, value in values.items() if key in takes}
    config = Config.create("cnn", optimizer=name, **given)
    hp = make_hyperparameters(config, STATISTICS, steps_per_epoch=3)
    assert set(hp.rule) == set(takes)
    for key, value in given.items():
        assert hp.rule[key] == value


@pytest.mark.parametrize("name", ["sgd_named", "sgd_by_position"])
def test_names_and_places_give_the_same_rule(file, name):
    """Momentum and weight decay differ, so that exchanging them would show."""
    config = config_with(file, name, learning_rate=0.5, momentum=0.25, weight_decay=0.125)
    hp = make_hyperparameters(config, STATISTICS, steps_per_epoch=3)
    rule = update_rule(config)(hp.learning_rate[0], **hp.rule)
    params, velocity = jnp.asarray([2.0, -4.0]), np.zeros(2)
    state = rule.init(params)
    for grad in ([1.0, 0.5], [-2.0, 0.25], [4.0, 8.0]):
        velocity = 0.25 * velocity + np.asarray(grad) + 0.125 * np.asarray(params)
        updates, state = rule.update(jnp.asarray(grad), state, params)
        np.testing.assert_allclose(updates, -0.5 * velocity, rtol=1e-6)
        params = optax.apply_updates(params, updates)


def test_a_setting_that_the_rule_does_not_take_is_refused(file, easy_dataset):
    config = config_with(file, "without_decay", weight_decay=0.5)
    with pytest.raises(UsageError) as error:
        Setup.create(config, easy_dataset, devices=jax.devices()[:1])
    assert str(error.value) == (
        f"--weight-decay 0.5: --optimizer {file}:without_decay has no parameter weight_decay; "
        "add the parameter, or leave the option out"
    )
    plain = config_with(file, "without_decay")
    setup = Setup.create(plain, easy_dataset, devices=jax.devices()[:1])
    with pytest.raises(UsageError, match=r"^--weight-decay 0\.5: "):  # of another row of a study
        setup.hyperparameters(config)


OLD_NAMES = {
    "sgd": {"1/trace/bias", "1/trace/kernel"},
    "adam": {"1/count", "1/mu/bias", "1/mu/kernel", "1/nu/bias", "1/nu/kernel"},
    "adamw": {"0/count", "0/mu/bias", "0/mu/kernel", "0/nu/bias", "0/nu/kernel"},
}


@pytest.mark.parametrize("name", OLD_NAMES)
def test_the_state_of_a_rule_has_the_names_that_older_checkpoints_have(name):
    config = Config.create("cnn", optimizer=name)
    hp = make_hyperparameters(config, STATISTICS, steps_per_epoch=3)
    rule = update_rule(config)(hp.learning_rate[0], **hp.rule)
    state = rule.init({"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)})
    assert set(named_arrays(state)) == OLD_NAMES[name]
