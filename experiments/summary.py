"""Show what a network is made of: `python -m experiments.summary --arch resnet18`."""

import sys
from collections.abc import Sequence

from experiments.cli import Parser, location, run_command
from jaxcifar.config import ARCHS
from jaxcifar.errors import RunError


def main(argv: Sequence[str]) -> None:
    """Print the layer table and, if asked to, draw the network."""
    parser = Parser(prog="python -m experiments.summary", description=__doc__)
    parser.add_argument("--arch", choices=ARCHS, default="resnet18")
    parser.add_argument("--plot", type=location, metavar="FILE", help="draw it (.png, .svg, .pdf)")
    options = parser.parse_args(argv)

    import jax.numpy as jnp

    from jaxcifar.models import create_model
    from jaxcifar.models.summary import layer_table, trace_layers

    layers = trace_layers(create_model(options.arch, jnp.float32))
    print(layer_table(layers), end="")
    if options.plot:
        from jaxcifar.models.drawing import plot_network

        try:
            plot_network(layers, options.arch, options.plot)
        except (OSError, ValueError) as error:  # ValueError: a suffix that can't be drawn
            raise RunError(f"--plot {options.plot}: {error}") from error


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
