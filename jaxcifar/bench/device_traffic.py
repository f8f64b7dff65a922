"""What a training step sends between devices, and how far that lets it scale.

The bytes are read off the compiled program. The time they take is a model, not a measurement: n
chips in m groups of g, each all-reduce first summing within the groups, every chip a part of the
bytes, then the parts between the groups, and back (Thakur, Rabenseifner and Gropp, "Optimization of
collective communication operations in MPICH", 2005):

    2 hops latency + 2 (g - 1) / g bytes / bandwidth within + 2 (m - 1) / m bytes / g / bandwidth
    between

One exchange after another, none of it hidden behind computation.
"""

import dataclasses
import math
import re
from collections.abc import Sequence

_COLLECTIVE = re.compile(
    r"= (?P<type>\(.*?\)|\S+) "
    r"(?P<kind>all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\("
)
_ARRAY = re.compile(r"\b(?P<kind>[a-z]+)(?P<bits>\d+)\[(?P<shape>[\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange between all devices: its `kind` in XLA's words, and its result's `bytes`."""

    kind: str
    bytes: int


def find_collectives(program: str) -> list[Collective]:
    """All exchanges in the text of a compiled program, in its order.

    Those of a loop's body count once.
    """
    return [
        Collective(match["kind"], sum(map(_bytes, _ARRAY.finditer(match["type"]))))
        for match in _COLLECTIVE.finditer(program)
    ]


def _bytes(array: re.Match[str]) -> int:
    sizes = [int(size) for size in array["shape"].split(",") if size]
    return math.prod(sizes) * int(array["bits"]) // 8


@dataclasses.dataclass(frozen=True)
class Machine:
    """Groups of chips that are linked closely, and less closely between groups.

    Attributes:
      name: for people.
      flops: bfloat16 multiplications and additions a second of a chip.
      group: chips of a group, g.
      bandwidth: bytes a second that a chip sends: within its group, and between groups.
      latency: seconds a hop, likewise.
      torus: dimensions of a group whose neighbours are linked in rings; None for switches, over
        which it sums by a tree.
    """

    name: str
    flops: float
    group: int
    bandwidth: tuple[float, float]
    latency: tuple[float, float]
    torus: int | None = None

    def all_reduce_seconds(self, size: int, chips: int) -> float:
        """For `size` bytes that each of `chips` has."""
        near = min(chips, self.group)
        far = chips / near
        hops = math.log2(near)
        if self.torus:  # half way round each ring
            hops = self.torus * math.ceil((near ** (1 / self.torus) - 1) / 2)
        waiting = 2 * (hops * self.latency[0] + math.log2(far) * self.latency[1])
        within = 2 * (near - 1) / near * size / self.bandwidth[0]
        between = 2 * (far - 1) / far * size / near / self.bandwidth[1]
        return waiting + within + between


# As published, bytes in one direction: NVIDIA's data sheets of H100 SXM (989 TFLOP/s, NVLink 900
# GB/s in both directions) and DGX H100 (400 Gbit/s of InfiniBand a GPU); Google Cloud's pages of
# TPU v5e (197 TFLOP/s, 400 GB/s in both directions, 256 chips, 6.4 Tbit/s between pods) and v5p
# (459, 1,200, 8,960, 50 Gbit/s a chip). The latencies are assumed.
MACHINES = (
    Machine("H100, 8 a node", 989e12, 8, (450e9, 50e9), (2e-6, 5e-6)),
    Machine("TPU v5e", 197e12, 256, (200e9, 3.1e9), (1e-6, 50e-6), torus=2),
    Machine("TPU v5p", 459e12, 8960, (600e9, 6.25e9), (1e-6, 50e-6), torus=3),
)
UTILISATION = 0.4  # of a chip's published peak, in computing


def step_seconds(
    machine: Machine, flops: float, exchanged: Sequence[Collective], chips: int
) -> float:
    """Of a training step by the model above.

    Args:
      machine: what computes.
      flops: of a chip's part of the step.
      exchanged: in the step.
      chips: how many share it.
    """
    computing = flops / (UTILISATION * machine.flops)
    return computing + sum(machine.all_reduce_seconds(c.bytes, chips) for c in exchanged)


def scaling_efficiency(
    machine: Machine, flops: float, exchanged: Sequence[Collective], chips: int, batch: str
) -> float:
    """Images a second of `chips` over those of as many single chips.

    Args:
      machine: what computes.
      flops: of a step on one chip.
      exchanged: in a step.
      chips: how many share it.
      batch: "same" over all together, however many there are, or "growing" with their number.
    """
    part = flops / chips if batch == "same" else flops
    return part / (UTILISATION * machine.flops) / step_seconds(machine, part, exchanged, chips)
