"""Update rules whose state has a random key: saved, and resumed bit for bit."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, stopped_after
from runs.test_checkpoint import notes_at, opened, quiet, state_at
from runs.test_fit import final_state, train, untimed
from small import SMALL

from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.machine.interrupt import Interrupted

pytestmark = pytest.mark.usefixtures("step_by_step")


def test_a_run_with_a_noisy_rule_is_resumed_bit_for_bit(easy_dataset, tmp_path):
    file = shutil.copy(ROOT / "tests" / "own" / "steps.py", tmp_path / "steps.py")
    config = Config.create(
        "cnn",
        arch_args=SMALL,
        optimizer=f"{file}:noisy",
        dataset="shapes10",
        batch_size=32,
        epochs=2,
        learning_rate=0.01,
    )
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train(whole, easy_dataset, config)
    with pytest.raises(Interrupted):
        train(resumed, easy_dataset, config, stopper=stopped_after(5))
    train(resumed, easy_dataset, config)
    assert untimed(resumed) == untimed(whole)
    states = [final_state(path, easy_dataset, config) for path in (whole, resumed)]
    weights = [state.params for state in states]
    jax.tree.map(np.testing.assert_array_equal, *weights)
    keys = [leaf for leaf in jax.tree.leaves(states[1].opt_state) if is_key(leaf)]
    assert [str(jax.random.key_impl(key)) for key in keys] == ["rbg"]


def is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def with_key(kind):
    keys = jax.random.split(jax.random.key(9, impl=kind), 3)
    return state_at(1).replace(opt_state={"keys": keys})


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
def test_keys_are_kept_with_their_kind(tmp_path, kind):
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, with_key(kind), notes_at(1))
        checkpoints.wait()
        zeros = with_key(kind).replace(
            opt_state={"keys": jax.random.split(jax.random.key(0, impl=kind), 3)}
        )
        keys = checkpoints.load_newest(zeros, quiet).state.opt_state["keys"]
        assert keys.dtype == with_key(kind).opt_state["keys"].dtype
        drawn = [
            jax.vmap(jax.random.bits)(each) for each in (keys, with_key(kind).opt_state["keys"])
        ]
        np.testing.assert_array_equal(*drawn)
        with pytest.raises(RunError, match=f"opt_state/keys/{kind} is not expected"):
            checkpoints.load(1, with_key("unsafe_rbg"))
