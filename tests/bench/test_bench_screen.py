"""What the bench prints and writes, from invented figures that all differ; sizes of its work."""

import io
import json
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from jaxcifar import bench
from jaxcifar.bench import sizes
from jaxcifar.bench.bench_chart import plot_rates
from jaxcifar.bench.bench_progress import BenchProgress
from jaxcifar.bench.contestant import Contestant, ContestantSpec
from jaxcifar.bench.work import Work
from jaxcifar.commands import bench as bench_command
from jaxcifar.commands.shared import rates
from jaxcifar.commands.shared.bench_options import expected_time
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError

NET = "tests/own/net.py:Net"


def row(phase, implementation, dtype, rate, memory, **more):
    return {
        "arch": "cnn",
        "phase": phase,
        "implementation": implementation,
        "dtype": dtype,
        "images_per_second": rate,
        "spread": rate and [rate - 1000, rate + 1000],
        "peak_memory_bytes": memory,
        "rounds": 5,
        **more,
    }


ROWS = [
    row("train", "jaxcifar", "float32", 12345.6, 1.11e9),
    row("eval", "jaxcifar", "float32", 54321.4, 2.22e9),
    row("train", "torch", "bfloat16", 6789.2, 3.33e9, ratio=1.818, ratio_spread=[1.7, 1.921]),
    row("eval", "torch", "bfloat16", 23456.7, 4.44e9, ratio=2.316, ratio_spread=[2.2, 2.4]),
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
    rates.show_speeds(Console(file=out, width=400, emoji=False, highlight=False), figures)
    return out.getvalue().splitlines()


def test_each_figure_of_the_table_stands_in_its_row_and_column():
    lines = shown(rows=ROWS)
    assert lines[0] == "a device, jax 1.2.3"
    cells = [line.split() for line in lines if line.split()[:1] in (["train"], ["eval"])]
    assert cells == [
        ["eval", "jaxcifar", "float32", "54,321", "2.22"],
        ["eval", "torch", "bfloat16", "23,457", "2.32", "2.20-2.40", "4.44"],
        ["train", "jaxcifar", "float32", "12,346", "1.11"],
        ["train", "torch", "bfloat16", "6,789", "1.82", "1.70-1.92", "3.33"],
    ]
    [heads] = [line.split() for line in lines if "implementation" in line]
    assert heads == [
        *("phase", "implementation", "precision", "images/s", "over", "it", "from-to"),
        "GB",
    ]


def test_a_row_without_figures_is_shown_with_dashes_and_its_reason():
    unknown = {"ratio": None, "ratio_spread": None}
    nothing = row("train", "torch compiled", "float32", None, None, **unknown)
    never_ready = {**nothing, "rounds": 0, "left_out": "it is not ready after 900 s"}
    briefly = row("train", "torch", "bfloat16", 47.4, 5.8e8, ratio=12.3, ratio_spread=None)
    slow = {**briefly, "rounds": 0, "left_out": "it is too slow"}
    lines = shown(rows=[never_ready, slow])
    cells = [line.split() for line in lines if line.split()[:1] == ["train"]]
    assert cells == [
        ["train", "torch", "compiled", "float32", "-", "-", "-"],
        ["train", "torch", "bfloat16", "~47", "12.30", "0.58"],
    ]
    assert lines[-3:] == [
        "torch compiled float32 was left out of the rounds: it is not ready after 900 s",
        "torch bfloat16 was left out of the rounds: it is too slow",
        "~ marks an estimate from the first steps",
    ]


def test_ratios_are_shown_by_network_and_phase():
    in_rounds = {"float32_spread": [3.01, 3.204], "any_spread": [1.5, 1.7]}
    unknown = {"float32_spread": None, "any_spread": None}
    ratio = {
        "cnn": {
            "train": {"float32": 3.14, "any": 1.62, **in_rounds},
            "eval": {"float32": 2.72, "any": 0.58, **unknown},
        },
        "resnet18": {"train": {"float32": 1.41, "any": 0.69, **in_rounds}},
    }
    assert shown(ratio=ratio)[1:] == [
        "cnn train: 3.14 (3.01-3.20) x PyTorch's best float32, "
        "1.62 (1.50-1.70) x its best of any precision",
        "cnn eval: 2.72 x PyTorch's best float32, 0.58 x its best of any precision",
        "resnet18 train: 1.41 (3.01-3.20) x PyTorch's best float32, "
        "0.69 (1.50-1.70) x its best of any precision",
    ]


def test_first_steps_epochs_and_runs_at_once_are_shown():
    assert shown(ours={"cnn": OURS})[1:] == [
        "cnn: first step after 31.4 s, 8.6 s with a warm compilation cache; a run's epoch of "
        "44,800 images takes 3.63 s; a run of two epochs spends 0.79 s on other work than training "
        "steps",
        "cnn: 2 at once, 20,011 images/s",
        "cnn: 4 at once, ~30,022 images/s",
        "cnn, 4 at once was left out of the rounds: it is too slow",
        "~ marks an estimate from the first steps",
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

    def measure(work, peer, rounds, progress, estimate_later_seconds, time_limit):
        asked["measure"] = work, peer, rounds, time_limit
        rows = [{"phase": "train", "milliseconds": 7.5}, {"phase": "eval", "milliseconds": 2.5}]
        return {"rows": rows, "ratio": {"train": "a ratio"}}

    def measure_startup(work, milliseconds, progress):
        asked["measure_startup"] = work, milliseconds
        return {"epoch_seconds": 3.0}

    def measure_parallel_runs(work, numbers, rounds, progress):
        asked["at_once"] = work, numbers, rounds
        return ["so fast"]

    monkeypatch.setattr(bench, "measure_implementations", measure)
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
    options = bench_command.parser().parse_args([*words, "--at-once", "2", "5", "--minutes", "7"])
    figures = {"rows": [], "ratio": {}, "ours": {}}
    progress = BenchProgress(Console(file=io.StringIO()), "net")
    bench_command.measure_network(NET, options, on_cpu, figures, progress)

    work = Work(NET, "float32", 128, steps, test_images, eval_batch=asked["measure"][0].eval_batch)
    assert asked == {
        "measure": (work, None, 3, 7 * 60),
        "measure_startup": (work, 7.5),  # of a training step
        "at_once": (work, at_once, 3),
    }
    assert figures["ratio"] == {NET: {"train": "a ratio"}}
    ours = {"epoch_seconds": 3.0, "at_once": ["so fast"]}
    assert figures["ours"] == {NET: ours}
    assert json.loads((tmp_path / "x.json").read_text()) == figures


def test_the_time_after_the_contest_is_that_calculated_by_hand():
    """A round of 20 steps of 4 images takes 10 s, getting ready 3 s."""
    work = Work("cnn", "float32", 4, 20, 8, 8)
    entry = ContestantSpec("jaxcifar float32", "jaxcifar", work)
    ours = Contestant(entry, seconds_to_get_ready=3.0, rates={"train": [5.0, 8.0]})
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


def test_the_bars_of_the_chart_are_the_rates():
    figure = chart_of(ROWS)
    panels = {panel.get_title(): panel for panel in figure.axes}
    assert set(panels) == {"cnn, training, batch 128", "cnn, evaluation, batch 128"}
    for title, phase in (("training", "train"), ("evaluation", "eval")):
        panel = panels[f"cnn, {title}, batch 128"]
        rows = [row for row in ROWS if row["phase"] == phase]
        assert [bar.get_width() for bar in panel.patches] == [r["images_per_second"] for r in rows]
        assert [list(line.get_xdata()) for line in panel.lines] == [row["spread"] for row in rows]
        labels = [label.get_text() for label in panel.get_yticklabels()]
        assert labels == ["jaxcifar float32", "torch bfloat16"]


def test_a_chart_of_contestants_without_rates_has_no_bars(tmp_path):
    dead = row("train", "torch", "float32", None, None, rounds=0)
    figure = chart_of([dead, {**dead, "phase": "eval"}])
    assert [len(panel.patches) for panel in figure.axes] == [0, 0]


def chart_of(rows):
    """Draw the chart of these rows, and return its figure."""
    figures = []
    with pytest.MonkeyPatch.context() as patch:
        save = Figure.savefig
        patch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))
        plot_rates([{**row, "batch_size": 128} for row in rows], "a title", io.BytesIO(), "png")
    file = io.BytesIO()
    save(figures[0], file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
    return figures[0]


def test_the_time_is_shown_before_it_is_spent():
    options = SimpleNamespace(minutes=20, rounds=5)
    assert expected_time(["cnn"], options).startswith(
        "measuring takes at most about 20 min for cnn:"
    )
    three = expected_time(["cnn", "resnet18", "fastnet"], options)
    assert "20 min for each of cnn, resnet18, fastnet, 60 min in all" in three


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
    with pytest.raises(RunError, match="--ablation --bad: the ablation failed"):
        bench_command.time_ablation(["--bad"])
