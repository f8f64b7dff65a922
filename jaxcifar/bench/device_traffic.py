"""The traffic between devices in a training step, and a model of how training scales with chips.

The bytes are read from the compiled program. The time that they take is a model, not a measurement.
It has n chips in m groups of g chips. An all-reduce sums within each group first, where each chip
sums one part of the bytes. Then it sums the parts between the groups, and sends the sums back
(Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH",
2005):

    2 hops latency
    + 2 (g - 1) / g bytes / bandwidth within a group
    + 2 (m - 1) / m bytes / g / bandwidth between groups

Exchanges follow one another, and computation does not hide any of their time.
"""

import dataclasses
import math
import re
from collections.abc import Sequence

_COLLECTIVE_PATTERN = re.compile(
    r"= (?P<type>\(.*?\)|\S+) "
    r"(?P<kind>all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\("
)
_ARRAY_PATTERN = re.compile(r"\b(?P<kind>[a-z]+)(?P<bits>\d+)\[(?P<shape>[\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange of data between all devices.

    Attributes:
      kind: XLA's name of the operation, such as "all-reduce".
      bytes: size of the operation's result.
    """

    kind: str
    bytes: int


def find_collectives(program: str) -> list[Collective]:
    """Return the data exchanges between devices in a compiled program's text, in text order.

    An exchange in the body of a loop is counted once.
    """
    collectives = []
    for match in _COLLECTIVE_PATTERN.finditer(program):
        array_sizes = [_array_bytes(array) for array in _ARRAY_PATTERN.finditer(match["type"])]
        collectives.append(Collective(match["kind"], sum(array_sizes)))
    return collectives


def _array_bytes(array: re.Match[str]) -> int:
    axis_sizes = [int(size) for size in array["shape"].split(",") if size]
    return math.prod(axis_sizes) * int(array["bits"]) // 8


@dataclasses.dataclass(frozen=True)
class Machine:
    """A machine of many chips, in groups with fast links inside and slower links between groups.

    Attributes:
      name: name to show.
      flops: bfloat16 multiplications and additions per second of one chip.
      chips_per_group: number of chips in a group.
      bandwidth: bytes per second that a chip sends: (within its group, between groups).
      latency: seconds for one hop: (within a group, between groups).
      torus_dimensions: number of dimensions, if the chips of a group are linked in rings. None if
        they are linked by switches, where sums are made along a tree.
    """

    name: str
    flops: float
    chips_per_group: int
    bandwidth: tuple[float, float]
    latency: tuple[float, float]
    torus_dimensions: int | None = None

    def all_reduce_seconds(self, array_bytes: int, chips: int) -> float:
        """Estimate the seconds of an all-reduce, which sums an array over all chips.

        Args:
          array_bytes: bytes of the array on each chip.
          chips: number of chips.
        """
        bandwidth_within, bandwidth_between = self.bandwidth
        latency_within, latency_between = self.latency
        chips_in_group = min(chips, self.chips_per_group)
        groups = chips / chips_in_group
        if self.torus_dimensions:  # the chips are linked in rings along each dimension
            ring_length = chips_in_group ** (1 / self.torus_dimensions)
            hops_half_way_round = math.ceil((ring_length - 1) / 2)
            hops_in_group = self.torus_dimensions * hops_half_way_round
        else:  # sums are made along a tree
            hops_in_group = math.log2(chips_in_group)
        hops_between = math.log2(groups)
        latency = hops_in_group * latency_within + hops_between * latency_between
        # Each chip sums one part of the bytes itself and sends the other parts.
        bytes_sent_within = (chips_in_group - 1) / chips_in_group * array_bytes
        bytes_sent_between = (groups - 1) / groups * array_bytes / chips_in_group
        seconds_within = bytes_sent_within / bandwidth_within
        seconds_between = bytes_sent_between / bandwidth_between
        seconds_to_sum = latency + seconds_within + seconds_between
        return 2 * seconds_to_sum  # distributing the sums takes as long as summing


# Published numbers; bandwidths are in one direction. Sources: NVIDIA's data sheets of H100 SXM (989
# TFLOP/s, NVLink 900 GB/s in both directions) and DGX H100 (400 Gbit/s of InfiniBand a GPU); Google
# Cloud's pages of TPU v5e (197 TFLOP/s, 400 GB/s in both directions, 256 chips, 6.4 Tbit/s between
# pods) and v5p (459, 1,200, 8,960, 50 Gbit/s a chip). The latencies are assumed.
MACHINES = (
    Machine("H100, 8 a node", 989e12, 8, (450e9, 50e9), (2e-6, 5e-6)),
    Machine("TPU v5e", 197e12, 256, (200e9, 3.1e9), (1e-6, 50e-6), torus_dimensions=2),
    Machine("TPU v5p", 459e12, 8960, (600e9, 6.25e9), (1e-6, 50e-6), torus_dimensions=3),
)
UTILISATION = 0.4  # fraction of a chip's published peak that training reaches


def step_seconds(
    machine: Machine, flops: float, exchanges: Sequence[Collective], chips: int
) -> float:
    """Estimate the seconds of a training step: computation, then all data exchanges one by one.

    Args:
      machine: the kind of chips and their links.
      flops: multiplications and additions of one chip in the step.
      exchanges: data exchanges between chips in the step.
      chips: number of chips.
    """
    compute_seconds = flops / (UTILISATION * machine.flops)
    exchange_seconds = [machine.all_reduce_seconds(exchange.bytes, chips) for exchange in exchanges]
    return compute_seconds + sum(exchange_seconds)


def scaling_efficiency(
    machine: Machine, flops: float, exchanges: Sequence[Collective], chips: int, batch: str
) -> float:
    """Estimate the efficiency of training on several chips: speed per chip over the speed of one.

    Args:
      machine: the kind of chips and their links.
      flops: multiplications and additions of a step on one chip.
      exchanges: data exchanges between chips in a step.
      chips: number of chips.
      batch: "same" if the chips share one batch of constant size, "growing" if the batch grows with
        the number of chips.

    Returns:
      a fraction from 0 to 1.
    """
    flops_per_chip = flops / chips if batch == "same" else flops
    compute_seconds = flops_per_chip / (UTILISATION * machine.flops)
    return compute_seconds / step_seconds(machine, flops_per_chip, exchanges, chips)
