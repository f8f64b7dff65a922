"""Turn on oneDNN inside XLA, for bfloat16 convolutions on a CPU that multiplies whole matrices.

oneDNN is Intel's library of operations for neural networks, which PyTorch uses too. jaxlib 0.12
contains it, but XLA calls it only if two flags are set before JAX first looks for devices. We turn
it on only on processors with AMX instructions for bfloat16. On Intel's processors without AMX, our
own convolutions, in `jaxcifar.kernels.winograd`, are as fast or faster; on AMD's, nobody has
measured it. Users can set the flags themselves on any processor with instructions for bfloat16.

`import jaxcifar` imports this module, so it imports JAX only where JAX is needed.
"""

import functools
import os
import re
import sys
import warnings
from importlib import metadata
from pathlib import Path

_FLAGS = {
    "xla_cpu_experimental_onednn_custom_call": "true",
    # XLA's other library, YNNPACK, keeps everything except the convolutions.
    "xla_cpu_experimental_ynn_fusion_type": "-individual_convolution",
}
_CONVOLUTION_CALL = "__onednn$convolution"  # in the text of a compiled program
_UNSTORABLE_PROGRAM = "Error writing persistent compilation cache entry.*MemoryErr"  # a warning
_FIRST_VERSION = (0, 12)  # of jaxlib; older versions know the first flag, but ignore it
# Instructions for bfloat16, in Linux's list of the processor's instructions.
_MATRIX_INSTRUCTIONS = "amx_bf16"
_VECTOR_INSTRUCTIONS = "avx512_bf16"
_CPU_INFO = Path("/proc/cpuinfo")


def turn_on_onednn() -> str | None:
    """Add flags to `XLA_FLAGS` that make XLA use oneDNN, if it is faster on this processor.

    JAX reads the flags when it first looks for devices. Afterwards `XLA_FLAGS` stays as it is, and
    also if the user has set one of the flags, or names a file of flags.

    Returns:
      a message for the user if it is too late for the flags; None otherwise.
    """
    if not could_be_on():
        return None
    # XLA can't store programs that call oneDNN. They compile in seconds, so this does no harm.
    warnings.filterwarnings("ignore", _UNSTORABLE_PROGRAM)
    if not has_matrix_instructions():
        return None
    flags = os.environ.get("XLA_FLAGS", "").strip()
    variable_names_a_file = flags != "" and not flags.startswith("-")
    has_flags_already = any(name in flags for name in _FLAGS)  # by the user, or a parent process
    if variable_names_a_file or has_flags_already:
        return None
    added_flags = " ".join(f"--{name}={value}" for name, value in _FLAGS.items())
    if _jax_has_started():
        return (
            "JAX started before jaxcifar could turn on oneDNN, which makes training on this CPU "
            f'twice as fast; import jaxcifar first, or set XLA_FLAGS="{added_flags}"'
        )
    os.environ["XLA_FLAGS"] = f"{flags} {added_flags}".strip()
    return None


def _jax_has_started() -> bool:
    """Return whether JAX has looked for devices in this process. This does not import JAX."""
    xla_bridge = sys.modules.get("jax._src.xla_bridge")
    has_started = getattr(xla_bridge, "backends_are_initialized", lambda: False)
    return bool(has_started())


@functools.cache
def could_be_on() -> bool:
    """Return whether this processor and this jaxlib can convolve in bfloat16 by oneDNN."""
    has_instructions = _has(_MATRIX_INSTRUCTIONS) or _has(_VECTOR_INSTRUCTIONS)
    return has_instructions and _jaxlib_version() >= _FIRST_VERSION


def has_matrix_instructions() -> bool:
    """Return whether this processor multiplies matrices of bfloat16 by one instruction (AMX)."""
    return _has(_MATRIX_INSTRUCTIONS)


@functools.cache
def is_on() -> bool:
    """Return whether XLA convolves in bfloat16 by oneDNN in this process.

    The function compiles a small convolution, and looks for a call of oneDNN in the program. So it
    starts JAX.
    """
    if not could_be_on():
        return False
    import jax
    import jax.numpy as jnp

    images = jax.ShapeDtypeStruct((1, 8, 8, 16), jnp.bfloat16)
    kernel = jax.ShapeDtypeStruct((3, 3, 16, 16), jnp.bfloat16)
    convolve = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        program = jax.jit(convolve).lower(images, kernel).compile()
    return _CONVOLUTION_CALL in (program.as_text() or "")


def _jaxlib_version() -> tuple[int, ...]:
    """Return the first two numbers of jaxlib's version; () if jaxlib is not installed."""
    try:
        version = metadata.version("jaxlib")
    except metadata.PackageNotFoundError:
        return ()
    numbers = re.findall(r"\d+", version)
    major_and_minor = numbers[:2]
    return tuple(int(number) for number in major_and_minor)


@functools.cache
def _has(instructions: str) -> bool:
    """Return whether Linux says that this processor has some instructions, such as "amx_bf16"."""
    if not _CPU_INFO.exists():
        return False
    return instructions in _CPU_INFO.read_text("utf-8", "replace").split()
