"""Whatever a person has set in JAX, training and predicting give the same, or name the setting."""

import contextlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_one_line_error, command, enable_x64
from PIL import Image
from small import SMALL

import jaxcifar
from jaxcifar import RunError, UsageError
from jaxcifar.machine import environment
from jaxcifar.machine.jax_settings import compiler_settings, package_settings, use_package_settings
from jaxcifar.trained.load import SHIPPED_WEIGHTS

# By the names of their variables: the context managers by which a calling program sets them.
SET = {
    "JAX_ENABLE_X64": lambda: enable_x64(True),
    "JAX_DEFAULT_PRNG_IMPL": lambda: jax.default_prng_impl("rbg"),
    "JAX_THREEFRY_PARTITIONABLE": lambda: jax.threefry_partitionable(False),
    "JAX_ENABLE_CUSTOM_PRNG": lambda: jax.enable_custom_prng(True),
    "JAX_DEFAULT_MATMUL_PRECISION": lambda: jax.default_matmul_precision("highest"),
    "JAX_DISABLE_JIT": lambda: jax.disable_jit(),
    "JAX_NUMPY_DTYPE_PROMOTION": lambda: jax.numpy_dtype_promotion("strict"),
    "JAX_NUMPY_RANK_PROMOTION": lambda: jax.numpy_rank_promotion("raise"),
    "JAX_CHECK_TRACER_LEAKS": lambda: jax.checking_leaks(),
    "JAX_DEBUG_KEY_REUSE": lambda: jax.debug_key_reuse(True),
    "JAX_TRANSFER_GUARD": lambda: jax.transfer_guard("disallow"),
    "JAX_TRANSFER_GUARD_HOST_TO_DEVICE": lambda: jax.transfer_guard_host_to_device("disallow"),
}
RESPECTED = {
    "JAX_DEBUG_NANS": lambda: jax.debug_nans(True),
    "JAX_DEBUG_INFS": lambda: jax.debug_infs(True),
    "JAX_LEGACY_PRNG_KEY": lambda: jax.legacy_prng_key("error"),
    "JAX_LOG_COMPILES": lambda: jax.log_compiles(True),
}


def settings_of(config):
    """The settings of a run that compiles in a moment."""
    return {"arch_args": SMALL, "epochs": 1, "batch_size": 32, **config}


def weights(classifier):
    """All arrays of a network."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(classifier.variables)]


@pytest.fixture(scope="module")
def shipped():
    """The network that comes with the package."""
    return jaxcifar.load()


def drawn():
    """What depends on most of the settings: random numbers, a product, their types."""
    numbers = jax.random.normal(jax.random.key(3), (4, 4))
    return np.asarray(jnp.arange(4) * 0.5 @ numbers + np.float64(1))


@pytest.mark.parametrize("name", SET)
def test_a_setting_is_set_aside_and_named(name, shipped, easy_dataset):
    images, expected = easy_dataset.test.images[:2], drawn()
    probabilities = shipped.predict(images).probabilities
    with SET[name]():
        with package_settings() as lines:
            inside = drawn()
        with pytest.warns(UserWarning, match=f"{name}=.* is set aside") as warned:
            predicted = shipped.predict(images)
    assert len(lines) == len(warned) == 1
    assert warned[0].filename == __file__
    assert inside.dtype == expected.dtype
    np.testing.assert_array_equal(inside, expected)
    np.testing.assert_array_equal(predicted.probabilities, probabilities)


@pytest.mark.parametrize("name", RESPECTED)
def test_a_setting_is_respected(name, shipped, easy_dataset):
    images = easy_dataset.test.images[:2]
    probabilities = shipped.predict(images).probabilities
    with RESPECTED[name](), warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(shipped.predict(images).probabilities, probabilities)


def test_training_is_the_same_within_all_of_them(easy_dataset, tmp_path):
    usual = jaxcifar.train("cnn", easy_dataset, run_dir=tmp_path / "usual", **settings_of({}))
    with contextlib.ExitStack() as stack, pytest.warns(UserWarning, match="is set aside"):
        for setting in (SET | RESPECTED).values():
            stack.enter_context(setting())
        within = jaxcifar.train("cnn", easy_dataset, run_dir=tmp_path / "set", **settings_of({}))
        again = jaxcifar.load(tmp_path / "set")
        assert "FLOPs: 39,356,160" in jaxcifar.summarize("cnn").table()
    for expected, *found in zip(weights(usual), weights(within), weights(again), strict=True):
        for array in found:
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)


def test_an_error_names_the_setting_by_which_jax_stops_at_nan(easy_dataset, tmp_path):
    blown_up = settings_of({"optimizer": "sgd", "learning_rate": 1e30})
    with jax.debug_nans(True), pytest.raises(RunError, match="JAX_DEBUG_NANS is set"):
        jaxcifar.train("cnn", easy_dataset, run_dir=tmp_path / "run", **blown_up)


@contextlib.contextmanager
def set_globally(name, value):
    """What `jax.config.update` or an environment variable does."""
    before = jax.config.values[name]
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, before)


def test_a_setting_that_cannot_be_set_aside_is_refused(shipped, easy_dataset):
    with (
        set_globally("jax_random_seed_offset", 1),
        pytest.raises(UsageError, match=r"JAX_RANDOM_SEED_OFFSET=1: .*unset it"),
    ):
        shipped.predict(easy_dataset.test.images[:2])


@pytest.mark.skipif(not hasattr(jax, "set_mesh"), reason="this version of JAX has no set_mesh")
def test_a_mesh_of_the_caller_is_refused(shipped, easy_dataset):
    mesh = jax.make_mesh((1,), ("x",), devices=jax.devices()[:1])
    with jax.set_mesh(mesh), pytest.raises(UsageError, match=r"outside of jax\.set_mesh"):
        shipped.predict(easy_dataset.test.images[:2])


def test_a_command_sets_aside_for_all_its_threads():
    expected = drawn()
    with set_globally("jax_default_prng_impl", "rbg"), set_globally("jax_enable_x64", True):
        [x64, implementation] = use_package_settings()
        assert x64.startswith("JAX_ENABLE_X64=True is set aside")
        assert implementation.startswith("JAX_DEFAULT_PRNG_IMPL=rbg is set aside")
        assert use_package_settings() == []
        assert drawn().dtype == expected.dtype
        np.testing.assert_array_equal(drawn(), expected)


def test_flags_of_the_compiler_are_recorded(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    monkeypatch.delenv("LIBTPU_INIT_ARGS", raising=False)
    with set_globally("jax_use_direct_linearize", False):
        found = compiler_settings()
    assert found["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=true"
    assert found["JAX_USE_DIRECT_LINEARIZE"] == "False"
    assert "LIBTPU_INIT_ARGS" not in found


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable to initialize it")])
def test_devices_that_are_not_there(error, monkeypatch):
    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    with set_globally("jax_platform_name", ""), set_globally("jax_platforms", None):
        with pytest.raises(RunError, match="JAX finds no device"):
            environment.first_devices(None)
        jax.config.update("jax_platform_name", "gpu")
        with pytest.raises(UsageError, match="JAX_PLATFORM_NAME=gpu: there is no such device"):
            environment.first_devices(None)


@pytest.mark.parametrize("name", ["run", "predict", "evaluate", "export"])
def test_each_command_names_the_platform_that_is_not_there(name, tmp_path, shapes_dir):
    new = str(tmp_path / "new")
    photo = str(tmp_path / "photo.png")
    Image.new("RGB", (32, 32)).save(photo)
    words = {
        "run": ["--dataset", "shapes10", "--data-dir", shapes_dir, "--run-dir", new],
        "predict": [photo],
        "evaluate": [str(SHIPPED_WEIGHTS)],
        "export": [str(SHIPPED_WEIGHTS), "--to", "stablehlo", f"{new}.stablehlo"],
    }
    done = command(name, *words[name], env={"JAX_PLATFORMS": "cuda"})
    assert_one_line_error(done, 2, "JAX_PLATFORMS=cuda", "no such device", "unset it")
    assert not list(tmp_path.glob("new*"))


def test_a_value_that_jax_does_not_understand_is_named(tmp_path):
    words = [str(SHIPPED_WEIGHTS), "--to", "onnx", str(tmp_path / "x.onnx")]
    done = command("export", *words, env={"JAX_ENABLE_X64": "perhaps"})
    assert_one_line_error(done, 2, "JAX_ENABLE_X64", "perhaps", "unset it")
