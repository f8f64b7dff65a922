"""oneDNN inside XLA: where its flags are set, and that they have the effect they are set for."""

import json
import os
import subprocess
import sys
import textwrap
import warnings

import jax
import jax.numpy as jnp
import pytest

from jaxcifar.build.make_program import make_program
from jaxcifar.build.model import compute_dtype
from jaxcifar.config.experiment import Config
from jaxcifar.machine import jax_settings, onednn

CALLS = "--xla_cpu_experimental_onednn_custom_call=true"
KEEPS_OTHERS = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", f"{CALLS} {KEEPS_OTHERS}"),
        ("--xla_dump_to=x", f"--xla_dump_to=x {CALLS} {KEEPS_OTHERS}"),
        ("--xla_cpu_experimental_onednn_custom_call=false", None),
        ("flags.txt", None),
    ],
    ids=["none", "others", "set by the user", "a file"],
)
def test_flags_are_added_to_those_of_the_user(monkeypatch, flags, expected):
    monkeypatch.setattr(onednn, "could_be_on", lambda: True)
    monkeypatch.setattr(onednn, "has_matrix_instructions", lambda: True)
    monkeypatch.setattr(onednn, "_jax_has_started", lambda: False)
    monkeypatch.setenv("XLA_FLAGS", flags)
    for _ in range(2):  # the second call finds the flags
        assert onednn.turn_on_onednn() is None
        assert os.environ["XLA_FLAGS"] == (flags if expected is None else expected)


@pytest.mark.parametrize(
    ("version", "instructions", "could_be_on", "turned_on"),
    [
        ("0.12.0", "avx512f amx_bf16 amx_tile", True, True),
        ("1.0", "amx_bf16", True, True),
        ("0.11.2", "avx512f amx_bf16", False, False),
        ("0.12.0.1", "avx512f avx512_bf16", True, False),
        ("0.12.0.1", "avx512f avx2", False, False),
    ],
)
def test_it_is_turned_on_with_matrix_instructions_and_a_jaxlib_that_has_it(
    monkeypatch, tmp_path, version, instructions, could_be_on, turned_on
):
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text(f"processor : 0\nflags : fpu {instructions} sse2\n")
    monkeypatch.setattr(onednn, "_CPU_INFO", cpu_info)
    monkeypatch.setattr(onednn, "_has", onednn._has.__wrapped__)
    monkeypatch.setattr(onednn, "could_be_on", onednn.could_be_on.__wrapped__)
    monkeypatch.setattr(onednn, "_jax_has_started", lambda: False)
    monkeypatch.setattr(onednn.metadata, "version", lambda package: version)
    monkeypatch.setenv("XLA_FLAGS", "")
    onednn.turn_on_onednn()
    assert onednn.could_be_on() == could_be_on
    assert os.environ["XLA_FLAGS"] == (f"{CALLS} {KEEPS_OTHERS}" if turned_on else "")


def test_once_jax_has_started_flags_stay_and_a_warning_says_how_to_set_them(monkeypatch):
    monkeypatch.setattr(onednn, "could_be_on", lambda: True)
    monkeypatch.setattr(onednn, "has_matrix_instructions", lambda: True)
    jax.devices()
    monkeypatch.setenv("XLA_FLAGS", "--xla_embed_ir_in_executable=false")
    [message] = jax_settings.use_package_settings()
    assert f'import jaxcifar first, or set XLA_FLAGS="{CALLS} {KEEPS_OTHERS}"' in message
    assert os.environ["XLA_FLAGS"] == "--xla_embed_ir_in_executable=false"
    monkeypatch.setenv("XLA_FLAGS", f"{CALLS} {KEEPS_OTHERS}")
    assert jax_settings.use_package_settings() == []


def test_importing_the_package_sets_the_flags_and_imports_no_jax():
    script = "import jaxcifar, os, sys; print(os.environ['XLA_FLAGS'], 'jax' in sys.modules)"
    environment = {**os.environ, "XLA_FLAGS": ""}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    is_faster = onednn.could_be_on() and onednn.has_matrix_instructions()
    flags = f"{CALLS} {KEEPS_OTHERS}" if is_faster else ""
    assert result.stdout == f"{flags} False\n"


def test_without_it_flags_stay_and_no_program_is_compiled(monkeypatch, tmp_path):
    monkeypatch.setattr(onednn, "could_be_on", lambda: False)
    monkeypatch.setenv("XLA_FLAGS", "")
    onednn.turn_on_onednn()
    assert os.environ["XLA_FLAGS"] == ""
    monkeypatch.setattr(jax, "jit", None)
    assert not onednn.is_on.__wrapped__()


@pytest.mark.parametrize(
    ("dtype", "is_on", "model_dtype", "product_dtype"),
    [
        ("float32", True, jnp.float32, None),
        ("bfloat16", False, jnp.float32, jnp.bfloat16),
        ("bfloat16", True, jnp.bfloat16, jnp.bfloat16),
    ],
)
def test_with_it_a_network_computes_in_bfloat16_throughout(
    monkeypatch, dtype, is_on, model_dtype, product_dtype
):
    monkeypatch.setattr(onednn, "is_on", lambda: is_on)
    config = Config.create("cnn", dtype=dtype, batch_size=8)
    program = make_program(config, 10, train_examples=16, devices=jax.devices("cpu")[:1])
    assert program.model.dtype == model_dtype
    assert program.product_dtype == product_dtype


@pytest.mark.parametrize(
    ("has_matrix_instructions", "is_on", "expected"),
    [(True, True, "bfloat16"), (True, False, "float32"), (False, True, "float32")],
)
def test_auto_is_bfloat16_on_a_cpu_with_matrix_instructions_that_it_uses(
    monkeypatch, has_matrix_instructions, is_on, expected
):
    monkeypatch.setattr(onednn, "has_matrix_instructions", lambda: has_matrix_instructions)
    monkeypatch.setattr(onednn, "is_on", lambda: is_on)
    cpu = jax.devices("cpu")[0]
    assert compute_dtype(Config.create("cnn"), cpu) == jnp.dtype(expected)
    for dtype in ("float32", "bfloat16"):
        assert compute_dtype(Config.create("cnn", dtype=dtype), cpu) == jnp.dtype(dtype)


def test_auto_is_float32_for_a_network_that_has_no_dtype(monkeypatch):
    monkeypatch.setattr(onednn, "has_matrix_instructions", lambda: True)
    monkeypatch.setattr(onednn, "is_on", lambda: True)
    config = Config.create("tests/own/net.py:Net", batch_size=8)
    program = make_program(config, 10, train_examples=16, devices=jax.devices("cpu")[:1])
    assert program.product_dtype is None
    assert program.dtype == jnp.float32


@pytest.mark.parametrize("flags", ["", f"{CALLS} {KEEPS_OTHERS}"], ids=["begun", "inherited"])
def test_no_line_tells_that_its_programs_are_not_stored(monkeypatch, flags):
    monkeypatch.setattr(onednn, "could_be_on", lambda: True)
    monkeypatch.setenv("XLA_FLAGS", flags)
    entry = "Error writing persistent compilation cache entry for 'f'"
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        onednn.turn_on_onednn()
        warnings.warn(f"{entry}: MemoryError: std::bad_alloc", stacklevel=1)
        warnings.warn(f"{entry}: OSError: disk full", stacklevel=1)
    assert ["disk full" in str(warning.message) for warning in issued] == [True]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (f"{CALLS} {KEEPS_OTHERS}", [True, False]),
        (CALLS.replace("true", "false"), [False, False]),
    ],
)
def test_xla_calls_onednn_for_bfloat16_convolutions_unless_flags_forbid_it(flags, expected):
    if not onednn.could_be_on():
        pytest.skip("needs jaxlib 0.12 and a processor with instructions for bfloat16")
    script = """
        import functools, json, warnings
        import jax
        from jaxcifar.machine import compilations, jax_settings, onednn
        jax_settings.use_package_settings()
        with warnings.catch_warnings(record=True) as issued:
            is_on = onednn.is_on()
        messages = [str(warning.message) for warning in issued]
        options = compilations.WITHOUT_ONEDNN_OPTIONS
        jax.jit = functools.partial(jax.jit, compiler_options=options)
        is_on_with_options = onednn.is_on.__wrapped__()
        print(json.dumps([is_on, is_on_with_options, messages]))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    variables = os.environ | {"XLA_FLAGS": flags}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [*expected, []]
