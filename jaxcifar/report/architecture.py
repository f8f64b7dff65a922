"""The network behind a run: as its folder describes it, never by importing what it names."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp

from jaxcifar.errors import RunError
from jaxcifar.models import create_model, drawing, summary
from jaxcifar.report.records import ARCH_TITLES, RunRecord

NETWORK_FILE = "network.json"


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What a report says of a network.

    Attributes:
      params, flops: of the whole network, FLOPs of one image.
      table: the layers, in lines.
      draw: draws it with a title into a PNG.
    """

    params: int
    flops: int
    table: str
    draw: Callable[[str, Path], None]


def read_architecture(run: RunRecord) -> Architecture:
    """What `network.json` in the run's folder describes; older runs of our own are traced anew.

    Raises:
      RunError: the folder has no description, or a damaged one; the message says so in a line.
    """
    file = run.path / NETWORK_FILE
    if file.exists():
        try:
            described = summary.Summary.from_json(file.read_text())
        except (OSError, ValueError, TypeError, KeyError, RunError) as error:
            raise RunError(f"{NETWORK_FILE} in the run's folder can't be read") from error
        return Architecture(
            params=described.params,
            flops=described.flops,
            table=described.table(),
            draw=lambda title, path: drawing.plot_network(described, title, path),
        )
    if run.config.arch not in ARCH_TITLES:
        raise RunError(f"the run's folder has no {NETWORK_FILE}")
    layers = summary.trace_layers(create_model(run.config.arch, jnp.float32))
    return Architecture(
        params=summary.count_params(layers),
        flops=summary.count_flops(layers),
        table=summary.layer_table(layers),
        draw=lambda title, path: drawing.plot_network(layers, title, path),
    )
