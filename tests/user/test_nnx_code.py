"""A user's network of Flax NNX: trained, resumed, exported, or explained in one line."""

import shutil

import jax
import numpy as np
import pytest
from conftest import ROOT, stopped_after
from matplotlib.figure import Figure
from runs.test_fit import final_state, train, untimed

from jaxcifar.build.model import check_model, create_model
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.exchange.stablehlo import export_logits
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.report import write_report
from jaxcifar.trained.load import load

pytestmark = pytest.mark.usefixtures("step_by_step")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    return shutil.copy(ROOT / "tests" / "own" / "nnx_net.py", folder / "nnx_net.py")


def config_of(file, name="Net", **settings):
    settings = {"dataset": "shapes10", "batch_size": 32, "epochs": 2, "augment": False, **settings}
    return Config.create(f"{file}:{name}", **settings)


@pytest.fixture(scope="module")
def finished(file, easy_dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "whole"
    return path, train(
        path, easy_dataset, config_of(file, learning_rate=0.05, arch_args={"width": 4})
    )


def test_a_run_learns_and_reports(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: None)  # saves time
    path, result = finished
    losses = [row["train_loss"] for row in untimed(path)]
    assert losses[1] < losses[0]
    assert result["parameters"] == 3 * 3 * 3 * 4 + 4 + 2 * 4 + 4 * 10 + 10
    assert "BatchNorm2d-2" in (path / "summary.txt").read_text()
    assert (path / "sources" / "arch" / "nnx_net.py").exists()
    shutil.copytree(path, tmp_path / "run")
    write_report(tmp_path)
    assert "Net (width 4)" in (tmp_path / "REPORT.md").read_text()


def test_an_interrupted_run_is_resumed_bit_for_bit(finished, file, easy_dataset, tmp_path):
    config = config_of(file, learning_rate=0.05, arch_args={"width": 4})
    with pytest.raises(Interrupted):
        train(tmp_path, easy_dataset, config, stopper=stopped_after(5))
    train(tmp_path, easy_dataset, config)
    assert untimed(tmp_path) == untimed(finished[0])
    states = [final_state(path, easy_dataset, config) for path in (tmp_path, finished[0])]
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_a_trained_network_predicts_and_is_exported(finished, easy_dataset):
    classifier = load(finished[0])
    images = easy_dataset.test.images[:8]
    prediction = classifier.predict(images)
    logits = export_logits(classifier).call(images)
    assert list(np.argmax(logits, axis=1)) == list(np.argmax(prediction.probabilities, axis=1))


def test_a_function_of_rngs_gives_the_network(file):
    model = create_model(config_of(file, "stacked", arch_args={"width": 7}), 10)
    check_model(config_of(file, "stacked"), model, 10)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("NoRngs", {}, "its __init__ takes no `rngs`"),
        ("made", {}, "has its weights already"),
        ("seeded", {}, "with weights already; give the function a parameter `rngs`"),
        ("wrong", {}, "not a module of flax.nnx"),
        ("NoCall", {}, r"NoCall has no method __call__"),
        ("Needs", {}, "missing 1 required positional argument: 'features'"),
        ("Fails", {}, r"nnx_net.py:\d+: "),
        ("Net", {"arch_args": {"widht": 3}}, "did you mean width"),
        ("Net", {"arch_args": {"width": "x"}}, "must be of the same kind as 4"),
        ("Net", {"arch_args": {"rngs": 3}}, "leave it out"),
        ("Net", {"dtype": "bfloat16"}, "has no field `dtype`"),
    ],
)
def test_mistakes_are_explained_in_one_line(file, name, settings, words):
    config = config_of(file, name, **settings)
    with pytest.raises(UsageError, match=words) as error:
        check_model(config, create_model(config, 10), 10)
    assert "\n" not in str(error.value)
