"""JAX's plugin for CUDA, which can compile for NVIDIA's cards on a machine that has none."""

import contextlib
import ctypes
from importlib.util import find_spec
from pathlib import Path

_CUDA_PLUGINS = ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13")


def find_cuda_package() -> str | None:
    """Return the name of the package with JAX's plugin for CUDA, or None if not installed."""
    plugin = _find_cuda_plugin()
    if plugin is None:
        return None
    _, _, cuda_version = plugin.rpartition("_")
    return f"jax-{cuda_version}-plugin"


def start_cuda_plugin() -> None:
    """Start JAX's plugin for CUDA; JAX itself starts it only if there is an NVIDIA driver."""
    import jax
    from jax._src.lib import xla_client

    _load_cuda_libraries()
    jax.devices("cpu")  # JAX finds its plugins when it is first asked for devices
    if not xla_client.pjrt_plugin_initialized("cuda"):
        xla_client.initialize_pjrt_plugin("cuda")


def _load_cuda_libraries() -> None:
    """Load NVIDIA's installed libraries, which the compiler in JAX's plugin for CUDA needs."""
    plugin = _find_cuda_plugin()
    spec = find_spec(plugin) if plugin else None
    assert spec is not None and spec.submodule_search_locations  # `compiler_version` has found it
    for plugin_folder in spec.submodule_search_locations:
        folder_of_all_plugins = Path(plugin_folder).parent
        site_packages = folder_of_all_plugins.parent
        for library in sorted(site_packages.glob("nvidia/*/lib/*.so*")):
            with contextlib.suppress(OSError):  # some need the driver; the compiler needs none
                ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _find_cuda_plugin() -> str | None:
    """Return the module of JAX's plugin for CUDA, or None if it is not installed."""
    for module_name in _CUDA_PLUGINS:
        with contextlib.suppress(ModuleNotFoundError):  # there is no package jax_plugins
            if find_spec(module_name):
                return module_name
    return None
