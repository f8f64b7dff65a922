"""The bench: what it makes of its figures, and contestants that fail. Speed is not tested."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest
from conftest import (
    ROOT,
    assert_one_line_error,
    command,
    ended,
    finish,
    obeyed,
    start,
    start_program,
)
from rich.console import Console
from small import SMALL

from jaxcifar import bench
from jaxcifar.bench import contest, contestant_process
from jaxcifar.bench import contestant as contestant_module
from jaxcifar.bench.bench_progress import BenchProgress
from jaxcifar.bench.bench_rows import result_rows, speed_ratios
from jaxcifar.bench.contest import Plan, compete
from jaxcifar.bench.contestant import Contestant, ContestantSpec
from jaxcifar.bench.contestant_process import ContestantError, ContestantProcess, Deadline
from jaxcifar.bench.jaxcifar_training import JaxcifarTraining
from jaxcifar.bench.plain_flax import PlainFlaxTraining, _plain_model
from jaxcifar.bench.work import PHASES, TRAIN, Timing, Work
from jaxcifar.commands import bench as bench_command
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.exchange.torch_modules import ARCHS_IN_PYTORCH
from jaxcifar.machine import onednn

WORK = Work("cnn", "float32", batch_size=4, steps=2, test_images=8, eval_batch=8)


def contestant(implementation, dtype, **rates):
    work = dataclasses.replace(WORK, dtype=dtype)
    spec = ContestantSpec(f"{implementation} {dtype}", implementation, work)
    return Contestant(spec, rates=rates, peak_memory=77)


def test_ratios_are_to_the_best_peer_and_of_the_same_round():
    """A slow first round slows all alike, so that the ratio stays."""
    rows = result_rows([
        contestant("jaxcifar", "float32", train=[30.0, 300.0, 330.0], eval=[50.0]),
        contestant("plain flax", "float32", train=[90.0, 900.0, 900.0]),
        contestant("torch channels_last", "float32", train=[10.0, 100.0, 100.0]),
        contestant("torch compiled", "float32", train=[15.0, 200.0, 200.0]),
        contestant("torch compiled", "bfloat16", train=[40.0, 400.0, 400.0]),
    ])  # fmt: skip
    assert speed_ratios(rows) == {
        "train": {
            "float32": pytest.approx(1.65),
            "float32_spread": [1.5, 2.0],
            "any": 0.75,
            "any_spread": [0.75, pytest.approx(0.825)],
        }
    }


def test_a_ratio_without_rounds_is_that_of_the_first_steps():
    ours, slow, dead = (contestant(name, "float32") for name in ("jaxcifar", "torch", "torch dead"))
    ours.rates["train"], slow.first_rates["train"] = [300.0, 200.0, 100.0], 8.0
    rows = {row["implementation"]: row for row in result_rows([ours, slow, dead])[::2]}
    assert (rows["torch"]["ratio"], rows["torch"]["ratio_spread"]) == (25.0, None)
    assert (rows["torch dead"]["ratio"], rows["torch dead"]["ratio_spread"]) == (None, None)
    assert "ratio" not in rows["jaxcifar"]


OWN = """
from flax import linen as nn

class Linear(nn.Module):
    num_classes: int = 1
    dtype: object = None

    @nn.compact
    def __call__(self, images, train):
        return nn.Dense(self.num_classes, dtype=self.dtype)(images.mean((1, 2)))
"""


def quiet_progress():
    return BenchProgress(Console(file=io.StringIO(), width=300), "cnn")


def test_each_does_its_work_in_a_process_of_its_own_and_one_that_fails_is_left_out(tmp_path):
    """By a network of one's own, ours and as it is."""
    (tmp_path / "own.py").write_text(OWN)
    work = dataclasses.replace(WORK, arch=f"{tmp_path / 'own.py'}:Linear")
    unfit = dataclasses.replace(WORK, arch="mlp")
    works = {"jaxcifar": work, "plain flax": work, "unfit": unfit}
    implementations = {"unfit": "plain flax"}
    entries = [ContestantSpec(name, implementations.get(name, name), works[name]) for name in works]
    field = compete(entries, Plan(PHASES, rounds=1), quiet_progress())
    # Seconds would not tell whether anything was done; the result of a run does.
    with ContestantProcess("jaxcifar", "jaxcifar", work) as process:
        result = process.ask("whole_run", tmp_path / "run")
    assert result["config"]["epochs"] == result["last_epoch"]["epoch"] == 2
    assert result["examples"] == {"train": 8, "val": 8, "test": 8}
    assert np.sum(result["confusion_matrix"]) == WORK.test_images
    *able, failed = field
    for contestant in able:
        assert len(contestant.rates["train"]) == len(contestant.rates["eval"]) == 1
        assert min(contestant.rates["train"] + contestant.rates["eval"]) > 0
        assert contestant.peak_memory > 10e6
    assert failed.exclusion_reason.startswith("first steps: UsageError")
    assert failed.rates == {}


def test_the_plain_form_trains_and_has_our_networks_parameters(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    own = f"{tmp_path / 'own.py'}:Linear"
    plain = PlainFlaxTraining(dataclasses.replace(WORK, arch=own, test_images=10))
    assert (plain.evaluate(1).images, plain.evaluate(2).images) == (8, 10)
    (variables, _), _ = plain._state, plain.train(WORK.steps)
    (trained, _), _ = plain._state, plain.evaluate(1)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), variables, trained)
    assert all(jax.tree.leaves(moved))
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    for arch, parameters in {"cnn": 551_722, "resnet18": 11_173_962, "fastnet": 1_971_352}.items():
        model = _plain_model(dataclasses.replace(WORK, arch=arch))
        params = jax.eval_shape(lambda x, m=model: m.init(jax.random.key(0), x, False), images)
        assert sum(leaf.size for leaf in jax.tree.leaves(params["params"])) == parameters


def test_plain_flax_stops_its_clock_only_when_the_work_is_done(tmp_path):
    """JAX returns arrays before they are computed, so a clock that does not wait shows nothing."""
    (tmp_path / "own.py").write_text(OWN)
    work = dataclasses.replace(WORK, arch=f"{tmp_path / 'own.py'}:Linear")
    plain = PlainFlaxTraining(work)
    matrix = np.full((1000, 1000), 1e-3, np.float32)

    @jax.jit
    def slow_product(matrix):
        for _ in range(10):
            matrix = matrix @ matrix
        return matrix

    results = []

    def predict(variables, images):
        results.append(slow_product(matrix))
        return results[-1]

    def train_step(state, images, labels, step):
        results.append(slow_product(matrix))
        return state, results[-1]

    plain._predict, plain._train_step = predict, train_step
    plain.evaluate(batches=1)
    assert results[-1].is_ready()
    plain.train(steps=1)
    assert results[-1].is_ready()


def test_a_round_is_the_same_steps_as_the_one_before(monkeypatch):
    """So that images that are small at first are so in each."""
    # The test's JAX has computed already.
    cores = "jaxcifar.bench.jaxcifar_training.use_cpu_cores"
    monkeypatch.setattr(cores, lambda batch_size, parts_per_batch: None)
    run = Config.create("cnn", recipe="strong", arch_args=SMALL, batch_size=4)
    ours = JaxcifarTraining(Work.for_run(run, "float32", steps=3))
    for _ in range(2):
        ours.train(3)
        assert int(ours._training.states.step[0]) == 3


STUDY = """
title = "Two programs"
[config]
arch = "{arch}"
[rows]
plain = {{}}
rate = {{ learning_rate = 0.1 }}
exact = {{ dtype = "float32" }}
"""


def test_a_studys_rows_are_measured_as_they_are(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "study.toml").write_text(STUDY.format(arch=f"{tmp_path / 'own.py'}:Linear"))
    where = tmp_path / "rates.json"
    words = ["--study", tmp_path / "study.toml", "--dtype", "bfloat16", "--rounds", "1"]
    finish(start("bench", *map(str, words), "--json", str(where)))
    programs = json.loads(where.read_text())["programs"]
    lines = [(program["runs"], program["dtype"]) for program in programs]
    assert lines == [(["plain", "rate"], "bfloat16"), (["exact"], "float32")]
    for program in programs:
        low, high = program["spread"]
        assert 0 < low == program["images_per_second"] == high and program["batch_size"] == 128
        assert program["rounds"] == 1


def test_rows_of_a_study_share_a_rate_only_if_they_cost_the_same(monkeypatch):
    """Rows with other fractions of small images have the same program, but not the same speed."""

    def compete(specs, rounds, progress):
        return [Contestant(spec) for spec in specs]

    monkeypatch.setattr(bench, "_compete_in_training", compete)
    settings = {"arch_args": SMALL, "small_size": 24}
    runs = {
        "few small": Config.create("cnn", small_fraction=0.2, **settings),
        "many small": Config.create("cnn", small_fraction=0.5, **settings),
        "few, slower": Config.create("cnn", small_fraction=0.2, learning_rate=0.01, **settings),
    }
    rows = bench.measure_programs(runs, images_per_measurement=256, rounds=1, progress=None)
    assert [row["runs"] for row in rows] == [["few small", "few, slower"], ["many small"]]


def test_a_network_of_a_study_is_named_by_the_dtype_that_it_computes_in(monkeypatch):
    monkeypatch.setattr(
        bench, "_compete_in_training", lambda specs, *_: [Contestant(spec) for spec in specs]
    )
    monkeypatch.setattr(onednn, "has_matrix_instructions", lambda: True)
    monkeypatch.setattr(onednn, "is_on", lambda: True)
    runs = {"own": Config.create("tests/own/net.py:Net"), "cnn": Config.create("cnn")}
    rows = bench.measure_programs(runs, images_per_measurement=256, rounds=1, progress=None)
    assert {row["runs"][0]: row["dtype"] for row in rows} == {"own": "float32", "cnn": "bfloat16"}


def test_a_contestant_has_its_own_settings_of_jax():
    """JAX reads them when it is imported, which PyTorch's contestants never do."""
    code = "import sys, jaxcifar.bench.contestant_process; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_bad_options_are_one_line():
    assert_one_line_error(command("bench", "--rounds", "0"), 2, "--rounds", "0: must be at least 1")
    both = command("bench", "--study", "recipes_cnn", "--peer", "torch")
    assert_one_line_error(both, 2, "--peer", "can't be used with --study")


def test_where_pytorch_has_no_counterpart_to_any_network_it_is_not_left_out_in_silence(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    for networks in (
        ["--arch", f"{tmp_path / 'own.py'}:Linear"],
        ["--arch", "cnn", "--arch-args", "hidden=9"],
        ["--arch-args", "hidden=9"],
    ):
        done = obeyed("bench", *networks, "--peer", "torch")
        assert_one_line_error(done, 2, "--peer torch: PyTorch can be compared only for cnn,")
    unknown = obeyed("bench", "--arch", "cnnn", "--peer", "torch")
    assert_one_line_error(unknown, 2, "did you mean cnn")


@pytest.mark.parametrize("arch", ARCHS_IN_PYTORCH)
def test_pytorch_is_measured_by_the_module_that_users_get_exported(arch):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from jaxcifar.bench.torch_peer import TorchTraining

    work = Work(arch, "float32", batch_size=2, steps=1, test_images=2, eval_batch=2)
    peer = TorchTraining(work, None)
    assert type(peer._network).__module__ == f"jaxcifar.exchange.torch_modules.{arch}"
    assert peer.train(1).images == 2
    assert peer.evaluate(1).images == 2


def test_of_several_networks_those_without_a_counterpart_are_measured_and_a_line_says_so(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "own.py").write_text(OWN)
    own, asked = f"{tmp_path / 'own.py'}:Linear", {}

    def measured(work, peer, *_):
        asked[work.arch] = peer
        rows = [{"milliseconds": 1.0}]
        return {"rows": rows, "ratio": {}}

    monkeypatch.setattr(bench, "measure_implementations", measured)
    monkeypatch.setattr(bench, "measure_startup", lambda *_: {})
    monkeypatch.setattr(bench_command, "show_speeds", lambda *_: None)
    bench_command.main(["--arch", own, "cnn", "--peer", "torch"])
    assert asked == {own: None, "cnn": "torch"}
    text = " ".join(capsys.readouterr().out.split())  # the width of the screen breaks it
    assert text.count("not measured with PyTorch; PyTorch can be compared only for") == 1


class FakeContestant:
    """Answers with rates that are given by label, and moves a clock that is set.

    A rate of 0 is a contestant that hangs until the deadline, `None` one whose process ends. A list
    has the rates of one training after another, whichever process does it.
    """

    def __init__(self, now, rates, asked, running, label, work):
        self.now, self.rates, self.label, self.work = now, rates, label, work
        self.running = running  # labels of the contestants whose processes run
        self.asked = asked.setdefault(label, [])

    def __enter__(self):
        self.running.append(self.label)
        return self

    def __exit__(self, *_):
        self.running.remove(self.label)

    def ask(self, method, *arguments, deadline=None):
        assert self.running == [self.label]  # alone on the machine
        if method == "peak_memory":
            return 1000
        self.asked.append((method, *arguments))
        rate = self.rates[self.label]
        if isinstance(rate, list):
            rate = rate[min(len(self.asked), len(rate)) - 1]
        if rate is None:
            raise ContestantError(self.label, "its process ended (exit code 3)")
        if rate == 0:
            self.now[0] += deadline.seconds
            raise ContestantError(self.label, f"not done after {deadline.seconds:.0f} s")
        [pieces] = arguments
        images = pieces * (self.work.images_per_step if method == "train" else self.work.eval_batch)
        self.now[0] += images / rate
        return Timing(images, images / rate)


# A step of 4 images, a round of 20 steps, and of 8 images to be evaluated at once.
ROUNDS = dataclasses.replace(WORK, steps=20)


@pytest.fixture
def fake_contest(monkeypatch):
    """Lets fakes compete: takes rates by label, returns contestants, what was said, times left."""

    def fake_contest(rates, phases=PHASES, rounds=2, works=None, **more):
        now, out, asked, running = [0.0], io.StringIO(), {}, []
        progress = BenchProgress(Console(file=out, width=300), "cnn", lambda: now[0])
        lefts = []
        do = progress.set_estimate
        monkeypatch.setattr(
            progress,
            "set_estimate",
            lambda *times: (do(*times), lefts.append(progress.seconds_left)),
        )
        monkeypatch.setattr(contest, "time", SimpleNamespace(monotonic=lambda: now[0]))
        monkeypatch.setattr(
            contestant_module,
            "ContestantProcess",
            lambda label, _, work, environment: FakeContestant(
                now, rates, asked, running, label, work
            ),
        )
        entries = [ContestantSpec(label, "x", (works or {}).get(label, ROUNDS)) for label in rates]
        field = compete(entries, Plan(phases, rounds, **more), progress)
        fake_contest.asked = asked
        return field, out.getvalue(), lefts

    return fake_contest


def test_figures_of_rounds_whose_median_is_neither_the_mean_nor_the_last(fake_contest):
    # Compiles, measures one step and then four, and warms up and trains in each of five rounds.
    rounds = [10.0, 40.0, 5.0, 7.0, 9.0]
    rates = {"jaxcifar": [8.0] * 3 + [r for rate in rounds for r in (1.0, rate)], "torch": 6.0}
    (ours, torch), _, _ = fake_contest(rates, [TRAIN], rounds=5)
    assert ours.summary(TRAIN) == {
        "images_per_second": 9.0, "spread": [5.0, 40.0], "rounds": 5, "rates": rounds,
    }  # fmt: skip
    assert torch.summary(TRAIN) == {
        "images_per_second": 6.0, "spread": [6.0, 6.0], "rounds": 5, "rates": [6.0] * 5,
    }  # fmt: skip


def test_a_row_has_the_median_rate_and_its_spread():
    """Of a batch of 4."""
    rates = {"train": [9.0, 40.0, 5.0], "eval": [100.0, 300.0, 110.0]}
    train, evaluate = result_rows([contestant("jaxcifar", "float32", **rates)])
    assert (train["phase"], evaluate["phase"]) == ("train", "eval")
    assert (train["images_per_second"], evaluate["images_per_second"]) == (9.0, 110.0)
    assert (train["spread"], train["rates"]) == ([5.0, 40.0], [9.0, 40.0, 5.0])
    assert train["milliseconds"] == pytest.approx(4 / 9 * 1000)
    assert (train["batch_size"], train["dtype"], train["peak_memory_bytes"]) == (4, "float32", 77)


def test_images_of_a_round_are_those_of_all_runs_and_of_a_last_batch_that_is_not_full():
    work = dataclasses.replace(WORK, runs_at_once=3, test_images=10)  # 8 of them at a time
    assert (work.iterations("train"), work.images("train")) == (2, 2 * 3 * 4)
    assert (work.iterations("eval"), work.images("eval")) == (2, 10)


def test_what_a_run_takes_beyond_its_steps(monkeypatch):
    class Fake:
        seconds = iter([50.0, 20.0])

        def __init__(self, label, implementation, work, environment):
            self.cache = environment["JAX_COMPILATION_CACHE_DIR"]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def seconds_to_first_step(self):
            return next(self.seconds)

        def ask(self, method, folder):
            assert method == "whole_run"
            return {"wall_seconds": 9.0}

    monkeypatch.setattr(bench, "ContestantProcess", Fake)
    found = bench.measure_startup(ROUNDS, 100.0, quiet_progress())
    assert found["first_step_seconds"] == {"cold": 50.0, "warm": 20.0}
    assert found["epoch_images"] == 20 * 4
    assert found["epoch_seconds"] == 4.5  # of two
    assert found["seconds_beyond_steps"] == pytest.approx(9.0 - 2 * 20 * 0.1)


def test_one_whose_first_steps_are_hopeless_is_named_and_left_out_of_the_rounds(fake_contest):
    (best, slow, fair), output, _ = fake_contest({"ours": 100.0, "slow": 2.0, "fair": 10.0})
    assert best.rates == {"train": [100.0] * 2, "eval": [100.0] * 2}
    assert fair.rates == {"train": [10.0] * 2, "eval": [10.0] * 2}  # a tenth is enough
    assert fake_contest.asked["slow"] == [("train", 1), ("train", 1)]  # compiled, then measured
    assert slow.peak_memory == 1000
    reason = "it trains 2 images/s in its first steps, less than a tenth of ours's 100"
    assert slow.summary("train") == {
        "images_per_second": 2.0, "spread": [2.0, 2.0], "rounds": 0, "rates": [],
        "left_out": reason,
    }  # fmt: skip
    assert slow.summary("eval") == {
        "images_per_second": None, "spread": None, "rounds": 0, "rates": [],
        "left_out": reason,
    }  # fmt: skip
    assert f"cnn: slow is left out of the rounds: {reason}" in output
    assert "cnn: ours is ready after" in output and "cnn: round 2 of 2 is done" in output


def test_the_best_may_come_last_and_the_first_is_measured_whatever_it_is(fake_contest):
    (first, second, best), output, _ = fake_contest({"first": 11.0, "second": 15.0, "best": 200.0})
    assert len(first.rates["train"]) == len(best.rates["train"]) == 2
    assert second.rates == {} and "a tenth of best's 200" in second.exclusion_reason
    assert output.count("is left out") == 1


def test_rates_are_compared_for_the_same_work_alone(fake_contest):
    """As several runs at once, or another network, are another work."""
    works = {"4 at once": dataclasses.replace(ROUNDS, runs_at_once=4)}
    works["other"] = dataclasses.replace(ROUNDS, arch="resnet18")
    rates = {"1 at once": 10.0, "4 at once": 1000.0, "other": 0.5}
    field, _, _ = fake_contest(rates, [TRAIN], works=works)
    assert [contestant.rates for contestant in field] == [
        {TRAIN: [rate] * 2} for rate in rates.values()
    ]


def test_one_that_hangs_in_its_first_step_is_stopped(fake_contest):
    field, output, _ = fake_contest({"ours": 8.0, "quick": 80.0, "hangs": 0, "fair": 8.0}, rounds=1)
    # A step of half a second to compile, 5 of them measured (two seconds at least), a batch twice.
    ours = 0.5 + (0.5 + 2.0) + 1.0 + 1.0
    assert field[0].seconds_to_get_ready == ours
    hangs, fair = field[2:]
    assert hangs.exclusion_reason == f"first steps: not done after {120 + 5 * ours:.0f} s"
    assert hangs.summary("train")["images_per_second"] is None
    assert hangs.peak_memory is None
    assert fair.rates == {"train": [8.0], "eval": [8.0]}
    assert "hangs is left out of the rounds: first steps: not done after" in output


def test_more_runs_at_once_may_take_longer(fake_contest):
    works = {"hangs": dataclasses.replace(ROUNDS, runs_at_once=10)}
    field, _, _ = fake_contest({"ours": 8.0, "hangs": 0}, [TRAIN], works=works)
    assert field[1].exclusion_reason == f"first steps: not done after {120 + 5 * 10 * 3:.0f} s"


def test_one_that_dies_in_a_round_keeps_the_rates_before_it(fake_contest):
    # Compiles, measures for a while, warms up and trains one round, and dies warming up again.
    rates = {"ours": 8.0, "dies": [8.0, 8.0, 8.0, 8.0, 7.0, None], "fair": 8.0}
    field, output, _ = fake_contest(rates, [TRAIN], rounds=3)
    assert field[1].rates == {TRAIN: [7.0]}
    assert field[1].exclusion_reason == "round 2: its process ended (exit code 3)"
    assert field[1].summary(TRAIN)["rounds"] == 1
    assert len(field[0].rates[TRAIN]) == len(field[2].rates[TRAIN]) == 3
    assert "dies is left out of the rounds: round 2" in output


def test_without_the_first_nothing_is_measured(fake_contest):
    with pytest.raises(RunError, match=r"ours, first steps: its process ended \(exit code 3\)"):
        fake_contest({"ours": None, "fair": 8.0})
    with pytest.raises(RunError, match="ours, round 1: its process ended"):
        fake_contest({"ours": [8.0, 8.0, 8.0, None], "fair": 8.0}, [TRAIN])


def test_rounds_end_when_the_time_is_up(fake_contest):
    """A round takes 11 s of ours and 22 s of the other, with two steps to warm up."""
    rates = {"ours": 8.0, "other": 4.0}
    for seconds, rounds in ((9 + 33, 1), (9 + 3 * 33 + 1, 3), (1000, 5)):
        field, output, _ = fake_contest(rates, [TRAIN], rounds=5, time_limit=seconds)
        assert [contestant.summary(TRAIN)["rounds"] for contestant in field] == [rounds, rounds]
        assert ("no time is left for round" in output) == (rounds < 5)


def test_one_that_gets_ready_when_no_time_is_left_is_stopped(fake_contest):
    field, _, _ = fake_contest({"ours": 8.0, "hangs": 0}, [TRAIN], rounds=1, time_limit=100)
    # Ours has taken 3 s, and needs 3 s to start and 10 s for a round.
    assert field[1].exclusion_reason == f"first steps: not done after {100 - 3 - 3 - 10} s"


def test_the_time_left_is_that_of_what_is_to_come(fake_contest):
    """Rounds of 80 images trained: ours takes 10 s, the other 20 s; first steps 3 s and 6 s.

    Starting is expected to take as long as first steps, and takes two steps: 1 s and 2 s.
    """
    rates = {"ours": 8.0, "other": 4.0}
    field, _, lefts = fake_contest(rates, [TRAIN], estimate_later_seconds=lambda first: 100.0)
    ready = [contestant.seconds_to_get_ready for contestant in field]
    assert ready == [3.0, 6.0]
    assert lefts == pytest.approx([
        3 + 2 * (13 + 13) + 100,  # before the other has begun: as long as ours
        2 * (13 + 26) + 100,
        26 + (11 + 26) + 100,
        11 + 22 + 100, 22 + 100, 100,
    ])  # fmt: skip


def test_the_status_says_who_which_round_and_how_long():
    now = [0.0]
    progress = BenchProgress(Console(file=io.StringIO(), width=80), "cnn", lambda: now[0])
    progress.set_activity("torch compiled bfloat16: first steps (7 of 8)")
    now[0] += 30
    assert progress.status().line(80) == (
        "cnn  torch compiled bfloat16: first steps (7 of 8)  30 s so far"
    )
    progress.set_activity("torch float32: round 2 of 5")
    progress.set_estimate(10, 100)
    now[0] += 4
    status = progress.status()
    assert status.line(80) == "cnn  torch float32: round 2 of 5  4 s so far  106 s left"
    assert status.line(45) == "cnn  torch float32: round 2 of 5  106 s left"
    assert status.fraction_done == 34 / (34 + 106)
    now[0] += 60
    assert progress.status().line(80).endswith("64 s so far  100 s left")


def test_a_contestant_is_killed_at_its_deadline_and_its_end_is_reported():
    with ContestantProcess("late", "plain flax", WORK) as late:
        with pytest.raises(ContestantError, match="late: not done after 0 s"):
            late.ask("train", 1, deadline=Deadline(0.01))  # when it has hardly begun to start
        assert contestants_of(psutil.Process()) == []
        with pytest.raises(ContestantError):
            late.ask("peak_memory")
    with ContestantProcess("victim", "plain flax", WORK) as victim:
        process = psutil.Process(victim._process.pid)
        process.terminate()
        how = "exit code" if os.name == "nt" else "SIGTERM"
        with pytest.raises(ContestantError, match=f"victim: its process .*{how}"):
            victim.ask("train", 1)


def contestants_of(process):
    return [
        child
        for child in process.children(recursive=True)
        if "multiprocessing.spawn" in " ".join(child.cmdline())
    ]


@pytest.mark.skipif(os.name == "nt", reason="Windows blocks no signals")
def test_an_interrupt_while_a_contestant_starts_is_not_lost():
    with pytest.raises(KeyboardInterrupt), contestant_process._children_ignore_interrupts():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        signal.raise_signal(signal.SIGINT)  # to this thread: another one would not wait
        child.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=0.5)
    child.kill()
    child.wait()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_contestant_outlives_the_bench(number):
    """SIGINT goes to all processes, as from a terminal; SIGKILL to the bench alone."""
    process = start_program("endless_bench")
    waiting = time.monotonic() + 60
    while not (contestants := contestants_of(psutil.Process(process.pid))):
        assert time.monotonic() < waiting and process.poll() is None
        time.sleep(0.05)
    if number == signal.SIGINT:
        # The contestant is first to get it, and has time to answer.
        contestants[0].send_signal(number)
        time.sleep(0.5)
        assert process.poll() is None
    process.send_signal(number)
    done = ended(process, timeout=60)
    if number == signal.SIGINT:
        assert_one_line_error(done, 130, "interrupted")
    _, alive = psutil.wait_procs(contestants, timeout=60)
    for survivor in alive:
        survivor.kill()
    assert alive == []


def test_what_a_dead_contestant_left_behind_is_removed_without_a_warning():
    done = ended(start_program("killed_contestant"), timeout=60)
    assert done.returncode == 0
    assert done.stdout == "all ended\n"
    assert done.stderr == ""


def test_the_time_of_an_ablation_stands_in_the_file(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    measured = {"rows": [{"milliseconds": 1.0}], "ratio": {}}
    monkeypatch.setattr(bench, "measure_implementations", lambda *_: measured)
    monkeypatch.setattr(bench, "measure_startup", lambda *_: {})
    monkeypatch.setattr(bench_command, "show_speeds", lambda *_: None)
    timed = {"options": ["--rows", "aug"], "seconds": 12.5}
    monkeypatch.setattr(bench_command, "time_ablation", lambda _: timed)
    json_file = tmp_path / "bench.json"
    bench_command.main(
        [
            *("--arch", f"{tmp_path / 'own.py'}:Linear", "--json", str(json_file)),
            *("--ablation", "--rows", "aug"),
        ]
    )
    assert json.loads(json_file.read_text())["ablation"] == timed


def test_an_ablation_that_fails_is_not_timed():
    with pytest.raises(RunError, match="--ablation --no-such-option: the ablation failed"):
        bench_command.time_ablation(["--no-such-option"])
