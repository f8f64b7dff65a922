"""What the bench prints and writes, from invented figures that all differ; sizes of its work."""

import io
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console

from jaxcifar import bench
from jaxcifar.bench import sizes
from jaxcifar.bench.bench_progress import BenchProgress
from jaxcifar.bench.entrant import Entrant, EntrantSpec
from jaxcifar.bench.jaxcifar_training import JaxcifarTraining
from jaxcifar.bench.work import Work
from jaxcifar.commands import bench as bench_command
from jaxcifar.commands.shared import rates
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.machine.sharing import AXIS

NET = "tests/own/net.py:Net"


def row(phase, implementation, dtype, rate, milliseconds, flops, memory, **more):
    return {
        "arch": "cnn",
        "phase": phase,
        "implementation": implementation,
        "dtype": dtype,
        "images_per_second": rate,
        "milliseconds": milliseconds,
        "flops_per_second": flops,
        "peak_memory_bytes": memory,
        "rounds": 5,
        **more,
    }


ROWS = [
    row("train", "jaxcifar", "float32", 12345.6, 10.37, 1.26e12, 1.11e9, share_of_peak=0.41),
    row("eval", "jaxcifar", "float32", 54321.4, 2.36, 2.53e12, 2.22e9, share_of_peak=0.73),
    row("train", "torch", "bfloat16", 6789.2, 18.85, 0.69e12, 3.33e9),
    row("eval", "torch", "bfloat16", 23456.7, 5.46, 0.93e12, 4.44e9),
]
OURS = {
    "first_step_seconds": {"cold": 31.4, "warm": 8.6},
    "epoch_images": 44_800,
    "epoch_seconds": 3.63,
    "seconds_beyond_steps": 0.79,
    "at_once": [
        {"runs": 2, "images_per_second": 20_011.0, "rounds": 5},
        {"runs": 4, "images_per_second": 30_022.0, "rounds": 0, "left_out": "it is too slow"},
    ],
}


def shown(**changes):
    figures = {"device": "a device", "versions": {"jax": "1.2.3"}, "rows": [], "programs": []}
    figures |= {"ratio": {}, "ours": {}, **changes}
    out = io.StringIO()
    rates.show(Console(file=out, width=400, emoji=False, highlight=False), figures)
    return out.getvalue().splitlines()


def test_each_figure_of_the_table_stands_in_its_row_and_column():
    lines = shown(rows=ROWS)
    assert lines[0] == "a device, jax 1.2.3"
    cells = [line.split() for line in lines if line.split()[:1] in (["train"], ["eval"])]
    assert cells == [
        ["eval", "jaxcifar", "float32", "54,321", "2.4", "2.53", "73%", "2.22"],
        ["eval", "torch", "bfloat16", "23,457", "5.5", "0.93", "4.44"],
        ["train", "jaxcifar", "float32", "12,346", "10.4", "1.26", "41%", "1.11"],
        ["train", "torch", "bfloat16", "6,789", "18.9", "0.69", "3.33"],
    ]
    [heads] = [line.split() for line in lines if "implementation" in line]
    assert heads == [
        "phase",
        "implementation",
        "precision",
        "images/s",
        "batch",
        "TFLOP/s",
        "peak",
        "GB",
    ]


def test_a_row_without_figures_is_shown_with_dashes_and_its_reason():
    nothing = row("train", "torch compiled", "float32", None, None, None, None)
    never_ready = {**nothing, "rounds": 0, "left_out": "it is not ready after 900 s"}
    briefly = row("train", "torch", "bfloat16", 47.4, 2706.3, 1.1e10, 5.8e8)
    slow = {**briefly, "rounds": 0, "left_out": "it is too slow"}
    lines = shown(rows=[never_ready, slow])
    cells = [line.split() for line in lines if line.split()[:1] == ["train"]]
    assert cells == [
        ["train", "torch", "compiled", "float32", "-", "-", "-", "-"],
        ["train", "torch", "bfloat16", "~47", "2,706.3", "0.011", "0.58"],
    ]
    assert lines[-3:] == [
        "torch compiled float32 was left out of the rounds: it is not ready after 900 s",
        "torch bfloat16 was left out of the rounds: it is too slow",
        "~ is the rate of first steps, measured briefly",
    ]


def test_ratios_are_shown_by_network_and_phase():
    ratio = {
        "cnn": {"train": {"float32": 3.14, "any": 1.62}, "eval": {"float32": 2.72, "any": 0.58}},
        "resnet18": {"train": {"float32": 1.41, "any": 0.69}},
    }
    assert shown(ratio=ratio)[1:] == [
        "cnn train: 3.14 x PyTorch's best float32, 1.62 x its best of any precision",
        "cnn eval: 2.72 x PyTorch's best float32, 0.58 x its best of any precision",
        "resnet18 train: 1.41 x PyTorch's best float32, 0.69 x its best of any precision",
    ]


def test_first_steps_epochs_and_runs_at_once_are_shown():
    assert shown(ours={"cnn": OURS})[1:] == [
        "cnn: first step after 31.4 s, 8.6 s with a warm compilation cache; a run's epoch of "
        "44,800 images takes 3.63 s; 0.79 s of a run of two are not steps",
        "cnn: 2 at once, 20,011 images/s",
        "cnn: 4 at once, ~30,022 images/s",
        "cnn, 4 at once was left out of the rounds: it is too slow",
        "~ is the rate of first steps, measured briefly",
    ]


def test_multiply_accumulates_of_a_network_by_hand():
    _, macs = sizes.model_and_macs(Config.create(NET))
    assert macs == 3 * 4 + 4 * 10


@pytest.mark.parametrize(
    ("on_cpu", "macs", "steps", "test_images", "at_once"),
    [
        (True, 10**8, 20, 2_000, [2, 5]),
        (True, 10**8 + 1, 3, 500, []),
        (False, 10**8, 350, 10_000, [2, 5]),
        (False, 10**8 + 1, 100, 10_000, []),
    ],
)
def test_the_work_fits_the_network_and_the_device(
    on_cpu, macs, steps, test_images, at_once, monkeypatch, tmp_path
):
    asked = {}

    def measure(work, macs, peer, rounds, progress, estimate_rest):
        asked["measure"] = work, macs, peer, rounds
        rows = [{"phase": "train", "milliseconds": 7.5}, {"phase": "eval", "milliseconds": 2.5}]
        return {"rows": rows, "ratio": {"train": "a ratio"}, "peak_flops_per_second": 1e9}

    def measure_startup(work, milliseconds, progress):
        asked["measure_startup"] = work, milliseconds
        return {"epoch_seconds": 3.0}

    def measure_parallel_runs(work, numbers, rounds, progress):
        asked["at_once"] = work, numbers, rounds
        return ["so fast"]

    monkeypatch.setattr(bench, "measure", measure)
    monkeypatch.setattr(bench, "measure_startup", measure_startup)
    monkeypatch.setattr(bench, "measure_parallel_runs", measure_parallel_runs)
    model, _ = sizes.model_and_macs(Config.create(NET))
    monkeypatch.setattr(sizes, "model_and_macs", lambda config: (model, macs))
    words = [
        "--arch",
        NET,
        "--dtype",
        "float32",
        "--rounds",
        "3",
        "--json",
        str(tmp_path / "x.json"),
    ]
    options = bench_command.parser().parse_args([*words, "--at-once", "2", "5"])
    figures = {"rows": [], "ratio": {}, "ours": {}}
    progress = BenchProgress(Console(file=io.StringIO()), "net")
    bench_command.measure_network(NET, options, on_cpu, figures, progress)

    work = Work(NET, "float32", 128, steps, test_images, eval_batch=asked["measure"][0].eval_batch)
    assert asked == {
        "measure": (work, macs, None, 3),
        "measure_startup": (work, 7.5),  # of a training step
        "at_once": (work, at_once, 3),
    }
    assert figures["ratio"] == {NET: {"train": "a ratio"}}
    ours = {"epoch_seconds": 3.0, "peak_flops_per_second": 1e9, "at_once": ["so fast"]}
    assert figures["ours"] == {NET: ours}
    assert json.loads((tmp_path / "x.json").read_text()) == figures


def test_the_time_after_the_contest_by_hand():
    """A round of 20 steps of 4 images takes 10 s, getting ready 3 s."""
    work = Work("cnn", "float32", 4, 20, 8, 8)
    entry = EntrantSpec("jaxcifar float32", "jaxcifar", work)
    ours = Entrant(entry, None, seconds_to_get_ready=3.0, rates={"train": [5.0, 8.0]})
    starts_and_a_run = 2 * 3 + 2 * 10
    two, five = 3 + 3 * 2 * 10, 3 + 3 * 5 * 10
    seconds = bench.seconds_of_remaining_measurements([2, 5], 3, ours)
    assert seconds == pytest.approx(starts_and_a_run + two + five)


def clock_of(durations):
    """A clock of which every second reading is a duration after the one before it."""
    now = 0.0
    for duration in durations:
        yield now
        now += duration
        yield now


def test_the_peak_is_the_arithmetic_of_a_product_over_the_median_of_its_times(monkeypatch):
    shapes = []

    def matmul(a, b, preferred_element_type):
        shapes.append((a.shape, b.shape, a.dtype))
        return a[:1, :1]  # in no time

    readings = clock_of([1.0, 90.0, 3.0, 80.0, 5.0, 70.0, 7.0, 60.0, 9.0])
    monkeypatch.setattr(jnp, "matmul", matmul)
    clock = SimpleNamespace(perf_counter=lambda: next(readings))
    monkeypatch.setattr("jaxcifar.bench.jaxcifar_training.time", clock)
    mesh = Mesh(np.array(jax.devices()[:1]), (AXIS,))
    program = SimpleNamespace(mesh=mesh, replicated=NamedSharding(mesh, PartitionSpec()))
    work = SimpleNamespace(dtype="bfloat16")
    ours = SimpleNamespace(_setup=SimpleNamespace(program=program), _work=work)
    peak = JaxcifarTraining.peak_flops(ours)
    [((rows, inner), (same, columns), dtype)] = set(shapes)
    assert same == inner and dtype == jnp.bfloat16
    assert peak == pytest.approx(2 * rows * inner * columns / 9.0)


def test_an_ablation_is_timed_from_its_start_to_its_end(monkeypatch):
    asked = []

    def run(words, check):
        asked.append(words)
        return SimpleNamespace(returncode=1 if "--bad" in words else 0)

    readings = clock_of([12.5, 1.0])
    monkeypatch.setattr(bench_command, "subprocess", SimpleNamespace(run=run))
    clock = SimpleNamespace(perf_counter=lambda: next(readings))
    monkeypatch.setattr(bench_command, "time", clock)
    found = bench_command.time_ablation(["--epochs", "2"])
    assert found == {"options": ["--epochs", "2"], "seconds": 12.5}
    [words] = asked
    assert words[1:5] == ["-m", "jaxcifar.commands", "ablation", "--out"]
    assert words[6:] == ["--epochs", "2"]
    with pytest.raises(RunError, match="--ablation --bad: failed"):
        bench_command.time_ablation(["--bad"])
