"""The options of XLA by which programs in float32 do without oneDNN."""

import jax
import jax.numpy as jnp
import pytest
from small import SMALL

from jaxcifar.build.make_program import make_program
from jaxcifar.build.setup import Setup
from jaxcifar.config.experiment import Config
from jaxcifar.training import compiler_options


def program_in(dtype):
    """Return the CNN's training program on a CPU, for a dtype."""
    config = Config.create("cnn", dtype=dtype, batch_size=8)
    return make_program(config, 10, train_examples=16, devices=jax.devices("cpu")[:1])


def double(program, numbers):
    return 2 * numbers


def test_only_programs_in_float32_get_the_options_without_onednn(monkeypatch):
    # XLA refuses to compile with an option it does not know, so a refusal shows who gets it.
    monkeypatch.setattr(compiler_options, "WITHOUT_ONEDNN_OPTIONS", {"no_such_option": True})
    compiled = compiler_options.jit_for_dtype_of_program(double, (0,), {})
    assert compiled(program_in("bfloat16"), jnp.ones(2)).tolist() == [2, 2]
    with pytest.raises(Exception, match="no_such_option"):
        compiled(program_in("float32"), jnp.ones(2))
    assert compiler_options.options_for_dtype(program_in("bfloat16")) == {}
    assert compiler_options.options_for_dtype(program_in("float32")) == {"no_such_option": True}


def test_options_for_all_programs_are_passed_to_xla():
    compiled = compiler_options.jit_for_dtype_of_program(double, (0,), {"no_such_option": True})
    for dtype in ("float32", "bfloat16"):
        with pytest.raises(Exception, match="no_such_option"):
            compiled(program_in(dtype), jnp.ones(2))


def test_the_training_program_is_compiled_with_its_options(easy_dataset, monkeypatch):
    monkeypatch.setattr(compiler_options, "WITHOUT_ONEDNN_OPTIONS", {"no_such_option": True})
    config = Config.create("cnn", dataset="shapes10", batch_size=16, arch_args=SMALL)
    setup = Setup.create(config, easy_dataset, 1, jax.devices()[:1])
    setup.compile_ahead(setup.place(setup.hyperparameters(config)))
    with pytest.raises(Exception, match="no_such_option"):
        setup.train_steps  # noqa: B018 - waits for the compilation
