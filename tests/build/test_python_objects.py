"""Networks and metrics that a program passes to `train` as objects."""

import linecache
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from own.measures import least
from own.net import Net

import jaxcifar
from jaxcifar import api
from jaxcifar.build.python_objects import network_settings, user_metric_of
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.training.metrics import measure


def test_arguments_of_a_network_are_those_of_a_config_or_a_table():
    config = Config.create("cnn", arch_args={"widths": (4, 8), "hidden": 16})
    settings = network_settings("cnn", {"arch_args": config.arch_args})
    assert Config.create(**settings) == config
    assert network_settings(Net(width=7), {"arch_args": (("width", 8),)})["arch_args"] == {
        "width": 8
    }
    with pytest.raises(UsageError, match=r"^arch_args None: must be a dict"):
        network_settings("cnn", {"arch_args": None})


def test_a_network_with_modules_as_fields_is_refused_in_one_line():
    with pytest.raises(UsageError, match=r"^Sequential: a field .* pass a function") as caught:
        network_settings(nn.Sequential([nn.Dense(10)]), {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dataset", [(np.zeros((2, 3)), np.zeros(2)), np.zeros((9, 9)), None])
def test_arrays_in_place_of_a_dataset_are_refused_in_one_line(dataset):
    with pytest.raises(UsageError, match=r"^dataset is a .*; give .*from_arrays") as caught:
        jaxcifar.train("cnn", dataset)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("runs", [["one", "two"], None])
def test_a_list_of_runs_is_refused_in_one_line(runs):
    with pytest.raises(UsageError, match=r"^load: .* is not a path; write load\(RUN\)"):
        jaxcifar.load(runs)


def test_a_second_network_is_refused():
    with pytest.raises(UsageError, match=r"^arch: the network is the first argument of train"):
        jaxcifar.train("cnn", arch="resnet18", dataset="shapes10")


def test_an_edit_of_another_cell_makes_another_metric(monkeypatch):
    """Or JAX would measure what it has compiled for the earlier cell."""
    notebook = types.ModuleType("notebook")
    monkeypatch.setitem(sys.modules, "notebook", notebook)
    cell = "def scaled(logits, labels):\n    return logits[:, 0] * SCALE\n"
    monkeypatch.setitem(linecache.cache, "<cell>", (len(cell), None, cell.splitlines(True), ""))
    exec(compile(cell, "<cell>", "exec"), vars(notebook))
    metrics, values = [], []
    for scale in (1.0, 1.0, 2.0):
        notebook.SCALE = scale
        metrics.append(user_metric_of(notebook.scaled))
        measured = measure([metrics[-1].metric], jnp.ones((4, 2)), jnp.zeros(4, jnp.int32))
        values.append(measured.values["scaled"])
    assert values == [1.0, 1.0, 2.0]
    first, same, other = metrics
    assert first == same and first.sha256 != other.sha256


def test_a_metric_that_a_finished_run_lacks_is_named(monkeypatch, capsys, tmp_path):
    """Or a user would look for it in the result in vain."""
    measured = user_metric_of(least)
    declared = {"name": measured.metric.name, "sha256": measured.sha256}
    results = [{"metrics": []}, {"metrics": [{**declared, "sha256": "0"}]}, {"metrics": [declared]}]
    monkeypatch.setattr(api, "load_just_trained", lambda *_: None)
    lines = []
    for result in results:
        monkeypatch.setattr(api, "fit", lambda *_, result=result: result)
        jaxcifar.train("cnn", "shapes10", run_dir=tmp_path, metrics=[least])
        lines.append(capsys.readouterr().out)
    line = f"metric {measured.metric.name}: not measured, because the run was finished before"
    assert [line in text for text in lines] == [True, True, False]
