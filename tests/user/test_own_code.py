"""Somebody's own network, update rule, schedule or augmentation: loaded, or told in one line."""

import dataclasses
import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
from conftest import ROOT, assert_one_line_error, obeyed
from matplotlib.figure import Figure
from runs.test_fit import train

from jaxcifar.build.learning_rates import learning_rates
from jaxcifar.build.model import check_model, create_model
from jaxcifar.build.setup import Setup
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError

OWN = ROOT / "tests" / "own"


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: None)  # saves time


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    for name in ("net.py", "rules.py"):
        shutil.copy(OWN / name, folder)
    (folder / "syntax.py").write_text("\n\nclass Net(:\n")
    (folder / "exits.py").write_text("import sys\nsys.exit('bye')\n")
    return folder


def network(files, name, file="net.py", **settings):
    config = Config.create(f"{files / file}:{name}", **settings)
    model = create_model(config, 10)
    check_model(config, model, 10)
    return model


def test_a_class_and_a_function_both_give_the_network(files):
    assert network(files, "Net").width == 4
    assert network(files, "Net", arch_args={"width": 7}).width == 7
    assert network(files, "made", arch_args={"width": 7}).width == 7
    assert create_model(Config.create(f"{files}/net.py:Net"), 3).num_classes == 3


def test_a_module_is_named_by_its_dotted_name():
    name = "experiments.networks.mixer:Mixer"
    config = Config.create(name, arch_args={"depth": 1, "width": 8})
    assert create_model(config, 5).num_classes == 5
    assert config.network_title == "Mixer (depth 1, width 8)"


@pytest.mark.parametrize(
    "module", ["sys", "itertools", "nosuch", "nosuch.module", "concurrent.nosuch"]
)
def test_a_module_without_a_file_is_refused(module):
    with pytest.raises(UsageError) as refusal:
        Config.create(f"{module}:Net")
    assert str(refusal.value) == (
        f"--arch {module}:Net: there is no module {module} with a file; "
        "to name a file, write FILE.py:NAME"
    )


@pytest.mark.parametrize(
    ("name", "file", "settings", "words"),
    [
        ("Net", "nowhere.py", {}, ["nowhere.py", "no such file"]),
        ("Nett", "net.py", {}, ["does not define Nett", "Net"]),
        ("Net", "syntax.py", {}, ["syntax.py:3", "SyntaxError"]),
        ("Net", "exits.py", {}, ["exits.py:2", "SystemExit: bye"]),
        ("Fails", "net.py", {}, ["net.py:40", "Error"]),
        ("FailsInTraining", "net.py", {}, ["net.py:46", "RuntimeError: not yet"]),
        ("NoTrain", "net.py", {}, ["no `train`"]),
        ("Seven", "net.py", {}, ["returns [2, 7]", "10 classes"]),
        ("Pair", "net.py", {}, ["returns tuple"]),
        ("Integers", "net.py", {}, ["returns int32"]),
        ("number", "net.py", {}, ["no Flax module"]),
        ("gives_number", "net.py", {}, ["returns int"]),
        ("Net", "net.py", {"arch_args": {"widht": 3}}, ["widht", "did you mean width?"]),
        ("Net", "net.py", {"arch_args": {"num_classes": 3}}, ["num_classes"]),
        (
            "Net",
            "net.py",
            {"arch_args": {"width": "wide"}},
            ["width=wide", "of the same kind as 4"],
        ),
        ("Net", "net.py", {"dropout": 0.5}, ["--dropout 0.5", "--arch-args"]),
        ("Net", "net.py", {"dtype": "bfloat16"}, ["--dtype bfloat16", "no field `dtype`"]),
    ],
)
def test_mistakes_in_a_users_network_are_explained_in_one_line(files, name, file, settings, words):
    with pytest.raises(UsageError) as error:
        network(files, name, file, **settings)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Infinite", "logits are not finite before the first step"),
        ("InfiniteInTraining", "loss of the first training step is not finite"),
        ("InfiniteGradient", "the weights are not finite"),
    ],
)
def test_values_that_are_not_finite_at_the_start_are_explained_and_leave_no_run(
    files, easy_dataset, tmp_path, name, words
):
    config = Config.create(
        f"{files}/net.py:{name}", dataset="shapes10", batch_size=32, epochs=1, augment=False
    )
    with pytest.raises(UsageError, match=words):
        train(tmp_path / "run", easy_dataset, config)
    assert not (tmp_path / "run" / "config.json").exists()  # mended, the same command works


def test_fields_without_a_hash_and_boxed_parameters_train(files, easy_dataset, tmp_path):
    config = Config.create(
        f"{files}/net.py:Listed", dataset="shapes10", batch_size=32, epochs=1, augment=False
    )
    assert train(tmp_path / "run", easy_dataset, config)["parameters"] == 3 * 4 + 4 + 4 * 5 + 5 + 60


@pytest.mark.parametrize(
    ("name", "words"),
    [("NoGradient", "differentiation"), ("FailsAtSize", "net.py:53: AssertionError: too many")],
)
def test_errors_of_the_real_training_step_are_explained_before_training(
    files, easy_dataset, name, words
):
    config = Config.create(
        f"{files}/net.py:{name}", dataset="shapes10", batch_size=32, epochs=1, augment=False
    )
    with pytest.raises(UsageError, match=words):
        Setup.create(config, easy_dataset, devices=jax.devices()[:1])


def test_files_imported_from_the_same_folder_belong_to_the_code(files, easy_dataset, tmp_path):
    (tmp_path / "blocks.py").write_text("WIDTH = 4\n")
    (tmp_path / "uses.py").write_text("from blocks import WIDTH\nfrom net import Net\n")
    shutil.copy(files / "net.py", tmp_path)
    config = Config.create(
        f"{tmp_path}/uses.py:Net", dataset="shapes10", batch_size=32, epochs=1, augment=False
    )
    train(tmp_path / "run", easy_dataset, config)
    kept = tmp_path / "run" / "sources" / "arch"
    assert sorted(path.name for path in kept.iterdir()) == ["blocks.py", "net.py", "uses.py"]
    (tmp_path / "blocks.py").write_text("WIDTH = 5\n")
    edited = Config.create(
        f"{tmp_path}/uses.py:Net", dataset="shapes10", batch_size=32, epochs=1, augment=False
    )
    assert edited.sources != config.sources


def own(files, easy_dataset, **settings):
    named = {kind: f"{files}/rules.py:{name}" for kind, name in settings.items()}
    config = Config.create(
        f"{files}/net.py:Net", dataset="shapes10", batch_size=32, epochs=2, **named
    )
    return config, Setup.create(config, easy_dataset, devices=jax.devices()[:1])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer": "none"}, "returns NoneType, not an optax rule"),
        ({"augmentation": "cut"}, "the same shape"),
        ({"augmentation": "warm"}, "TypeError"),
        ({"augmentation": "for_four"}, "rules.py:.* wants four"),
    ],
)
def test_an_unusable_rule_is_explained_before_training(files, easy_dataset, settings, words):
    with pytest.raises(UsageError, match=words):
        own(files, easy_dataset, **settings)


def test_a_rule_for_this_networks_layers_fits(files, easy_dataset):
    _, setup = own(files, easy_dataset, optimizer="by_layer")
    assert setup.program.steps_per_epoch == 4


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("early", "rules.py:25: ZeroDivisionError"),
        ("negative", "returns -1.0 at step 2"),
        ("huge", "returns 1e\\+300 at step 0"),
    ],
)
def test_a_failing_schedule_is_explained(files, name, words):
    config = Config.create("cnn", epochs=1, schedule=f"{files}/rules.py:{name}")
    with pytest.raises(UsageError, match=words):
        learning_rates(config, 4)


def test_a_users_schedule_multiplies_the_learning_rate(files):
    config = Config.create("cnn", epochs=2, learning_rate=0.1, schedule=f"{files}/rules.py:warm")
    np.testing.assert_allclose(learning_rates(config, 2), [0, 0.05, 0.1, 0.1])


def test_a_users_augmentation_and_rule_are_applied(files, easy_dataset):
    """One step: the loss is that of images half as bright, every weight moves by the rate."""
    config, setup = own(files, easy_dataset, optimizer="lion", augmentation="dim")
    config = dataclasses.replace(config, augment=False, weight_decay=0.0)
    hp = setup.place(setup.hyperparameters(config))
    state = setup.program.init(hp, setup.train.images)
    order = setup.program.epoch_order(hp, np.int32(0), 128)
    before = jax.device_get(state.params)
    states, hps, orders = setup.parallel_runs.join([(state, hp, order)])
    states, mean = setup.parallel_runs.train_steps(states, hps, *setup.train, orders, np.int32(1))
    [after] = setup.parallel_runs.split(states)

    chosen = np.asarray(order)[:32]
    pixels = easy_dataset.train.images[chosen].mean((1, 2)) / 255 / 2
    x = (pixels - easy_dataset.mean) / easy_dataset.std
    for name in ("body", "head"):
        x = np.maximum(x, 0) if name == "head" else x
        x = x @ before[name]["kernel"] + before[name]["bias"]
    labels = easy_dataset.train.labels[chosen]
    losses = np.log(np.exp(x).sum(1)) - x[range(32), labels]
    assert float(mean["loss"][0]) == pytest.approx(losses.mean(), rel=1e-4)
    moved = np.abs(after.params["head"]["bias"] - before["head"]["bias"])
    np.testing.assert_allclose(moved, config.learning_rate, rtol=1e-3)


def test_a_run_keeps_its_file_and_is_not_resumed_with_another(files, easy_dataset, tmp_path):
    file, text = tmp_path / "mine.py", (files / "net.py").read_text()
    file.write_text(text)
    settings = {"dataset": "shapes10", "batch_size": 32, "epochs": 1}
    result = train(tmp_path / "run", easy_dataset, Config.create(f"{file}:Net", **settings))
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert result["config"]["sources"] == {"arch": digest}
    assert (tmp_path / "run" / "sources" / "arch" / "mine.py").read_text() == text
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["sources"]["arch"] == digest
    file.write_text(text + "\n")
    with pytest.raises(UsageError, match=r"SHA-256 of mine.py:Net"):
        train(tmp_path / "run", easy_dataset, Config.create(f"{file}:Net", **settings))


def test_a_config_is_read_without_its_file(files):
    config = Config.create(f"{files}/net.py:Net", arch_args={"width": 5}, augment=False)
    gone = config.to_json().replace(str(files), "/nowhere")
    read = Config.from_dict(json.loads(gone))
    assert (read.arch, dict(read.arch_args)) == ("/nowhere/net.py:Net", {"width": 5})
    with pytest.raises(ValueError, match="is not a number, text"):
        Config.from_dict(json.loads(gone.replace("5", '{"a": 1}', 1)))


def test_commands_explain_errors_of_user_code_in_one_line(files):
    done = obeyed("summary", "--arch", f"{files}/net.py:Seven")
    assert_one_line_error(done, 2, "net.py:Seven: returns [2, 7]")
    done = obeyed("run", "--arch", f"{files}/net.py:Net", "--arch-args", "width")
    assert_one_line_error(done, 2, "NAME=VALUE")
