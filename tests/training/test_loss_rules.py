"""Update rules that use the loss, against optax called by hand on the same batches."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from conftest import ROOT, finish, start_program
from own import loss_rules
from own.net import Net

from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.config.experiment import Config
from jaxcifar.machine.compilations import FAST_COMPILE_OPTIONS
from jaxcifar.runs.array_trees import named_arrays
from jaxcifar.training.loss_rules import find_loss_use
from jaxcifar.training.parallel_runs import ParallelRuns

OWN = ROOT / "tests" / "own"
STEPS = 4
# The learning rate of "plateau" is so high that the loss rises and the rule reduces the rate.
RATES = {"plateau": 3.0, "lbfgs": 1.0, "backtracking": 1.0, "schedule_free": 0.5}


def config_with(name, **settings):
    """Each step trains on all images, so that their order does not matter."""
    settings = {"learning_rate": RATES[name], "augment": False, "schedule": "none", **settings}
    return Config.create(
        f"{OWN / 'net.py'}:Net",
        dataset="shapes10",
        epochs=STEPS,
        batch_size=128,
        optimizer=f"{OWN / 'loss_rules.py'}:{name}",
        label_smoothing=0.1,
        **settings,
    )


def trained(configs, dataset, devices):
    """Train runs of one program together, and return their states as NumPy arrays."""
    program = make_program(configs[0], 10, 128, devices)
    together = ParallelRuns(program, len(configs))
    runs = []
    for config in configs:
        hyper = make_hyperparameters(config, dataset, program.steps_per_epoch)
        order = np.arange(128, dtype=np.int32)
        runs.append((program.init(hyper, dataset.train.images), hyper, order))
    states, hypers, orders = together.join(runs)
    data = jax.device_put(dataset.train, together.replicated)
    for _ in range(STEPS):
        states, _ = together.train_steps(states, hypers, *data, orders, np.int32(1))
    return together.split(states)


def by_hand(configs, dataset):
    """Return each run's parameters and state of the rule after the steps, by optax alone."""
    images, labels = dataset.train
    pixels = jnp.float32((images / 255 - dataset.mean) / dataset.std)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, 10), 0.1)

    def loss(params):
        logits = Net().apply({"params": params}, pixels, train=True)
        return optax.softmax_cross_entropy(logits, targets).mean()

    _, _, name = configs[0].optimizer.rpartition(":")
    arguments = (configs[0].momentum,) if name == "schedule_free" else ()
    rule = getattr(loss_rules, name)(configs[0].learning_rate, *arguments)

    @partial(jax.jit, compiler_options=FAST_COMPILE_OPTIONS)
    def step(params, state):
        value, grad = jax.value_and_grad(loss)(params)
        updates, state = rule.update(grad, state, params, value=value, grad=grad, value_fn=loss)
        return optax.apply_updates(params, updates), state

    results = []
    for config in configs:
        program = make_program(config, 10, 128, jax.devices()[:1])
        hyper = make_hyperparameters(config, dataset, program.steps_per_epoch)
        params = jax.device_get(program.init(hyper, images).params)
        state = rule.init(params)
        for _ in range(STEPS):
            params, state = step(params, state)
        results.append((params, state))
    return results


def assert_close(got, expected):
    """A line search repeats its roundings at every step: a thousandth is still the same path."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4), got, expected)


@pytest.mark.parametrize("name", ["plateau", "lbfgs"])
def test_they_train_as_optax_does_by_hand(easy_dataset, name):
    config = config_with(name)
    [(params, rule_state)] = by_hand([config], easy_dataset)
    [state] = trained([config], easy_dataset, jax.devices()[:1])
    assert_close(jax.device_get(state.params), params)
    if name == "plateau":
        assert rule_state[-1].scale < 1
        assert float(state.opt_state[-1].scale) == float(rule_state[-1].scale)


def test_the_loss_is_that_of_all_devices_all_parts_and_of_each_run(easy_dataset):
    """Of two runs at the same time, the line searches end after different numbers of steps."""
    program = start_program("two_devices", env={"JAX_NUM_CPU_DEVICES": "2"})
    configs = [config_with("backtracking", seed=seed) for seed in (0, 1)]
    states = trained(configs, easy_dataset, jax.devices()[:1])
    results = by_hand(configs, easy_dataset)
    for (params, _), state in zip(results, states, strict=True):
        assert_close(jax.device_get(state.params), params)
    in_parts = json.loads(finish(program).splitlines()[-1])
    for name, array in named_arrays(results[0][0]).items():
        assert_close(np.asarray(in_parts[name]), np.asarray(array))


def test_schedule_free_evaluates_the_weights_that_optax_names(easy_dataset):
    config = config_with("schedule_free", momentum=0.75)
    [(params, rule_state)] = by_hand([config], easy_dataset)
    [state] = trained([config], easy_dataset, jax.devices()[:1])
    expected = optax.contrib.schedule_free_eval_params(rule_state, params)
    assert_close(jax.device_get(state.variables["params"]), expected)
    with pytest.raises(AssertionError):  # the weights that are trained are others
        assert_close(jax.device_get(state.params), expected)


def test_only_schedule_frees_own_parameters_are_replaced(easy_dataset):
    name = f"{OWN / 'loss_rules.py'}:schedule_free_for_the_head"
    config = dataclasses.replace(config_with("schedule_free"), optimizer=name)
    [state] = trained([config], easy_dataset, jax.devices()[:1])
    evaluated, params = jax.device_get((state.variables["params"], state.params))
    np.testing.assert_array_equal(evaluated["body"]["kernel"], params["body"]["kernel"])
    z = jax.device_get(state.opt_state.inner_states["averaged"].inner_state.z["head"]["kernel"])
    b1 = 0.9
    expected = (params["head"]["kernel"] - (1 - b1) * z) / b1
    np.testing.assert_allclose(evaluated["head"]["kernel"], expected, rtol=1e-5, atol=1e-6)
    assert np.abs(evaluated["head"]["kernel"] - params["head"]["kernel"]).max() > 1e-4


@pytest.mark.parametrize(
    ("rule", "use"),
    [
        (optax.scale_by_adam(), (False, False)),
        (optax.chain(optax.sgd(0.1), optax.scale(2.0)), (False, False)),
        (optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau()), (True, False)),
        (optax.polyak_sgd(), (True, False)),
        (optax.contrib.schedule_free_sgd(0.1), (False, False)),
        (optax.lbfgs(), (True, True)),
        (optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(9)), (True, True)),
    ],
)
def test_what_a_rule_uses_of_the_loss_is_found_by_tracing_it(rule, use):
    params = {"kernel": jnp.ones((2, 3))}
    assert find_loss_use(rule, params, rule.init(params), params) == use
