"""Reading exchanges off a program, and the model of their time against hand calculations."""

import pytest

from jaxcifar.bench.device_traffic import MACHINES, Collective, Machine, collectives, efficiency

PROGRAM = """
  %a = f32[2,32]{1,0} all-reduce(%x), channel_id=1, to_apply=%add
  %b = (f32[10]{0}, bf16[3,4]{1,0}, s32[]) all-reduce-start(%p, %q, %r), channel_id=2
  %c = f32[10]{0} get-tuple-element(%b), index=0
  ROOT %d = f32[8,2]{1,0} all-gather(%a), dimensions={0}
"""


def test_collectives():
    assert collectives(PROGRAM) == [
        Collective("all-reduce", 4 * 64),
        Collective("all-reduce", 4 * 10 + 2 * 12 + 4),
        Collective("all-gather", 4 * 16),
    ]


def test_an_all_reduce_by_hand():
    switched = Machine("", 1e12, 8, (100e9, 10e9), (1e-6, 10e-6))
    assert switched.all_reduce_seconds(1000, 1) == 0
    assert switched.all_reduce_seconds(10**9, 8) == pytest.approx(6e-6 + 2 * 7 / 8 / 100)
    # Between four groups each chip has an eighth of the bytes to send.
    within, between = 2 * 7 / 8 / 100, 2 * 3 / 4 / 8 / 10
    assert switched.all_reduce_seconds(10**9, 32) == pytest.approx(46e-6 + within + between)
    rings = Machine("", 1e12, 64, (100e9, 10e9), (1e-6, 10e-6), torus=2)
    assert rings.all_reduce_seconds(0, 64) == pytest.approx(2 * 2 * 4e-6)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_efficiency(machine):
    exchanged = [Collective("all-reduce", 10**7)]
    assert efficiency(machine, 1e12, exchanged, 1, "same") == pytest.approx(1)
    assert efficiency(machine, 1e12, [], 64, "same") == pytest.approx(1)
    growing = [efficiency(machine, 1e12, exchanged, n, "growing") for n in (8, 64, 1024)]
    same = [efficiency(machine, 1e12, exchanged, n, "same") for n in (8, 64, 1024)]
    assert 1 > growing[0] > growing[1] > growing[2] > 0
    assert all(a > b for a, b in zip(growing, same, strict=True))
