"""Reading exchanges off a program, and the model of their time against hand calculations."""

import math
import re

import pytest
from conftest import ROOT, command

from jaxcifar.bench.device_traffic import (
    MACHINES,
    Collective,
    Machine,
    find_collectives,
    scaling_efficiency,
)

PROGRAM = """
  %a = f32[2,32]{1,0} all-reduce(%x), channel_id=1, to_apply=%add
  %b = (f32[10]{0}, bf16[3,4]{1,0}, s32[]) all-reduce-start(%p, %q, %r), channel_id=2
  %c = f32[10]{0} get-tuple-element(%b), index=0
  ROOT %d = f32[8,2]{1,0} all-gather(%a), dimensions={0}
"""


def test_all_collectives_of_a_program_are_found():
    assert find_collectives(PROGRAM) == [
        Collective("all-reduce", 4 * 64),
        Collective("all-reduce", 4 * 10 + 2 * 12 + 4),
        Collective("all-gather", 4 * 16),
    ]


def test_an_all_reduce_takes_the_seconds_calculated_by_hand():
    switched = Machine("", 1e12, 8, (100e9, 10e9), (1e-6, 10e-6))
    assert switched.all_reduce_seconds(1000, 1) == 0
    assert switched.all_reduce_seconds(10**9, 8) == pytest.approx(6e-6 + 2 * 7 / 8 / 100)
    # Between four groups each chip has an eighth of the bytes to send.
    within, between = 2 * 7 / 8 / 100, 2 * 3 / 4 / 8 / 10
    assert switched.all_reduce_seconds(10**9, 32) == pytest.approx(46e-6 + within + between)
    rings = Machine("", 1e12, 64, (100e9, 10e9), (1e-6, 10e-6), torus_dimensions=2)
    assert rings.all_reduce_seconds(0, 64) == pytest.approx(2 * 2 * 4e-6)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_efficiency_falls_with_more_chips_and_more_exchanges(machine):
    exchanged = [Collective("all-reduce", 10**7)]
    assert scaling_efficiency(machine, 1e12, exchanged, 1, "same") == pytest.approx(1)
    assert scaling_efficiency(machine, 1e12, [], 64, "same") == pytest.approx(1)
    growing = [scaling_efficiency(machine, 1e12, exchanged, n, "growing") for n in (8, 64, 1024)]
    same = [scaling_efficiency(machine, 1e12, exchanged, n, "same") for n in (8, 64, 1024)]
    assert 1 > growing[0] > growing[1] > growing[2] > 0
    assert all(a > b for a, b in zip(growing, same, strict=True))


# As the makers publish them, in the units that they use; bandwidths in bits or bytes a second, in
# one direction or in both as the name says. Hops are our assumption, in microseconds.
PUBLISHED = {
    "H100, 8 a node": {"teraflops": 989, "group": 8, "torus": None, "hops": (2, 5)},
    "TPU v5e": {"teraflops": 197, "group": 256, "torus": 2, "hops": (1, 50)},
    "TPU v5p": {"teraflops": 459, "group": 8960, "torus": 3, "hops": (1, 50)},
}
GIGABYTES_IN_BOTH_DIRECTIONS = {"H100, 8 a node": 900, "TPU v5e": 400, "TPU v5p": 1200}
GIGABITS_BETWEEN_GROUPS = {"H100, 8 a node": 400, "TPU v5e": 6400 / 256, "TPU v5p": 50}
ASSUMED_UTILISATION = 0.4


def efficiency_by_hand(name, flops, sizes, chips, batch):
    """Return the share of a step that computes, by the formula of docs/measurements/scaling.md."""
    machine = PUBLISHED[name]
    within = GIGABYTES_IN_BOTH_DIRECTIONS[name] / 2 * 1e9
    between = GIGABITS_BETWEEN_GROUPS[name] / 8 * 1e9
    group = min(chips, machine["group"])
    groups = chips / group
    if machine["torus"]:
        side = group ** (1 / machine["torus"])
        hops = machine["torus"] * math.ceil((side - 1) / 2)
    else:
        hops = math.log2(group)
    near, far = machine["hops"]
    waiting = 2 * (hops * near + math.log2(groups) * far) * 1e-6
    seconds = 0.0
    for size in sizes:
        seconds += waiting
        seconds += 2 * (group - 1) / group * size / within
        seconds += 2 * (groups - 1) / groups * (size / group) / between
    part = flops / chips if batch == "same" else flops
    computing = part / (ASSUMED_UTILISATION * machine["teraflops"] * 1e12)
    return computing / (computing + seconds)


@pytest.mark.parametrize("batch", ["same", "growing"])
@pytest.mark.parametrize("chips", [8, 64, 1024])
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_efficiency_is_that_of_the_formula_with_the_published_figures(machine, chips, batch):
    # Two exchanges of bytes that take about as long as they wait, and as a step computes.
    sizes = [3 * 10**6, 10**7]
    exchanged = [Collective("all-reduce", size) for size in sizes]
    found = scaling_efficiency(machine, 1e11, exchanged, chips, batch)
    # The bandwidth between v5e's pods is rounded to two digits.
    assert found == pytest.approx(efficiency_by_hand(machine.name, 1e11, sizes, chips, batch), 0.01)


OWN = """
from flax import linen as nn

class Convolutions(nn.Module):
    num_classes: int = 1

    @nn.compact
    def __call__(self, images, train):
        x = nn.Conv(48, (3, 3), use_bias=False)(images)
        x = nn.Conv(96, (3, 3), strides=2, use_bias=False)(x).mean((1, 2))
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(self.num_classes)(x)
"""


def test_the_command_counts_what_a_step_sends_and_prints_the_model(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    done = command(
        "scaling", "--arch", f"{tmp_path / 'own.py'}:Convolutions", env={"COLUMNS": "200"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    parameters = 9 * 3 * 48 + 9 * 48 * 96 + 2 * 96 + 96 * 10 + 10
    # Its statistics, then loss, hits and number of images travel with the gradients.
    gradients = 4 * (parameters + 2 * 96 + 3)
    sums = 4 * 2 * 96  # of a BatchNorm, once forward and once backward
    assert (
        f"3 exchanges a step: the gradients {gradients:,} bytes, "
        f"2 others {2 * sums:,} bytes together"
    ) in done.stdout
    rows = re.findall(r"^│ +([\d,]+) │ +([\d,]+) │ +(.*) │$", done.stdout, re.M)
    found = {
        (int(chips.replace(",", "")), int(batch.replace(",", ""))): re.findall(r"(\d+)%", values)
        for chips, batch, values in rows
    }
    # 128 images cannot be shared by 1,024 chips.
    sizes = [(8, 8 * 128), (8, 128), (64, 64 * 128), (64, 128), (1024, 1024 * 128)]
    assert list(found) == sizes
    multiplications = 32 * 32 * 9 * 3 * 48 + 16 * 16 * 9 * 48 * 96 + 96 * 10
    flops = 3 * 2 * multiplications * 128  # the gradient takes two more passes
    for (chips, images), values in found.items():
        batch = "same" if images == 128 else "growing"
        expected = [
            efficiency_by_hand(name, flops, [gradients, sums, sums], chips, batch)
            for name in PUBLISHED
        ]
        assert [int(value) / 100 for value in values] == pytest.approx(expected, abs=0.006)


def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_documented_table_follows_from_the_documented_exchanges():
    text = (ROOT / "docs" / "measurements" / "scaling.md").read_text()
    lines = [cells_of(line) for line in text.splitlines() if line.startswith("| ")]
    sizes = {}
    for network, _, gradients, statistics in (cells for cells in lines if len(cells) == 4):
        exchanged = re.match(r"1, of ([\d,]+) bytes", gradients)
        others = re.match(r"(\d+), of ([\d,]+) bytes together", statistics)
        if exchanged and others:
            number, together = int(others[1]), whole(others[2])
            sizes[network] = [whole(exchanged[1]), *[together / number] * number]
    assert set(sizes) == {"ResNet-18", "the CNN"}

    batches = {"ResNet-18": 512, "the CNN": 128}
    # Of an image: the sums of the layers' products, from the networks' tables.
    products = {"ResNet-18": 555_422_720, "the CNN": 38_896_896}
    rows = [cells for cells in lines if len(cells) == 6 and cells[1].replace(",", "").isdigit()]
    assert len(rows) == 10
    network = ""
    for name, chips, images, *shares in rows:
        network = name or network
        batch = "same" if whole(images) == batches[network] else "growing"
        assert whole(images) == batches[network] * (1 if batch == "same" else whole(chips))
        flops = 3 * 2 * products[network] * batches[network]
        expected = [
            efficiency_by_hand(machine, flops, sizes[network], whole(chips), batch)
            for machine in PUBLISHED
        ]
        assert [int(share.rstrip("%")) / 100 for share in shares] == pytest.approx(
            expected, abs=0.006
        )


def whole(text):
    return int(text.replace(",", ""))
