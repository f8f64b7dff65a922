"""Weights of a finished run: in a file of their own, loaded, averaged over runs, gone on from."""

import contextlib
import dataclasses
import json
import shutil
import struct
import tracemalloc
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from conftest import stopped_after
from rounding import assert_near, error_of_logits, error_of_sum
from runs.test_fit import CONFIG, train
from small import SMALL, easy_dataset

import jaxcifar
from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.build.model import create_model
from jaxcifar.config import user_code
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.runs.array_trees import named_arrays
from jaxcifar.runs.checkpoint import Checkpoints
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.initial_weights import load_initial_weights
from jaxcifar.runs.run import Run
from jaxcifar.runs.weights import arrange_arrays, make_card, read_weights, write_weights
from jaxcifar.trained.ensemble import Ensemble
from jaxcifar.training import network, predicting

LONGEST_SUM = 16 * 16 * 4  # that of the first dense layer


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three finished runs of different seeds, which no test changes."""
    folder = tmp_path_factory.mktemp("trained")
    for seed in range(3):
        train(folder / str(seed), easy_dataset(), dataclasses.replace(CONFIG, seed=seed))
    return folder


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained / "0", tmp_path / "run")


def chosen_logits(run, images):
    """By the training's own evaluation, from the checkpoint."""
    dataset = easy_dataset()
    program = make_program(CONFIG, 10, 128, jax.devices())
    hp = make_hyperparameters(CONFIG, dataset, program.steps_per_epoch)
    state = program.init(hp, dataset.train.images)
    epoch = json.loads((run / "result.json").read_text())["selected_epoch"]
    with Checkpoints(run / "checkpoints", CONFIG, program.steps_per_epoch) as checkpoints:
        state = checkpoints.load(epoch * program.steps_per_epoch, state).state
    return np.asarray(predicting.predict(program, state.variables, hp, images))


def test_what_is_loaded_computes_what_the_training_evaluated(run):
    test = easy_dataset().test
    expected = chosen_logits(run, test.images)
    shutil.rmtree(run / "checkpoints")  # neither these nor the images are needed
    for path in (run, run / "weights.safetensors"):
        classifier = jaxcifar.load(path)
        error = 2 * error_of_logits(classifier, test.images, LONGEST_SUM)
        assert_near(classifier.logits(test.images), expected, error)
        assert classifier.class_names == tuple("abcdefghij")
        labels = np.asarray(
            [ord(name) - ord("a") for name in classifier.predict(test.images).labels]
        )
        assert (labels == test.labels).mean() == pytest.approx(classifier.result["test_accuracy"])
        np.testing.assert_array_equal(classifier.mean, np.full(3, 0.5, np.float32))
    odd = classifier.logits(test.images[:7])  # a program of another size
    assert_near(odd, expected[:7], error[:7])


def test_a_run_of_an_older_version_is_loaded_from_its_checkpoint(run):
    images = easy_dataset().test.images
    expected = jaxcifar.load(run).logits(images)
    (run / "weights.safetensors").unlink()
    result = json.loads((run / "result.json").read_text())
    del result["weights_sha256"]
    (run / "result.json").write_text(json.dumps(result))
    np.testing.assert_array_equal(jaxcifar.load(run).logits(images), expected)


def test_anyone_can_read_the_file(run):
    with safetensors.safe_open(run / "weights.safetensors", "numpy") as file:
        card = json.loads(file.metadata()["jaxcifar"])
        kernel = file.get_tensor("params/Conv_0/kernel")
        names = set(file.keys())
    assert kernel.shape == (3, 3, 3, 4)
    assert {name.split("/")[0] for name in names} == {"params", "batch_stats"}
    assert card["channel_std"] == [0.25] * 3
    assert Config.from_dict(card["config"]) == CONFIG


def test_halves_are_rounded_and_nothing_else(tmp_path):
    tree = {"a": np.float32([1 / 3, 70.1]), "b": {"c": np.int32([70_000])}}
    card = {
        "config": CONFIG.to_dict(),
        "class_names": ["x"],
        "channel_mean": [0.0] * 3,
        "channel_std": [1.0] * 3,
        "dataset": "D",
    }
    for half in (False, True):
        write_weights(tmp_path / "w.safetensors", tree, card, half)
        arrays, card_in_file = read_weights(tmp_path / "w.safetensors")
        assert card_in_file == card
        back = arrange_arrays(arrays, tree, tmp_path)
        kept = tree["a"].astype(np.float16).astype(np.float32) if half else tree["a"]
        np.testing.assert_array_equal(back["a"], kept)
        np.testing.assert_array_equal(back["b"]["c"], tree["b"]["c"])
    with pytest.raises(RunError, match=r"b/c is int32\[1\], not int8\[1\]"):
        arrange_arrays(arrays, {**tree, "b": {"c": np.int8([1])}}, tmp_path)
    with pytest.raises(RunError, match=r"a is float16\[2\], not float32\[3\]; d is missing"):
        arrange_arrays(
            arrays, {"a": np.zeros(3, np.float32), "b": tree["b"], "d": np.zeros(1)}, tmp_path
        )


def header(text, behind=b""):
    return struct.pack("<Q", len(text)) + text.encode() + behind


NONE, NO_CARD = "is not a safetensors file, or is damaged; ", "has no description by jaxcifar, "
DAMAGE = {
    "empty": (b"", NONE),
    "short": (b"\x01\x00", NONE),
    "a length of terabytes": (struct.pack("<Q", 2**42) + b"{}", NONE),
    "a length of all": (b"\xff" * 64, NONE),
    "no text": (struct.pack("<Q", 4) + b"\xff" * 4, NONE),
    "no JSON": (header("[[["), "is not valid JSON"),
    "another value": (header("[1, 2]"), NO_CARD),
    "no card": (header("{}"), NO_CARD),
    "a card that is no text": (header('{"__metadata__": {"jaxcifar": 5}}'), NO_CARD),
    "a card that is no JSON": (
        header('{"__metadata__": {"jaxcifar": "{"}}'),
        "is not valid JSON",
    ),
    "a card of something else": (
        header('{"__metadata__": {"jaxcifar": "{\\"config\\": 1}"}}'),
        "config: Expected `object`",
    ),
}


@pytest.mark.parametrize(("content", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_what_is_no_file_of_weights_is_refused_in_one_line(content, reason, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError) as error:
        jaxcifar.load(path)
    assert "\n" not in str(error.value)
    assert f"{path}: " in str(error.value)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "refused"),
    [
        ("params/kernel", np.nan, True),
        ("params/kernel", np.inf, True),
        ("batch_stats/mean", np.nan, True),
        ("constants/mask", -np.inf, False),  # as attention has them
    ],
)
def test_weights_that_are_no_numbers_are_named(tmp_path, name, value, refused):
    collection, leaf = name.split("/")
    path = tmp_path / "w.safetensors"
    card = {"config": CONFIG.to_dict(), "class_names": ["a"], "dataset": "x"}
    card |= {"channel_mean": [0.5] * 3, "channel_std": [0.5] * 3}
    write_weights(path, {collection: {leaf: np.float32([1.0, value])}}, card)
    expected = pytest.raises(RunError, match=f"{name} has NaN or infinite values")
    with expected if refused else contextlib.nullcontext():
        read_weights(path)


def test_answers_that_are_not_finite_are_no_predictions(trained):
    classifier = jaxcifar.load(trained / "0")
    scaled = jax.tree.map(lambda leaf: leaf * 1e30, classifier.variables)
    broken = dataclasses.replace(classifier, variables=scaled)
    with pytest.raises(RunError, match="logits are not finite"):
        broken.predict(np.full((2, 32, 32, 3), 200, np.uint8))


def test_arrays_that_end_beyond_the_file_are_refused(run):
    path = run / "weights.safetensors"
    content = path.read_bytes()
    (run / "cut.safetensors").write_bytes(content[:-100])
    with pytest.raises(RunError, match="is damaged"):
        jaxcifar.load(run / "cut.safetensors")
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(RunError, match="is not the file that its run wrote"):
        jaxcifar.load(run)
    path.unlink()
    path.symlink_to("cut.safetensors")
    with pytest.raises(RunError, match="is a link"):
        jaxcifar.load(run)


@pytest.mark.parametrize(
    ("arch", "arguments"),
    [("cnn", {"widths": [-4]}), ("resnet18", {"blocks": [-1]}), ("fastnet", {"widths": [0]})],
)
def test_an_impossible_network_of_a_stranger_is_one_line(tmp_path, arch, arguments):
    card = {
        "config": {**Config.create(arch).to_dict(), "arch_args": arguments},
        "class_names": list("abcdefghij"),
        "channel_mean": [0.5] * 3,
        "channel_std": [0.25] * 3,
        "dataset": "theirs",
    }
    file = tmp_path / "theirs.safetensors"
    write_weights(file, {"params": {"kernel": np.zeros(3, np.float32)}}, card)
    with pytest.raises(
        RunError, match=r"theirs\.safetensors: the network of its config can't be made"
    ):
        jaxcifar.load(file)


def test_the_weights_of_another_network_are_refused(run):
    arrays, card = read_weights(run / "weights.safetensors")
    card["config"]["arch_args"]["hidden"] = 9
    tree = {tuple(name.split("/")): array for name, array in arrays.items()}
    write_weights(run / "other.safetensors", {"/".join(k): v for k, v in tree.items()}, card)
    with pytest.raises(
        RunError, match=r"not those of this network.*float32\[8\], not float32\[9\]"
    ):
        jaxcifar.load(run / "other.safetensors")


def test_keeping_the_best_frees_the_disk(run, tmp_path):
    before = (run / "result.json").read_bytes()
    result = train(run, easy_dataset(), keep_best=True)  # of a finished run
    assert result == json.loads(before)
    new = tmp_path / "new"
    train(new, easy_dataset(), keep_best=True)
    for path in (run, new):
        assert not (path / "checkpoints").exists()
        assert (run / "result.json").read_bytes() == before
        assert train(path, easy_dataset())["test_accuracy"] == result["test_accuracy"]
    arrays = [read_weights(path / "weights.safetensors")[0] for path in (run, new)]
    jax.tree.map(np.testing.assert_array_equal, *arrays)


def test_several_predict_by_the_mean_of_their_probabilities(trained):
    images = easy_dataset().test.images[:9]
    runs = [trained / str(seed) for seed in range(3)]
    each = [jaxcifar.load(run).predict(images).probabilities for run in runs]
    together = jaxcifar.load(*runs).predict(images)
    mean = (each[0] + each[1] + each[2]) / 3
    assert_near(together.probabilities, mean, error_of_sum(4, mean))
    assert together.labels == ["abcdefghij"[label] for label in mean.argmax(-1)]
    with pytest.raises(UsageError, match="the runs have different classes"):
        jaxcifar.load(runs[0], jaxcifar.trained.load.SHIPPED_WEIGHTS)


def started_from(weights, path, **settings):
    """The state from which a run begins to train, by the program of `CONFIG`."""
    sizes = {"epochs": CONFIG.epochs, "batch_size": CONFIG.batch_size}
    config = Config.create(
        "cnn",
        recipe="strong",
        dataset="shapes10",
        **{**sizes, "arch_args": SMALL, **settings},
        init=str(weights),
    )
    start, states = Run.start, []

    def start_and_keep(run, setup):
        start(run, setup)
        states.append(jax.device_get(run.state))

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Run, "start", start_and_keep)
        train(path, easy_dataset(), config, stopper=stopped_after(0))
    [state] = states
    return state


def test_training_and_its_average_start_from_the_weights_of_a_run(trained, tmp_path):
    there = read_weights(trained / "1" / "weights.safetensors")[0]
    state = started_from(trained / "1", tmp_path / "run")
    assert int(state.step) == 0
    averaged_params, averaged_others = state.average
    for params, others in ((state.params, state.batch_stats), (averaged_params, averaged_others)):
        got = named_arrays({"params": params, "batch_stats": others})
        assert got.keys() == there.keys()
        for name, array in there.items():
            np.testing.assert_array_equal(got[name], array, err_msg=name)


def test_on_other_classes_the_last_layer_is_new(trained):
    easy = easy_dataset()
    dataset = jaxcifar.Dataset.from_arrays(
        easy.train.images,
        easy.train.labels % 3,
        easy.test.images,
        easy.test.labels % 3,
        class_names=("x", "y", "z"),
    )
    init = {"init": str(trained / "1"), "average": 0.0}
    config = dataclasses.replace(Config.create("cnn", arch_args=SMALL, **init), batch_size=32)
    program = make_program(config, 3, 128, jax.devices())
    hp = make_hyperparameters(config, dataset, program.steps_per_epoch)
    shapes = program.init.eval_shape(program, hp, dataset.train.images)
    new_state = jax.tree.map(lambda leaf: np.full(leaf.shape, 7, leaf.dtype), shapes)
    setup = SimpleNamespace(dataset=dataset, program=program)
    state = load_initial_weights(new_state, setup, hp, config, print)
    there = read_weights(trained / "1" / "weights.safetensors")[0]
    got = named_arrays(state.variables)
    assert got.keys() == there.keys()
    new = {name for name in there if got[name].shape != there[name].shape}
    assert {got[name].shape for name in new} == {(8, 3), (3,)}
    for name, array in got.items():
        expected = np.full(array.shape, 7) if name in new else there[name]
        np.testing.assert_array_equal(array, expected, err_msg=name)


def test_a_run_is_of_the_weights_that_it_began_with(trained, run, tmp_path):
    first = run / "weights.safetensors"
    started_from(first, tmp_path / "own")
    shutil.copy(trained / "2" / "weights.safetensors", first)  # another file of that name
    with pytest.raises(UsageError, match="belongs to another config"):
        started_from(first, tmp_path / "own")


def test_weights_that_cannot_be_started_from(trained, run, tmp_path):
    with pytest.raises(UsageError, match=r"no file .*/weights\.safetensors; give a finished run"):
        Config.create("cnn", init=str(tmp_path))
    with pytest.raises(UsageError, match=r"no file .*/nowhere\.safetensors; give a finished run"):
        Config.create("cnn", init=str(tmp_path / "nowhere.safetensors"))
    with pytest.raises(RunError, match="not those of this network"):
        started_from(trained / "1", tmp_path / "new", dropout=0.0, arch_args={"widths": (5,)})


def test_what_ships_is_small():
    path = jaxcifar.trained.load.SHIPPED_WEIGHTS
    assert path.stat().st_size <= 1_200_000
    classifier = jaxcifar.load()
    assert classifier.class_names[3] == "cat"
    assert sum(leaf.size for leaf in jax.tree.leaves(classifier.variables["params"])) == 551_722


def test_a_file_of_a_network_whose_code_is_gone_says_what_is_needed(run, tmp_path):
    code = tmp_path / "own.py"
    code.write_text(
        "from flax import linen as nn\n\n\nclass Net(nn.Module):\n    num_classes: int = 10\n\n"
        "    @nn.compact\n    def __call__(self, x, train):\n"
        "        return nn.Dense(self.num_classes)(x.mean((1, 2)))\n"
    )
    config = Config.create(f"{code}:Net", dataset="shapes10")
    shapes = network.variable_shapes(create_model(config, 10))
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    folder = RunFolder(tmp_path / "own")
    with folder.locked(config):
        folder.begin(user_code.with_imports(config))
    result = json.loads((run / "result.json").read_text()) | {"config": config.to_dict()}
    result["weights_sha256"] = write_weights(folder.weights_file, variables, make_card(result))
    folder.result_file.write_text(json.dumps(result))
    shutil.copy(folder.weights_file, tmp_path / "alone.safetensors")
    assert jaxcifar.load(tmp_path / "alone.safetensors").class_names[0] == "a"
    assert jaxcifar.load(tmp_path / "own").class_names[0] == "a"
    code.unlink()
    with pytest.raises(UsageError, match=r"own\.py.*get that file from the person who trained"):
        jaxcifar.load(tmp_path / "alone.safetensors")
    with pytest.raises(UsageError, match=r"trained with the copy in .*; restore that file"):
        jaxcifar.load(tmp_path / "own")


def test_where_no_run_is_the_error_says_what_is_there(run, tmp_path):
    (run / "result.json").unlink()
    (tmp_path / "net.pth").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for path, reason in {
        run: "is not a finished run",
        tmp_path / "empty": "no run here",
        tmp_path / "nowhere": "does not exist",
        tmp_path / "net.pth": "convert it first with jaxcifar convert",
    }.items():
        with pytest.raises(UsageError, match=reason):
            jaxcifar.load(path)


def test_halves_hold_no_large_numbers(tmp_path):
    """Beyond 65,504 they would be infinite."""
    variables = {"params": {"a": np.float32([1.0, 65_000.0]), "b": np.float32([1e6])}}
    with pytest.raises(RunError, match=r"params/b: .*65,504"):
        write_weights(tmp_path / "w.safetensors", variables, {}, as_float16=True)
    assert not (tmp_path / "w.safetensors").exists()


def test_a_run_of_another_version_is_not_to_be_deleted(run):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "new_setting": 1}))
    reason = "there is no setting new_setting.*; use the version of jaxcifar that wrote it"
    with pytest.raises(RunError, match=reason):
        jaxcifar.load(run)


def test_an_ensemble_needs_classes_in_the_same_order():
    cats_first, dogs_first = (
        SimpleNamespace(class_names=names) for names in (("cat", "dog"), ("dog", "cat"))
    )
    assert Ensemble.from_members([cats_first, cats_first]).class_names == ("cat", "dog")
    with pytest.raises(UsageError, match="the runs have different classes"):
        Ensemble.from_members([cats_first, dogs_first])
    with pytest.raises(UsageError, match="2 runs, each with its own features; load one run"):
        Ensemble.from_members([cats_first, cats_first]).features(np.zeros((1, 32, 32, 3), np.uint8))


@pytest.mark.parametrize("header", [b"{}", b'{"__metadata__": {"jaxcifar": "{}"}}', b"[", b""])
def test_a_large_file_without_a_good_card_is_refused_before_it_is_read(tmp_path, header):
    """The file is sparse: 2 GiB of zeros follow the header."""
    file = tmp_path / "weights.safetensors"
    with file.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(2**31)
    tracemalloc.start()
    try:
        with pytest.raises((RunError, UsageError), match=r"weights\.safetensors: .*; choose"):
            read_weights(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**24
