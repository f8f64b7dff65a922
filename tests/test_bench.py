"""The bench: what it makes of its figures, and contestants that fail. Speed is not tested."""

import dataclasses
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, assert_one_line_error, command, finish, start
from small import SMALL

from jaxcifar import bench
from jaxcifar.bench.ours import Ours, PlainFlax, _plain_model
from jaxcifar.bench.work import Work
from jaxcifar.config import Config
from jaxcifar.errors import RunError

WORK = Work("cnn", "float32", batch_size=4, steps=2, test_images=8, eval_batch=8)


def row(implementation, dtype, phase, rate):
    return {
        "arch": "cnn",
        "phase": phase,
        "dtype": dtype,
        "implementation": implementation,
        "images_per_second": rate,
    }


def test_ratios_are_to_the_best_peer():
    rows = [
        row("jaxcifar", "float32", "train", 300),
        row("plain flax", "float32", "train", 900),
        row("torch", "float32", "train", 100),
        row("torch compiled", "float32", "train", 200),
        row("torch compiled", "bfloat16", "train", 400),
        row("jaxcifar", "float32", "eval", 50),
    ]
    assert bench._ratios(rows) == {"train": {"float32": 1.5, "any": 0.75}}


OWN = """
from flax import linen as nn

class Linear(nn.Module):
    num_classes: int = 1

    @nn.compact
    def __call__(self, images, train):
        return nn.Dense(self.num_classes)(images.mean((1, 2)))
"""


def test_each_does_its_work_in_a_process_of_its_own_and_one_that_fails_is_left_out(tmp_path):
    """By a network of one's own, ours and as it is."""
    (tmp_path / "own.py").write_text(OWN)
    said, work = [], dataclasses.replace(WORK, arch=f"{tmp_path / 'own.py'}:Linear")
    unfit = dataclasses.replace(WORK, arch="mlp")
    entries = [("jaxcifar", work), ("plain flax", work), ("plain flax", unfit)]
    with bench._contestants(entries, said.append) as able:
        assert [contestant.work for contestant in able] == [work, work]
        for contestant in able:
            assert contestant.ask("train", 2) > 0
            assert contestant.ask("evaluate") > 0
            assert contestant.ask("peak_memory") > 10e6
        # Seconds would not tell whether anything was done; the result of a run does.
        result = able[0].ask("whole_run")
    assert result["config"]["epochs"] == result["last_epoch"]["epoch"] == 2
    assert result["examples"] == {"train": 8, "val": 8, "test": 8}
    assert np.sum(result["confusion_matrix"]) == WORK.test_images
    assert len(said) == 1
    assert said[0].startswith("not measured: plain flax (mlp, float32): UsageError")


def test_the_plain_form_trains_and_has_our_networks_parameters(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    plain = PlainFlax(dataclasses.replace(WORK, arch=f"{tmp_path / 'own.py'}:Linear"))
    (variables, _), _ = plain._state, plain.train(WORK.steps)
    (trained, _), _ = plain._state, plain.evaluate()
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), variables, trained)
    assert all(jax.tree.leaves(moved))
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    for arch, parameters in {"cnn": 551_722, "resnet18": 11_173_962, "fastnet": 1_971_352}.items():
        model = _plain_model(dataclasses.replace(WORK, arch=arch))
        params = jax.eval_shape(lambda x, m=model: m.init(jax.random.key(0), x, False), images)
        assert sum(leaf.size for leaf in jax.tree.leaves(params["params"])) == parameters


def test_a_round_is_the_same_steps_as_the_one_before(monkeypatch):
    """So that images that are small at first are so in each."""
    monkeypatch.setattr("jaxcifar.bench.ours.use_cpu_cores", lambda batch: None)  # JAX has begun
    run = Config.create("cnn", recipe="strong", arch_args=SMALL, batch_size=4)
    ours = Ours(Work.of(run, "float32", steps=3))
    for _ in range(2):
        ours.train(3)
        assert int(ours._states.step[0]) == 3


STUDY = """
title = "Two programs"
[config]
arch = "cnn"
arch_args = { widths = [4], hidden = 8 }
[rows]
plain = {}
rate = { learning_rate = 0.1 }
exact = { dtype = "float32" }
"""


def test_a_studys_rows_are_measured_as_they_are(tmp_path):
    (tmp_path / "study.toml").write_text(STUDY)
    where = tmp_path / "rates.json"
    words = ["--study", tmp_path / "study.toml", "--dtype", "bfloat16", "--rounds", "1"]
    finish(start("bench", *map(str, words), "--json", str(where)))
    programs = json.loads(where.read_text())["programs"]
    told = [(program["runs"], program["dtype"]) for program in programs]
    assert told == [(["plain", "rate"], "bfloat16"), (["exact"], "float32")]
    for program in programs:
        low, high = program["spread"]
        assert 0 < low == program["images_per_second"] == high and program["batch_size"] == 128


def test_a_contestant_has_its_own_settings_of_jax():
    """JAX reads them when it is imported, which PyTorch's contestants never do."""
    code = "import sys, jaxcifar.bench.contestant; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_without_the_first_nothing_is_measured():
    with (
        pytest.raises(RunError, match="mlp"),
        bench._contestants([("plain flax", dataclasses.replace(WORK, arch="mlp"))], print),
    ):
        pass


def test_bad_options_are_one_line():
    assert_one_line_error(command("bench", "--rounds", "0"), 2, "--rounds", "0: must be at least 1")
    both = command("bench", "--study", "recipes_cnn", "--peer", "torch")
    assert_one_line_error(both, 2, "--peer", "--study measures its rows as they are")
