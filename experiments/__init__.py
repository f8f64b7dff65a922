"""What a person runs: `python -m experiments.NAME`."""

import importlib.util
import sys

_NEEDED = ("rich", "jax", "flax", "optax")

if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
    sys.exit(
        f"error: this Python ({sys.executable}) has no package {missing[0]}; activate the "
        "environment that jaxcifar is installed in (after make: source .venv/bin/activate)"
    )
